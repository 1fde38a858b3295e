"""Exit codes of all commands; scripts may rely on them."""

from __future__ import annotations

from enum import IntEnum

from headway import errors
from headway.client.errors import ConnectionLost, RunTerminated, WaitTimeout


class Exit(IntEnum):
    """Exit code of a command."""

    SUCCEEDED = 0
    """Success; of `run` and `runs watch`: the run succeeded."""
    FAILED = 1
    """Failure; of `run` and `runs watch`: the run failed."""
    USAGE = 2
    """Wrong usage or invalid input; nothing was started."""
    TERMINATED = 3
    """The run was terminated."""
    UNREACHABLE = 4
    """The server cannot be reached, or cannot take the request now."""
    NOT_FOUND = 5
    """The object does not exist, or was removed."""
    CONFLICT = 6
    """The state of the object forbids the operation."""
    TIMED_OUT = 7
    """The run was not finished in time; it goes on."""
    UNWRITTEN = 8
    """Success, but the answer could not be written: the disk is full, for example."""
    DETACHED = 130
    """Ctrl-C, or the reader of the events closed the pipe; the run goes on."""


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
