"""Retry policy of requests: failures worth another try, and the delay before it; pure, the same for both clients."""

from __future__ import annotations

from typing import Final

from headway.client.errors import ConnectionLost
from headway.errors import HeadwayError, IdempotencyInProgress, TooManyRequests, Unavailable

FIRST_S: Final = 0.1
LONGEST_S: Final = 10.0
RETRY_AFTER_MAX_S: Final = 120
"""Longest Retry-After that is waited for, in seconds; above it, the error is raised."""


def worth_retrying(error: HeadwayError) -> bool:
    """Whether the same request, with the same Idempotency-Key, may succeed a little later."""
    if error.fields.get("closed"):
        return False  # by us
    return isinstance(error, ConnectionLost | Unavailable | TooManyRequests | IdempotencyInProgress)


def another_may_do_better(error: HeadwayError) -> bool:
    """Whether another server on the same store may answer, as the failure is the server's and not the request's."""
    return isinstance(error, ConnectionLost | Unavailable) and not error.fields.get("closed")


def delay_s(error: HeadwayError, attempt: int, spread: float) -> float | None:
    """Return the delay before try number `attempt` + 2, in seconds, or None if no further try makes sense.

    Exponential back-off, with jitter from `spread` (0 to 1) so that clients of a lost server do not return all at
    once.
    """
    if not worth_retrying(error):
        return None
    grown = min(LONGEST_S, FIRST_S * 2 ** min(attempt, 20)) * (0.5 + spread / 2)
    asked = error.retry_after_s or 0
    return None if asked > RETRY_AFTER_MAX_S else max(grown, asked * (1 + spread / 4))
