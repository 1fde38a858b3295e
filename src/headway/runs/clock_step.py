"""Correction of durations after the wall clock was set back: retries, timeouts and rates are not delayed by that.

Times are stored by the wall clock. If it is set back by an hour, a retry in five seconds, the server's deadline of an attempt and
the next start under a rate limit would come an hour late. Times of day are not corrected: schedules, `run_at`, sleeps and
delayed starts follow the clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from headway.kernel.lifecycle import Rescheduled
from headway.kernel.run import PARKED, Run, State
from headway.runs.claiming import unpark
from headway.runs.service import Service
from headway.runs.transitions import SET_BACK_MS, change, move
from headway.store.command import Command
from headway.store.unit_of_work import UnitOfWork

CHUNK: Final = 1_000


async def bring_forward(service: Service, by_ms: int) -> int:
    """Bring forward the durations that began before the clock was set back `by_ms`; return the number of runs.

    Does nothing in a shared store: the clocks of the other servers may be right, and each of them would do it again.
    """
    store = service.store
    if store.peers is not None:
        return 0
    service.closed_lanes.update(dict.fromkeys(service.closed_lanes, 0))
    after, moved = "", 0
    while True:
        found = await store.write(BringForward(after, by_ms))
        moved += len(found)
        if len(found) < CHUNK:
            return moved
        after = found[-1]


@dataclass
class BringForward(Command[list[str]]):
    """Correction of a chunk of runs; the result are their ids."""

    after: str
    """Id of the last run of the chunk before."""
    by_ms: int

    def apply(self, uow: UnitOfWork) -> list[str]:
        now_ms = uow.now_ms + SET_BACK_MS
        found = uow.find("find_set_ahead", now_ms=now_ms, after=self.after, until=PARKED, limit=CHUNK)
        for run in found:
            _bring_forward(uow, run, self.by_ms)
        return [run.id for run in found]


def _bring_forward(uow: UnitOfWork, run: Run, by_ms: int) -> None:
    if run.state is State.SCHEDULED:
        move(uow, run, Rescheduled(run.run_at - by_ms))
    elif run.deadline_at is not None:
        change(uow, run, replace(run, deadline_at=run.deadline_at - by_ms))
    else:
        unpark(uow, run)  # the next claim decides
