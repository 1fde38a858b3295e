"""Outcome of a run as a Python value or an exception: pure, the same for both clients."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headway.client.errors import RunFailed, RunTerminated
from headway.codec.reading import read
from headway.errors import Forbidden
from headway.kernel.run import Reason, RunError
from headway.protocol.runs import RunOut

_ANY: Final[Any] = Any


def error_of(run: RunOut) -> RunError | None:
    """Return the error of the run's last failed attempt, or None."""
    return msgspec.json.decode(run.error or b"null", type=RunError | None)


def reason_of(run: RunOut) -> Reason | None:
    """Return the reason of the run's state (code, message, actor), or None."""
    return msgspec.json.decode(run.reason or b"null", type=Reason | None)


def labels_of(run: RunOut) -> dict[str, str]:
    return msgspec.json.decode(run.labels, type=dict[str, str])


def output_of(run: RunOut, kind: Any = _ANY) -> Any:
    """Return the output of a finished run, converted to `kind`; raise RunFailed or RunTerminated if it has none.

    Raises `forbidden` for a run that the key may not read.
    """
    if run.brief is True:
        raise Forbidden("the key may not see what the run returned: it needs the scope run:read", scope="run:read")
    if run.state == "succeeded":
        return read(run.output or b"null", kind)
    error = error_of(run)
    if run.state == "terminated":
        reason = reason_of(run)
        words = f": {reason.message}" if reason is not None and reason.message else ""
        raise RunTerminated(f"{run.task} was stopped{words}", run=run, error=error, reason=reason)
    words = ": ".join(part for part in (error.type, error.message) if part) if error is not None else ""
    raise RunFailed(f"{run.task} failed{': ' if words else ''}{words}", run=run, error=error)
