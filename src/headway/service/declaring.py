"""Schedules that code declares: what a worker says of them when it registers, and what becomes of that.

Each is bound to a task that the same worker declares, so that being a worker is enough to say when one's own tasks run.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from headway.config import Settings
from headway.engine.access import within
from headway.engine.schedules.declaring import SAID, declared, declared_again, declared_name, left
from headway.errors import Forbidden, HeadwayError
from headway.ids import IdSource
from headway.model.access import Principal
from headway.model.schedule import PastSlot, Schedule
from headway.model.space import Space
from headway.model.task import Task
from headway.service.schedule_terms import checked, said, spelled
from headway.service.slots import Slots, with_next
from headway.storage import schedules as kept
from headway.storage.unit import Unit
from headway.wire.schedules import ScheduleDeclaration
from headway.wire.values import invalid

BY_HAND: Final = "it was made by hand, and stays as it is: give one of them another name"

log = logging.getLogger("headway.schedules")


class Declaring:
    """Keeps what code declares, for all organisations."""

    def __init__(self, slots: Slots, ids: IdSource, settings: Settings) -> None:
        self._slots = slots
        self._ids = ids
        self._settings = settings

    async def read(
        self, asked: Sequence[ScheduleDeclaration], tasks: Mapping[str, Task], space: Space, started_at: int
    ) -> list[Schedule]:
        """Return what is declared, checked; raise InvalidInput or InvalidSchedule, which name the place.

        `tasks` are those that are declared with them, by their names outside.
        """
        found: dict[str, Schedule] = {}
        for index, spec in enumerate(asked):
            try:
                task = tasks.get(spec.task)
                if task is None:
                    raise invalid("/task", "the worker itself has to declare the task")
                if spec.name in found:
                    raise invalid("/name", f"{spec.name!r} is declared twice")
                fields = said(spec, self._settings)
                schedule = checked(Schedule(id="", organisation=space.organisation, **fields))  # type: ignore[arg-type]
                self._slots.drafted(schedule, schedule.labels, replace(task, active=True))
                await self._slots.rest()
            except HeadwayError as error:
                raise _at(error, index) from None
            found[spec.name] = declared(schedule, started_at)
        return list(found.values())

    def keep(
        self, unit: Unit, space: Space, tasks: Sequence[str], said: Sequence[Schedule], started_at: int,
        decided: list[PastSlot], by: Principal,
    ) -> list[str]:  # fmt: skip
        """Make, change and pause schedules, so that they are as the code of these tasks says; return what did not count.

        Slots that were decided about are added to `decided`. Raises Forbidden for a schedule that starts runs, or would, in
        another queue than those that the worker's key is for.
        """
        notices: list[str] = []
        known = {declared_name(one): one for one in kept.lock_declared(unit, space.organisation, list(tasks))}
        for schedule in said:
            before = known.pop(schedule.name, None) or kept.load(unit, space.organisation, schedule.name)
            for one in (schedule, before):
                if one is not None and not within(by, _queue(unit, space, one)):
                    raise Forbidden(
                        f"the key is for the queues {', '.join(by.queues or ())}, and the schedule {schedule.name!r} starts "
                        f"runs in the queue {space.outside(_queue(unit, space, one))}: give it that queue too"
                    )
            if before is None:
                self._make(unit, schedule)
            elif not before.declaration:
                notices.append(f"schedule {schedule.name!r}: {BY_HAND}")
            else:
                after, overruled = self._again(before, schedule, unit.now_ms)
                self._change(unit, before, after, decided)
                if overruled:
                    fields = ", ".join(map(spelled, overruled))
                    notices.append(
                        f"schedule {schedule.name!r}: the code has changed {fields}, which somebody had changed"
                    )
        for before in known.values():
            if not within(by, _queue(unit, space, before)):
                continue
            after = left(before, started_at)
            self._change(unit, before, after, decided)
            if after.declared != before.declared:
                notices.append(f"schedule {before.name!r}: the code does not declare it any more; it is paused")
        return notices

    def _make(self, unit: Unit, schedule: Schedule) -> None:
        now_ms = unit.now_ms
        made = replace(schedule, id=self._ids.new(now_ms), last_slot=now_ms, created_at=now_ms, updated_at=now_ms)
        kept.insert(unit, with_next(made))
        log.info("schedule.declared schedule_id=%s task=%s", made.id, made.task)

    @staticmethod
    def _again(before: Schedule, said: Schedule, now_ms: int) -> tuple[Schedule, list[str]]:
        after, overruled = declared_again(before, said, now_ms)
        if after == before:
            return before, []
        try:
            return checked(after), overruled
        except HeadwayError:  # what is left of somebody's changes does not go with what the code says now
            whole = {name: getattr(said, name) for name in SAID}
            return replace(after, **whole), [name for name in SAID if whole[name] != getattr(before, name)]

    def _change(self, unit: Unit, before: Schedule, after: Schedule, decided: list[PastSlot]) -> None:
        if after != before:
            self._slots.change(unit, before, after, decided)
            log.info("schedule.declared schedule_id=%s task=%s paused=%s", after.id, after.task, after.paused)


def _queue(unit: Unit, space: Space, schedule: Schedule) -> str:
    """Return the queue of a schedule's runs, as it is kept."""
    if schedule.queue is not None:
        return space.inside(schedule.queue)
    task = next(filter(None, map(unit.task_now, space.tasks(schedule.task))), Task(name=""))
    return space.inside(space.outside(task.queue))


def _at(error: HeadwayError, index: int) -> HeadwayError:
    """Return the refusal with pointers from the request's own root."""
    errors = [part | {"pointer": f"/schedules/{index}{part['pointer']}"} for part in error.errors]
    return type(error)(f"schedules.{index}.{error.detail}", errors=errors, **error.fields)
