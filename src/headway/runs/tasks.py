"""Tasks and queues of one organisation: read, activate, pause, limit, and stop all runs of a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from headway.errors import Forbidden, QueueNotFound, TaskNotFound
from headway.kernel.namespace import Namespace
from headway.kernel.query import RunFilter
from headway.kernel.run import Reason, State
from headway.kernel.task import Task
from headway.kernel.worker import Queue
from headway.protocol.values import duration
from headway.protocol.workers import TerminateTask
from headway.runs.stopping import finish, terminate
from headway.store.command import Command
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

CHUNK = 500


@dataclass(eq=False)
class _Activate(Command[Task]):
    namespace: Namespace
    name: str
    active: bool

    def apply(self, uow: UnitOfWork) -> Task:
        task = uow.task_now(self.namespace.qualify(self.name))
        if task is None:
            _find(self.namespace, uow.definitions.tasks, self.name)
            raise Forbidden(f"the task {self.name!r} is shared by another organisation: only that one can change it")
        if task.active != self.active:
            task = replace(task, active=self.active, updated_at=uow.now_ms)
            uow.define(task)
            for lane in uow.definitions.lanes_of(task.name):
                uow.open_lane(*lane)
        return task


@dataclass(eq=False)
class _Terminate(Command[int]):
    reason: Reason
    grace_ms: int | None
    run_ids: list[str]

    def apply(self, uow: UnitOfWork) -> int:
        found = [run for run_id in self.run_ids if (run := uow.run(run_id)) is not None and not run.final]
        for run in found:
            terminate(uow, run, self.reason, self.grace_ms, cascade=True)
        return len(found)


@dataclass(eq=False)
class _ChangeQueue(Command[Queue]):
    name: str
    change: Callable[[Queue], Queue]

    def apply(self, uow: UnitOfWork) -> Queue:
        before = uow.queue_now(self.name)
        queue = self.change(before)
        if queue != before:
            queue = replace(queue, updated_at=uow.now_ms)
            uow.save_queue(queue)
            for lane in uow.definitions.lanes_in(queue.name):
                uow.open_lane(*lane)
        return queue


def _find(namespace: Namespace, tasks: Mapping[str, Task], name: str) -> Task:
    task = namespace.find(tasks, name)
    if task is None:
        raise TaskNotFound(f"there is no task {name!r}", task=name)
    return task


class Tasks:
    """Operations on the tasks that an organisation may start: its own and shared ones."""

    def __init__(self, store: Store, namespace: Namespace) -> None:
        self._store = store
        self._namespace = namespace

    def list(self) -> list[Task]:
        """Return all tasks, by name; an own task hides a shared task of the same name."""
        found: dict[str, Task] = {}
        for task in self._store.definitions.tasks.values():
            if self._namespace.owns(task.name):
                found[task.name] = self._namespace.task(task)
        mine = {task.name for task in found.values()}
        shared = [task for task in self._store.definitions.tasks.values() if task.shared and task.name not in mine]
        return sorted([*found.values(), *shared], key=lambda task: task.name)

    def get(self, name: str) -> Task:
        """Return a task; raise TaskNotFound."""
        return self._namespace.task(_find(self._namespace, self._store.definitions.tasks, name))

    def title(self, name: str) -> str:
        """Return the title of a task, or its name if it has no title or was removed."""
        task = self._namespace.find(self._store.definitions.tasks, name)
        return (task.title if task is not None else "") or name

    def counts(self, name: str) -> dict[str, int]:
        """Return the organisation's runs of the task by state, from the maintained counters."""
        return self._store.counters.by_state(self._namespace, tasks=self._namespace.tasks(name))

    async def activate(self, name: str, *, active: bool) -> Task:
        """Activate or deactivate a task and return it; queued runs of an inactive task wait, running ones go on.

        Raises TaskNotFound, and Forbidden for a task that another organisation shares.
        """
        return self._namespace.task(await self._store.write(_Activate(self._namespace, name, active)))

    async def terminate(self, name: str, how: TerminateTask) -> int:
        """Ask the organisation's unfinished runs of the task to stop, in chunks; return their number.

        Raises TaskNotFound, and InvalidInput for a grace that is no duration.
        """
        self.get(name)
        grace_ms = None if how.grace is None else duration(how.grace, "/grace")
        reason = Reason(code="terminated", message=how.reason, actor=how.actor)
        unfinished = (State.SCHEDULED, State.QUEUED, State.RUNNING, State.SUSPENDED)
        wanted = self._namespace.wanted(RunFilter(task=(name,), state=unfinished))
        after, asked = "", 0
        while ids := await self._store.read.ids(wanted, after, CHUNK):
            asked += await self._store.write(_Terminate(reason, grace_ms, ids))
            await finish(self._store)
            after = ids[-1]
        return asked


class Queues:
    """Operations on the queues of an organisation."""

    def __init__(self, store: Store, namespace: Namespace) -> None:
        self._store = store
        self._namespace = namespace

    def list(self) -> list[Queue]:
        """Return all queues, by name."""
        own = [queue for queue in self._store.definitions.queues.values() if self._namespace.owns(queue.name)]
        return sorted(map(self._namespace.queue, own), key=lambda queue: queue.name)

    def get(self, name: str) -> Queue:
        """Return a queue; raise QueueNotFound."""
        queue = self._store.definitions.queues.get(self._namespace.qualify(name))
        if queue is None:
            raise QueueNotFound(f"there is no queue {name!r}; it exists from its first use", queue=name)
        return self._namespace.queue(queue)

    def counts(self, name: str) -> dict[str, int]:
        """Return the queue's runs by state, from the maintained counters."""
        return self._store.counters.by_state(self._namespace, queue=self._namespace.qualify(name))

    async def oldest(self, name: str) -> int | None:
        """Return the time at which the oldest ready run of the queue became due (milliseconds UTC), or None."""
        stored = self._namespace.qualify(name)
        tasks = [task for queue, task in self._store.counters.lanes_with_work if queue == stored]
        return await self._store.read.oldest_ready(stored, tasks) if tasks else None

    async def pause(self, name: str, *, paused: bool) -> Queue:
        """Pause the queue, or end the pause; running runs go on. Raises QueueNotFound."""
        self.get(name)
        return await self._change(name, lambda queue: replace(queue, paused=int(paused)))

    async def limit(self, name: str, concurrency: int | UnsetType | None) -> Queue:
        """Limit the number of the queue's running runs; None removes the limit, UNSET leaves it. Creates the queue."""
        if concurrency is UNSET:
            return await self._change(name, lambda queue: queue)
        return await self._change(name, lambda queue: replace(queue, concurrency=concurrency))

    async def _change(self, name: str, change: Callable[[Queue], Queue]) -> Queue:
        return self._namespace.queue(await self._store.write(_ChangeQueue(self._namespace.qualify(name), change)))
