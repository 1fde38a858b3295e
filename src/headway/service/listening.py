"""The time in which this server could hear its workers: a monotonic clock that stands still while the server does.

A server that is stopped, with its virtual machine or by a swap storm, hears nobody, and what its workers say meanwhile
waits in the kernel. So silence is not measured in time that merely passes. A loop notes each turn of the event loop, and
a turn is good for twice the time until the next one is due; what passes beyond that is not counted. While the database
stands still nobody can be answered, and no turn is noted. After a break that is long enough for a sign of life of each
worker to be missed, everybody has a full lease to be heard from, as after an outage of the database.
"""

from __future__ import annotations

from typing import Final

from headway.clock import Clock

TURN_MAX_MS: Final = 500
TURNS_OF_A_LEASE: Final = 12
BEATS_OF_A_LEASE: Final = 3
"""Workers give a sign of life so often in a lease."""
NEVER: Final = -(1 << 62)


class Listening:
    """Reads the clock for one server's sessions, on the event loop. Until the first turn all time counts."""

    def __init__(self, clock: Clock, lease_ms: int) -> None:
        self._clock = clock
        self.beat_ms = lease_ms // BEATS_OF_A_LEASE
        """In which each worker is heard once; a break as long as this is one after which everybody has a full lease."""
        self.turn_ms = max(1, min(TURN_MAX_MS, lease_ms // TURNS_OF_A_LEASE))
        """How often `turn` is to be called."""
        self._good_until_ms: int | None = None
        self._still_ms = 0
        """How much of the time that has passed is not counted."""
        self._still_at_turn_ms = 0
        self.since_ms = NEVER
        """When the last break ended, by this clock."""
        self._began_ms = self.now_ms()

    def turn(self) -> int:
        """Note that the event loop turns; return for how many milliseconds it has stood still since the turn before."""
        self.now_ms()
        self._good_until_ms = self._clock.monotonic_ms() + 2 * self.turn_ms
        before_ms, self._still_at_turn_ms = self._still_at_turn_ms, self._still_ms
        return self._still_ms - before_ms

    def now_ms(self) -> int:
        """Return the milliseconds in which this server could hear, since some moment; they never go back."""
        now_ms = self._clock.monotonic_ms()
        if self._good_until_ms is not None and now_ms > self._good_until_ms:
            self._still_ms += now_ms - self._good_until_ms
            self._good_until_ms = now_ms
            if self._still_ms - self._still_at_turn_ms >= self.beat_ms:
                self.since_ms = now_ms - self._still_ms
        return now_ms - self._still_ms

    def unheard_ms(self) -> int:
        """Return how long it takes until each worker was heard since the start or the last break: what it has done meanwhile."""
        return max(0, max(self._began_ms, self.since_ms) + self.beat_ms - self.now_ms())

    def interrupted(self) -> None:
        """Note that a break has ended which this clock does not see."""
        self.since_ms = self.now_ms()
