"""The workers of one organisation: the protocol that they speak, and what people see and do of them.

A worker of another organisation is answered, and answered for, as if it were not there.
"""

from __future__ import annotations

import builtins
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import cast

from headway.errors import WorkerNotFound
from headway.kernel.authority import EVERYBODY, Principal
from headway.kernel.space import Space
from headway.kernel.worker import Worker, WorkerHealth
from headway.protocol import workers as wire
from headway.runs.workers import Workers


class Crew:
    """Every verb on workers; see `Workers` for what each does."""

    def __init__(self, workers: Workers, space: Space) -> None:
        self._workers = workers
        self._space = space

    async def _mine(self, worker_id: str) -> str:
        if await self._workers.organisation_of(worker_id) != self._space.organisation:
            raise WorkerNotFound(f"no worker is registered as {worker_id}")
        return worker_id

    # -- the protocol ------------------------------------------------------------------------------------------------

    async def register(self, asked: wire.RegisterWorker, by: Principal = EVERYBODY) -> Worker:
        """Open a session and declare its tasks, as the organisation's own."""
        return self._space.worker(await self._workers.register(asked, self._space.organisation, by))

    def notices_of(self, worker_id: str) -> builtins.list[str]:
        """Return what a worker is to be told that has just registered: what of its schedules does not count."""
        return self._workers.notices_of(worker_id)

    async def claim(self, asked: wire.ClaimRuns) -> list[wire.Lease]:
        """Let the worker have up to `max` runs, waiting up to `wait` for the first."""
        await self._mine(asked.worker_id)
        return await self._workers.claim(asked)

    async def report(self, asked: wire.ReportRuns, by: Principal = EVERYBODY) -> wire.ReportAnswer:
        """Apply the reports; what is not rejected is on disk."""
        await self._mine(asked.worker_id)
        return await self._workers.report(asked, by)

    async def signals(self, worker_id: str) -> AsyncIterator[wire.StopSignal | str | None]:
        """Yield what the worker is told; while this is open, the worker is alive."""
        source = self._workers.signals(await self._mine(worker_id))
        async with aclosing(cast(AsyncGenerator[wire.StopSignal | str | None, None], source)) as told:
            async for message in told:
                yield message

    async def queues_of(self, worker_id: str) -> frozenset[str]:
        """Return from which queues a worker claims, as the organisation calls them; none: from all."""
        return frozenset(map(self._space.outside, await self._workers.queues_of(await self._mine(worker_id))))

    # -- people ------------------------------------------------------------------------------------------------------

    async def list(self) -> list[Worker]:
        """Return the workers that are remembered, oldest first."""
        own = self._space.organisation
        return [self._space.worker(worker) for worker in await self._workers.list() if worker.organisation == own]

    async def get(self, worker_id: str) -> Worker:
        """Return a worker; raise WorkerNotFound."""
        return self._space.worker(await self._workers.get(await self._mine(worker_id)))

    async def leases(self, worker_id: str) -> int:
        """Return the number of runs that a worker holds; raise WorkerNotFound."""
        return await self._workers.leases(await self._mine(worker_id))

    async def standing(self, worker_id: str) -> WorkerHealth | None:
        """Return how a worker stands; None if this server does not hear it. Raises WorkerNotFound."""
        return await self._workers.standing(await self._mine(worker_id), self._space.organisation)

    async def drain(self, worker_id: str) -> Worker:
        """Tell a worker to finish what it has, claim nothing more, and go."""
        return self._space.worker(await self._workers.drain(await self._mine(worker_id)))
