"""Heartbeat of a server that shares its database with others, and its check of the others' heartbeats."""

from __future__ import annotations

from headway.notify.events import CommitEvent
from headway.runs.servers import SERVER_HEARTBEAT_MS
from headway.runs.service import Service


class ServerHeartbeat:
    """Calls `servers.pulse`; an embedded store has no need of it."""

    name = "pulse"
    wakes_on: tuple[type[CommitEvent], ...] = ()

    def __init__(self, service: Service) -> None:
        self._servers = service.servers

    async def tick(self) -> int | None:
        """Give a sign of life; return when the next is due."""
        await self._servers.pulse()
        return SERVER_HEARTBEAT_MS
