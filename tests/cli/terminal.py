"""A pseudo-terminal for the command line."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

ROOT = Path(__file__).parents[2]


def on_a_terminal(columns, *arguments, whole=False, **environment):
    """Run the command line on a terminal of that width, with stdout elsewhere unless `whole`; return stdout and the screen."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT / "src"), **environment}
    environment = {name: value for name, value in environment.items() if name not in {"COLUMNS", "LINES"}}
    process = subprocess.Popen(
        [sys.executable, "-m", "headway", *arguments],
        stdout=theirs if whole else subprocess.PIPE,
        stderr=theirs,
        stdin=theirs,
        env=environment,
        cwd=ROOT,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    return (process.communicate(timeout=30)[0] or b"").decode(), shown.decode()


def plain(shown):
    """Return what a terminal got without colours and movements, in lines."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).replace("\r\n", "\n")
