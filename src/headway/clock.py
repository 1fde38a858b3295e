"""The only reader of the time; tests pass a clock that they turn by hand."""

from __future__ import annotations

import time
from typing import Final, Protocol

STEADY: Final = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", 0))
"""The monotonic clock that also counts while the machine is suspended, so that this does not prolong leases."""


class Clock(Protocol):
    """Source of wall-clock and monotonic time."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC, by the wall clock."""
        ...

    def monotonic_ms(self) -> int:
        """Return milliseconds that never go back, whatever happens to the wall clock. Leases are timed by these."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Return milliseconds since some moment, never going back."""
        return time.clock_gettime_ns(STEADY) // 1_000_000


class ManualClock:
    """A clock that stands still until it is told to advance. Both its times advance together."""

    set_by_ms = 0
    """Milliseconds by which the wall clock was set since, ahead or back."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        """Start at `now_ms`."""
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """Return the time that was set."""
        return self._now_ms + self.set_by_ms

    def monotonic_ms(self) -> int:
        """Return the time that was set."""
        return self._now_ms

    def advance(self, ms: int) -> None:
        """Turn the hands forward."""
        assert ms >= 0, "time does not go back"
        self._now_ms += ms
