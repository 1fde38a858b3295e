"""Between an attempt here and its function elsewhere: what the function says goes on to the server, the answers go back."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from headway.errors import HeadwayError
from headway.wire.workers import AnyReport, Errored, ErrorReport, ProgressReport, Reply, Stopped
from headway.worker.attempt import Attempt
from headway.worker.frames import Answered, Done, FromChild, Ready, Told
from headway.worker.outbox import Question
from headway.worker.outcome import of_cause


class Relay:
    """One attempt, executed in a child process or on Ray."""

    def __init__(self, attempt: Attempt, answer: Callable[[Answered], None]) -> None:
        """`answer` takes what goes back; it is called from any thread."""
        self.attempt = attempt
        self.done: Done | None = None
        self.killed = False
        self._answer = answer
        self._problem = ""

    def heed(self, frame: FromChild) -> None:
        """Take what the function, or the process around it, says."""
        match frame:
            case Told(report, 0):
                if isinstance(report, ProgressReport):
                    self.attempt.sink.progress(report)
                else:
                    self.attempt.sink.put(report)
            case Told(report, number):
                self._pass_on(report, number)
            case Done():
                self.done = frame
            case Ready(problem):
                self._problem = problem

    def outcome(self, obituary: str) -> AnyReport | None:
        """Return what became of the attempt; of one whose process died without a word, by that obituary."""
        attempt = self.attempt
        if self.done is not None:
            return self.done.outcome
        if attempt.cause is not None:
            outcome = of_cause(attempt.cause, attempt.lease)
            return msgspec.structs.replace(outcome, killed=self.killed) if isinstance(outcome, Stopped) else outcome
        if self._problem:
            return crashed(attempt, f"The app could not be loaded where the function runs: {self._problem}")
        return crashed(attempt, obituary)

    def _pass_on(self, report: AnyReport, number: int) -> None:
        def answer(reply: Reply | None, error: BaseException | None) -> None:
            code = error.code if isinstance(error, HeadwayError) else "lease_lost" if error else ""
            self._answer(Answered(number, reply, code, str(error) if error else ""))

        assert isinstance(report, Question), "only questions are numbered"
        self.attempt.sink.ask(report, answer)


def crashed(attempt: Attempt, message: str) -> Errored:
    """Return the report of a process that died."""
    error = ErrorReport(code="crashed", type="Crash", message=message, retryable=True)
    return Errored(run_id=attempt.lease.run_id, epoch=attempt.lease.epoch, error=error)
