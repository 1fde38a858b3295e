"""Removes what retention lets go: finished runs, the memory of old requests, and rows of features."""

from __future__ import annotations

import logging

from headway.kernel.retention import removable
from headway.notify.events import CommitEvent
from headway.runs.service import Service
from headway.store.unit_of_work import UnitOfWork

CHUNK = 500
EVERY_MS = 60_000

log = logging.getLogger("headway.pruner")


class Pruner:
    """Old unprotected runs go; tombstones stay for a while."""

    name = "pruner"
    wakes_on: tuple[type[CommitEvent], ...] = ()

    def __init__(self, service: Service) -> None:
        self._service = service
        self._store = service.store
        self.removed = 0

    async def tick(self) -> int | None:
        """Remove everything that has expired, a chunk a transaction."""
        while (removed := await self._store.write(self._remove)) == CHUNK:
            self.removed += removed
        self.removed += removed
        for feature in self._service.features:
            if feature.prune is not None:
                await feature.prune(self._service)
        await self._store.write(self._forget)
        return EVERY_MS

    def _remove(self, uow: UnitOfWork) -> int:
        expired = [
            run for run in uow.find("find_expired", now_ms=uow.now_ms, limit=CHUNK) if removable(run, uow.now_ms)
        ]
        if expired:
            uow.remove(expired, "retention")
        return len(expired)

    def _forget(self, uow: UnitOfWork) -> None:
        run = uow.database.run
        run("prune_idempotency", now_ms=uow.now_ms, limit=10_000)
        run("prune_dedupes", now_ms=uow.now_ms)
        run("prune_tombstones", before=uow.now_ms - self._service.settings.tombstone_ms)
        run("prune_rates", before_us=(uow.now_ms - 60_000) * 1000)
        run("delete_gone_workers", before=uow.now_ms - 86_400_000)
