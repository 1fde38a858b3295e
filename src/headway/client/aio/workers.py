"""client.workers: who does the work."""

from __future__ import annotations

import builtins

from headway.client import encoding
from headway.client.aio.caller import AsyncCaller
from headway.wire.workers import WorkerList, WorkerOut


class AsyncWorkers:
    """The workers that are connected."""

    def __init__(self, caller: AsyncCaller) -> None:
        """Made by the client."""
        self._caller = caller

    async def list(self) -> builtins.list[WorkerOut]:
        """Return all."""
        return (await self._caller.get("/v1/workers", WorkerList)).data

    async def get(self, worker_id: str) -> WorkerOut:
        """Return one."""
        return await self._caller.get(encoding.path("workers", worker_id), WorkerOut)

    async def drain(self, worker_id: str) -> WorkerOut:
        """Let it finish what it has and take nothing more."""
        return await self._caller.post(encoding.path("workers", worker_id, verb="drain"), {}, WorkerOut)
