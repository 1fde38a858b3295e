"""Which failures are worth another try, and how long to wait before it: pure, the same for both clients."""

from __future__ import annotations

from typing import Final

from headway.client.errors import ConnectionLost
from headway.errors import HeadwayError, IdempotencyInProgress, TooManyRequests, Unavailable

FIRST_S: Final = 0.1
LONGEST_S: Final = 10.0
RETRY_AFTER_MAX_S: Final = 120
"""A server that asks for more patience than this is answered with the error itself."""


def worth_retrying(error: HeadwayError) -> bool:
    """Whether the same request may succeed a little later; it carries the same Idempotency-Key."""
    if error.fields.get("closed"):
        return False  # by us
    return isinstance(error, ConnectionLost | Unavailable | TooManyRequests | IdempotencyInProgress)


def another_may_do_better(error: HeadwayError) -> bool:
    """Whether it is the server's trouble rather than the request's, so that another on the same store may answer."""
    return isinstance(error, ConnectionLost | Unavailable) and not error.fields.get("closed")


def delay_s(error: HeadwayError, attempt: int, spread: float) -> float | None:
    """Return how long to wait before try number `attempt` + 2, or None if there is no point in waiting.

    Exponential, and jittered by `spread` (0 to 1) so that clients that lost the same server do not come back as one.
    """
    if not worth_retrying(error):
        return None
    grown = min(LONGEST_S, FIRST_S * 2 ** min(attempt, 20)) * (0.5 + spread / 2)
    asked = error.retry_after_s or 0
    return None if asked > RETRY_AFTER_MAX_S else max(grown, asked * (1 + spread / 4))
