"""What a function's end means: one place where values and exceptions become reports."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from typing import Final

from msgspec import Raw

from headway.durations import format_ms
from headway.wire.times import to_text
from headway.wire.workers import (
    AnyReport,
    BlockerSpec,
    Errored,
    ErrorReport,
    Lease,
    Released,
    Slept,
    Stopped,
    Succeeded,
    Suspended,
)  # fmt: skip
from headway.worker.interrupts import RECORDED, Cancelled, Cause, Fail, LetGo, RetryLater, SleepRun, SuspendRun
from headway.worker.payload import clean, to_json
from headway.worker.registry import TaskFunction

OUTPUT_BYTES_MAX: Final = 8 << 20
MESSAGE_MAX: Final = 10_000
DETAILS_MAX: Final = 20_000


def of_value(
    value: object, lease: Lease, cause: Cause | None, dump: Callable[[object], object] | None = None
) -> AnyReport | None:
    """Return the report for a function that returned; `dump` makes of the value what JSON has."""
    run_id, epoch = lease.run_id, lease.epoch
    if cause not in {None, Cause.STOP, Cause.DRAIN, Cause.LAPSED}:
        return of_cause(cause, lease)  # it returned, but too late or for nobody
    if value is None:
        return Succeeded(run_id=run_id, epoch=epoch)
    try:
        output = to_json(value if dump is None else dump(value))
    except ValueError as error:
        message = f"The task returned what JSON cannot say: {error}"
        return failed(lease, "invalid_output", message, kind=type(value).__name__, retryable=False)
    if len(output) > OUTPUT_BYTES_MAX:
        message = f"The task returned {len(output):,} bytes; {OUTPUT_BYTES_MAX:,} are allowed. Store it, return where."
        return failed(lease, "output_too_large", message, retryable=False)
    return Succeeded(run_id=run_id, epoch=epoch, output=Raw(output))


def of_error(error: BaseException, task: TaskFunction, lease: Lease, cause: Cause | None) -> AnyReport | None:
    """Return the report for a function that raised; None if nobody wants to hear of it."""
    leaves = _leaves(error)
    if isinstance(error, BaseExceptionGroup):
        error = _within(error, leaves)
    match error:
        case _ if cause is not None and (cause is not Cause.STOP or isinstance(error, asyncio.CancelledError)):
            return of_cause(cause, lease)
        case Cancelled():  # by a refused report: the lease is gone
            return of_cause(error.cause, lease)
        case SuspendRun():
            timeout = None if error.timeout_ms is None else format_ms(error.timeout_ms)
            return Suspended(run_id=lease.run_id, epoch=lease.epoch, blockers=error.blockers, timeout=timeout)
        case SleepRun():
            return Slept(run_id=lease.run_id, epoch=lease.epoch, until=to_text(error.until_ms))
        case RetryLater():
            return Errored(
                run_id=lease.run_id, epoch=lease.epoch, error=_report(error, "retry_later"), retry_after=error.delay
            )
        case Fail():
            return Errored(run_id=lease.run_id, epoch=lease.epoch, error=_report(error, error.code, retryable=False))
        case _:
            # Of a group too: what is raised again in every attempt, or is not to be retried, is not by being one of several.
            names = {kind.__name__ for leaf in (error, *leaves) for kind in type(leaf).__mro__}
            retryable = task.do_not_retry.isdisjoint(names) and not any(isinstance(leaf, RECORDED) for leaf in leaves)
            return Errored(run_id=lease.run_id, epoch=lease.epoch, error=_report(error, retryable=retryable))


def of_cause(cause: Cause, lease: Lease) -> AnyReport | None:
    """Return the report for a function that was cancelled, or is given up."""
    match cause:
        case Cause.STOP:
            return Stopped(run_id=lease.run_id, epoch=lease.epoch)
        case Cause.LOST:
            return None
        case Cause.DRAIN:
            return Released(run_id=lease.run_id, epoch=lease.epoch)
        case Cause.LAPSED:
            return Released(run_id=lease.run_id, epoch=lease.epoch, note="no server answered its worker for a lease")
        case Cause.TIMEOUT:
            return failed(lease, "timeout", "The attempt took longer than the task's timeout.")
        case Cause.HEARTBEAT_TIMEOUT:
            return failed(lease, "heartbeat_timeout", "The function gave no sign of life within the heartbeat timeout.")


def failed(lease: Lease, code: str, message: str, *, kind: str = "", retryable: bool = True) -> Errored:
    """Return the report of a failure that is not an exception's."""
    error = ErrorReport(code=code, type=clean(kind, 1000), message=clean(message, MESSAGE_MAX), retryable=retryable)
    return Errored(run_id=lease.run_id, epoch=lease.epoch, error=error)


def task_missing(lease: Lease, who: str) -> Errored:
    """Return the report of a task that `who`, "This worker" for example, does not have."""
    message = f"{who} has no task {lease.task!r}; it may have been renamed, or a newer version is not here yet."
    return failed(lease, "task_missing", message)


def _report(error: BaseException, code: str = "exception", *, retryable: bool = True) -> ErrorReport:
    return ErrorReport(
        code=clean(code, 1000),
        type=clean(type(error).__qualname__, 1000),
        message=clean(_message(error), MESSAGE_MAX),
        retryable=retryable,
        details=_details(error),
    )


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        return f"<{type(error).__qualname__} whose text cannot be shown>"


def _details(error: BaseException) -> str:
    """Return the traceback, its frames in this package left out, the middle cut away when it is long."""
    try:
        frames = error.__traceback__
        while frames is not None and frames.tb_next and "/headway/worker/" in frames.tb_frame.f_code.co_filename:
            frames = frames.tb_next
        text = "".join(traceback.format_exception(type(error), error, frames, limit=-100))
    except Exception:  # noqa: BLE001 - as above; MemoryError may strike here too
        return ""
    if len(text) > DETAILS_MAX:
        text = f"{text[: DETAILS_MAX // 4]}\n… {len(text) - DETAILS_MAX} characters left out …\n{text[-DETAILS_MAX * 3 // 4 + 60 :]}"
    return clean(text, DETAILS_MAX + 100)


def _within(group: BaseExceptionGroup, leaves: list[BaseException]) -> BaseException:
    """Return what a task group's exceptions amount to: a wait if all of them wait, a final failure, else the group itself."""
    waits = [leaf for leaf in leaves if isinstance(leaf, LetGo)]
    if not waits or any(not isinstance(leaf, LetGo | asyncio.CancelledError) for leaf in leaves):
        return next((leaf for leaf in leaves if isinstance(leaf, Fail)), group)
    blockers: list[BlockerSpec] = [b for leaf in waits if isinstance(leaf, SuspendRun) for b in leaf.blockers]
    return waits[0] if not blockers or len(waits) == 1 else SuspendRun(blockers, _shortest(waits))


def _shortest(waits: list[LetGo]) -> int | None:
    timeouts = [wait.timeout_ms for wait in waits if isinstance(wait, SuspendRun) and wait.timeout_ms is not None]
    return min(timeouts, default=None)


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
