"""Tasks and queues: list, look, switch on and off, stop everything of one."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from headway.durations import parse_ms
from headway.errors import InvalidInput, QueueNotFound, TaskNotFound
from headway.model.query import RunFilter
from headway.model.run import Reason, State
from headway.model.task import Task
from headway.model.worker import Queue
from headway.service.stopping import finish, terminate
from headway.storage.store import Store
from headway.storage.unit import Unit
from headway.wire.workers import TerminateTask

CHUNK = 500


class Tasks:
    """Every verb on tasks."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def list(self) -> list[Task]:
        """Return all tasks, by name."""
        return sorted(self._store.catalog.tasks.values(), key=lambda task: task.name)

    def get(self, name: str) -> Task:
        """Return a task; raise TaskNotFound."""
        task = self._store.catalog.tasks.get(name)
        if task is None:
            raise TaskNotFound(f"there is no task {name!r}")
        return task

    def counts(self, name: str) -> dict[str, int]:
        """Return the task's runs by state, from the maintained counters."""
        return self._store.catalog.by_state(task=name)

    async def activate(self, name: str, *, active: bool) -> Task:
        """Let the task take and execute runs, or stop it from doing so. What runs goes on; what is queued waits."""

        def work(unit: Unit) -> Task:
            task = unit.task_now(name)
            if task is None:
                raise TaskNotFound(f"there is no task {name!r}")
            if task.active != active:
                task = replace(task, active=active, updated_at=unit.now_ms)
                unit.define(task)
                for queue, _ in unit.catalog.lanes_of(name):
                    unit.open_lane(queue, name)
            return task

        return await self._store.write(work)

    async def terminate(self, name: str, how: TerminateTask) -> int:
        """Ask every unfinished run of the task to stop; return how many were asked. In chunks, so nothing else waits."""
        self.get(name)
        try:
            grace_ms = None if how.grace is None else parse_ms(how.grace)
        except ValueError as error:
            raise InvalidInput(f"grace: {error}") from None
        reason = Reason(code="terminated", message=how.reason, actor=how.actor)
        wanted = RunFilter(task=(name,), state=(State.SCHEDULED, State.QUEUED, State.RUNNING, State.SUSPENDED))
        after, asked = "", 0
        while ids := await self._store.read.ids(wanted, after, CHUNK):

            def work(unit: Unit, ids: tuple[str, ...] = tuple(ids)) -> int:
                found = [run for run_id in ids if (run := unit.run(run_id)) is not None and not run.final]
                for run in found:
                    terminate(unit, run, reason, grace_ms, cascade=True)
                return len(found)

            asked += await self._store.write(work, run_ids=ids)
            await finish(self._store)
            after = ids[-1]
        return asked


class Queues:
    """Every verb on queues."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def list(self) -> list[Queue]:
        """Return all queues, by name."""
        return sorted(self._store.catalog.queues.values(), key=lambda queue: queue.name)

    def get(self, name: str) -> Queue:
        """Return a queue; raise QueueNotFound."""
        queue = self._store.catalog.queues.get(name)
        if queue is None:
            raise QueueNotFound(f"there is no queue {name!r}; it exists from its first use")
        return queue

    def counts(self, name: str) -> dict[str, int]:
        """Return the queue's runs by state, from the maintained counters."""
        return self._store.catalog.by_state(queue=name)

    async def oldest(self, name: str) -> int | None:
        """Return since when the queue's oldest ready run has been due."""
        tasks = [task for queue, task in self._store.catalog.lanes_with_work() if queue == name]
        return await self._store.read.oldest_ready(name, tasks) if tasks else None

    async def pause(self, name: str, *, paused: bool) -> Queue:
        """Let nothing start from the queue, or let it start again. What runs goes on."""
        self.get(name)
        return await self._change(name, lambda queue: replace(queue, paused=int(paused)))

    async def limit(self, name: str, concurrency: int | UnsetType | None) -> Queue:
        """Say how many runs of the queue may run at once; None lifts the limit, UNSET leaves it. Creates the queue."""
        if concurrency is UNSET:
            return await self._change(name, lambda queue: queue)
        return await self._change(name, lambda queue: replace(queue, concurrency=concurrency))

    async def _change(self, name: str, change: Callable[[Queue], Queue]) -> Queue:
        def work(unit: Unit) -> Queue:
            before = unit.queue_now(name)
            queue = change(before)
            if queue == before:
                return queue
            queue = replace(queue, updated_at=unit.now_ms)
            unit.save_queue(queue)
            for _, task in unit.catalog.lanes_in(name):
                unit.open_lane(name, task)
            return queue

        return await self._store.write(work)
