"""The two clocks of a simulated machine: one that only goes on, and one that people and protocols set."""

from __future__ import annotations

from tests.simulation.loop import VirtualLoop

START_MS = 1_800_000_000_000


class SimulatedClock:
    """Reads the loop's time; the wall clock may be off."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.off_ms = 0
        """By how much the wall clock is wrong."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970, as the wall clock has it."""
        return START_MS + self.off_ms + self.monotonic_ms()

    def monotonic_ms(self) -> int:
        """Return milliseconds since the beginning."""
        return int(self._loop.time() * 1000)
