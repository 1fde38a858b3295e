"""Queues: list, pause, limit (`client.queues`)."""

from __future__ import annotations

import builtins

from headway.client import encoding
from headway.client.aio.caller import AsyncCaller
from headway.protocol.workers import QueueList, QueueOut


class AsyncQueues:
    """Queues of the caller's organisation; each exists from its first use."""

    def __init__(self, caller: AsyncCaller) -> None:
        self._caller = caller

    async def list(self) -> builtins.list[QueueOut]:
        """Return all queues, by name."""
        return (await self._caller.get("/v1/queues", QueueList)).data

    async def get(self, name: str) -> QueueOut:
        """Return a queue.

        Raises `queue_not_found`.
        """
        return await self._caller.get(encoding.path("queues", name), QueueOut)

    async def pause(self, name: str) -> QueueOut:
        """Let no run of the queue begin; runs in progress go on.

        Raises `queue_not_found`.
        """
        return await self._caller.post(encoding.path("queues", name, verb="pause"), {}, QueueOut)

    async def resume(self, name: str) -> QueueOut:
        """Let runs of the queue begin again.

        Raises `queue_not_found`.
        """
        return await self._caller.post(encoding.path("queues", name, verb="resume"), {}, QueueOut)

    async def update(self, name: str, *, concurrency: int | None) -> QueueOut:
        """Limit the number of the queue's runs that run at once; None removes the limit."""
        return await self._caller.patch(encoding.path("queues", name), {"concurrency": concurrency}, QueueOut)
