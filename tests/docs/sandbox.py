"""What a page's code is executed on: an empty folder, a shell, and a real `headway serve` of the app in it."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

from tests.docs.pages import ROOT, Command, Fence, missing

PRELUDE = "import headway\n\nclient = headway.Client()\n"
START_S = 30
STOP_S = 40
END = "\x1e"


class Sandbox:
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "page"
        self.folder.mkdir()
        self._log = folder / "server.log"
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._app: str | None = None
        self._serves: str | None = None
        self._stale = False
        self._options: list[str] = []
        self._server: subprocess.Popen[bytes] | None = None
        self._count = 0
        self.environment = _environment(folder / "bin") | {"HEADWAY_URL": self.url}
        self._shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=self.environment,
            start_new_session=True,
        )

    def close(self) -> None:
        self._stop()
        self._shell.stdin.close()
        self._shell.stdout.close()
        self._shell.kill()
        self._shell.wait()

    # -- the page's fences ---------------------------------------------------------------------------------------------

    def write(self, fence: Fence) -> None:
        path = self.folder / fence.attributes["title"]
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text() + "\n\n" if "append" in fence.attributes else ""
        path.write_text(before + fence.text)
        if "headway.App(" in path.read_text():
            self._app, self._stale = f"{path.stem}:app", True

    def python(self, fence: Fence) -> None:
        self._serve()
        self._count += 1
        script = self.folder / f"snippet_{self._count}.py"
        script.write_text(PRELUDE + fence.text)
        done = subprocess.run(
            [sys.executable, script.name],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"line {fence.line}: {done.stderr}{self.log()}"

    def command(self, command: Command) -> None:
        if command.text.startswith("headway serve"):
            words = shlex.split(command.text.removesuffix("&").strip())[2:]
            self._app = words[0] if words and not words[0].startswith("-") else self._app
            self._options, self._stale = [word for word in words if word != self._app], True
            self._serve()
            return
        self._serve()
        output, code = self._ask(command.text)
        assert code == command.exit_code, f"$ {command.text}\n{output}\nexit code {code}\n{self.log()}"
        absent = missing(command.expected, output)
        assert absent is None, f"$ {command.text}\nthe page promises: {absent}\nbut it says:\n{output}"

    def _ask(self, text: str) -> tuple[str, int]:
        self._shell.stdin.write(f"{{ {text}\n}} </dev/null\nprintf '\\n{END}%d\\n' $?\n")
        self._shell.stdin.flush()
        lines = []
        for line in self._shell.stdout:
            if line.startswith(END):
                return "".join(lines), int(line[1:])
            lines.append(line)
        raise AssertionError(f"the shell has ended: {''.join(lines)}")

    # -- the server ----------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Serve the page's app, if it has one, as it is now."""
        if self._app is None or (self._serves == self._app and not self._stale):
            return
        self._stop()
        # Only what was declared by this app counts as ready: the server comes up with an address of its own.
        self._server = subprocess.Popen(
            [sys.executable, "-m", "headway", "serve", self._app, *self._options, "--port", str(self._port)],
            cwd=self.folder,
            env=self.environment,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._serves, self._stale = self._app, False
        connected = threading.Event()
        threading.Thread(target=self._listen, args=(self._server.stderr, connected), daemon=True).start()
        assert connected.wait(START_S), f"no worker has connected: {self.log()}"
        assert self._server.poll() is None, f"the server has not started: {self.log()}"

    def _listen(self, lines: IO[bytes], connected: threading.Event) -> None:
        """Keep what the server says, and set the event when its worker has connected or the server has ended."""
        with lines, self._log.open("ab") as log:
            for line in lines:
                log.write(line)
                log.flush()
                if b"worker: connected" in line:
                    connected.set()
        connected.set()

    def _stop(self) -> None:
        if self._server is None:
            return
        self._server.send_signal(signal.SIGTERM)
        try:
            self._server.wait(STOP_S)
        finally:
            self._server.kill()
            self._server = None

    def log(self) -> str:
        return self._log.read_text(errors="replace")[-4000:] if self._log.exists() else ""


def _environment(shims: Path) -> dict[str, str]:
    """Return an environment in which `headway`, `python` and `pytest` are this checkout's."""
    shims.mkdir()
    for name, words in {"headway": "-m headway", "python": "", "pytest": "-m pytest -p no:cacheprovider"}.items():
        shim = shims / name
        shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n')
        shim.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not re.match(r"HEADWAY_|PYTEST|COV_|PIP_", name)}
    paths = {"PATH": f"{shims}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")}
    return kept | paths | {"NO_COLOR": "1", "COLUMNS": "160"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
