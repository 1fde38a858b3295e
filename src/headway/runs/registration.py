"""Registration of workers: the definitions of their tasks are read, checked and stored with the worker in one transaction."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec
from msgspec.structs import replace

from headway.config import Settings
from headway.errors import Forbidden, InvalidInput
from headway.ids import IdSource
from headway.kernel.authority import RESERVED, Principal
from headway.kernel.namespace import Namespace
from headway.kernel.permissions import declares_beyond
from headway.kernel.query import FIRST
from headway.kernel.task import Limit, Retention, RetryPolicy, Task
from headway.kernel.worker import Worker
from headway.protocol import workers as wire
from headway.protocol.values import duration, invalid, timestamp
from headway.runs.claiming import unpark
from headway.runs.inputs import canonical
from headway.runs.schemas import Schemas
from headway.runs.sessions import Registration
from headway.store.command import Command
from headway.store.definition_cache import DefinitionCache
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

_encode: Final = msgspec.json.Encoder().encode

CHUNK: Final = 1_000
"""Parked runs that are read at once."""


class FeatureDeclaration(Protocol):
    """The checked part of a registration that belongs to one feature."""

    def keep(self, uow: UnitOfWork, tasks: Sequence[str], by: Principal) -> list[str]:
        """Store the declaration, for these tasks of the worker, in the registration's transaction; return notices for the worker."""
        ...

    async def committed(self) -> None:
        """Do the work that follows the commit."""
        ...


class DeclarationReader(Protocol):
    """A feature's reader of registrations."""

    async def read(
        self, asked: wire.RegisterWorker, tasks: Mapping[str, Task], namespace: Namespace, started_at: int
    ) -> FeatureDeclaration:
        """Return the feature's part of a registration, checked; `tasks` has the declared tasks by the worker's names."""
        ...


class ExecutorTasks:
    """Names of all tasks of an executor, including tasks that are defined later."""

    def __init__(self, definitions: DefinitionCache, executor: str) -> None:
        self._definitions = definitions
        self._executor = executor

    def __contains__(self, name: object) -> bool:
        """Return whether a task of this name has the executor."""
        return isinstance(name, str) and self._definitions.task(name).executor == self._executor


@dataclass(eq=False)
class Register(Command[list[str]]):
    """Storage of a worker and of its definitions of tasks; the result are notices for the worker."""

    worker: Worker
    tasks: list[Task]
    queues: list[str]
    """Qualified names."""
    namespace: Namespace
    by: Principal
    declared: list[FeatureDeclaration]

    def apply(self, uow: UnitOfWork) -> list[str]:
        """Raise Forbidden for tasks, and parts of features, in other queues than those of the worker's key."""
        own = _define(uow, self.tasks, self.namespace, self.by)
        for queue in self.queues:
            uow.queue(queue)
        uow.save_worker(self.worker)
        return [notice for each in self.declared for notice in each.keep(uow, own, self.by)] if self.tasks else []


class Registrar:
    """Registers workers of all organisations."""

    def __init__(
        self,
        store: Store,
        schemas: Schemas,
        ids: IdSource,
        settings: Settings,
        declarations: Sequence[DeclarationReader],
    ) -> None:
        """`declarations` read what features let workers declare beside tasks."""
        self._store = store
        self._schemas = schemas
        self._ids = ids
        self._settings = settings
        self._declarations = declarations

    async def register(
        self,
        asked: wire.RegisterWorker,
        namespace: Namespace,
        server_id: str | None,
        by: Principal,
        *,
        built_in: bool = False,
        executor: str = "",
    ) -> Registration:
        """Store a worker and its definitions of tasks; see `Workers.register`."""
        if not built_in:
            _refuse_reserved(asked.tasks)
        now_ms = self._store.clock.now_ms()
        tasks = [await self._declared(declaration, namespace, now_ms) for declaration in asked.tasks]
        started_at = now_ms if asked.started_at is None else min(now_ms, timestamp(asked.started_at, "/started_at"))
        by_name = {namespace.unqualify(task.name): task for task in tasks}
        declared = [await reader.read(asked, by_name, namespace, started_at) for reader in self._declarations]
        queues = list(map(namespace.qualify, asked.queues))
        names = [task.name for task in tasks]
        worker = Worker(
            id=self._ids.new(now_ms),
            name=asked.name or f"{asked.host}:{asked.pid}",
            host=asked.host,
            pid=asked.pid,
            version=asked.version,
            queues=_encode(queues).decode(),
            tasks=_encode(names).decode(),
            capacity=asked.capacity,
            state="active",
            created_at=now_ms,
            heard_at=now_ms,
            server_id=server_id,
            organisation=namespace.organisation,
        )
        notices = await self._store.write(Register(worker, tasks, queues, namespace, by, declared))
        for each in declared:
            await each.committed()
        takes: Container[str] = ExecutorTasks(self._store.definitions, executor) if executor else frozenset(names)
        return Registration(worker, frozenset(queues), takes, tuple(notices))

    async def _declared(self, said: wire.TaskDeclaration, namespace: Namespace, now_ms: int) -> Task:
        retry, keep = said.retry, said.retention
        where = f"/tasks/{said.name}"
        if said.shared and namespace.organisation != FIRST:
            raise invalid(f"{where}/shared", "only tasks of the first organisation can be shared with all others")

        def json(raw: msgspec.Raw, field: str) -> str:
            limits = self._settings
            return canonical(raw, bytes_max=limits.input_max, depth_max=limits.depth_max, pointer=f"{where}/{field}")[0]

        schema = json(said.input_schema, "input_schema")
        await self._schemas.declare(schema, namespace.organisation, f"{where}/input_schema")

        def ms(text: str | None, field: str) -> int | None:
            return None if text is None else duration(text, f"{where}/{field}")

        def limit(rate: wire.RateSpec | None) -> Limit | None:
            return (
                None
                if rate is None
                else Limit(count=rate.limit, period_ms=max(1, duration(rate.period, f"{where}/rate")))
            )

        return Task(
            name=namespace.qualify(said.name),
            title=said.title,
            version=said.version,
            description=said.description,
            executor=said.executor,
            queue=namespace.qualify(said.queue),
            priority=said.priority,
            input_schema=schema,
            output_schema=None if said.output_schema is None else json(said.output_schema, "output_schema"),
            retry=RetryPolicy(
                max_attempts=retry.max_attempts,
                first_ms=duration(retry.backoff, f"{where}/retry/backoff"),
                factor=retry.factor,
                longest_ms=duration(retry.max_backoff, f"{where}/retry/max_backoff"),
                jitter=retry.jitter,
                do_not_retry=tuple(retry.do_not_retry),
            ),
            max_crashes=said.max_crashes,
            timeout_ms=ms(said.timeout, "timeout"),
            heartbeat_timeout_ms=ms(said.heartbeat_timeout, "heartbeat_timeout"),
            grace_ms=duration(said.grace, f"{where}/grace"),
            concurrency=said.concurrency,
            concurrency_per_key=said.concurrency_per_key,
            rate=limit(said.rate),
            rate_per_key=limit(said.rate_per_key),
            key=said.key,
            retention=Retention(
                succeeded_ms=ms(keep.succeeded, "retention/succeeded"),
                failed_ms=ms(keep.failed, "retention/failed"),
                terminated_ms=ms(keep.terminated, "retention/terminated"),
            ),
            resources=said.resources,
            shared=said.shared,
            created_at=now_ms,
            updated_at=now_ms,
        )


def _refuse_reserved(declarations: Iterable[wire.TaskDeclaration]) -> None:
    for index, declaration in enumerate(declarations):
        if declaration.name.startswith(RESERVED):
            message = f"names that begin with {RESERVED!r} are the server's own"
            raise invalid(f"/tasks/{index}/name", message, "reserved")


def _define(uow: UnitOfWork, tasks: Iterable[Task], namespace: Namespace, by: Principal) -> list[str]:
    """Save the declarations that change a task; return the names of all declared tasks in queues of the worker's key.

    Raises Forbidden with every task that the key may not change.
    """
    own, errors = [], []
    for index, task in enumerate(tasks):
        known = _present(uow, namespace, task.name)
        beyond, changed = declares_beyond(by, task, known), _changed(task, known)
        if not beyond:
            own.append(namespace.unqualify(task.name))
            if changed is not None:
                _save(uow, changed)
        elif changed is not None:
            queue = task.queue if known is None else known.queue
            message = f"{namespace.unqualify(task.name)} (queue {namespace.unqualify(queue)})"
            errors.append({"pointer": f"/tasks/{index}", "code": "queue", "message": message})
    if errors:
        names = ", ".join(error["message"] for error in errors)
        raise Forbidden(
            f"the key is for the queues {', '.join(by.queues or ())} and does not declare {names[:1000]}: give it their "
            "queues too, or let a worker declare them first whose key has these; as they are then, they may be named",
            errors=errors,
        )
    return own


def _present(uow: UnitOfWork, namespace: Namespace, stored: str) -> Task | None:
    """Return the present task of a name: the organisation's own, or one shared with it."""
    found = map(uow.task_now, namespace.tasks(namespace.unqualify(stored)))
    return next((task for task in found if task is not None and namespace.may_start(task)), None)


def _changed(task: Task, known: Task | None) -> Task | None:
    """Return the task after a declaration, or None if it changes nothing; `active` is not part of declarations."""
    if known is None or known.name != task.name:
        return task
    if known.executor not in wire.EXECUTORS:
        raise InvalidInput(f"{Namespace.unqualify(task.name)!r} is a task that the server executes itself")
    task = replace(task, active=known.active, created_at=known.created_at)
    return None if replace(task, updated_at=known.updated_at) == known else task


def _save(uow: UnitOfWork, task: Task) -> None:
    uow.define(task)
    uow.queue(task.queue)
    # Limits may have been lifted: whatever is parked competes again.
    while parked := uow.find("find_parked_of_task", task=task.name, limit=CHUNK):
        for run in parked:
            unpark(uow, run)
