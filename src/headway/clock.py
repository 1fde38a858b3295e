"""Clocks: the only code that reads the time; tests use a manual clock."""

from __future__ import annotations

import time
from typing import Final, Protocol

STEADY: Final = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", 0))
"""Monotonic clock that also counts while the machine is suspended, so that suspension does not prolong leases."""


class Clock(Protocol):
    """Source of wall-clock and monotonic time."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970-01-01 UTC, by the wall clock."""
        ...

    def monotonic_ms(self) -> int:
        """Return monotonic milliseconds, which time leases."""
        ...


class SystemClock:
    """Clocks of the machine."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        return time.clock_gettime_ns(STEADY) // 1_000_000


class ManualClock:
    """Clock that stands still until `advance`, which moves both of its times."""

    set_by_ms = 0
    """Milliseconds by which the wall clock was set, ahead or back."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms + self.set_by_ms

    def monotonic_ms(self) -> int:
        return self._now_ms

    def advance(self, ms: int) -> None:
        """Move the clock forward by milliseconds."""
        assert ms >= 0, "time does not go back"
        self._now_ms += ms
