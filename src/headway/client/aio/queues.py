"""client.queues: where runs wait."""

from __future__ import annotations

import builtins

from headway.client import encoding
from headway.client.aio.caller import AsyncCaller
from headway.wire.workers import QueueList, QueueOut


class AsyncQueues:
    """The queues of a server; each exists from its first use."""

    def __init__(self, caller: AsyncCaller) -> None:
        """Made by the client."""
        self._caller = caller

    async def list(self) -> builtins.list[QueueOut]:
        """Return all, by name."""
        return (await self._caller.get("/v1/queues", QueueList)).data

    async def get(self, name: str) -> QueueOut:
        """Return one."""
        return await self._caller.get(encoding.path("queues", name), QueueOut)

    async def pause(self, name: str) -> QueueOut:
        """Let none of its runs begin; those that run go on."""
        return await self._caller.post(encoding.path("queues", name, verb="pause"), {}, QueueOut)

    async def resume(self, name: str) -> QueueOut:
        """Let its runs begin again."""
        return await self._caller.post(encoding.path("queues", name, verb="resume"), {}, QueueOut)

    async def update(self, name: str, *, concurrency: int | None) -> QueueOut:
        """Set how many of its runs may run at once; None for any number."""
        return await self._caller.patch(encoding.path("queues", name), {"concurrency": concurrency}, QueueOut)
