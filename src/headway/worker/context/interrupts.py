"""Exceptions that end a function before it returns: final failures, retries on request, cancellation, and durable waits.

The last two derive from BaseException, so that an `except Exception` in user code does not swallow them.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Any, Final

from headway.durations import parse_ms
from headway.errors import HeadwayError
from headway.protocol.workers import BlockerSpec


class Cause(StrEnum):
    """Cause of a cancellation; it decides which report follows the end of the function."""

    STOP = "stop"
    """Stop on request: reported as Stopped."""
    LOST = "lost"
    """The lease is another's: nothing is reported, since nothing would be taken."""
    LAPSED = "lapsed"
    """No server has answered for a whole lease, which may have been given to another worker: reported as Released."""
    TIMEOUT = "timeout"
    """Timeout of the attempt: reported as Errored, and tried again if attempts are left."""
    HEARTBEAT_TIMEOUT = "heartbeat_timeout"
    """Timeout without a sign of life: Errored, as above."""
    DRAIN = "drain"
    """The worker goes: Released, and the attempt does not count."""


class Fail(Exception):
    """Ends the run as failed, whatever attempts are left.

    >>> raise Fail("there is no such customer", code="no_customer")
    Traceback (most recent call last):
    headway.worker.context.interrupts.Fail: there is no such customer
    """

    def __init__(self, message: str = "", *, code: str = "failed") -> None:
        """`message` is for people, `code` for programs."""
        super().__init__(message)
        self.code = code


class RetryLater(Exception):
    """Ends the attempt and asks for the next one after a delay of the function's own choosing."""

    def __init__(self, delay: str, message: str = "") -> None:
        """`delay` as people write it: "30s", "5m"."""
        super().__init__(message)
        parse_ms(delay)  # a typing error is better raised where it stands
        self.delay = delay


class Cancelled(asyncio.CancelledError):
    """Raised by every call on the context once the run is asked to stop or its lease is lost."""

    def __init__(self, cause: Cause) -> None:
        """Say why."""
        super().__init__(f"the run is cancelled: {cause.value}")
        self.cause = cause


class ChildFailed(HeadwayError):
    """A child run did not succeed; `state`, `error` and `run_id` say how and which."""

    code, status, title = "child_failed", 500, "A child run did not succeed"

    def __init__(self, run_id: str, state: str, error: dict[str, Any] | None) -> None:
        """Keep the child's state and error as the parent's steps have them."""
        super().__init__(f"run {run_id} {state}: {(error or {}).get('message', '')}".rstrip(": "))
        self.run_id, self.state, self.error = run_id, state, error


class StepFailed(HeadwayError):
    """A step has failed as often as its `retry` allows, or by an error that is not retried.

    `step` is its name, `attempts` how often it was tried, `error` the last error: code, type and message. The exception
    itself is the `__cause__` in the attempt in which it was raised.
    """

    code, status, title = "step_failed", 500, "A step failed for good"

    def __init__(self, step: str, attempts: int, error: dict[str, Any]) -> None:
        """Keep the record of the step's last try."""
        tries = "once" if attempts == 1 else f"{attempts} times"
        said = ": ".join(filter(None, [error.get("type") or error.get("code"), error.get("message")]))
        super().__init__(f"the step {step!r} failed {tries}: {said}")
        self.step, self.attempts, self.error = step, attempts, error


class SignalTimeout(TimeoutError):
    """No signal came in time. It is recorded that it did not: the wait ends like this in every attempt."""


RECORDED: Final = (ChildFailed, StepFailed, SignalTimeout)
"""Errors that the run has recorded: every attempt raises them again, so that a run that fails by one is not retried."""


class DurableWait(BaseException):
    """The function waits for something and leaves the worker; it is called again when the wait is over."""


class SuspendRun(DurableWait):
    """Wait until signals arrive or other runs end."""

    def __init__(self, blockers: list[BlockerSpec], timeout_ms: int | None = None) -> None:
        """Keep the blockers, and the longest wait in milliseconds; None is for ever."""
        super().__init__("suspended")
        self.blockers = blockers
        self.timeout_ms = timeout_ms


class SleepRun(DurableWait):
    """Wait until a time."""

    def __init__(self, until_ms: int, left_ms: int) -> None:
        """Say when, in milliseconds UTC, and how long that is from now."""
        super().__init__("asleep")
        self.until_ms = until_ms
        self.left_ms = left_ms
