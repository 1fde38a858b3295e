"""A monotonic clock for leases that does not count time in which this server was paused.

While a server is paused, with its virtual machine or by swapping, it receives no heartbeats; they wait in the kernel.
So the silence of a worker is measured by a clock that stops with the server. A loop reports regularly that the event
loop runs, and each report covers twice the interval to the next; time beyond that is not counted. While the database
hangs no heartbeat can be answered, and nothing is reported. After a pause as long as the interval of heartbeats, every
worker has a full lease to be heard from, as after an outage of the database.
"""

from __future__ import annotations

from typing import Final

from headway.clock import Clock

TURN_MAX_MS: Final = 500
TURNS_OF_A_LEASE: Final = 12
BEATS_OF_A_LEASE: Final = 3
"""Heartbeats that a worker sends in one lease."""
NEVER: Final = -(1 << 62)


class Listening:
    """The clock of one server's sessions; used on the event loop. Until the first `turn` all time counts."""

    def __init__(self, clock: Clock, lease_ms: int) -> None:
        self._clock = clock
        self.beat_ms = lease_ms // BEATS_OF_A_LEASE
        """Interval of heartbeats; after a pause as long as this every worker has a full lease."""
        self.turn_ms = max(1, min(TURN_MAX_MS, lease_ms // TURNS_OF_A_LEASE))
        """How often `turn` is to be called."""
        self._good_until_ms: int | None = None
        self._still_ms = 0
        """Milliseconds that were not counted so far."""
        self._still_at_turn_ms = 0
        self.since_ms = NEVER
        """End of the last pause, by this clock."""
        self._began_ms = self.now_ms()

    def turn(self) -> int:
        """Note that the event loop runs; return the milliseconds of pause since the last call."""
        self.now_ms()
        self._good_until_ms = self._clock.monotonic_ms() + 2 * self.turn_ms
        before_ms, self._still_at_turn_ms = self._still_at_turn_ms, self._still_ms
        return self._still_ms - before_ms

    def now_ms(self) -> int:
        """Return the milliseconds counted, from an arbitrary start; they never go back."""
        now_ms = self._clock.monotonic_ms()
        if self._good_until_ms is not None and now_ms > self._good_until_ms:
            self._still_ms += now_ms - self._good_until_ms
            self._good_until_ms = now_ms
            if self._still_ms - self._still_at_turn_ms >= self.beat_ms:
                self.since_ms = now_ms - self._still_ms
        return now_ms - self._still_ms

    def unheard_ms(self) -> int:
        """Return the milliseconds until every worker can have sent a heartbeat since the start or the last pause."""
        return max(0, max(self._began_ms, self.since_ms) + self.beat_ms - self.now_ms())

    def interrupted(self) -> None:
        """Note the end of a pause that this clock does not see, such as one of the database."""
        self.since_ms = self.now_ms()
