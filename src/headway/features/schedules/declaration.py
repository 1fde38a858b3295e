"""Schedules that code declares: reading them from a worker's registration, and making, changing and pausing them.

Each is bound to a task that the same worker declares, so that being a worker is enough to say when one's own tasks run.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from headway.config import Settings
from headway.errors import Forbidden, HeadwayError
from headway.features.schedules import store as kept
from headway.features.schedules.model import Schedule
from headway.features.schedules.rules.declaring import SAID, declared, declared_again, declared_name, left
from headway.features.schedules.scheduler import Scheduler, with_next
from headway.features.schedules.terms import checked, said, spelled
from headway.ids import IdSource
from headway.kernel.authority import Principal
from headway.kernel.namespace import Namespace
from headway.kernel.permissions import within
from headway.kernel.task import Task
from headway.protocol.values import invalid
from headway.protocol.workers import RegisterWorker
from headway.runs.schemas import Schemas
from headway.runs.stopping import finish
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

BY_HAND: Final = "it was made by hand, and stays as it is: give one of them another name"

log = logging.getLogger("headway.schedules")


class ScheduleDeclarations:
    """Reading of the schedules that workers declare at registration, for all organisations."""

    def __init__(self, store: Store, scheduler: Scheduler, schemas: Schemas, ids: IdSource, settings: Settings) -> None:
        self._store = store
        self._schemas = schemas
        self._scheduler = scheduler
        self._ids = ids
        self._settings = settings

    async def read(
        self, asked: RegisterWorker, tasks: Mapping[str, Task], namespace: Namespace, started_at: int
    ) -> DeclaredSchedules:
        """Return the declared schedules, checked; raise InvalidInput or InvalidSchedule, which name the place.

        `tasks` are those that are declared with them, by their names outside.
        """
        found: dict[str, Schedule] = {}
        for index, spec in enumerate(asked.schedules):
            try:
                task = tasks.get(spec.task)
                if task is None:
                    raise invalid("/task", "the task is not declared by this worker")
                if spec.name in found:
                    raise invalid("/name", f"{spec.name!r} is declared twice")
                fields = said(spec, self._settings)
                schedule = checked(Schedule(id="", organisation=namespace.organisation, **fields))  # type: ignore[arg-type]
                self._scheduler.new_run(schedule, schedule.labels, replace(task, active=True))
                await self._schemas.yield_when_busy()
            except HeadwayError as error:
                raise _at(error, index) from None
            found[spec.name] = declared(schedule, started_at)
        return DeclaredSchedules(self._store, self._scheduler, self._ids, namespace, list(found.values()), started_at)


class DeclaredSchedules:
    """The schedules of one registration."""

    def __init__(
        self,
        store: Store,
        scheduler: Scheduler,
        ids: IdSource,
        namespace: Namespace,
        said: Sequence[Schedule],
        started_at: int,
    ) -> None:
        self._store = store
        self._scheduler = scheduler
        self._ids = ids
        self._namespace = namespace
        self._said = said
        self._started_at = started_at

    async def committed(self) -> None:
        """Stop the families of replaced runs that the registration's transaction had no room for."""
        if self._said:
            await finish(self._store)

    def keep(self, uow: UnitOfWork, tasks: Sequence[str], by: Principal) -> list[str]:
        """Make, change and pause schedules, so that they are as the code of these tasks says; return notices for its worker.

        Raises Forbidden for a schedule that starts runs, or would, in another queue than those that the worker's key is for.
        """
        namespace = self._namespace
        notices: list[str] = []
        known = {declared_name(one): one for one in kept.lock_declared(uow, namespace.organisation, list(tasks))}
        for schedule in self._said:
            before = known.pop(schedule.name, None) or kept.load(uow, namespace.organisation, schedule.name)
            for one in (schedule, before):
                if one is not None and not within(by, _queue(uow, namespace, one)):
                    raise Forbidden(
                        f"the key is for the queues {', '.join(by.queues or ())}, and the schedule {schedule.name!r} starts "
                        f"runs in the queue {namespace.unqualify(_queue(uow, namespace, one))}: give it that queue too"
                    )
            if before is None:
                self._make(uow, schedule)
            elif not before.declaration:
                notices.append(f"schedule {schedule.name!r}: {BY_HAND}")
            else:
                after, overruled = self._again(before, schedule, uow.now_ms)
                self._change(uow, before, after)
                if overruled:
                    fields = ", ".join(map(spelled, overruled))
                    notices.append(
                        f"schedule {schedule.name!r}: the code has changed {fields}, which somebody had changed"
                    )
        for before in known.values():
            if not within(by, _queue(uow, namespace, before)):
                continue
            after = left(before, self._started_at)
            self._change(uow, before, after)
            if after.declared != before.declared:
                notices.append(f"schedule {before.name!r}: the code does not declare it any more; it is paused")
        return notices

    def _make(self, uow: UnitOfWork, schedule: Schedule) -> None:
        now_ms = uow.now_ms
        made = replace(schedule, id=self._ids.new(now_ms), last_slot=now_ms, created_at=now_ms, updated_at=now_ms)
        kept.insert(uow, with_next(made))
        log.info("schedule.declared schedule_id=%s task=%s", made.id, made.task)

    @staticmethod
    def _again(before: Schedule, said: Schedule, now_ms: int) -> tuple[Schedule, list[str]]:
        after, overruled = declared_again(before, said, now_ms)
        if after == before:
            return before, []
        try:
            return checked(after), overruled
        except HeadwayError:  # the remaining changes by hand do not fit the new declaration
            whole = {name: getattr(said, name) for name in SAID}
            return replace(after, **whole), [name for name in SAID if whole[name] != getattr(before, name)]

    def _change(self, uow: UnitOfWork, before: Schedule, after: Schedule) -> None:
        if after != before:
            self._scheduler.change(uow, before, after)
            log.info("schedule.declared schedule_id=%s task=%s paused=%s", after.id, after.task, after.paused)


def _queue(uow: UnitOfWork, namespace: Namespace, schedule: Schedule) -> str:
    """Return the queue of a schedule's runs, as it is kept."""
    if schedule.queue is not None:
        return namespace.qualify(schedule.queue)
    task = next(filter(None, map(uow.task_now, namespace.tasks(schedule.task))), Task(name=""))
    return namespace.qualify(namespace.unqualify(task.queue))


def _at(error: HeadwayError, index: int) -> HeadwayError:
    """Return the refusal with pointers from the request's own root."""
    errors = [part | {"pointer": f"/schedules/{index}{part['pointer']}"} for part in error.errors]
    return type(error)(f"schedules.{index}.{error.detail}", errors=errors, **error.fields)
