"""Queueing of runs at their time: delayed starts, retries, sleeps, and lanes whose rate allows the next start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from headway.kernel.lifecycle import FellDue
from headway.kernel.run import PARKED
from headway.notify.events import ClaimsLeft, CommitEvent, LaneClosed, MessagesMissed, RunDue
from headway.runs.claiming import unpark
from headway.runs.service import ALL_LANES, Service
from headway.runs.transitions import move
from headway.store.command import Command
from headway.store.counters import Lane
from headway.store.unit_of_work import UnitOfWork

CHUNK: Final = 1_000
"""Runs in one transaction."""


@dataclass
class Stage(Command[tuple[int, int | None]]):
    """Queueing of due runs; the result is their number, at most CHUNK, and the time of the next due run, or None."""

    opened: Sequence[Lane]
    """Lanes that were closed by a rate, whose time has come; ALL_LANES: claims continue."""

    def apply(self, uow: UnitOfWork) -> tuple[int, int | None]:
        due = uow.find("find_due", now_ms=uow.now_ms, limit=CHUNK)
        for run in due:
            move(uow, run, FellDue())
        parked = uow.find("find_parked_due", now_ms=uow.now_ms, limit=CHUNK)
        for run in parked:
            unpark(uow, run)
        for lane in self.opened:
            if lane == ALL_LANES:
                uow.expect(uow.counters.lanes_with_work)
            else:
                uow.open_lane(*lane)
        uow.flush()
        run_at, _, parked_until, _ = uow.database.rows("next_due")[0]
        moments = [at_ms for at_ms in (run_at, parked_until) if at_ms is not None and at_ms != PARKED]
        return max(len(due), len(parked)), min(moments, default=None)


class Stager:
    """Loop that moves runs from scheduled to queued, and opens lanes again."""

    name = "stager"
    wakes_on: tuple[type[CommitEvent], ...] = (RunDue, LaneClosed, ClaimsLeft, MessagesMissed)

    def __init__(self, service: Service) -> None:
        self._service = service
        self._store = service.store

    async def tick(self) -> int | None:
        """Queue all due runs; return the milliseconds until the next is due, or None."""
        closed = self._service.closed_lanes
        while True:
            now_ms = self._store.clock.now_ms()
            opened = [lane for lane, at_ms in closed.items() if at_ms <= now_ms]
            moved, next_ms = await self._store.write(Stage(opened))
            for lane in opened:
                if closed.get(lane, 0) <= now_ms:
                    closed.pop(lane, None)
            if moved < CHUNK:
                break
        moments = [at_ms for at_ms in (next_ms, *closed.values()) if at_ms is not None]
        return max(0, min(moments) - self._store.clock.now_ms()) if moments else None
