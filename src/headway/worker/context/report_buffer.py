"""Report buffer: reports of attempts on their way to the server, in order; of progress only the latest is kept.

Any thread puts reports in; one thread takes them out in batches and settles those that wait for an answer.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, get_args

import msgspec

from headway.errors import Overloaded
from headway.protocol.workers import (  # fmt: skip
    AnyReport,
    ChildReport,
    ErroredReport,
    LogReport,
    OutcomeReport,
    ProgressReport,
    Reply,
    ResultReport,
    StepFailureReport,
    StepReport,
    SucceededReport,
    TokenReport,
)

Key = tuple[str, int]
"""A lease: the run's id and the epoch."""

ReplyCallback = Callable[[Reply | None, BaseException | None], None]
"""Called once, from any thread: with what the server replied, or with why it took nothing."""

RequestReport = StepReport | StepFailureReport | ChildReport | TokenReport
OUTCOMES: Final[tuple[type[OutcomeReport], ...]] = get_args(OutcomeReport)
PROGRESS_MS: Final = 250
"""Shortest time between two progress reports of a run, in milliseconds; the latest wins."""
WAITING_MAX: Final = 20_000
"""Beyond this many waiting reports, log lines are dropped and published results are refused."""
BATCH_MAX: Final = 1_000
BATCH_BYTES_MAX: Final = 2 << 20


class Sink(Protocol):
    """Sink of an attempt's reports. A worker and its child processes have a ReportBuffer, the test kit a sink of its own."""

    def put(self, report: AnyReport) -> None:
        """Send a report soon, after all reports put before it."""
        ...

    def ask(self, report: RequestReport, answer: ReplyCallback) -> None:
        """Send a report, and call `answer` when it is durable or refused."""
        ...

    def progress(self, report: ProgressReport) -> None:
        """Send a progress report, unless a later one of the same run overtakes it."""
        ...


class PendingRequest(msgspec.Struct, frozen=True):
    """A report whose sender waits."""

    report: RequestReport
    answer: ReplyCallback


class ReportBuffer:
    """The sink of a worker, and of a child process."""

    def __init__(self, *, progress_ms: int = PROGRESS_MS) -> None:
        """Start empty."""
        self._waiting: deque[AnyReport | PendingRequest] = deque()
        self._progress: dict[Key, ProgressReport] = {}
        self._progress_at: dict[Key, int] = {}
        self._progress_ms = progress_ms
        self._dropped: dict[Key, int] = {}
        self._awake = threading.Event()
        self._wake_later: Callable[[Callable[[], None]], object] | None = None
        self._loop_thread = 0
        self._wake_due = False

    def __len__(self) -> int:
        """Return how many reports wait."""
        return len(self._waiting) + len(self._progress)

    def bind_loop(self, thread_id: int, call_soon: Callable[[Callable[[], None]], object]) -> None:
        """Let outcomes from the loop's thread wake the reader once per turn of the loop instead of once each."""
        self._loop_thread, self._wake_later = thread_id, call_soon

    def unbind_loop(self) -> None:
        """Wake the reader at once from now on: the loop is about to end."""
        self._wake_later = None
        self._awake.set()

    def put(self, report: AnyReport) -> None:
        """Add a report after all reports put before it; log lines are dropped beyond WAITING_MAX."""
        if len(self._waiting) >= WAITING_MAX and not self._has_room_for(report):
            return
        self._waiting.append(report)
        if not self._awake.is_set():
            self._awake.set()

    def finish(self, outcome: AnyReport) -> None:
        """Send the last report of an attempt, after its latest progress; outcomes of one turn of the loop go together."""
        if self._progress:
            self._flush_progress((outcome.run_id, outcome.epoch))
        self._waiting.append(outcome)
        if self._wake_later is None or threading.get_ident() != self._loop_thread:
            self._awake.set()
        elif not self._wake_due:
            self._wake_due = True
            self._wake_later(self._wake_now)

    def ask(self, report: RequestReport, answer: ReplyCallback) -> None:
        """Add a report whose `answer` is called from the reader's thread."""
        self._waiting.append(PendingRequest(report, answer))
        self._awake.set()

    def put_back(self, entry: AnyReport | PendingRequest) -> None:
        """Queue the reports again that were taken and not delivered, after the waiting ones."""
        self._waiting.append(entry)
        self._awake.set()

    def progress(self, report: ProgressReport) -> None:
        """Keep a report as the latest progress of its run."""
        key = (report.run_id, report.epoch)
        known = key in self._progress
        self._progress[key] = report
        if not known:
            self._awake.set()

    def wait(self, timeout_s: float | None) -> None:
        """Return when there is something new to take, or after the timeout."""
        self._awake.wait(timeout_s)

    def wake(self) -> None:
        """Make `wait` return."""
        self._awake.set()

    def take(self, now_ms: int) -> list[AnyReport | PendingRequest]:
        """Return the next batch, oldest first; progress only as often as it is worth."""
        self._awake.clear()
        self._take_progress(now_ms)
        batch: list[AnyReport | PendingRequest] = []
        waiting, size = self._waiting, 0
        while self._dropped:
            (run_id, epoch), lines = self._dropped.popitem()
            text = f"{lines} lines of log were dropped: they came faster than the server took them"
            batch.append(LogReport(run_id=run_id, epoch=epoch, level="warning", message=text))
        while waiting and len(batch) < BATCH_MAX and size < BATCH_BYTES_MAX:
            entry = waiting.popleft()
            size += _weight(entry)
            batch.append(entry)
            if self._progress_at and isinstance(entry, OUTCOMES):
                self._progress_at.pop((entry.run_id, entry.epoch), None)
        if waiting:
            self._awake.set()
        return batch

    def next_due_s(self, now_ms: int) -> float | None:
        """Return how long until held-back progress is due; None if there is none."""
        if not self._progress:
            return None
        due = min(self._progress_at.get(key, 0) for key in list(self._progress)) + self._progress_ms
        return max(0.0, (due - now_ms) / 1000)

    def _take_progress(self, now_ms: int) -> None:
        for key in list(self._progress):
            if now_ms - self._progress_at.get(key, -self._progress_ms) >= self._progress_ms:
                self._progress_at[key] = now_ms
                self._flush_progress(key)

    def _flush_progress(self, key: Key) -> None:
        latest = self._progress.pop(key, None)
        if latest is not None:
            self._waiting.append(latest)

    def _has_room_for(self, report: AnyReport) -> bool:
        if isinstance(report, LogReport):
            key = (report.run_id, report.epoch)
            self._dropped[key] = self._dropped.get(key, 0) + 1
            return False
        if isinstance(report, ResultReport):
            raise Overloaded("results are published faster than the server accepts them")
        return True

    def _wake_now(self) -> None:
        self._wake_due = False
        self._awake.set()


def _weight(entry: AnyReport | PendingRequest) -> int:
    """Return about how many bytes it is on the wire; exact only where it may be many."""
    if type(entry) is SucceededReport:
        return 100 + len(memoryview(entry.output))
    report = entry.report if isinstance(entry, PendingRequest) else entry
    if isinstance(report, StepReport | ResultReport):
        return 100 + len(memoryview(report.value))
    if isinstance(report, ChildReport):
        return 500 + len(memoryview(report.run.input))
    if isinstance(report, ErroredReport | StepFailureReport):
        return 500 + len(report.error.details)
    return 500
