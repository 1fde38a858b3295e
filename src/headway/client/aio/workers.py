"""Connected workers (`client.workers`)."""

from __future__ import annotations

import builtins

from headway.client import encoding
from headway.client.aio.caller import AsyncCaller
from headway.protocol.workers import WorkerList, WorkerOut


class AsyncWorkers:
    """Workers that are connected to the servers."""

    def __init__(self, caller: AsyncCaller) -> None:
        self._caller = caller

    async def list(self) -> builtins.list[WorkerOut]:
        """Return all workers."""
        return (await self._caller.get("/v1/workers", WorkerList)).data

    async def get(self, worker_id: str) -> WorkerOut:
        """Return a worker.

        Raises `worker_not_found`.
        """
        return await self._caller.get(encoding.path("workers", worker_id), WorkerOut)

    async def drain(self, worker_id: str) -> WorkerOut:
        """Tell the worker to finish its runs and take no more.

        Raises `worker_not_found`.
        """
        return await self._caller.post(encoding.path("workers", worker_id, verb="drain"), {}, WorkerOut)
