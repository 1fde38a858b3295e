"""Scheduler loop: decides slots at their time."""

from __future__ import annotations

from typing import Final

from headway.features.schedules.scheduler import Scheduler
from headway.features.schedules.store import ScheduleReader, SlotDue
from headway.notify.events import CommitEvent, MessagesMissed, PeersChecked
from headway.runs.service import Service

HELD_MS: Final = 250
"""Milliseconds until the next look at due slots that another server is deciding."""


class SchedulerLoop:
    """Decides due slots. Any number of servers may do so at once: a slot is decided by one of them."""

    name = "scheduler"
    wakes_on: tuple[type[CommitEvent], ...] = (SlotDue, PeersChecked, MessagesMissed)

    def __init__(self, service: Service) -> None:
        self._clock = service.store.clock
        self._scheduler = service.part(Scheduler)
        self._read = ScheduleReader(service.store.read)

    async def tick(self) -> int | None:
        """Decide all due slots; return the milliseconds until the next slot, or None without one."""
        while True:
            next_at = await self._read.next_slot_at()
            if next_at is None:
                return None
            wait_ms = next_at - self._clock.now_ms()
            if wait_ms > 0:
                return wait_ms
            if not await self._scheduler.settle_due():
                return HELD_MS
