"""The thread that sends reports; heartbeats have another, so that a large report cannot delay one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from headway.client.errors import UnexpectedAnswer
from headway.errors import BY_CODE, HeadwayError, LeaseLost, PayloadTooLarge, RunStopping, WorkerNotFound
from headway.protocol.workers import (
    AnyReport,
    ErroredReport,
    FunctionError,
    Rejection,
    Reply,
    ReportAnswer,
    ReportRuns,
    SucceededReport,
)
from headway.worker.context.interrupts import Cause
from headway.worker.context.report_buffer import OUTCOMES, Key, PendingRequest, ReportBuffer
from headway.worker.protocol.session import Backoff, may_pass
from headway.worker.protocol.thread import Parts, ProtocolThread

Entry = AnyReport | PendingRequest
LOOK_S: Final = 0.1
"""The loop wakes the reporter at the end of its turns; when user code makes a turn long, it looks for itself."""
WHOLE_TRIES: Final = 6
"""Tries of a whole batch that the server fails over; afterwards it is divided, since one report may be the cause."""
_UNDELIVERED: Final = "Undelivered"


class ReportSender(ProtocolThread):
    """Sender of all waiting reports, at once, in as few requests as possible."""

    def __init__(self, *parts: *Parts, report_buffer: ReportBuffer) -> None:
        super().__init__(*parts)
        self._buffer = report_buffer
        self._again = Backoff()
        """Pause between answers that postpone single reports."""

    def run(self) -> None:
        """Report until the worker ends."""
        while not self._stopping.is_set():
            due_s = self._buffer.next_due_s(self._clock.monotonic_ms())
            if due_s is None and self._attempts.running:
                due_s = LOOK_S
            self._buffer.wait(due_s)
            self.turn()

    def turn(self) -> None:
        """Send one batch and deal with the answer."""
        batch = self._buffer.take(self._clock.monotonic_ms())
        if batch:
            self._send(batch)

    def _send(self, batch: list[Entry], *, others: bool = False) -> None:
        """Send a batch until it is answered; `others`: there are more reports, which are not to wait for these."""
        backoff, tries = Backoff(), 0
        while not self._stopping.is_set():
            batch = list(self._still_held(batch))
            if not batch:
                return
            worker_id = self._session.id
            reports = [entry.report if isinstance(entry, PendingRequest) else entry for entry in batch]
            try:
                answer = self._link.report(ReportRuns(worker_id=worker_id, reports=reports))
            except WorkerNotFound:
                self._renew(worker_id)
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
        held = self._attempts.held
        for entry in batch:
            if _key(entry) in held:
                yield entry
            elif isinstance(entry, PendingRequest):
                entry.answer(None, LeaseLost())

    def _divide(self, batch: list[Entry], *, others: bool) -> bool:
        """Let the others past a report over which the server fails; return False if there are no others."""
        if len(batch) > 1:
            middle = len(batch) // 2
            self._send(batch[:middle], others=True)
            self._send(batch[middle:], others=True)
        elif others or len(self._buffer):
            self._buffer.put_back(batch[0])
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
        if isinstance(entry, PendingRequest):
            entry.answer(None, error)
        elif isinstance(entry, OUTCOMES):
            self._replace(entry, error)

    def _replace(self, outcome: AnyReport, error: Exception) -> None:
        """Say that the outcome could not be delivered, once; if even that is refused, the lease is let go."""
        code = "invalid_output" if isinstance(outcome, SucceededReport) else "refused"
        code = "output_too_large" if isinstance(error, PayloadTooLarge) else code
        if isinstance(outcome, ErroredReport) and outcome.error.type == _UNDELIVERED:
            self._attempts.acknowledged(_key(outcome))
            return
        undelivered = FunctionError(
            code=code, type=_UNDELIVERED, message=f"The server refused it: {error}"[:1000], retryable=False
        )
        self._buffer.put(ErroredReport(run_id=outcome.run_id, epoch=outcome.epoch, error=undelivered))

    def _settle(self, batch: list[Entry], answer: ReportAnswer) -> None:
        attempts = self._attempts
        rejected: dict[int, Rejection] = {refusal.index: refusal for refusal in answer.rejected}
        replies: dict[int, Reply] = {reply.index: reply for reply in answer.replies}
        put_off = False
        for index, entry in enumerate(batch):
            refusal = rejected.get(index) if rejected else None
            if refusal is not None and refusal.status >= 500:  # noqa: PLR2004
                self._buffer.put_back(entry)  # the server's trouble, not the report's
                put_off = True
            elif refusal is not None:
                self._refused(entry, refusal)
            elif isinstance(entry, PendingRequest):
                entry.answer(replies.get(index), None)
            elif isinstance(entry, OUTCOMES):
                attempts.acknowledged((entry.run_id, entry.epoch))
        self._stop(answer.stop)
        if put_off:
            self._stopping.wait(self._again.next_s())
        else:
            self._again.reset()

    def _refused(self, entry: Entry, refusal: Rejection) -> None:
        key, error = _key(entry), BY_CODE.get(refusal.code, HeadwayError)(refusal.detail)
        if isinstance(error, LeaseLost):
            self._attempts.lose(key)
        if isinstance(entry, PendingRequest):
            entry.answer(None, error)
        elif isinstance(entry, OUTCOMES):
            if isinstance(error, LeaseLost | RunStopping):
                self._attempts.acknowledged(key)  # decided otherwise: not ours any more, or stopped first
            else:
                self._replace(entry, error)
        elif refusal.code == "run_stopping" and (attempt := self._attempts.running.get(key)) is not None:
            self._attempts.cancel(attempt, Cause.STOP, attempt.task.grace_ms)


def _key(entry: Entry) -> Key:
    report = entry.report if isinstance(entry, PendingRequest) else entry
    return report.run_id, report.epoch
