"""History of runs: events, logs, results, attempts, causes of waits, and watches.

A watch is history plus a wake-up: it reads the events after the last number, sleeps until a commit concerns the run, and
reads again. The wake-up carries no data, so a lost one loses none. Numbers are durable, so a watch can be resumed from any
of them, on any server. A failed read is repeated, so a watch survives an outage of the database.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Final, Self

import msgspec
from msgspec.structs import replace

from headway.errors import Unavailable
from headway.kernel.event import Event, Result
from headway.kernel.history import Attempt, attempts
from headway.kernel.namespace import Namespace
from headway.kernel.run import LEASED, Run, State
from headway.kernel.situation import CurrentAttempt, ended, running
from headway.kernel.waiting import Cause, Facts, causes
from headway.kernel.worker import Queue
from headway.notify.local import EVERY
from headway.runs.claiming import takes
from headway.runs.continuing import continues
from headway.runs.leases import Leases
from headway.runs.runs import Runs
from headway.runs.sessions import Sessions
from headway.store.reader import PAGE_BYTES as PAGE_BYTES_MAX
from headway.store.store import Store

PAGE: Final = 500
"""Events that are read at once."""
PAGE_BYTES: Final = 512 * 1024
"""Bytes of text that are read at once: each of thousands of streams may hold a page of its own."""
EVENTS_MAX: Final = 10**9
"""A number of events that no run has."""
SHARED_MAX: Final = 32
"""Runs, and pages of events, that watchers of the same run share."""
SILENCE_S: Final = 15
"""Seconds without an item after which a watch yields None."""
AGAIN_S: Final = (0.5, 1.5)
"""Range in seconds of the random pause before a failed read is repeated, so that many watches do not read at once."""
AHEAD_MAX: Final = 10_000
"""Highest position in a queue that is counted."""

_decode_names = msgspec.json.Decoder(list[str]).decode


class Snapshot(msgspec.Struct, frozen=True):
    """The present run, with the number of its last event: the first item of a watch."""

    run: Run


class ProgressChange(msgspec.Struct, frozen=True):
    """A change of the run's progress, which is state, not history: it has no number, and only the latest is yielded."""

    run: Run


class WatchEnd(msgspec.Struct, frozen=True):
    """The last item of a watch: the run is final, and all events were yielded."""

    run: Run


WatchItem = Snapshot | Event | ProgressChange | WatchEnd


class History:
    """Reads of the history of one organisation's runs."""

    def __init__(self, store: Store, runs: Runs, sessions: Sessions, leases: Leases, namespace: Namespace) -> None:
        self._store = store
        self._namespace = namespace
        self._runs = runs
        self._sessions = sessions
        self._leases = leases
        self._shared: dict[tuple[str, int, int], list[Event]] = {}
        self._fresh: dict[str, tuple[int, Run]] = {}
        """Watched runs, with the number of commits at which they were read."""

    async def page(self, run_id: str, after: int, size: int, kind: str | None = None) -> tuple[list[Event], bool]:
        """Return a page of events of the run after a number, and whether there are more; raise RunNotFound or RunPurged."""
        await self._runs.stored(run_id)
        return await self._store.read.events(run_id, after, size, kind)

    async def events(self, run_id: str, after: int, limit: int, kind: str | None = None) -> list[Event]:
        """Return up to `limit` events of the run after a number; raise RunNotFound or RunPurged."""
        found, more = await self.page(run_id, after, limit, kind)
        while more and len(found) < limit:
            further, more = await self.page(run_id, found[-1].seq, limit - len(found), kind)
            found += further
        return found

    async def results(self, run_id: str, after: int, size: int) -> tuple[list[Result], bool]:
        """Return a page of published results after a number, and whether there are more; raise RunNotFound or RunPurged."""
        await self._runs.stored(run_id)
        return await self._store.read.results(run_id, after, size)

    async def newest_result(self, run_id: str) -> Result | None:
        """Return the last published result, or None; raise RunNotFound or RunPurged."""
        await self._runs.stored(run_id)
        return await self._store.read.newest_result(run_id)

    async def attempts(self, run_id: str) -> list[Attempt]:
        """Return the run's attempts, oldest first; raise RunNotFound or RunPurged."""
        return attempts(await self.events(run_id, 0, EVENTS_MAX, "run.state"))

    async def waiting(self, run_id: str, *, named: bool = True) -> tuple[Run, list[Cause], CurrentAttempt | None]:
        """Return the run, the causes of its wait or facts about its execution or end, and its present or last worker.

        With `named` false the worker is given by its id only. Raises RunNotFound or RunPurged.
        """
        run = await self._runs.stored(run_id)
        namespace, now_ms = self._namespace, self._store.clock.now_ms()
        work = await self._work(run)
        if work is not None and not named:
            work = replace(work, worker="")
        task, shown = namespace.task(self._store.definitions.task(run.task)), namespace.run(run)
        if run.state in LEASED and work is not None:
            return shown, running(shown, task, work, now_ms), work
        if run.final:
            goes_on = continues(task) and bool(await self._store.read.steps(run.id))
            return shown, ended(shown, task, work, goes_on=goes_on), work
        if run.state is State.QUEUED:
            facts = await self._facts(run)
        else:
            facts = Facts(run, task, _queue(self._store, run), 0, 0, 0, 0, 0, 0, 0, None)
        return shown, causes(replace(facts, run=shown, task=task, queue=namespace.queue(facts.queue))), work

    async def _work(self, run: Run) -> CurrentAttempt | None:
        """Return the present or last attempt; of a worker of another organisation without its name."""
        tried = attempts(await self.events(run.id, 0, EVENTS_MAX, "run.state"))
        if not tried:
            return None
        last, own = tried[-1], self._namespace.organisation
        worker = await self._store.read.worker(last.worker_id)
        health = await self._leases.health(last.worker_id, own) if run.state in LEASED else None
        if worker is not None and worker.organisation == own:
            return CurrentAttempt(
                last.worker_id, f"{worker.name} ({worker.host}:{worker.pid})", last.started_at, health
            )
        if health is not None and health.blocked is not None:
            blocked = health.blocked
            if blocked.run_id != run.id:
                blocked = replace(blocked, task="", where="", stack="")
            health = replace(health, blocked=blocked)
        return CurrentAttempt(last.worker_id, "", last.started_at, health)

    async def _facts(self, run: Run) -> Facts:
        store = self._store
        task = store.definitions.task(run.task)
        live = await store.read.live_counts()
        workers = [
            worker
            for worker in await store.read.workers()
            if worker.state == "active"
            and (
                takes(_decode_names(worker.tasks), _decode_names(worker.queues), (run.queue, run.task))
                or worker.name == f"built-in-{task.executor}"  # takes all tasks of the executor
            )
        ]
        full = blocked = 0
        for worker in workers:
            if len(await store.read.leases(worker.id)) >= worker.capacity:
                full += 1
            elif self._sessions.is_blocked(worker.id):
                blocked += 1
            else:
                break
        running_of_task = sum(count for of_task, _, _, count in live if of_task == run.task)
        if task.concurrency is not None and not self._namespace.owns(task.name):
            # The number of other organisations' runs is not shown.
            running_of_task = min(running_of_task, task.concurrency)
        return Facts(
            run=run,
            task=task,
            queue=_queue(store, run),
            workers=len(workers),
            full=full,
            blocked=blocked,
            running_of_task=running_of_task,
            running_in_queue=sum(count for _, queue, _, count in live if queue == run.queue),
            running_of_key=sum(count for of_task, _, key, count in live if (of_task, key) == (run.task, run.key)),
            ahead=await store.read.position_in_lane(run, AHEAD_MAX) if run.parked_until is None else 0,
            task_opens_at=await store.read.rate_opens_at(task),
        )

    async def watch(self, run_id: str, after: int | None, stop: Callable[[], bool]) -> AsyncIterator[WatchItem | None]:
        """Follow a run: a snapshot, then every event after `after` (None: after the snapshot's), until it ends.

        Yields None after SILENCE_S without an item, and when nothing can be read now. Ends without WatchEnd when `stop`
        returns true. No event is missed and none comes twice. The first read raises RunNotFound, RunPurged or
        Unavailable; later failures are repeated.
        """
        with _WakeUp() as changed, self._store.notifier.watching(run_id, changed.set):
            run = await self._now(run_id)
            seen = run.seq if after is None else after
            yield Snapshot(run)
            progress = _progress(run)
            changed.note_item()
            while not stop():
                try:
                    while seen < run.seq and (events := await self._lines(run_id, seen, run.seq)):
                        for event in events:
                            yield event
                            seen = event.seq
                        changed.note_item()
                    if _progress(run) != progress:
                        progress = _progress(run)
                        yield ProgressChange(run)
                        changed.note_item()
                    if seen >= run.seq:
                        if run.final:
                            yield WatchEnd(run)
                            return
                        await changed.wait()
                        if changed.silent():
                            yield None
                    run = await self._now(run_id)
                except Unavailable:
                    yield None
                    changed.note_item()
                    await changed.soon()

    async def _now(self, run_id: str) -> Run:
        """Return the run, read once after each commit for all its watchers; a later commit wakes them again."""
        commits = self._store.generation
        known = self._fresh.get(run_id)
        if known is not None and known[0] == commits:
            return known[1]
        run = await self._runs.get(run_id)
        if len(self._fresh) >= SHARED_MAX:
            self._fresh.clear()
        self._fresh[run_id] = commits, run
        return run

    async def _lines(self, run_id: str, after: int, last: int) -> list[Event]:
        """Return a page of the events after a number, read once for all watchers: events up to `last` never change."""
        place = (run_id, after, last)
        found = self._shared.get(place)
        if found is None:
            found, _ = await self._store.read.events(run_id, after, PAGE, bytes_max=PAGE_BYTES)
            if sum(len(event.data) for event in found) > PAGE_BYTES:
                return found  # one event that is larger than a page should be
            if len(self._shared) >= SHARED_MAX:
                self._shared.clear()
            self._shared[place] = found
        return found

    async def feed(self, after: int, run_ids: tuple[str, ...], stop: Callable[[], bool]) -> AsyncIterator[Event | None]:
        """Follow all runs, or some, from a position, until `stop` returns true; yields None as `watch` does; raises nothing."""
        with _WakeUp() as changed, self._store.notifier.watching(EVERY, changed.set):
            while not stop():
                try:
                    more = True
                    while more:
                        events, reached, more = await self.all_events(after, PAGE, run_ids, PAGE_BYTES)
                        for event in events:
                            yield event
                            after = event.position
                        after = reached
                        if events:
                            changed.note_item()
                        elif (
                            changed.silent()
                        ):  # of others there may be much to pass over, and at each of their commits more
                            yield None
                    if not stop():
                        await changed.wait()
                except Unavailable:
                    yield None
                    changed.note_item()
                    await changed.soon()

    async def all_events(
        self, after: int, size: int, run_ids: tuple[str, ...] = (), bytes_max: int = PAGE_BYTES_MAX
    ) -> tuple[list[Event], int, bool]:
        """Return events of all runs, or of some, after a position; the last position read; and whether there are more.

        Events of other organisations are passed over: a page may be empty although there are more.
        """
        return await self._store.read.feed(self._namespace.organisation, after, size, run_ids, bytes_max)

    async def last_position(self) -> int:
        """Return the last position of the feed."""
        return await self._store.read.last_position()


def _progress(run: Run) -> tuple[object, ...]:
    return run.progress_at, run.progress_done, run.progress_total, run.progress_message


class _WakeUp:
    """Wake-up of a watch: when something may have changed, and after a silence.

    A woken watch may find nothing to yield, again and again, so a silence is counted from the last item. The timer is not
    restarted at each item, only when it fires too early: with ten thousand watches a change has to be cheap.
    """

    __slots__ = ("_changed", "_item_s", "_loop", "_timer")

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._item_s = self._loop.time()
        self._timer = self._loop.call_later(SILENCE_S, self._look)

    def set(self) -> None:
        """Wake the watch: something may have changed."""
        self._changed.set()

    def note_item(self) -> None:
        """Note that an item was yielded just now."""
        self._item_s = self._loop.time()

    def silent(self) -> bool:
        """Return whether the last item was SILENCE_S ago; if so, the caller yields one now."""
        now_s = self._loop.time()
        if now_s < self._item_s + SILENCE_S:
            return False
        self._item_s = now_s
        return True

    async def wait(self) -> None:
        """Return after a change, or after a silence."""
        await self._changed.wait()
        self._changed.clear()

    async def soon(self) -> None:
        """Return after a change, or a pause of AGAIN_S: a failed read may succeed without a change."""
        again = self._loop.call_later(random.uniform(*AGAIN_S), self.set)  # noqa: S311 - it only spreads them
        try:
            await self.wait()
        finally:
            again.cancel()

    def _look(self) -> None:
        left_s = self._item_s + SILENCE_S - self._loop.time()
        if left_s <= 0:
            self._changed.set()
        self._timer = self._loop.call_later(left_s if left_s > 0 else SILENCE_S, self._look)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


def _queue(store: Store, run: Run) -> Queue:
    return store.definitions.queues.get(run.queue) or Queue(run.queue, 0, None, run.created_at, run.created_at)
