"""A process that has imported all of a server and forks one at each request, which takes milliseconds.

It reads lines of JSON: {"start": [arguments], "environment": {}, "log": path} is answered with a process id,
{"wait": pid} with an exit code. A server made here arms a fail point when it gets SIGUSR1: the point is named in
HEADWAY_TEST_ARM, and what has been written until then, at the start, is not at risk.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

from tests.faults.server import ROOT, Deployment, Server
from tests.faults.waiting import until


class ForkServer:
    """The test's end of it."""

    def __init__(self) -> None:
        """Start the process."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.fork_server"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        )  # fmt: skip

    def ask(self, **line: Any) -> int:
        """Send a line and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(line).encode() + b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._process.communicate()


class ForkedProcess:
    """A server process made by the fork server."""

    def __init__(self, fork_server: ForkServer, pid: int) -> None:
        """Know it."""
        self._nursery = fork_server
        self.pid = pid
        self._code: int | None = None

    @property
    def alive(self) -> bool:
        """Whether it lives; the fork server keeps the dead until it is asked for them."""
        return self._code is None and _state(self.pid) not in {"Z", "X", ""}

    def send(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> int:
        """kill -9."""
        if self._code is None:
            self.send(signal.SIGKILL)
        return self.wait(10)

    def wait(self, within_s: float) -> int:
        """Return its exit code; negative for a signal."""
        until(lambda: not self.alive, within_s, "the server has ended")
        if self._code is None:
            self._code = self._nursery.ask(wait=self.pid)
        return self._code


class ForkedServer(Server):
    """A server that is made in the fork server."""

    def __init__(self, fork_server: ForkServer, deployment: Deployment, *options: str, **environment: str) -> None:
        """Nothing is started yet."""
        super().__init__(deployment, *options, **environment)
        self._nursery = fork_server

    def start(self, *, ready: bool = True, **environment: str) -> ForkedServer:
        """Fork it, and wait until it answers."""
        pid = self._nursery.ask(
            start=self.deployment.serve_arguments(*self._options),
            environment=self.deployment.environment(**{**self._environment, **environment}),
            log=str(self.deployment.log),
        )
        self.process = ForkedProcess(self._nursery, pid)
        self.deployment.forked.append(self.process)
        if ready:
            self.wait_until_ready()
        return self

    def arm(self, point: str) -> None:
        """From now on the process dies when it passes the point."""
        armed = self.deployment.folder / "armed"
        armed.unlink(missing_ok=True)
        (self.deployment.folder / "arm").write_text(point)
        self.process.send(signal.SIGUSR1)
        until(armed.exists, 5, "the fail point is armed")


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


# -- the fork server's own end ---------------------------------------------------------------------------------------------


def main() -> None:
    """Answer until the input ends."""
    import headway.cli.main
    import headway.cli.serve
    import headway.runs.loops.rescuer
    import headway.server
    import headway.serving.serve
    import headway.store.postgres.open
    import headway.store.sqlite.open  # noqa: F401

    fork_server = os.getpid()
    for text in sys.stdin:
        line = json.loads(text)
        if "wait" in line:
            _, status = os.waitpid(line["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                _serve(line, fork_server)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def _serve(line: dict[str, Any], fork_server: int) -> NoReturn:
    from headway import failpoints
    from headway.worker.processes.orphan import die_with

    code = 70
    try:
        die_with(fork_server)
        os.environ.clear()
        os.environ.update(line["environment"])
        log = os.open(line["log"], os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        folder = Path(line["environment"]["HEADWAY_TEST_LEDGER"]).parent

        def arm(*_: object) -> None:
            name, _, count = (folder / "arm").read_text().partition(":")
            failpoints._name, failpoints._left, failpoints.ARMED = name, int(count or 1), True  # type: ignore[misc]
            (folder / "armed").touch()

        signal.signal(signal.SIGUSR1, arm)
        from headway.cli.main import main as headway

        try:
            headway(line["start"])
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 - the log has it, and the test sees the exit code
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
