"""Errors on the client's side: no connection, an unsuccessful run, a wait that timed out.

Errors that the server answers are raised as the classes of `headway.errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headway.errors import HeadwayError

if TYPE_CHECKING:
    from headway.protocol.runs import ProgressOut, RunOut  # the command line's help imports nothing heavy


class ConnectionLost(HeadwayError):
    """The server could not be reached, or went away before it had answered."""

    code, status, title = "connection_lost", 503, "The server cannot be reached"
    hint = "Start it with `headway serve`, or give its URL with --url or HEADWAY_URL."


class UnexpectedAnswer(HeadwayError):
    """The answer is not Headway's: a proxy, or another server on that port."""

    code, status, title = "unexpected_answer", 502, "The answer does not come from a Headway server"
    hint = "Check which program listens on that address."


class WaitTimeout(HeadwayError, TimeoutError):
    """The run was not finished when the wait timed out; it goes on. The message names its state and progress.

    `run` is the run as it was at that time, or as last known if no server answered; `run_id`, `state` and `progress`
    are its fields, `progress` with `done`, `total`, `percent` and `message`. All are None for a wait without a run.
    """

    code, status, title = "wait_timeout", 504, "The run is not finished yet"
    hint = "The run goes on: wait again, or follow its events."

    def __init__(self, detail: str = "", *, run: RunOut | None = None) -> None:
        """`run` is the run as last known."""
        super().__init__(detail)
        self.run = run
        self.run_id = None if run is None else run.id
        self.state = None if run is None else run.state
        self.progress = None if run is None else run.progress

    @classmethod
    def after(cls, timeout_s: float, run: RunOut, *, seen: bool = True) -> WaitTimeout:
        """Return the error for a run after a wait that long; `seen` is whether the run was fetched at the end."""
        last = "" if seen else " when it was last seen"
        return cls(f"run {run.id} is {run.state}{last} after {timeout_s:g} s{_so_far(run.progress)}", run=run)


def _so_far(progress: ProgressOut) -> str:
    """Return the run's progress in words; empty if it has reported none."""
    if not (progress.done or progress.total or progress.message):
        return ""
    of = "" if progress.total is None else f" of {progress.total}"
    percent = "" if progress.percent is None else f" ({int(progress.percent)} %)"
    return f", {progress.done}{of} done{percent}{f': {progress.message}' if progress.message else ''}"


class RunNotSucceeded(HeadwayError):
    """The root of errors that `result()` raises for a run without output; `run` is the run, as it ended."""

    code, status, title = "run_not_succeeded", 409, "The run did not succeed"

    def __init__(self, detail: str = "", *, run: Any = None, error: Any = None) -> None:
        """`error` is the error of the run's last attempt, `run` the run as it ended."""
        super().__init__(detail)
        self.run = run
        self.error = error


class RunFailed(RunNotSucceeded):
    """The run's attempts are spent; `error` is the error of the last one."""

    code, title = "run_failed", "The run failed"


class RunTerminated(RunNotSucceeded):
    """The run was terminated; `reason` names the actor and the message."""

    code, title = "run_terminated", "The run was stopped"

    def __init__(self, detail: str = "", *, run: Any = None, error: Any = None, reason: Any = None) -> None:
        """`reason` is the run's: code, message and actor."""
        super().__init__(detail, run=run, error=error)
        self.reason = reason
