"""Adaptive concurrency limiter: admits as many starts at once as are answered within a second.

Starts that are queued beyond that make every answer late, and are done for callers whose timeout has passed. So starts
above the limit are refused before anything is done for them, which costs little; reports and reads find a busy server
instead of a buried one, and lists and exports wait until starts are admitted again. The limit adapts to response times:
additive increase, multiplicative decrease, as TCP adapts to a network (RFC 5681).
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Final

from headway.kernel.authority import Scope

TARGET_S: Final = 1.0
"""Response time of starts that the limiter keeps."""
LIMIT_MIN: Final = 200
LIMIT_MAX: Final = 10_000
LIMIT_FIRST: Final = 500
"""Starts in flight that are allowed in any case, at most, and before the first measurement."""
DECREASE: Final = 0.7
"""AIMD: factor of the limit after a late answer, once in `TARGET_S`, since starts admitted together are late together."""
INCREASE: Final = 0.1
"""AIMD: increment of the limit for each answer in time while more than half of the limit is in flight."""


class ConcurrencyLimiter:
    """The limit of starts in flight, and their number."""

    def __init__(self, excused: Callable[[], bool] = lambda: False) -> None:
        """`excused` tells whether the current request is slow because of its own work, and so does not count as late."""
        self.limit: float = LIMIT_FIRST
        self.in_flight = 0
        self.expected = 0
        """Starts that the load shedder has admitted and that are not counted yet: one turn of the event loop admits many."""
        self.pressed = False
        """Whether more than half of the limit was in flight less than `TARGET_S` ago, so that requests have to be checked."""
        self._pressed_s = 0.0
        self._refusing_s = 0.0
        """Time until which starts count as refused."""
        self._decreases_s = 0.0
        """Time from which a late answer decreases the limit again."""
        self._excused = excused

    @property
    def full(self) -> bool:
        """Whether the limit is reached."""
        return self.in_flight + self.expected >= self.limit

    def has_room(self, scope: Scope, *, gives_way: bool) -> bool:
        """Return whether a request for a route is admitted; asked while the limiter is pressed.

        Starts are admitted below the limit, routes that give way while no starts are refused, and all others always.
        """
        if scope == "run:start":
            if not self.full:
                return True
            self._refusing_s = monotonic() + TARGET_S
            return False
        return not (gives_way and monotonic() < self._refusing_s)

    def enter(self) -> float:
        """Count a start; return the time for `leave`."""
        now_s = monotonic()
        self.in_flight += 1
        if self.in_flight * 2 > self.limit:
            self.pressed, self._pressed_s = True, now_s
        return now_s

    def leave(self, entered_s: float) -> None:
        """Count the start's end, and adapt the limit to its duration."""
        now_s = monotonic()
        if now_s - entered_s > TARGET_S:
            if now_s >= self._decreases_s and not self._excused():
                self.limit = max(LIMIT_MIN, min(self.limit, self.in_flight) * DECREASE)
                self._decreases_s = now_s + TARGET_S
        elif self.in_flight * 2 > self.limit:
            self.limit = min(LIMIT_MAX, self.limit + INCREASE)
        self.in_flight -= 1
        if self.pressed and now_s - self._pressed_s > TARGET_S:
            self.pressed = False


class Permit:
    """A start in flight, for as long as the block lasts."""

    __slots__ = ("_entered_s", "_limiter")

    def __init__(self, limiter: ConcurrencyLimiter) -> None:
        self._limiter = limiter

    def __enter__(self) -> None:
        self._entered_s = self._limiter.enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limiter.leave(self._entered_s)
