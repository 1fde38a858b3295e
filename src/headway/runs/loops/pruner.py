"""Removal of expired rows: runs, idempotency and dedupe keys, tombstones, rates, workers, and rows of features."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from headway.kernel.lifecycle import removable
from headway.notify.events import CommitEvent
from headway.runs.service import Service
from headway.store.command import Command
from headway.store.unit_of_work import UnitOfWork

CHUNK: Final = 500
"""Runs that one transaction removes."""
EVERY_MS: Final = 60_000
KEYS: Final = 10_000
"""Idempotency keys that one transaction removes."""
RATE_MS: Final = 60_000
"""Age at which the state of an unused rate limit is removed."""
GONE_MS: Final = 86_400_000
"""Age at which a worker that has gone is removed."""

log = logging.getLogger("headway.pruner")


class RemoveExpiredRuns(Command[int]):
    """Removal of a chunk of expired runs; the result is their number."""

    def apply(self, uow: UnitOfWork) -> int:
        found = uow.find("find_expired", now_ms=uow.now_ms, limit=CHUNK)
        expired = [run for run in found if removable(run, uow.now_ms)]
        if expired:
            uow.remove(expired, "retention")
        return len(expired)


@dataclass
class PruneMemory(Command[None]):
    """Removal of old idempotency keys, dedupe keys, tombstones, rates and workers."""

    tombstone_ms: int

    def apply(self, uow: UnitOfWork) -> None:
        run = uow.execute
        run("prune_idempotency", now_ms=uow.now_ms, limit=KEYS)
        run("prune_dedupes", now_ms=uow.now_ms)
        run("prune_tombstones", before=uow.now_ms - self.tombstone_ms)
        run("prune_rates", before_us=(uow.now_ms - RATE_MS) * 1000)
        run("delete_gone_workers", before=uow.now_ms - GONE_MS)


class Pruner:
    """Loop that removes expired rows."""

    name = "pruner"
    wakes_on: tuple[type[CommitEvent], ...] = ()

    def __init__(self, service: Service) -> None:
        self._service = service
        self._store = service.store
        self.removed = 0

    async def tick(self) -> int | None:
        """Remove all expired rows, a chunk in each transaction; return the milliseconds until the next tick."""
        while (removed := await self._store.write(RemoveExpiredRuns())) == CHUNK:
            self.removed += removed
        self.removed += removed
        for feature in self._service.features:
            if feature.prune is not None:
                await feature.prune(self._service)
        await self._store.write(PruneMemory(self._service.settings.tombstone_ms))
        return EVERY_MS
