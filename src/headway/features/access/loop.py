"""Usage flusher: the loop that saves usage and refusals, and drops callers whose keys have expired."""

from __future__ import annotations

from headway.features.access.access import Access
from headway.notify.events import CommitEvent
from headway.runs.service import Service


class UsageFlusher:
    """Calls `Access.tick`."""

    name = "bookkeeper"
    wakes_on: tuple[type[CommitEvent], ...] = ()

    def __init__(self, service: Service) -> None:
        self._access = service.part(Access)

    async def tick(self) -> int | None:
        """Save usage and refusals; return the milliseconds until the next tick."""
        return await self._access.tick()
