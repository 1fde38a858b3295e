"""The threads that talk back: one sends reports, one sends heartbeats, so that a large report cannot delay a heartbeat."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from headway.client.errors import UnexpectedAnswer
from headway.clock import Clock
from headway.errors import BY_CODE, HeadwayError, LeaseLost, PayloadTooLarge, RunStopping, WorkerNotFound
from headway.wire.workers import (
    AnyReport,
    BlockedLoop,
    Errored,
    ErrorReport,
    Rejected,
    Reply,
    Reported,
    ReportRuns,
    Succeeded,
)
from headway.worker.floor import Floor
from headway.worker.interrupts import Cause
from headway.worker.link import Link
from headway.worker.outbox import OUTCOMES, Asked, Key, Outbox
from headway.worker.session import Backoff, Session, may_pass

Entry = AnyReport | Asked
LOOK_S: Final = 0.1
"""The loop wakes the reporter at the end of its turns; when user code makes a turn long, it looks for itself."""
WHOLE_TRIES: Final = 6
"""How often a batch that the server fails over is sent as it is; then it may be one report that the server fails over."""
_UNDELIVERED: Final = "Undelivered"


class Reporter:
    """Sends whatever waits, at once, in as few requests as it takes."""

    def __init__(
        self, floor: Floor, outbox: Outbox, link: Link, session: Session, clock: Clock, stopping: threading.Event
    ) -> None:
        """Not running yet."""
        self._floor = floor
        self._outbox = outbox
        self._link = link
        self._session = session
        self._clock = clock
        self._stopping = stopping
        self._again = Backoff()
        """Between answers that put single reports off."""

    def run(self) -> None:
        """Report until the worker ends."""
        while not self._stopping.is_set():
            due_s = self._outbox.next_due_s(self._clock.monotonic_ms())
            if due_s is None and self._floor.running:
                due_s = LOOK_S
            self._outbox.wait(due_s)
            self.turn()

    def turn(self) -> None:
        """Send one batch and deal with the answer."""
        batch = self._outbox.take(self._clock.monotonic_ms())
        if batch:
            self._send(batch)

    def _send(self, batch: list[Entry], *, others: bool = False) -> None:
        """Send until it is answered; `others`: there are more reports, which are not to wait for these."""
        backoff, tries = Backoff(), 0
        while not self._stopping.is_set():
            batch = list(self._still_held(batch))
            if not batch:
                return
            worker_id = self._session.id
            reports = [entry.report if isinstance(entry, Asked) else entry for entry in batch]
            try:
                answer = self._link.report(ReportRuns(worker_id=worker_id, reports=reports))
            except WorkerNotFound:
                self._session.renew(worker_id, self._floor.lose_all)
            except (HeadwayError, OSError, msgspec.MsgspecError, UnicodeEncodeError) as error:
                # Only what the server refuses (4xx), or cannot be sent, may change what becomes of a run.
                if not (may_pass(error) or isinstance(error, (UnexpectedAnswer, msgspec.MsgspecError))):
                    self._narrow(batch, error)
                    return
                # Safe to repeat: the epoch fences outcomes, and a step or a child of that name exists once.
                tries += 1
                if tries >= WHOLE_TRIES and self._divide(batch, others=others):
                    return
                self._stopping.wait(backoff.next_s())
            else:
                self._settle(batch, answer)
                return

    def _still_held(self, batch: list[Entry]) -> Iterator[Entry]:
        held = self._floor.held
        for entry in batch:
            if _key(entry) in held:
                yield entry
            elif isinstance(entry, Asked):
                entry.answer(None, LeaseLost())

    def _divide(self, batch: list[Entry], *, others: bool) -> bool:
        """Let the others past a report over which the server fails; return False if there are no others."""
        if len(batch) > 1:
            middle = len(batch) // 2
            self._send(batch[:middle], others=True)
            self._send(batch[middle:], others=True)
        elif others or len(self._outbox):
            self._outbox.put_back(batch[0])
        else:
            return False
        return True

    def _narrow(self, batch: list[Entry], error: Exception) -> None:
        """Find the report for which the server refuses the whole request, and let the others through."""
        if len(batch) > 1:
            middle = len(batch) // 2
            self._send(batch[:middle])
            self._send(batch[middle:])
            return
        entry = batch[0]
        if isinstance(entry, Asked):
            entry.answer(None, error)
        elif isinstance(entry, OUTCOMES):
            self._replace(entry, error)

    def _replace(self, outcome: AnyReport, error: Exception) -> None:
        """Say that the outcome could not be delivered, once; if even that is refused, the lease is let go."""
        code = "invalid_output" if isinstance(outcome, Succeeded) else "refused"
        code = "output_too_large" if isinstance(error, PayloadTooLarge) else code
        if isinstance(outcome, Errored) and outcome.error.type == _UNDELIVERED:
            self._floor.acknowledged(_key(outcome))
            return
        told = ErrorReport(
            code=code, type=_UNDELIVERED, message=f"The server refused it: {error}"[:1000], retryable=False
        )
        self._outbox.put(Errored(run_id=outcome.run_id, epoch=outcome.epoch, error=told))

    def _settle(self, batch: list[Entry], answer: Reported) -> None:
        floor = self._floor
        rejected: dict[int, Rejected] = {refusal.index: refusal for refusal in answer.rejected}
        replies: dict[int, Reply] = {reply.index: reply for reply in answer.replies}
        put_off = False
        for index, entry in enumerate(batch):
            refusal = rejected.get(index) if rejected else None
            if refusal is not None and refusal.status >= 500:  # noqa: PLR2004
                self._outbox.put_back(entry)  # the server's trouble, not the report's
                put_off = True
            elif refusal is not None:
                self._refused(entry, refusal)
            elif isinstance(entry, Asked):
                entry.answer(replies.get(index), None)
            elif isinstance(entry, OUTCOMES):
                floor.acknowledged((entry.run_id, entry.epoch))
        for asked in answer.stop:
            floor.stop(asked)
        if put_off:
            self._stopping.wait(self._again.next_s())
        else:
            self._again.reset()

    def _refused(self, entry: Entry, refusal: Rejected) -> None:
        key, error = _key(entry), BY_CODE.get(refusal.code, HeadwayError)(refusal.detail)
        if isinstance(error, LeaseLost):
            self._floor.lose(key)
        if isinstance(entry, Asked):
            entry.answer(None, error)
        elif isinstance(entry, OUTCOMES):
            if isinstance(error, LeaseLost | RunStopping):
                self._floor.acknowledged(key)  # decided otherwise: not ours any more, or stopped first
            else:
                self._replace(entry, error)
        elif refusal.code == "run_stopping" and (attempt := self._floor.running.get(key)) is not None:
            self._floor.cancel(attempt, Cause.STOP, attempt.task.grace_ms)


class Pulse:
    """Says at every heartbeat which leases are held; learns which are lost and which are to stop."""

    def __init__(
        self,
        floor: Floor,
        link: Link,
        session: Session,
        clock: Clock,
        stopping: threading.Event,
        drain: Callable[[], None],
        blocked: Callable[[], BlockedLoop | None],
    ) -> None:
        """Not running yet. `blocked` returns what holds the worker's event loop."""
        self._floor = floor
        self._link = link
        self._session = session
        self._clock = clock
        self._stopping = stopping
        self._drain = drain
        self._blocked = blocked
        self._due = threading.Event()

    def hurry(self) -> None:
        """Beat now: there is something to say, or the worker ends."""
        self._due.set()

    def run(self) -> None:
        """Beat until the worker ends."""
        backoff = Backoff(0.1, 1.0)
        while not self._stopping.is_set():
            self._due.wait(self._session.heartbeat_ms / 1000)
            self._due.clear()
            while not (self._stopping.is_set() or self.beat()):
                self._stopping.wait(backoff.next_s())
            backoff.reset()

    def beat(self) -> bool:
        """Send one heartbeat; return whether it was answered."""
        session, floor = self._session, self._floor
        worker_id, sent_ms = session.id, self._clock.monotonic_ms()
        claiming = session.claiming.now
        held = list(floor.held)  # after that: what a claim has brought stands in one of the two
        try:
            answer = self._link.report(
                ReportRuns(
                    worker_id=worker_id, held=held, claiming=claiming, heard=session.beat, blocked=self._blocked()
                )
            )
        except WorkerNotFound:
            session.renew(worker_id, floor.lose_all)
            return True
        except (HeadwayError, OSError, msgspec.MsgspecError):
            return False
        session.heard(sent_ms, answer.beat)
        floor.heard()
        for run_id, epoch in answer.lost:
            floor.lose((run_id, epoch))
        for asked in answer.stop:
            floor.stop(asked)
        if answer.drain:
            self._drain()
        return True


def _key(entry: Entry) -> Key:
    report = entry.report if isinstance(entry, Asked) else entry
    return report.run_id, report.epoch
