"""Relay between an attempt and its function in another process: reports go on to the server, replies go back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from headway.errors import HeadwayError
from headway.protocol.workers import (
    AnyReport,
    ErroredReport,
    FunctionError,
    ProgressReport,
    ReleasedReport,
    Reply,
    StoppedReport,
)
from headway.worker.attempts.attempt import Attempt
from headway.worker.context.outcome import of_cause
from headway.worker.context.payload import clean
from headway.worker.context.report_buffer import RequestReport
from headway.worker.executors.frames import FrameFromChild, LoadFrame, OutcomeFrame, ReplyFrame, ReportFrame

NOTE_MAX: Final = 1_000


class Relay:
    """One attempt, executed in a child process or on Ray."""

    def __init__(self, attempt: Attempt, answer: Callable[[ReplyFrame], None]) -> None:
        """`answer` takes what goes back; it is called from any thread."""
        self.attempt = attempt
        self.done: OutcomeFrame | None = None
        self.killed = False
        self.problem = ""
        """Reason why the app could not be loaded where the function was to run."""
        self._answer = answer

    def handle_frame(self, frame: FrameFromChild) -> None:
        """Handle a message of the function or the process around it."""
        match frame:
            case ReportFrame(report, 0):
                if isinstance(report, ProgressReport):
                    self.attempt.sink.progress(report)
                else:
                    self.attempt.sink.put(report)
            case ReportFrame(report, number):
                self._pass_on(report, number)
            case OutcomeFrame():
                self.done = frame
            case LoadFrame(problem):
                self.problem = problem

    def outcome(self, exit_reason: str) -> AnyReport | None:
        """Return the attempt's outcome; `exit_reason` explains a process that ended without reporting one."""
        attempt = self.attempt
        if self.done is not None:
            return self.done.outcome
        if attempt.cause is not None:
            outcome = of_cause(attempt.cause, attempt.lease)
            return (
                msgspec.structs.replace(outcome, killed=self.killed) if isinstance(outcome, StoppedReport) else outcome
            )
        if self.problem:
            return handed_back(attempt, self.problem)
        return crashed(attempt, exit_reason)

    def _pass_on(self, report: AnyReport, number: int) -> None:
        def answer(reply: Reply | None, error: BaseException | None) -> None:
            code = error.code if isinstance(error, HeadwayError) else "lease_lost" if error else ""
            self._answer(ReplyFrame(number, reply, code, str(error) if error else ""))

        assert isinstance(report, RequestReport), "only questions are numbered"
        self.attempt.sink.ask(report, answer)


def handed_back(attempt: Attempt, problem: str) -> ReleasedReport:
    """Return the report of a function that has not begun, since its process could not be started or not load the app."""
    note = clean(f"the app could not be loaded where the function was to run: {problem}", NOTE_MAX)
    return ReleasedReport(run_id=attempt.lease.run_id, epoch=attempt.lease.epoch, note=note)


def crashed(attempt: Attempt, message: str) -> ErroredReport:
    """Return the report of a process that died."""
    error = FunctionError(code="crashed", type="Crash", message=message, retryable=True)
    return ErroredReport(run_id=attempt.lease.run_id, epoch=attempt.lease.epoch, error=error)
