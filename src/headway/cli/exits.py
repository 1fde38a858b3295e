"""What the exit code of every command means; scripts may rely on it."""

from __future__ import annotations

from enum import IntEnum

from headway import errors
from headway.client.errors import ConnectionLost, RunTerminated, WaitTimeout


class Exit(IntEnum):
    """The exit codes."""

    SUCCEEDED = 0
    """It was done; of `run` and `runs watch`: the run succeeded."""
    FAILED = 1
    """It went wrong; of `run` and `runs watch`: the run failed."""
    USAGE = 2
    """The command or the input is not as it should be; nothing was started."""
    TERMINATED = 3
    """The run was stopped."""
    UNREACHABLE = 4
    """The server cannot be reached, or will not take this now."""
    NOT_FOUND = 5
    """There is no such thing, or not any more."""
    CONFLICT = 6
    """The thing is not in a state in which this can be done."""
    TIMED_OUT = 7
    """The run was not finished in the time given; it goes on."""
    UNWRITTEN = 8
    """It was done, or the run succeeded, but the answer could not be written: the disk is full, for example."""
    DETACHED = 130
    """Ctrl-C, or the reader of the events closed its end of the pipe; the run goes on."""


_BY_ERROR: tuple[tuple[type[errors.HeadwayError], Exit], ...] = (
    (WaitTimeout, Exit.TIMED_OUT),
    (RunTerminated, Exit.TERMINATED),
    (ConnectionLost, Exit.UNREACHABLE),
    (errors.Unavailable, Exit.UNREACHABLE),
    (errors.TooManyRequests, Exit.UNREACHABLE),
    (errors.NotFound, Exit.NOT_FOUND),
    (errors.Gone, Exit.NOT_FOUND),
    (errors.Conflict, Exit.CONFLICT),
    (errors.VersionMismatch, Exit.CONFLICT),
    (errors.Protected, Exit.CONFLICT),
    (errors.InvalidInput, Exit.USAGE),
    (errors.BadRequest, Exit.USAGE),
)

OF_STATE = {"succeeded": Exit.SUCCEEDED, "failed": Exit.FAILED, "terminated": Exit.TERMINATED}


def of_error(error: errors.HeadwayError) -> Exit:
    """Return the exit code for an error."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), Exit.FAILED)
