"""Keeps the books of who asks: what was used and refused is written down, and keys that have expired are shown out."""

from __future__ import annotations

from headway.notify.events import CommitEvent
from headway.runs.service import Service


class UsageFlusher:
    """Calls `access.tick`."""

    name = "bookkeeper"
    wakes_on: tuple[type[CommitEvent], ...] = ()

    def __init__(self, service: Service) -> None:
        self._access = service.access

    async def tick(self) -> int | None:
        """Write down what there is; return when the next look is due."""
        return await self._access.tick()
