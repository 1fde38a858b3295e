"""What has happened, and what is happening: events, logs, results, attempts, the reason for a wait, and live watching.

A watch is history plus a wake-up: read what is after the last number, sleep until something was committed, read again.
The wake-up carries nothing, so nothing is lost when it is; the numbers are the durable ones, so a watch can be resumed
from any of them, on any server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec

from headway.engine.history import Attempt, attempts
from headway.engine.waiting import Cause, Facts, causes
from headway.model.event import Event, Result
from headway.model.run import Run, State
from headway.model.worker import Queue
from headway.notify.local import EVERY
from headway.service.runs import Runs
from headway.service.workers import Workers
from headway.storage.store import Store

PAGE = 500
"""Events that are read at once."""
SHARED_MAX = 32
"""Pages of events that watchers of the same run share."""
AHEAD_MAX = 10_000
"""How far a run's place in its queue is counted."""

_decode_names = msgspec.json.Decoder(list[str]).decode


class Snapshot(msgspec.Struct, frozen=True):
    """The run as it is, and the number of its last event: the first thing a watch yields."""

    run: Run


class Progressed(msgspec.Struct, frozen=True):
    """The run's progress has changed. It is state, not history: it has no number and only the latest is told."""

    run: Run


class Ended(msgspec.Struct, frozen=True):
    """The run is final and everything has been told."""

    run: Run


WatchItem = Snapshot | Event | Progressed | Ended


class History:
    """Reads over what runs have left behind."""

    def __init__(self, store: Store, runs: Runs, workers: Workers) -> None:
        self._store = store
        self._runs = runs
        self._workers = workers
        self._shared: dict[tuple[str, int, int], list[Event]] = {}

    async def events(self, run_id: str, after: int, limit: int, kind: str | None = None) -> list[Event]:
        """Return events of the run after a number; raise RunNotFound or RunPurged."""
        found = await self._store.read.events(run_id, after, limit, kind)
        if not found:
            await self._runs.get(run_id)
        return found

    async def results(self, run_id: str, after: int, limit: int) -> list[Result]:
        """Return published results of the run after a number; raise RunNotFound or RunPurged."""
        found = await self._store.read.results(run_id, after, limit)
        if not found:
            await self._runs.get(run_id)
        return found

    async def attempts(self, run_id: str) -> list[Attempt]:
        """Return the run's attempts, oldest first."""
        await self._runs.get(run_id)
        events: list[Event] = []
        while page := await self._store.read.events(run_id, events[-1].seq if events else 0, PAGE, "run.state"):
            events += page
        return attempts(events)

    async def waiting(self, run_id: str) -> tuple[Run, list[Cause]]:
        """Return the run and why it does not run."""
        run = await self._runs.get(run_id)
        if run.state is not State.QUEUED:
            catalog = self._store.catalog
            facts = Facts(run, catalog.task(run.task), _queue(self._store, run), 0, 0, 0, 0, 0, None)
            return run, causes(facts)
        return run, causes(await self._facts(run))

    async def _facts(self, run: Run) -> Facts:
        store = self._store
        live = await store.read.live_counts()
        workers = [
            worker
            for worker in await self._workers.list()
            if worker.state == "active"
            and run.task in _decode_names(worker.tasks)
            and run.queue in (_decode_names(worker.queues) or [run.queue])
        ]
        task = store.catalog.task(run.task)
        return Facts(
            run=run,
            task=task,
            queue=_queue(store, run),
            workers=len(workers),
            running_of_task=sum(count for of_task, _, _, count in live if of_task == run.task),
            running_in_queue=sum(count for _, queue, _, count in live if queue == run.queue),
            running_of_key=sum(count for of_task, _, key, count in live if (of_task, key) == (run.task, run.key)),
            ahead=await store.read.position_in_lane(run, AHEAD_MAX) if run.parked_until is None else 0,
            task_opens_at=await store.read.rate_opens_at(task),
        )

    async def watch(self, run_id: str, after: int | None, stop: Callable[[], bool]) -> AsyncIterator[WatchItem | None]:
        """Follow a run: a snapshot, then every event after `after` (None: after the snapshot's), until it ends.

        Yields None when a quarter of a minute has passed in silence. Ends without Ended when `stop` says so.
        No event is missed and none comes twice, whatever happens between the reads.
        """
        changed = asyncio.Event()
        with self._store.notifier.watching(run_id, changed.set):
            run = await self._runs.get(run_id)
            seen = run.seq if after is None else after
            yield Snapshot(run)
            told = _progress(run)
            while not stop():
                while seen < run.seq and (events := await self._lines(run_id, seen, run.seq)):
                    for event in events:
                        yield event
                    seen = events[-1].seq
                if _progress(run) != told:
                    told = _progress(run)
                    yield Progressed(run)
                if seen >= run.seq:
                    if run.final:
                        yield Ended(run)
                        return
                    if not await _woken(changed):
                        yield None
                run = await self._runs.get(run_id)

    async def _lines(self, run_id: str, after: int, last: int) -> list[Event]:
        """Return a page of the events after a number, read once for all who watch: what is up to `last` never changes."""
        place = (run_id, after, last)
        found = self._shared.get(place)
        if found is None:
            found = await self._store.read.events(run_id, after, PAGE)
            if len(self._shared) >= SHARED_MAX:
                self._shared.clear()
            self._shared[place] = found
        return found

    async def feed(self, after: int, run_ids: tuple[str, ...], stop: Callable[[], bool]) -> AsyncIterator[Event | None]:
        """Follow all runs, or some, from a position; yields None in silence. It has no end of its own."""
        changed = asyncio.Event()
        while not stop():
            with self._store.notifier.watching(EVERY, changed.set):
                while events := await self._store.read.feed(after, PAGE, run_ids):
                    for event in events:
                        yield event
                    after = events[-1].position
                if not stop() and not await _woken(changed):
                    yield None

    async def last_position(self) -> int:
        """Return where the feed ends now."""
        return await self._store.read.last_position()


def _progress(run: Run) -> tuple[object, ...]:
    return run.progress_at, run.progress_done, run.progress_total, run.progress_message


async def _woken(changed: asyncio.Event, silence_s: float = 15) -> bool:
    try:
        async with asyncio.timeout(silence_s):
            await changed.wait()
    except TimeoutError:
        return False
    changed.clear()
    return True


def _queue(store: Store, run: Run) -> Queue:
    return store.catalog.queues.get(run.queue) or Queue(run.queue, 0, None, run.created_at, run.created_at)
