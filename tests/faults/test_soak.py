"""Minutes of ordinary work: a server and its worker hold on to nothing that is over, and the log of the file stays small."""

import contextlib
import itertools
import re
import statistics
import threading
import time

import msgspec
import psutil
import pytest
from tests.faults import results
from tests.faults.load import Load
from tests.faults.protocol import ProtocolWorker
from tests.faults.server import Server, WorkerProcess
from tests.faults.stores import MINUTES, STORES, TIMES
from tests.faults.waiting import pause, until

from headway.client.errors import ConnectionLost
from headway.client.transport import Transport

SECONDS = 300 * TIMES
QUARTERS = 4
"""The first is for what is filled once, such as caches; the second is what the last is held against."""
STARTS_S = 60
LEAK_BYTES = 100
"""What each run, and each turn of what the clients do, may leave behind: less than whatever is forgotten in a list or a table."""
SLACK_BYTES = 3 * 2**20
"""How much the memory of a process moves by itself, as its allocator keeps pages."""
KEPT = "5s"
"""How long a run is kept."""
HANDLES = 8
THREADS = 4
LOG_BYTES = 4 * 16 * 2**20
"""Four times what is written before the log of a file is begun anew."""


class Clients:
    """They do, again and again, whatever comes and goes: streams, waits, lists, workers, stops, exports, connections."""

    def __init__(self, deployment, server):
        self._place, self._server = deployment, server
        self._over = threading.Event()
        self.turns = 0
        self.wrong = []
        self._threads = [threading.Thread(target=self._go, args=(turn,)) for turn in (self._look, self._work)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _go(self, turn):
        while not self._over.wait(0.1):
            http = Transport(self._place.url, timeout_s=10)
            try:
                turn(http)
            except Exception as error:  # noqa: BLE001 - told at the end
                self.wrong.append(repr(error))
            finally:
                http.close()
            self.turns += 1

    def _look(self, http):
        """Follow a run and leave in the middle; wait for one that does not end; list, count, filter, be refused."""
        run_id = self._start(http, "noop", delay="1h", labels={"turn": str(self.turns % 1000)})
        with http.stream(f"/v1/runs/{run_id}/events") as stream:
            next(iter(stream))
        with contextlib.suppress(ConnectionLost):
            http.call("GET", f"/v1/runs/{run_id}", headers={"Prefer": "wait=20"}, timeout_s=0.2)
        for path in (
            "/v1/runs?page_size=5",
            "/v1/runs?label.turn=7",
            "/v1/runs:count?group_by=state",
            "/v1/tasks",
            "/metrics",
        ):
            assert http.request("GET", path).status == 200, path
        assert http.request("GET", f"/v1/nothing/{self.turns}").status == 404
        assert http.request("POST", "/v1/runs", b'{"task":').status == 400
        http.call("POST", f"/v1/runs/{run_id}:terminate", b"{}")
        assert http.request("DELETE", f"/v1/runs/{run_id}").status == 204

    def _work(self, http):
        """Be a worker of its own that comes, declares a task, fails at a run, terminates another, and goes."""
        job = f"job-{self.turns % 20}"
        hand = ProtocolWorker(self._server, {"name": job, "queue": "hand", "retry": {"max_attempts": 1}})
        for _ in range(2):
            self._start(http, job)
        for lease in hand.claim(5):
            hand.send({"type": "log", "run_id": lease["run_id"], "epoch": lease["epoch"], "message": "x" * 100})
            error = {"message": f"turn {self.turns}"}
            hand.send({"type": "errored", "run_id": lease["run_id"], "epoch": lease["epoch"], "error": error})
        self._server.post(f"/v1/workers/{hand.id}:drain")

    def _start(self, http, task, **more):
        body = msgspec.json.encode({"task": task, "input": {}, **more})
        answer = http.call(
            "POST", "/v1/runs", body, headers={"Idempotency-Key": f"turn-{threading.get_ident()}-{next(_KEYS)}"}
        )
        return msgspec.json.decode(answer)["id"]


_KEYS = itertools.count()


def cached_bytes(server):
    """Return how much memory a server uses for the pages of a file, as it says itself."""
    text = server.call("GET", "/metrics").body.decode()
    return int(float(re.search(r"^headway_db_cache_bytes (\S+)$", text, re.MULTILINE)[1]))


class ProcessResources:
    """What a process holds, from moment to moment."""

    def __init__(self, name, pid):
        self.name = name
        self._process = psutil.Process(pid)
        self.memory, self.handles, self.threads = [], [], []

    def look(self, cached=0):
        """Of its memory `cached` bytes are pages of a file, which are let go when there are too many."""
        with self._process.oneshot():
            self.memory.append(self._process.memory_info().rss - cached)
            self.handles.append(self._process.num_fds())
            self.threads.append(self._process.num_threads())

    @staticmethod
    def grown(looks):
        """How much more it was in the last quarter than in the second."""
        size = len(looks) // QUARTERS
        return statistics.median(looks[-size:]) - statistics.median(looks[size : 2 * size])


@pytest.mark.parametrize("deployment", [pytest.param(store, marks=MINUTES) for store in STORES], indirect=True)
def test_nothing_that_is_over_is_held_on_to(deployment):
    server = Server(deployment, "--lease", "2s").start()
    worker = WorkerProcess(deployment, "--capacity", "20")
    server.knows("effect_in_process")
    both = ProcessResources("server", server.process.pid), ProcessResources("worker", worker.pid)
    logs, turns = [], []
    began = time.monotonic()
    tasks = ("effect", "effect_in_thread", "effect_in_process", "steps")
    with (
        Load(deployment, tasks=tasks, rate=STARTS_S, ms=20, retention=KEPT) as load,
        Clients(deployment, server) as clients,
    ):
        while time.monotonic() - began < SECONDS:
            pause(1)
            both[0].look(cached_bytes(server))
            both[1].look()
            turns.append(clients.turns)
            if deployment.kind == "sqlite":
                logs.append(deployment.store.with_name(f"{deployment.store.name}-wal").stat().st_size)
    assert (load.odd, clients.wrong) == ([], [])
    done = ProcessResources.grown(turns) + STARTS_S * SECONDS / 2
    said = {held.name: (held.grown(held.memory), held.grown(held.handles), held.grown(held.threads)) for held in both}
    for held in both:
        assert held.grown(held.memory) < SLACK_BYTES + LEAK_BYTES * done, said
        assert abs(held.grown(held.handles)) <= HANDLES, said
        assert abs(held.grown(held.threads)) <= THREADS, said
    assert max(logs, default=0) <= LOG_BYTES
    until(
        lambda: set(server.under_way()) <= {"scheduled"}, 60, lambda: f"all that was started ends: {server.under_way()}"
    )
    assert server.stop() == 0
    started = {line["run_id"] for line in deployment.ledger.lines("acknowledged")}
    executed = {line["run_id"] for kind in ("effect", "step") for line in deployment.ledger.lines(kind)}
    results.note(
        "nothing, for minutes of all kinds of work", deployment.kind, tries=1, acknowledged=len(started),
        lost=len(started - executed), doubled=0,
    )  # fmt: skip
    assert started <= executed
