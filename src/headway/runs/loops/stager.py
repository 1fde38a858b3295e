"""Takes runs whose time has come to their queues: delayed starts, retries, sleeps, rates that open again."""

from __future__ import annotations

from headway.kernel.lifecycle import FellDue
from headway.kernel.run import PARKED
from headway.notify.events import ClaimsLeft, CommitEvent, LaneClosed, MessagesMissed, RunDue
from headway.runs.claiming import unpark
from headway.runs.service import Service
from headway.runs.transitions import move
from headway.store.unit_of_work import UnitOfWork

CHUNK = 1_000
"""Runs in one transaction."""


class Stager:
    """scheduled → queued, when due."""

    name = "stager"
    wakes_on: tuple[type[CommitEvent], ...] = (RunDue, LaneClosed, ClaimsLeft, MessagesMissed)

    def __init__(self, service: Service) -> None:
        self._service = service
        self._store = service.store

    async def tick(self) -> int | None:
        """Stage everything that is due; return how long until the next is."""
        closed = self._service.closed_lanes
        while True:
            now_ms = self._store.clock.now_ms()
            opened = [lane for lane, at_ms in closed.items() if at_ms <= now_ms]
            moved, next_ms = await self._store.write(lambda uow, opened=opened: self._stage(uow, opened))  # type: ignore[misc]  # the default binds the loop's variable
            for lane in opened:
                if closed.get(lane, 0) <= now_ms:
                    closed.pop(lane, None)
            if moved < CHUNK:
                break
        moments = [at_ms for at_ms in (next_ms, *closed.values()) if at_ms is not None]
        return max(0, min(moments) - self._store.clock.now_ms()) if moments else None

    def _stage(self, uow: UnitOfWork, opened: list[tuple[str, str]]) -> tuple[int, int | None]:
        due = uow.find("find_due", now_ms=uow.now_ms, limit=CHUNK)
        for run in due:
            move(uow, run, FellDue())
        parked = uow.find("find_parked_due", now_ms=uow.now_ms, limit=CHUNK)
        for run in parked:
            unpark(uow, run)
        for queue, task in opened:
            if queue:
                uow.open_lane(queue, task)
            else:  # a claim that looked at all it may look at at once: it goes on
                uow.expect(uow.counters.lanes_with_work)
        uow.flush()
        run_at, _, parked_until, _ = uow.database.rows("next_due")[0]
        moments = [at_ms for at_ms in (run_at, parked_until) if at_ms is not None and at_ms != PARKED]
        return max(len(due), len(parked)), min(moments, default=None)
