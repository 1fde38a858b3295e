"""A server in memory, as far as a worker can tell: the outer port of these tests."""

import asyncio
import contextlib
import queue
import threading
import time

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from headway.clock import SystemClock
from headway.errors import WorkerNotFound
from headway.protocol.workers import (
    ChildReport,
    ErroredReport,
    Lease,
    Rejection,
    ReleasedReport,
    Reply,
    ReportAnswer,
    SleptReport,
    StoppedReport,
    StopSignal,
    SucceededReport,
    SuspendedReport,
    TokenReport,
    WorkerOut,
)
from headway.worker.attempts.attempt import execute
from headway.worker.protocol.link import DrainSignal

ENDS = (SucceededReport, ErroredReport, SuspendedReport, SleptReport, ReleasedReport, StoppedReport)


def lease(task, run_id="run", *, steps=None, **fields):
    given = fields.pop("input", {})
    return Lease(
        run_id=run_id, task=task, epoch=fields.pop("epoch", 1), attempt=1, max_attempts=3,
        input=Raw(msgspec.json.encode(given)),
        steps={name: Raw(msgspec.json.encode(value)) for name, value in (steps or {}).items()}, **fields,
    )  # fmt: skip


class Reports:
    """A sink that takes everything at once and remembers it."""

    def __init__(self, refuse=None):
        self.all = []
        self.refuse = refuse

    def put(self, report):
        self.all.append(report)

    progress = put

    def ask(self, report, answer):
        self.all.append(report)
        if self.refuse is not None:
            answer(None, self.refuse)
        else:
            answer(Reply(index=0, run_id="child-1", token="tok-1"), None)

    def of(self, kind):
        return [report for report in self.all if isinstance(report, kind)]


def run(app, one, sink=None, clock=None):
    """Execute one lease and return its outcome and everything reported before it."""
    sink = sink or Reports()
    return asyncio.run(execute(app, one, sink, clock or SystemClock())), sink


class FakeSignals:
    def __init__(self, source):
        self._source = source

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __iter__(self):
        while (signal := self._source.get()) is not None:
            yield signal

    def close(self):
        self._source.put(None)


class FakeLink:
    """Hands out leases, takes reports; `outcomes` by run id; can be broken and can refuse."""

    def __init__(self, *, lease_ms=15_000, heartbeat_ms=20):
        self.lease_ms, self.heartbeat_ms = lease_ms, heartbeat_ms
        self.leases = queue.SimpleQueue()
        self.reports = []
        self.outcomes = {}
        self.beats = []
        self.heartbeats = []
        """The heartbeats whole."""
        self.signal_queue = queue.SimpleQueue()
        self.changed = threading.Condition()
        self.lost = set()
        self.broken = False
        self.failures = 0
        self.forgotten = False
        self.registrations = 0
        self.hellos = []
        self.refuse = lambda report: None
        self.drained = threading.Event()
        self.claims = []
        self.fault = lambda request: None

    def give(self, *leases):
        self.leases.put(list(leases))

    def stop(self, run_id="run", epoch=1, grace_ms=5_000):
        self.signal_queue.put(StopSignal(run_id=run_id, epoch=epoch, grace_ms=grace_ms))

    def ask_drain(self):
        self.signal_queue.put(DrainSignal())

    def register(self, worker):
        self.registrations += 1
        self.hellos.append(worker)
        self.forgotten = False
        return WorkerOut(
            id=f"w{self.registrations}", name="", host="", pid=0, version="", queues=[], tasks=[], capacity=1, state="active",
            leases=0, created_at="", heard_at="", lease_ms=self.lease_ms, heartbeat_ms=self.heartbeat_ms, url="",
        )  # fmt: skip

    def claim(self, wanted, number):
        with self.changed:
            self.claims.append(replace(wanted, number=number()))
            self.changed.notify_all()
        with contextlib.suppress(queue.Empty):
            return self.leases.get(timeout=20)
        return []

    def report(self, request):
        if self.forgotten:
            raise WorkerNotFound
        if self.broken:
            with self.changed:
                self.failures += 1
                self.changed.notify_all()
            raise ConnectionError
        if (fault := self.fault(request)) is not None:
            with self.changed:
                self.failures += 1
                self.changed.notify_all()
            raise fault
        request = msgspec.json.decode(msgspec.json.encode(request), type=type(request))
        rejected, replies = [], []
        with self.changed:
            for index, report in enumerate(request.reports):
                refusal = self.refuse(report)
                if refusal is not None:
                    status, code = refusal if isinstance(refusal, tuple) else (409, refusal)
                    rejected.append(Rejection(index=index, status=status, code=code, detail=""))
                    continue
                self.reports.append(report)
                if isinstance(report, ENDS):
                    self.outcomes[report.run_id] = report
                if isinstance(report, ChildReport | TokenReport):
                    replies.append(Reply(index=index, run_id="child-1", token="tok-1"))
            if request.held is not None:
                self.beats.append(request.held)
                self.heartbeats.append(request)
            self.changed.notify_all()
        lost = [key for key in request.held or [] if key[0] in self.lost]
        return ReportAnswer(rejected=rejected, replies=replies, lost=lost, stop=[], beat=len(self.beats))

    def signals(self, worker_id):
        return FakeSignals(self.signal_queue)

    def drain(self, worker_id):
        self.drained.set()
        self.leases.put([])

    def close(self):
        self.leases.put([])

    def until(self, happened, timeout_s=20):
        """Wait until `happened()` holds; it is looked at after every report."""
        deadline = time.monotonic() + timeout_s
        with self.changed:
            while not happened():
                assert self.changed.wait(deadline - time.monotonic()), (
                    f"not in time: {self.outcomes}, {self.reports[-5:]}"
                )

    def outcome(self, run_id="run"):
        self.until(lambda: run_id in self.outcomes)
        return self.outcomes[run_id]
