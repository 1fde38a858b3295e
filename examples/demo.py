"""Whole demonstration: start the service with the backup app, run a real backup, show it, print its result, stop.

python examples/demo.py            zips the libraries that were just installed: a few thousand files
python examples/demo.py FOLDER     zips another folder
python examples/demo.py --keep     and leaves the service running until Ctrl-C

It is a system of its own: a key, a server or another setting of yours in the environment is not used.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headway.client.sync.client import Client
from headway.config import ignore_environment
from headway.errors import HeadwayError

ROOT = Path(__file__).resolve().parent.parent
HEADWAY = [sys.executable, "-m", "headway"]
START_S = 30
STOP_S = 40


def main() -> int:
    """Run the demo; return the exit code of the run."""
    chosen = arguments()
    ignore_environment()
    port = chosen.port or free_port()
    url = f"http://127.0.0.1:{port}"
    say(f"Starting the service on {chosen.store} …")
    with service(chosen.store, port) as server:
        wait_until_ready(url, server)
        say(f"Backing up {chosen.folder} to {chosen.target} …")
        fields = [f"folder={chosen.folder.resolve()}", f"target={chosen.target.resolve()}"]
        code = subprocess.run([*HEADWAY, "run", "backup", *fields, "--url", url], check=False).returncode  # noqa: S603
        if chosen.keep:
            say(f"The service goes on at {url} until Ctrl-C. In another terminal:")
            say(f"    export HEADWAY_URL={url}")
            say("    headway runs list")
            with suppress(KeyboardInterrupt):
                server.wait()
    say("The service has stopped. Everything is kept: start it again on the same file, and the run is still there.")
    return code


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Start the service, back up a folder, show it, stop.")
    parser.add_argument("folder", nargs="?", type=Path, default=a_real_folder(), help="what to back up")
    parser.add_argument("--target", type=Path, default=ROOT / "demo.zip", help="the archive; ./demo.zip if absent")
    parser.add_argument("--store", default=f"sqlite:///{ROOT / 'demo.db'}", help="where the service keeps everything")
    parser.add_argument("--port", type=int, default=0, help="the service's port; a free one if absent")
    parser.add_argument("--keep", action="store_true", help="leave the service running until Ctrl-C")
    return parser.parse_args()


def a_real_folder() -> Path:
    """Return a folder that takes a few seconds: the installed libraries, or our own source where there are none."""
    libraries = ROOT / ".venv" / "lib"
    return libraries if libraries.is_dir() else ROOT / "src"


@contextmanager
def service(store: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the service, and stop it cleanly whatever happens."""
    paths = os.pathsep.join(filter(None, [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH")]))
    os.environ["PYTHONPATH"] = paths
    command = [*HEADWAY, "serve", "examples.backup:app", "--store", store, "--port", str(port)]
    # A group of its own: Ctrl-C at the terminal is for us, and we stop the service when we are done.
    server = subprocess.Popen(command, cwd=ROOT, start_new_session=True)  # noqa: S603
    try:
        yield server
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(STOP_S)
            except subprocess.TimeoutExpired:
                server.kill()


def wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    """Wait until the service answers and a worker has declared the task."""
    end = time.monotonic() + START_S
    with Client(url, retries=0) as client:
        while True:
            try:
                client.health()
                client.tasks.get("backup")
            except HeadwayError as error:
                if server.poll() is not None:
                    raise SystemExit("the service has not started; see above") from None
                if time.monotonic() > end:
                    raise SystemExit(f"the service is not ready after {START_S} s: {error}") from None
                time.sleep(0.05)
            else:
                return


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def say(text: str) -> None:
    """Print a line about the demo itself, apart from what the commands print."""
    start, end = ("\033[1;36m", "\033[0m") if sys.stderr.isatty() and not os.environ.get("NO_COLOR") else ("", "")
    print(f"{start}{text}{end}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
