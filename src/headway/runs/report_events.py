"""Translation of outcome reports into events of the lifecycle: one table, by the type of the report."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import msgspec

from headway.config import Settings
from headway.errors import HeadwayError, InvalidInput
from headway.ids import canonical_id
from headway.kernel import lifecycle
from headway.kernel.run import Blocker, RunError
from headway.protocol import workers as wire
from headway.protocol.values import duration, timestamp
from headway.runs.inputs import canonical

_NULL_OUTPUT: Final = lifecycle.Succeeded("null")


def json_text(raw: msgspec.Raw, settings: Settings, pointer: str) -> str:
    """Return JSON in its canonical form; raise InvalidInput or PayloadTooLarge beyond the limits of outputs."""
    return canonical(raw, bytes_max=settings.output_max, depth_max=settings.depth_max, pointer=pointer)[0]


def _succeeded(report: wire.SucceededReport, settings: Settings) -> lifecycle.Succeeded | lifecycle.Errored:
    if bytes(report.output) == b"null":
        return _NULL_OUTPUT
    try:
        return lifecycle.Succeeded(json_text(report.output, settings, "/output"))
    except HeadwayError as error:
        # The function has returned and will return the same again: that is how the run fails.
        code = "output_too_large" if error.status == 413 else "invalid_output"  # noqa: PLR2004
        return lifecycle.Errored(RunError(code=code, message=error.detail, retryable=False))


def _errored(report: wire.ErroredReport, _: Settings) -> lifecycle.Errored | lifecycle.Crashed:
    after = None if report.retry_after is None else duration(report.retry_after, "/retry_after")
    if report.error.code == "crashed":
        return lifecycle.Crashed(report.error.message)
    error = RunError(
        code=report.error.code,
        type=report.error.type,
        message=report.error.message,
        retryable=report.error.retryable,
        details=report.error.details,
    )
    return lifecycle.Errored(error, after, random.random())  # noqa: S311 - jitter is no secret


def _suspended(report: wire.SuspendedReport, _: Settings) -> lifecycle.Suspended:
    if not report.blockers and report.timeout is None:
        raise InvalidInput("a run can only wait for something: name a blocker or a timeout")
    blockers = tuple(
        Blocker(kind="signal", name=spec.name, number=spec.number)
        if spec.kind == "signal"
        else Blocker(kind="run", run_id=canonical_id(spec.run_id) or spec.run_id)
        for spec in report.blockers
    )
    return lifecycle.Suspended(blockers, None if report.timeout is None else duration(report.timeout, "/timeout"))


EVENTS: Final[dict[type[wire.Report], Callable[[Any, Settings], lifecycle.Event]]] = {
    wire.SucceededReport: _succeeded,
    wire.ErroredReport: _errored,
    wire.SuspendedReport: _suspended,
    wire.SleptReport: lambda report, _: lifecycle.Slept(timestamp(report.until, "/until")),
    wire.ReleasedReport: lambda *_: lifecycle.Released(),
    wire.StoppedReport: lambda *_: lifecycle.Stopped(),
}
"""Event of each outcome report; a translation raises InvalidInput or a sibling for values that cannot be read."""
