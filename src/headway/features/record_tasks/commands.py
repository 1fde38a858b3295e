"""Commands that create, change and delete record tasks together with the tasks of the same names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from headway.errors import Conflict, RecordTaskNotFound, VersionMismatch
from headway.features.record_tasks import store as storage
from headway.features.record_tasks.model import EXECUTOR, RecordTask
from headway.kernel.namespace import Namespace
from headway.kernel.task import RetryPolicy, Task
from headway.protocol import record_tasks as wire
from headway.runs.built_in.task import MAX_CRASHES
from headway.store.command import Command
from headway.store.unit_of_work import UnitOfWork

TASKS_MAX: Final = 1_000
"""Number of record tasks of an organisation."""
_INPUT: Final = msgspec.json.encode({
    "type": "object",
    "properties": {
        "records": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1_000},
        "failed_of": {"type": "string"},
    },
    "additionalProperties": False,
}).decode()  # fmt: skip


@dataclass
class CreateTask(Command[RecordTask]):
    """Insertion of a record task and of its task; the result is the record task."""

    namespace: Namespace
    spec: wire.CreateRecordTask
    task: RecordTask

    grows = True

    def apply(self, uow: UnitOfWork) -> RecordTask:
        """Insert both; raise Conflict for a name that is in use and for too many record tasks."""
        spec, name, now_ms = self.spec, self.task.name, uow.now_ms
        if storage.lock(uow, name) is not None:
            raise Conflict(f"there is a record task {spec.name!r}")
        if len(storage.read_all(uow.database, self.namespace.organisation)) >= TASKS_MAX:
            raise Conflict(f"there are {TASKS_MAX:,} record tasks already")
        known = uow.task_now(name)
        if known is not None and known.executor != EXECUTOR:
            raise Conflict(f"there is a task {spec.name!r}, which workers execute")
        made = replace(self.task, created_at=now_ms, updated_at=now_ms)
        storage.insert(uow, made)
        task = Task(
            name=name, description=spec.description, executor=EXECUTOR, queue=self.namespace.qualify(spec.queue),
            input_schema=_INPUT, retry=RetryPolicy(first_ms=30_000), max_crashes=MAX_CRASHES, active=spec.active,
            created_at=now_ms if known is None else known.created_at, updated_at=now_ms,
        )  # fmt: skip
        _define(uow, task)
        return made


@dataclass
class PatchTask(Command[RecordTask]):
    """A change of a record task, computed from `before`; the result is the record task after it."""

    namespace: Namespace
    spec: wire.PatchRecordTask
    before: RecordTask
    after: RecordTask
    version: int | None
    """Version that the client expects; None: any."""

    def apply(self, uow: UnitOfWork) -> RecordTask:
        """Save the change; raise RecordTaskNotFound or VersionMismatch."""
        found = locked(uow, self.namespace, self.before.name, self.version)
        if found.version != self.before.version:
            raise _mismatch(found)
        made = replace(self.after, version=found.version + 1, created_at=found.created_at, updated_at=uow.now_ms)
        storage.save(uow, made, found.version)
        task, spec = uow.task_now(found.name), self.spec
        assert task is not None
        if spec.description is not UNSET:
            task = replace(task, description=spec.description)
        if spec.queue is not UNSET:
            task = replace(task, queue=self.namespace.qualify(spec.queue))
        if spec.description is not UNSET or spec.queue is not UNSET:
            _define(uow, replace(task, updated_at=uow.now_ms))
        return made


@dataclass
class DeleteTask(Command[None]):
    """Removal of a record task; its task becomes inactive."""

    namespace: Namespace
    name: str
    version: int | None

    def apply(self, uow: UnitOfWork) -> None:
        """Remove the record task; raise RecordTaskNotFound or VersionMismatch."""
        found = locked(uow, self.namespace, self.name, self.version)
        storage.delete(uow, found)
        task = uow.task_now(self.name)
        if task is not None:
            uow.define(replace(task, active=False, updated_at=uow.now_ms))


def locked(uow: UnitOfWork, namespace: Namespace, name: str, version: int | None) -> RecordTask:
    """Lock and return the record task of a stored name; raise RecordTaskNotFound or VersionMismatch."""
    found = storage.lock(uow, name)
    if found is None:
        raise absent(namespace.unqualify(name))
    if version not in (None, found.version):
        raise _mismatch(found)
    return found


def absent(name: str) -> RecordTaskNotFound:
    """Return the error for a name without a record task."""
    return RecordTaskNotFound(f"there is no record task {name[:80]!r}", record_task=name[:80])


def _mismatch(found: RecordTask) -> VersionMismatch:
    return VersionMismatch(f"the record task is at version {found.version}", version=found.version)


def _define(uow: UnitOfWork, task: Task) -> None:
    uow.define(task)
    uow.queue(task.queue)
    uow.open_lane(task.queue, task.name)
