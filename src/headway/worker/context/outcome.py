"""Translation of values and exceptions of a function into the report of its outcome."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Collection
from typing import Final

from msgspec import Raw

from headway.durations import format_ms
from headway.protocol.times import to_text
from headway.protocol.workers import (  # fmt: skip
    AnyReport,
    ErroredReport,
    FunctionError,
    Lease,
    ReleasedReport,
    SleptReport,
    StoppedReport,
    SucceededReport,
    SuspendedReport,
)
from headway.worker.context.interrupts import (
    RECORDED,
    Cancelled,
    Cause,
    DurableWait,
    Fail,
    RetryLater,
    SleepRun,
    SuspendRun,
)
from headway.worker.context.payload import clean, to_json

OUTPUT_BYTES_MAX: Final = 8 << 20
MESSAGE_MAX: Final = 10_000
DETAILS_MAX: Final = 20_000


def of_value(
    value: object, lease: Lease, cause: Cause | None, dump: Callable[[object], object] | None = None
) -> AnyReport | None:
    """Return the report for a function that returned; `dump` makes of the value what JSON has."""
    run_id, epoch = lease.run_id, lease.epoch
    if cause not in {None, Cause.STOP, Cause.DRAIN, Cause.LAPSED}:
        return of_cause(cause, lease)  # it returned after its timeout or cancellation
    if value is None:
        return SucceededReport(run_id=run_id, epoch=epoch)
    try:
        output = to_json(value if dump is None else dump(value))
    except ValueError as error:
        message = f"The task returned what JSON cannot say: {error}"
        return failed(lease, "invalid_output", message, kind=type(value).__name__, retryable=False)
    if len(output) > OUTPUT_BYTES_MAX:
        message = f"The task returned {len(output):,} bytes; {OUTPUT_BYTES_MAX:,} are allowed. Store it, return where."
        return failed(lease, "output_too_large", message, retryable=False)
    return SucceededReport(run_id=run_id, epoch=epoch, output=Raw(output))


def of_error(
    error: BaseException, do_not_retry: Collection[str], lease: Lease, cause: Cause | None
) -> AnyReport | None:
    """Return the report for a function that raised; None if the lease is lost."""
    if isinstance(error, BaseExceptionGroup):
        error = _within(error)
    match error:
        case _ if cause is not None and (cause is not Cause.STOP or isinstance(error, asyncio.CancelledError)):
            return of_cause(cause, lease)
        case Cancelled():  # by a refused report: the lease is gone
            return of_cause(error.cause, lease)
        case SuspendRun():
            timeout = None if error.timeout_ms is None else format_ms(error.timeout_ms)
            return SuspendedReport(run_id=lease.run_id, epoch=lease.epoch, blockers=error.blockers, timeout=timeout)
        case SleepRun():
            return SleptReport(run_id=lease.run_id, epoch=lease.epoch, until=to_text(error.until_ms))
        case RetryLater():
            return ErroredReport(
                run_id=lease.run_id, epoch=lease.epoch, error=report_of(error, "retry_later"), retry_after=error.delay
            )
        case Fail():
            return ErroredReport(
                run_id=lease.run_id, epoch=lease.epoch, error=report_of(error, error.code, retryable=False)
            )
        case _:
            retryable = may_retry(error, do_not_retry)
            return ErroredReport(run_id=lease.run_id, epoch=lease.epoch, error=report_of(error, retryable=retryable))


def may_retry(error: BaseException, do_not_retry: Collection[str]) -> bool:
    """Tell whether another try may help; of a group, if that holds of each of its exceptions.

    It does not if the class of one is named in `do_not_retry`, or if the run has recorded one and raises it again each time.
    """
    leaves = _leaves(error)
    names = {kind.__name__ for leaf in (error, *leaves) for kind in type(leaf).__mro__}
    return names.isdisjoint(do_not_retry) and not any(isinstance(leaf, RECORDED) for leaf in leaves)


def is_final(error: BaseException) -> bool:
    """Return True if an error ends the run as failed, by itself or in a group."""
    return any(isinstance(leaf, Fail) for leaf in _leaves(error))


def of_cause(cause: Cause, lease: Lease) -> AnyReport | None:
    """Return the report for a function that was cancelled, or is given up."""
    match cause:
        case Cause.STOP:
            return StoppedReport(run_id=lease.run_id, epoch=lease.epoch)
        case Cause.LOST:
            return None
        case Cause.DRAIN:
            return ReleasedReport(run_id=lease.run_id, epoch=lease.epoch)
        case Cause.LAPSED:
            return ReleasedReport(
                run_id=lease.run_id, epoch=lease.epoch, note="no server answered its worker for a lease"
            )
        case Cause.TIMEOUT:
            return failed(lease, "timeout", "The attempt took longer than the task's timeout.")
        case Cause.HEARTBEAT_TIMEOUT:
            return failed(lease, "heartbeat_timeout", "The function gave no sign of life within the heartbeat timeout.")


def failed(lease: Lease, code: str, message: str, *, kind: str = "", retryable: bool = True) -> ErroredReport:
    """Return the report of a failure that is not an exception's."""
    error = FunctionError(code=code, type=clean(kind, 1000), message=clean(message, MESSAGE_MAX), retryable=retryable)
    return ErroredReport(run_id=lease.run_id, epoch=lease.epoch, error=error)


def task_missing(lease: Lease, who: str) -> ErroredReport:
    """Return the report of a task that `who`, "This worker" for example, does not have."""
    message = f"{who} has no task {lease.task!r}; it may have been renamed, or a newer version is not here yet."
    return failed(lease, "task_missing", message)


def report_of(error: BaseException, code: str = "exception", *, retryable: bool = True) -> FunctionError:
    """Return the report of an exception, also if its own methods fail."""
    return FunctionError(
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


def _within(group: BaseExceptionGroup) -> BaseException:
    """Return the exception for a whole task group: a wait if all of its tasks wait, a final failure, else the group itself."""
    leaves = _leaves(group)
    waits = [leaf for leaf in leaves if isinstance(leaf, DurableWait)]
    if not waits or any(not isinstance(leaf, DurableWait | asyncio.CancelledError) for leaf in leaves):
        return next((leaf for leaf in leaves if isinstance(leaf, Fail)), group)
    sleeps = [leaf for leaf in waits if isinstance(leaf, SleepRun)]
    if len(sleeps) == len(waits):
        return min(sleeps, key=lambda sleep: sleep.until_ms)
    suspensions = [leaf for leaf in waits if isinstance(leaf, SuspendRun)]
    timeouts = [leaf.timeout_ms for leaf in suspensions if leaf.timeout_ms is not None] + [
        one.left_ms for one in sleeps
    ]
    return SuspendRun([b for leaf in suspensions for b in leaf.blockers], min(timeouts, default=None))


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
