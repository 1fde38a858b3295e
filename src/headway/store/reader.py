"""Reads, which never wait for the writer.

On an embedded file, look-ups by id and short pages take microseconds and are answered on the event loop's own
connection; what may take longer (filters, counts, everything that goes over a network) runs on threads with connections
of their own, which organisations share (see reader_pool.py). What a request puts together itself, a filter or a count, ends
within the context's time. No read holds its snapshot across an await.

A page ends at a number of rows or at an amount of text, whichever comes first, and says whether there are more rows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from headway.clock import Clock
from headway.errors import QueryTooCostly
from headway.kernel.admission import Headroom
from headway.kernel.event import Event, Result, Step, Tombstone
from headway.kernel.query import Page, RunFilter
from headway.kernel.run import FINAL, DamagedRun, Run, State
from headway.kernel.task import Task
from headway.kernel.worker import Worker
from headway.store import lists
from headway.store.access_path import choose
from headway.store.corruption import DAMAGED, is_json
from headway.store.database import Database, Interrupted, Reading
from headway.store.definition_cache import DefinitionCache
from headway.store.lists import BY_ID
from headway.store.peers import Server
from headway.store.query_context import QUERY_CONTEXT
from headway.store.reader_pool import AGAIN_S, ReaderPool
from headway.store.statements import Dialect
from headway.store.unit_of_work import as_rows, make_run

T = TypeVar("T")
Row = tuple[Any, ...]

PAGE_BYTES: Final = 4 * 1024 * 1024
"""The text of one page: what the event loop can encode, and a client take, without anyone noticing."""
OWNED_MAX: Final = 20_000
"""Runs whose organisation is cached."""
WINDOW: Final = 2_000
"""Maximum number of runs that a page of a list looks at if the index does not cover the filter: about a millisecond."""
WINDOWS: Final = 4
"""Maximum number of windows of a page that has found no runs yet."""


class Reader:
    """Reads outside of the writer's transactions."""

    def __init__(
        self,
        dialect: Dialect,
        clock: Clock,
        definitions: DefinitionCache,
        near: Reading | None,
        far: Callable[[], Reading] | None,
        threads: int = 1,
    ) -> None:
        """`near` answers on the event loop; `far` opens the connection of a reading thread. One may be missing."""
        assert near is not None or far is not None
        self._dialect = dialect
        self._clock = clock
        self._definitions = definitions
        self.near = near
        self.window = WINDOW
        self._owned: dict[str, int] = {}
        """Organisations of runs whose events were read."""
        self._threads = ReaderPool(threads, far, clock) if far is not None else None

    async def run(self, run_id: str) -> Run | None:
        """Return a run, or None."""
        rows = await self._rows("read_run", id=run_id)
        return _shown(rows[0]) if rows else None

    async def tombstone(self, run_id: str) -> Tombstone | None:
        """Return the tombstone of a removed run, or None."""
        rows = await self._rows("read_tombstone", run_id=run_id)
        return Tombstone(*rows[0]) if rows else None

    async def events(
        self, run_id: str, after: int, limit: int, kind: str | None = None, bytes_max: int = PAGE_BYTES
    ) -> tuple[list[Event], bool]:
        """Return a page of the events of a run after a number, of one type or of all."""
        binds = {"run_id": run_id, "after": after, "limit": limit + 1}
        if kind is None:
            read = await self._within(bytes_max, "read_events", **binds)
        else:
            read = await self._within(bytes_max, "read_events_of_type", **binds, type=kind)
        rows, more = _page(limit, read)
        return [_event(row) for row in rows], more

    async def feed(
        self, organisation: int, after: int, limit: int, run_ids: tuple[str, ...] = (), bytes_max: int = PAGE_BYTES
    ) -> tuple[list[Event], int, bool]:
        """Return events of an organisation's runs (or of some) after a position, the last looked at, and whether there is more.

        Others' events are passed over: a page may have none of them, and yet there is more.
        """
        binds: dict[str, Any] = {"after": after, "limit": limit + 1}
        if run_ids:
            read = await self._within(bytes_max, "read_feed_of_runs", **binds, ids=as_rows(list(run_ids)))
        else:
            read = await self._within(bytes_max, "read_feed", **binds)
        rows, more = _page(limit, read)
        owners = await self._owners({row[1] for row in rows})
        own = [_event(row) for row in rows if owners.get(row[1]) == organisation]
        return own, rows[-1][0] if rows else after, more

    async def _owners(self, run_ids: set[str]) -> dict[str, int]:
        """Return the organisations of these runs, without the missing ones; they never change, so they are cached."""
        found = {run_id: self._owned[run_id] for run_id in run_ids if run_id in self._owned}
        if len(found) < len(run_ids):
            looked_up: dict[str, int] = dict(await self._rows("owners_of", ids=as_rows(run_ids - found.keys())))
            if len(self._owned) >= OWNED_MAX:
                self._owned.clear()
            self._owned |= looked_up
            found |= looked_up
        return found

    async def last_position(self) -> int:
        """Return the position of the newest event."""
        return int((await self._rows("last_position"))[0][0])

    async def results(self, run_id: str, after: int, limit: int) -> tuple[list[Result], bool]:
        """Return a page of the results of a run after a number."""
        read = await self._within(PAGE_BYTES, "read_results", run_id=run_id, after=after, limit=limit + 1)
        rows, more = _page(limit, read)
        return [_result(row) for row in rows], more

    async def newest_result(self, run_id: str) -> Result | None:
        """Return the newest result of a run, or None."""
        rows = await self._rows("newest_result", run_id=run_id)
        return _result(rows[0]) if rows else None

    async def steps(self, run_id: str) -> list[Step]:
        """Return the recorded steps of a run."""
        return [Step(*row) for row in await self._rows("read_steps", ids=as_rows([run_id]))]

    async def workers(self) -> list[Worker]:
        """Return every worker's session that is remembered."""
        return [Worker(*row) for row in await self._rows("read_workers")]

    async def worker(self, worker_id: str) -> Worker | None:
        """Return a worker's session, if it is remembered."""
        rows = await self._rows("read_worker", id=worker_id)
        return Worker(*rows[0]) if rows else None

    async def leases(self, worker_id: str) -> list[tuple[str, int, str, str]]:
        """Return (run id, epoch, state, task) of what a worker holds."""
        return [
            (i, epoch, state, task) for i, epoch, state, task in await self._rows("read_leases", worker_id=worker_id)
        ]

    async def leased_workers(self) -> list[str]:
        """Return the ids of the workers that hold leases."""
        return [worker_id for (worker_id,) in await self._rows("leased_workers")]

    async def live_counts(self) -> list[tuple[str, str, str | None, int]]:
        """Return (task, queue, key, leases) of everything that runs."""
        return [(task, queue, key, n) for task, queue, key, n in await self._rows("live_counts")]

    async def servers(self) -> list[Server]:
        """Return the servers that share the database."""
        return [Server(*row) for row in await self._rows("read_servers")]

    async def changed_since(self, after: int, limit: int) -> list[str]:
        """Return the runs that have events after a position, of so many events."""
        return [run_id for (run_id,) in await self._rows("changed_since", after=after, limit=limit)]

    async def next_due(self) -> tuple[int | None, int | None, int | None, int | None]:
        """Return when the next run is due, overdue, no longer parked, and expired."""
        run_at, deadline_at, parked_until, expires_at = (await self._rows("next_due"))[0]
        return run_at, deadline_at, parked_until, expires_at

    async def families_left(self) -> bool:
        """Tell whether there are families that are being stopped and not all asked yet."""
        return bool(await self._rows("read_cascades", limit=1))

    async def position_in_lane(self, run: Run, limit: int) -> int:
        """Return how many ready runs of the same lane come before it, at most `limit`."""
        rows = await self._rows(
            "position_in_lane", queue=run.queue, task=run.task, priority=run.priority, run_at=run.run_at, id=run.id,
            limit=limit,
        )  # fmt: skip
        return int(rows[0][0])

    async def oldest_ready(self, queue: str, tasks: list[str]) -> int | None:
        """Return when the oldest ready run of the queue became due."""
        lanes = as_rows([(task, priority) for task in tasks for priority in range(11)])
        found: int | None = (await self._rows("oldest_ready", queue=queue, rows=lanes))[0][0]
        return found

    async def rate_opens_at(self, task: Task) -> int | None:
        """Return when the task's rate lets the next run through (milliseconds UTC), if it stands in the way."""
        rows = await self._rows("read_rates", task=task.name, ids='[""]')
        room = Headroom({}, self._clock.now_ms())
        room.know({(of_task, key): next_at_us for of_task, key, next_at_us in rows})
        return room.opens_at_ms(task)

    async def page(self, wanted: RunFilter, at: Page) -> tuple[list[Run], str]:
        """Return a page of runs, and where the next one starts ("" if this is the last). It may be short, even empty."""
        wanted = self._of_one(wanted)
        if self._are_none(wanted, at):
            return [], ""

        def read(database: Reading) -> tuple[list[Run], str]:
            start = at
            for _ in range(WINDOWS):
                path, edge = choose(self._dialect, database, wanted, start, self.window)
                sql, binds = lists.page(self._dialect, wanted, start, at.size + 1, path, edge)
                rows, more = _page(at.size, database.select_within(PAGE_BYTES, sql, binds))
                if rows or not edge:
                    break
                start = replace(at, after=edge)
            runs = [_shown(row) for row in rows]
            return runs, lists.cursor(runs[-1], at) if more else edge

        return await self._on_thread(read, limited=True)

    async def ids(self, wanted: RunFilter, after: str, limit: int) -> list[str]:
        """Return the ids of the runs wanted, in order: as many as asked for, unless there are no more."""
        at = Page(limit, after, newest_first=False)
        wanted = self._of_one(wanted)
        if self._are_none(wanted, at):
            return []

        def read(database: Reading) -> list[str]:
            path, _ = choose(self._dialect, database, wanted, at, self.window)
            sql, binds = lists.ids(self._dialect, wanted, after, limit, path)
            return [row[0] for row in database.select(sql, binds)]

        return await self._on_thread(read, limited=True)

    def _of_one(self, wanted: RunFilter) -> RunFilter:
        """Return the filter, with all states if only the index of ids fits: that one holds the runs of all organisations."""
        if len(self._definitions.organisations) > 1 and lists.access_paths(wanted) == [BY_ID]:
            return replace(wanted, state=tuple(State))
        return wanted

    def _are_none(self, wanted: RunFilter, at: Page) -> bool:
        """Tell whether the counters know that there is nothing: an index would be walked to its end to find that out."""
        if at.by_end and wanted.state and FINAL.isdisjoint(wanted.state):
            return True
        named = bool(wanted.state or wanted.task or wanted.queue) and not self._definitions.shared
        return named and self._definitions.counters.count_wanted(wanted) == 0

    async def count(self, wanted: RunFilter, group_by: str | None) -> dict[str, int]:
        """Return how many runs are wanted, by group or under the empty name."""
        sql, binds = lists.count(self._dialect, wanted, group_by)
        return await self._on_thread(
            lambda database: {str(group): n for group, n in database.select(sql, binds)}, limited=True
        )

    @property
    def busy(self) -> int:
        """Number of running reads on threads."""
        return 0 if self._threads is None else self._threads.busy

    async def ask(self, read: Callable[[Reading, Dialect], T], *, slow: bool = False) -> T:
        """Call a feature's `read` with a connection; a `slow` one runs on a thread, with a timeout."""
        if self.near is not None and not slow:
            return read(self.near, self._dialect)
        return await self._on_thread(lambda database: read(database, self._dialect), limited=slow)

    async def on(self, read: Callable[[Database], T]) -> T:
        """Call a feature's `read` with a connection, and return its result."""
        return await self._on_thread(read) if self.near is None else read(self.near)

    async def _rows(self, name: str, /, **binds: Any) -> list[Row]:
        near = self.near
        return (
            near.rows(name, **binds) if near is not None else await self._on_thread(lambda far: far.rows(name, **binds))
        )

    async def _within(self, bytes_max: int, name: str, /, **binds: Any) -> tuple[list[Row], bool]:
        near = self.near
        if near is not None:
            return near.rows_within(bytes_max, name, **binds)
        return await self._on_thread(lambda far: far.rows_within(bytes_max, name, **binds))

    async def _on_thread(self, read: Callable[[Reading], T], *, limited: bool = False) -> T:
        """Read on a thread, if there are any; a query put together from a request is `limited` by a timeout."""
        context = QUERY_CONTEXT.get()
        if self._threads is not None:
            return await self._threads.read(read, context, limited=limited)
        assert self.near is not None
        if context is None or not limited:
            return read(self.near)
        return _within(context.within_s, self.near, read)

    def close(self) -> None:
        """Let go of the connections."""
        if self._threads is not None:
            self._threads.close()
        if self.near is not None:
            self.near.close()


def _shown(row: Row) -> Run:
    """Return the run of a row; a damaged run comes without the documents that cannot be read."""
    run = make_run(row)
    return run.without() if isinstance(run, DamagedRun) else run


def _event(row: Row) -> Event:
    event = Event(*row)
    return event if is_json(event.data) else replace(event, data=DAMAGED)


def _result(row: Row) -> Result:
    result = Result(*row)
    return result if is_json(result.value) else replace(result, value=DAMAGED)


def _within(seconds: float, database: Reading, read: Callable[[Reading], T]) -> T:
    """Read on the caller's thread, and raise QueryTooCostly if that takes too long."""
    ended = threading.Event()

    def interrupt() -> None:
        wait_s = seconds
        while not ended.wait(wait_s):
            database.interrupt()
            wait_s = AGAIN_S

    watching = threading.Thread(target=interrupt, name="headway-interrupt", daemon=True)
    watching.start()
    try:
        return read(database)
    except Interrupted:
        raise QueryTooCostly from None
    finally:
        ended.set()
        watching.join()


def _page(limit: int, read: tuple[list[Row], bool]) -> tuple[list[Row], bool]:
    """Return up to `limit` rows of what was read with one more than that, and whether there are others."""
    rows, cut = read
    return rows[:limit], cut or len(rows) > limit
