"""Reads, which never wait for the writer.

Look-ups by id and short pages take microseconds and are answered on the event loop's own connection; what may take
longer (filters, counts) runs on a thread with a connection of its own. No read holds its snapshot across an await.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from headway.clock import Clock
from headway.engine.admission import Room
from headway.model.event import Event, Result, Step, Tombstone
from headway.model.query import Page, RunFilter
from headway.model.run import Run
from headway.model.task import Task
from headway.model.worker import Worker
from headway.storage import lists
from headway.storage.database import Database
from headway.storage.statements import Dialect
from headway.storage.unit import as_rows, make_run

T = TypeVar("T")


class Reader:
    """Every read that the product makes outside a transaction."""

    def __init__(self, dialect: Dialect, clock: Clock, near: Database, far: Callable[[], Database] | None) -> None:
        """`near` answers on the event loop; `far` opens a connection for the reading thread (None: `near` does all)."""
        self._dialect = dialect
        self._clock = clock
        self.near = near
        self._open_far = far
        self._far: Database | None = None
        self._thread = ThreadPoolExecutor(1, "headway-reader") if far is not None else None

    async def run(self, run_id: str) -> Run | None:
        """Return a run, or None."""
        rows = self.near.rows("read_run", id=run_id)
        return make_run(rows[0]) if rows else None

    async def tombstone(self, run_id: str) -> Tombstone | None:
        """Return what is left of a removed run."""
        rows = self.near.rows("read_tombstone", run_id=run_id)
        return Tombstone(*rows[0]) if rows else None

    async def events(self, run_id: str, after: int, limit: int, kind: str | None = None) -> list[Event]:
        """Return the events of a run after a number, of one type or of all."""
        if kind is None:
            rows = self.near.rows("read_events", run_id=run_id, after=after, limit=limit)
        else:
            rows = self.near.rows("read_events_of_type", run_id=run_id, after=after, limit=limit, type=kind)
        return [Event(*row) for row in rows]

    async def feed(self, after: int, limit: int, run_ids: tuple[str, ...] = ()) -> list[Event]:
        """Return the events of all runs (or of some) after a position."""
        if run_ids:
            rows = self.near.rows("read_feed_of_runs", after=after, limit=limit, ids=as_rows(list(run_ids)))
        else:
            rows = self.near.rows("read_feed", after=after, limit=limit)
        return [Event(*row) for row in rows]

    async def last_position(self) -> int:
        """Return the position of the newest event."""
        return int(self.near.rows("last_position")[0][0])

    async def results(self, run_id: str, after: int, limit: int) -> list[Result]:
        """Return the results of a run after a number."""
        return [Result(*row) for row in self.near.rows("read_results", run_id=run_id, after=after, limit=limit)]

    async def steps(self, run_id: str) -> list[Step]:
        """Return the recorded steps of a run."""
        return [Step(*row) for row in self.near.rows("read_steps", ids=as_rows([run_id]))]

    async def workers(self) -> list[Worker]:
        """Return every worker's session that is remembered."""
        return [Worker(*row) for row in self.near.rows("read_workers")]

    async def worker(self, worker_id: str) -> Worker | None:
        """Return a worker's session, if it is remembered."""
        rows = self.near.rows("read_worker", id=worker_id)
        return Worker(*rows[0]) if rows else None

    async def leases(self, worker_id: str) -> list[tuple[str, int, str, str]]:
        """Return (run id, epoch, state, task) of what a worker holds."""
        return [(i, epoch, state, task) for i, epoch, state, task in self.near.rows("read_leases", worker_id=worker_id)]

    async def leased_workers(self) -> list[str]:
        """Return the ids of the workers that hold leases."""
        return [worker_id for (worker_id,) in self.near.rows("leased_workers")]

    async def live_counts(self) -> list[tuple[str, str, str | None, int]]:
        """Return (task, queue, key, leases) of everything that runs."""
        return [(task, queue, key, n) for task, queue, key, n in self.near.rows("live_counts")]

    async def position_in_lane(self, run: Run, limit: int) -> int:
        """Return how many ready runs of the same lane come before it, at most `limit`."""
        rows = self.near.rows(
            "position_in_lane", queue=run.queue, task=run.task, priority=run.priority, run_at=run.run_at, id=run.id,
            limit=limit,
        )  # fmt: skip
        return int(rows[0][0])

    async def oldest_ready(self, queue: str, tasks: list[str]) -> int | None:
        """Return when the oldest ready run of the queue became due."""
        lanes = as_rows([(task, priority) for task in tasks for priority in range(11)])
        found: int | None = self.near.rows("oldest_ready", queue=queue, rows=lanes)[0][0]
        return found

    async def rate_opens_at(self, task: Task) -> int | None:
        """Return when the task's rate lets the next run through (milliseconds UTC), if it stands in the way."""
        rows = self.near.rows("read_rates", task=task.name, ids='[""]')
        room = Room({}, self._clock.now_ms())
        room.know({(of_task, key): next_at_us for of_task, key, next_at_us in rows})
        return room.opens_at_ms(task)

    async def page(self, wanted: RunFilter, at: Page, limit: int) -> list[Run]:
        """Return a page of runs."""
        sql, binds = lists.page(self._dialect, wanted, at, limit)
        return await self._slowly(lambda database: [make_run(row) for row in database.select(sql, binds)])

    async def ids(self, wanted: RunFilter, after: str, limit: int) -> list[str]:
        """Return the ids of the runs wanted, in order."""
        sql, binds = lists.ids(self._dialect, wanted, after, limit)
        return await self._slowly(lambda database: [row[0] for row in database.select(sql, binds)])

    async def count(self, wanted: RunFilter, group_by: str | None) -> dict[str, int]:
        """Return how many runs are wanted, by group or under the empty name."""
        sql, binds = lists.count(self._dialect, wanted, group_by)
        return await self._slowly(lambda database: {str(group): n for group, n in database.select(sql, binds)})

    async def _slowly(self, read: Callable[[Database], T]) -> T:
        if self._thread is None:
            return read(self.near)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._on_thread, read)

    def _on_thread(self, read: Callable[[Database], T]) -> T:
        assert self._open_far is not None
        if self._far is None:
            self._far = self._open_far()
        return read(self._far)

    def _close_far(self) -> None:
        if self._far is not None:
            self._far.close()

    def close(self) -> None:
        """Let go of the connections."""
        if self._thread is not None:
            self._thread.submit(self._close_far).result()
            self._thread.shutdown()
        self.near.close()


