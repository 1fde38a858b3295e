"""The loop that detects pauses of this server and changes of its wall clock."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from headway.notify.events import CommitEvent
from headway.runs.clock_step import bring_forward
from headway.runs.service import Service

JUMP_MS: Final = 1_000
"""Milliseconds of drift between the wall clock and the monotonic clock, since the last look, that count as a change."""

log = logging.getLogger("headway.timekeeper")


class Timekeeper:
    """Reports to the sessions that the event loop runs, and wakes the loops after a pause or a change of the clock."""

    name = "timekeeper"
    wakes_on: tuple[type[CommitEvent], ...] = ()

    def __init__(self, service: Service, wake: Callable[[], None]) -> None:
        """`wake` wakes all loops: they sleep by a clock that stops while the machine is suspended."""
        self._service = service
        self._clock = service.store.clock
        self._lease_clock = service.sessions.clock
        self._wake = wake
        self._apart_ms = self._clock.now_ms() - self._clock.monotonic_ms()
        self._set_back_ms = 0
        """Milliseconds by which the wall clock was set back, not corrected yet."""

    async def tick(self) -> int | None:
        """Look at both clocks; return when the next look is due."""
        stuck = self._service.store.busy_ms >= self._lease_clock.beat_ms
        still_ms = 0 if stuck else self._lease_clock.turn()
        before_ms, self._apart_ms = self._apart_ms, self._clock.now_ms() - self._clock.monotonic_ms()
        jumped_ms = self._apart_ms - before_ms
        if still_ms > JUMP_MS:
            log.warning(
                "server.stood_still ms=%d: with its database or alone; that time is not held against workers", still_ms
            )
        if abs(jumped_ms) > JUMP_MS:
            log.warning("clock.set by_ms=%d: what is due by the time of day is looked at again", jumped_ms)
            self._set_back_ms += max(0, -jumped_ms)
        if self._set_back_ms:
            await bring_forward(self._service, self._set_back_ms)
            self._set_back_ms = 0
        if max(still_ms, abs(jumped_ms)) > JUMP_MS:
            self._wake()
        return self._lease_clock.turn_ms
