"""A server process, and worker processes, that can be killed."""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from tests.faults.ledger import Ledger
from tests.faults.waiting import until

from headway.client.errors import ConnectionLost
from headway.client.transport import Response, Transport
from headway.kernel.run import FINAL, State

ROOT = Path(__file__).parents[2]
APP = "tests.faults.app:app"
MARK = "HEADWAY_TEST_MARK"


UNDER_WAY = "&".join(f"state={state}" for state in State if state not in FINAL)

PORTS = range(10_000, 20_000)
"""Below those that the kernel gives to connections and to whoever asks for any port: while a server is down, nobody else may
come to its port and take its clients' requests."""


def free_port() -> int:
    """Return a port that nobody listens on now."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("a hundred ports were tried, and servers listen on all of them")


class Deployment:
    """A folder with a ledger and a store, and everything that was started for them, at one address.

    Two places with one folder and one store are for two servers on it.
    """

    def __init__(self, folder: Path, store: Path | str | None = None) -> None:
        """The store may lie elsewhere: on a disk that is made to fail, or, if it is a URL, in a database."""
        self.folder = folder
        self.store = store or folder / "headway.db"
        self.store_url = store if isinstance(store, str) else f"sqlite:///{self.store}"
        self.kind = "postgres" if isinstance(store, str) else "sqlite"
        self.ledger = Ledger(folder / "ledger")
        self.mark = uuid.uuid4().hex
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "log"
        self.connections: list[Transport] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self.forked: list[Any] = []
        """Servers from the fork server, whose environment the kernel does not show."""

    def environment(self, **more: str) -> dict[str, str]:
        """Return what every process started here is given."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEADWAY_", "PYTEST_"))}
        return {
            **kept,
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            "HEADWAY_TEST_LEDGER": str(self.ledger.path),
            "PYTHONFAULTHANDLER": "1",
            MARK: self.mark,
            **more,
        }

    def serve_arguments(self, *options: str, app: str = "") -> list[str]:
        """Return the command line of a server, from `serve` on."""
        where = ["--store", self.store_url, "--port", str(self.port)]
        return ["serve", *([app] if app else []), *where, *options]

    def open_gate(self, name: str) -> None:
        """Let the task `gated` go on."""
        (self.folder / f"gate-{name}").touch()

    def connect(self, timeout_s: float = 5) -> Transport:
        """Return a connection to the server that is closed with this place."""
        self.connections.append(Transport(self.url, timeout_s=timeout_s))
        return self.connections[-1]

    def survivors(self) -> list[int]:
        """Return the processes that were started for this place and still live."""
        wanted = f"{MARK}={self.mark}".encode()
        found = [process.pid for process in self.processes if process.poll() is None]  # servers hide their environment
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) not in (os.getpid(), *found):
                with contextlib.suppress(OSError):
                    if wanted in (entry / "environ").read_bytes():
                        found.append(int(entry.name))
        return found

    def end_all(self) -> list[int]:
        """Kill -9 what was started for this place; return whom that has hit, who may not be gone yet."""
        left = self.survivors()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return left

    def clean_up(self) -> None:
        """End all of it, again and again until nothing is started any more."""

        def none_left() -> bool:
            return not self.end_all()

        for process in self.forked:
            process.kill()
        for http in self.connections:
            http.close()
        until(none_left, 10, "the processes of this test are gone")
        for process in self.processes:
            process.wait(5)
        self.ledger.close()

    def logged(self) -> str:
        """Return what the processes wrote to stderr."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Process:
    """A process of ours."""

    def __init__(self, deployment: Deployment, command: Sequence[str], **environment: str) -> None:
        """Start it."""
        with deployment.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=deployment.environment(**environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        deployment.processes.append(self._process)
        self.pid = self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it lives."""
        return self._process.poll() is None

    def send(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> int:
        """kill -9."""
        if self.alive:
            self.send(signal.SIGKILL)
        return self.wait(10)

    def wait(self, within_s: float) -> int:
        """Return its exit code."""
        return self._process.wait(within_s)


class Server:
    """A server on one store and one port, over all its lives."""

    def __init__(
        self, deployment: Deployment, *options: str, app: str = "", prefix: Sequence[str] = (), **environment: str
    ) -> None:
        """Nothing is started yet. `prefix` is what it is run under, such as strace."""
        self.deployment = deployment
        self.http = deployment.connect(30)
        self._options, self._app, self._prefix, self._environment = options, app, tuple(prefix), environment
        self.process: Any = None
        self.began_s = 0.0

    def start(self, *, ready: bool = True, **environment: str) -> Server:
        """Start it, and wait until it answers."""
        command = [sys.executable, "-m", "headway", *self.deployment.serve_arguments(*self._options, app=self._app)]
        self.began_s = time.monotonic()
        self.process = Process(self.deployment, [*self._prefix, *command], **{**self._environment, **environment})
        if ready:
            self.wait_until_ready()
        return self

    def wait_until_ready(self, within_s: float = 20.0) -> float:
        """Return how many seconds after its start a 2xx came, without those in which others had the processors."""
        until(self._answers, within_s, f"{self.deployment.url} answers\n{self.deployment.logged()[-2000:]}")
        return time.monotonic() - self.began_s - withheld_s(self.process.pid)

    def _answers(self) -> bool:
        assert self.process.alive, f"the server is dead: {self.deployment.logged()[-2000:]}"
        with contextlib.suppress(ConnectionLost):
            return self.http.request("GET", "/v1/runs?page_size=1", timeout_s=5).status == 200
        return False

    def kill(self) -> None:
        """kill -9, at once."""
        self.process.kill()

    def stop(self, within_s: float = 20) -> int:
        """SIGTERM; return the exit code. A server that hangs says in the log where."""
        self.process.send(signal.SIGTERM)
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.send(signal.SIGABRT)
            self.process.wait(5)
            raise AssertionError(f"not ended within {within_s:g} s\n{self.deployment.logged()[-6000:]}") from None

    # -- HTTP, once and as it is: no retries -------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        """Send a request once; raise ConnectionLost if there is no answer."""
        data = None if body is None else msgspec.json.encode(body)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.request(method, path, data, headers=sent)

    def get(self, path: str) -> Any:
        """Return what is there; fail unless it is a 200."""
        return decoded(self.call("GET", path), 200)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        """Return what was answered; fail unless it is a 2xx."""
        return decoded(self.call("POST", path, {} if body is None else body, **headers))

    def run(self, run_id: str) -> Any:
        """Return a run."""
        return self.get(f"/v1/runs/{run_id}")

    def started(self, task: str, **given: Any) -> str:
        """Start a run; return its id."""
        return self.post("/v1/runs", {"task": task, "input": given})["id"]

    def final(self, run_id: str, within_s: float = 30) -> Any:
        """Wait for the end of a run and return it."""

        def look() -> Any:
            run = self.run(run_id)
            return run if run["final"] else None

        return until(look, within_s, lambda: f"run {run_id} is final: {self.run(run_id)}")

    def counts(self) -> dict[str, int]:
        """Return how many runs are in which state, by the server's counters: of what other servers do, a moment old."""
        return self.get("/v1/runs:count?group_by=state")["counts"]

    def under_way(self) -> dict[str, int]:
        """Return how many runs are in which of the states that are not final, as the store has it now: they are counted."""

        def look() -> Response | None:
            # The database is asked, and not only the server: it may be away for a moment.
            answer = self.call("GET", f"/v1/runs:count?group_by=state&{UNDER_WAY}")
            return None if answer.status == 503 else answer

        return decoded(until(look, 30, "what is under way can be read"), 200)["counts"]

    def knows(self, task: str, within_s: float = 20) -> None:
        """Wait until a worker has declared a task."""
        until(
            lambda: self.call("GET", f"/v1/tasks/{task}").status == 200,
            within_s,
            f"{task} is declared\n{self.deployment.logged()[-2000:]}",
        )

    def connected(self, workers: int, within_s: float = 20) -> None:
        """Wait until that many workers of ours are active."""

        def active() -> bool:
            found = [
                worker for worker in self.get("/v1/workers")["data"] if worker["state"] == "active" and worker["tasks"]
            ]
            return len([worker for worker in found if "effect" in worker["tasks"]]) >= workers

        until(active, within_s, f"{workers} workers are connected")


def decoded(response: Response, *wanted: int) -> Any:
    """Return the body of an answer that is as it should be."""
    fits = response.status in wanted if wanted else 200 <= response.status < 300
    assert fits, (response.status, response.body[:2000])
    return msgspec.json.decode(response.body) if response.body else None


class WorkerProcess(Process):
    """A worker that is not supervised, so that nobody but the test brings it back."""

    def __init__(
        self,
        deployment: Deployment,
        *options: str,
        app: str = APP,
        others: Sequence[Deployment] = (),
        at: str = "",
        **environment: str,
    ) -> None:
        """Start it; `others` are further places whose servers it knows, `at` is another way to get to the server."""
        known = ",".join((at or deployment.url, *(found.url for found in others)))
        super().__init__(deployment, [sys.executable, "-m", "headway.worker", known, app, *options], **environment)

    def tree(self) -> list[int]:
        """Return its process id and those of its children."""
        import psutil

        return [self.pid, *(child.pid for child in psutil.Process(self.pid).children(recursive=True))]

    def send_all(self, number: int) -> None:
        """Send a signal to it and its children."""
        for pid in self.tree():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def withheld_s(pid: int) -> float:
    """Return for how long the first thread of a process was ready to run and had no processor, as the kernel counts it."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    return 0.0


def ended(pid: int, within_s: float) -> bool:
    """Wait for the end of a process, ours or not."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watched], [], [], within_s)[0])
    finally:
        os.close(watched)


Environment = Mapping[str, str]
