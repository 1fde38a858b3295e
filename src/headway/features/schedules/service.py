"""Schedules: making, reading, changing, pausing, triggering, back-filling and removing them.

A change first decides the slots that have passed, by the schedule as it was: so it concerns later slots only, and no slot
is lost between the two.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from headway.config import Settings
from headway.durations import format_ms
from headway.errors import (
    HeadwayError,
    InvalidSchedule,
    ScheduleBusy,
    ScheduleExists,
    ScheduleNotFound,
    VersionMismatch,
)
from headway.features.schedules import store as kept
from headway.features.schedules.model import CatchUp, Outcome, Overlap, PastSlot, Schedule
from headway.features.schedules.rules.explanation import explain
from headway.features.schedules.rules.occurrence import checked as kept_to
from headway.features.schedules.rules.occurrence import timetable
from headway.features.schedules.rules.policy import Action, Slot, decide_trigger, preview, run_at
from headway.features.schedules.scheduler import FILLED, Scheduler, add_slots, with_next
from headway.features.schedules.terms import as_on_the_wire, checked, said
from headway.ids import IdSource
from headway.kernel.namespace import Namespace
from headway.kernel.run import Run
from headway.kernel.task import Task
from headway.protocol import schedules as wire
from headway.protocol.values import invalid, timestamp
from headway.runs.idempotency import Creation, Repeatable, RequestKey, keyed
from headway.runs.stopping import finish
from headway.store.command import Command
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

BACKFILL_MAX: Final = 1_000
"""Slots of one back-fill, which is one transaction."""

_encode: Final = msgspec.json.Encoder().encode
_decode_slots: Final = msgspec.json.Decoder(PastSlot).decode


class BackfillResult(msgspec.Struct, frozen=True):
    """Slots that a back-fill has given runs, or would give them."""

    dry_run: bool
    slots: list[PastSlot]


@dataclass
class CreateSchedule(Creation):
    """Insertion of a schedule whose name is free; the result is its id."""

    schedule: Schedule

    grows = True

    def apply(self, uow: UnitOfWork) -> str:
        """Insert the schedule; raise ScheduleExists."""
        _check_free(uow, self.schedule.organisation, self.schedule.name)
        kept.insert(uow, self.schedule)
        return self.schedule.id


@dataclass
class ChangeSchedule(Repeatable[Schedule]):
    """A change of a schedule as it is in the transaction; the result is the schedule after it."""

    organisation: int
    named: str
    version: int | None
    """The version that the schedule must have; None: any."""
    scheduler: Scheduler

    @abstractmethod
    def changed(self, uow: UnitOfWork, schedule: Schedule) -> Schedule:
        """Return the schedule with the change."""

    def apply(self, uow: UnitOfWork) -> Schedule:
        """Decide the slots that have passed, then change the schedule; raise ScheduleNotFound or VersionMismatch."""
        before = _load(uow, self.organisation, self.named, self.version)
        after = self.changed(uow, before)
        return after if after == before else self.scheduler.change(uow, before, after)

    def lines(self, result: Schedule) -> list[str]:
        """Return the id."""
        return [result.id]

    def replay(self, uow: UnitOfWork, lines: list[str]) -> Schedule:
        """Return the schedule as it is now."""
        return _load(uow, self.organisation, lines[0], None)


@dataclass
class PatchSchedule(ChangeSchedule):
    """A change of fields of a schedule."""

    fields: dict[str, Any]

    def changed(self, uow: UnitOfWork, schedule: Schedule) -> Schedule:
        """Raise ScheduleExists for a name in use, UnknownTask, InvalidSchedule or InvalidInput."""
        if not self.fields:
            return schedule
        if self.fields.get("name", schedule.name) != schedule.name:
            _check_free(uow, self.organisation, str(self.fields["name"]))
        return _checked(replace(schedule, problem="", **self.fields), self.scheduler, uow.definitions.tasks)


@dataclass
class PauseSchedule(ChangeSchedule):
    """Pause of a schedule."""

    def changed(self, uow: UnitOfWork, schedule: Schedule) -> Schedule:
        del uow
        return replace(schedule, paused=True)


@dataclass
class ResumeSchedule(ChangeSchedule):
    """End of a schedule's pause."""

    catch_up: CatchUp | None
    """Policy for the slots that passed meanwhile; None: that of the schedule."""

    def changed(self, uow: UnitOfWork, schedule: Schedule) -> Schedule:
        """Decide the slots that passed, if `catch_up` is given; raise InvalidSchedule if the zone is unknown here."""
        if not schedule.paused:
            return schedule
        try:
            after = with_next(replace(schedule, paused=False, problem=""))
        except InvalidSchedule as error:
            raise as_on_the_wire(error) from None
        if self.catch_up is None:
            return after
        settled, slots = self.scheduler.settle(uow, replace(after, catch_up=self.catch_up))
        add_slots(uow, slots)
        return replace(after, last_slot=settled.last_slot)


@dataclass
class DeleteSchedule(Command[None]):
    """Removal of a schedule; its runs and the record of its slots stay."""

    organisation: int
    named: str
    version: int | None

    def apply(self, uow: UnitOfWork) -> None:
        """Remove the schedule; raise ScheduleNotFound or VersionMismatch."""
        kept.delete(uow, _load(uow, self.organisation, self.named, self.version))


@dataclass
class TriggerSchedule(Repeatable[Run]):
    """Start of a run of a schedule beside its slots."""

    organisation: int
    named: str
    how: wire.TriggerSchedule
    scheduler: Scheduler

    grows = True

    def apply(self, uow: UnitOfWork) -> Run:
        """Start the run; raise ScheduleNotFound, ScheduleBusy if the overlap policy allows no run, or an error of the start."""
        how, schedule = self.how, _load(uow, self.organisation, self.named, None)
        if how.overlap is not None:
            schedule = replace(schedule, overlap=Overlap(how.overlap))
        new = self.scheduler.new_slot_run(uow, schedule)
        decision = decide_trigger(schedule, uow.now_ms, self.scheduler.unfinished(uow, schedule))
        if decision.action is Action.SKIP:
            raise ScheduleBusy
        detail = {name: text for name, text in (("reason", how.reason), ("actor", how.actor)) if text}
        return self.scheduler.start(uow, schedule, new, decision.action, **detail)

    def lines(self, result: Run) -> list[str]:
        """Return the id."""
        return [result.id]

    def replay(self, uow: UnitOfWork, lines: list[str]) -> Run:
        """Return the run as it is now."""
        run = uow.run(lines[0])
        if run is None:
            raise ScheduleNotFound(f"the run {lines[0]} that was started does not exist any more")
        return run


@dataclass
class Backfill(Repeatable[list[PastSlot]]):
    """Start of runs for slots that have passed and have none."""

    organisation: int
    named: str
    asked: wire.BackfillSchedule
    first: int
    last: int
    kept_ms: int
    """Milliseconds for which slots are remembered."""
    scheduler: Scheduler

    weight = BACKFILL_MAX

    def __post_init__(self) -> None:
        """Growing the store is what a dry run does not do."""
        self.grows = not self.asked.dry_run

    def apply(self, uow: UnitOfWork) -> list[PastSlot]:
        """Fill the slots from `first` to `last`; raise InvalidInput for too many slots and for slots that are not kept any more."""
        schedule, first, last = _load(uow, self.organisation, self.named, None), self.first, self.last
        if first < uow.now_ms - self.kept_ms:
            raise invalid("/from", f"slots are kept for {format_ms(self.kept_ms)}: take a later start")
        known = kept.slots_within(uow, schedule.id, first, last)
        passed = timetable(schedule).between(first - 1, min(last, schedule.last_slot))
        found = list(islice(passed, BACKFILL_MAX + 1))
        if len(found) > BACKFILL_MAX:
            raise invalid("/to", f"these are more than {BACKFILL_MAX:,} slots: take a shorter range")
        wanted = [slot for slot in found if slot not in known or known[slot].run_id is None]
        slots = self._fill(uow, schedule, wanted)
        if not self.asked.dry_run:
            kept.fill_slots(uow, slots)
            kept.add_slots(uow, _remainders(uow, schedule, known, wanted))
        return slots

    def _fill(self, uow: UnitOfWork, schedule: Schedule, wanted: list[int]) -> list[PastSlot]:
        asked = self.asked
        if asked.dry_run:
            return [PastSlot(schedule.id, slot, None, Outcome.MISSED, FILLED, "", None, uow.now_ms) for slot in wanted]
        new_runs = [self.scheduler.new_slot_run(uow, schedule, slot) for slot in wanted]
        beside = asked.overlap == "allow" or (asked.overlap is None and schedule.overlap is Overlap.ALLOW)
        waits = not beside and kept.lock_unfinished(uow, schedule.id) > 0
        slots = []
        for slot, new in zip(wanted, new_runs, strict=True):
            run = self.scheduler.start(uow, schedule, new, Action.QUEUE if waits else Action.RUN)
            waits = not beside
            message = "it was back-filled"
            slots.append(PastSlot(schedule.id, slot, None, Outcome.RAN, FILLED, message, run.id, uow.now_ms))
        return slots

    def lines(self, result: list[PastSlot]) -> list[str]:
        """Return the slots as JSON."""
        return [_encode(slot).decode() for slot in result]

    def replay(self, uow: UnitOfWork, lines: list[str]) -> list[PastSlot]:
        """Return the slots of the first request."""
        del uow
        return [_decode_slots(line) for line in lines]


class Schedules:
    """Every verb on the schedules of an organisation. A schedule is named by its id or by its name."""

    def __init__(
        self, store: Store, scheduler: Scheduler, ids: IdSource, settings: Settings, organisation: int = 1
    ) -> None:
        self._store = store
        self._scheduler = scheduler
        self._ids = ids
        self._settings = settings
        self._organisation = organisation
        self._namespace = Namespace(organisation)
        self._read = kept.ScheduleReader(store.read)

    # -- making ------------------------------------------------------------------------------------------------------

    async def create(self, spec: wire.CreateSchedule, request: RequestKey | None = None) -> Schedule:
        """Make a schedule; its first slot is the first after now.

        Raises InvalidSchedule, which names the field, UnknownTask, InvalidInput for what its task does not take, and
        ScheduleExists. With `validate_only` everything is checked and nothing is kept.
        """
        await self._store.know(self._namespace, (spec.task,))
        now_ms = self._store.clock.now_ms()
        draft = Schedule(
            id=self._ids.new(now_ms),
            organisation=self._organisation,
            paused=spec.paused,
            last_slot=now_ms,
            created_at=now_ms,
            updated_at=now_ms,
            **said(spec, self._settings),  # type: ignore[arg-type]  # of the wire's types
        )
        schedule = with_next(_checked(draft, self._scheduler, self._store.definitions.tasks))
        if timetable(schedule).next_after(now_ms) is None:
            raise _over("ends_at" if schedule.ends_at is not None else "occurrence")
        if spec.validate_only:
            return schedule

        schedule_id = await self._store.write(keyed(CreateSchedule(schedule), request, self._namespace))
        return schedule if schedule_id == schedule.id else await self.get(schedule_id)

    # -- looking -----------------------------------------------------------------------------------------------------

    async def get(self, named: str) -> Schedule:
        """Return a schedule; raise ScheduleNotFound."""
        found = await self._read.get(self._organisation, named)
        if found is None:
            raise _missing(named)
        return found

    async def page(self, task: str | None, after: str, size: int) -> tuple[list[Schedule], str]:
        """Return a page of schedules by name, of a task or of all, and the name after which the next page starts ("": the end)."""
        found = await self._read.page(self._organisation, task, after, size + 1)
        return found[:size], found[size - 1].name if len(found) > size else ""

    async def soonest(self, tasks: Iterable[str]) -> dict[str, Schedule]:
        """Return, by task, the schedule with the earliest next slot of each of these tasks, by one statement for all.

        Where no slot is to come, since all are paused or have ended, it is the first by name.
        """
        found = await self._read.soonest(self._organisation, list(tasks))
        return {schedule.task: schedule for schedule in found}

    async def slots(
        self, named: str, outcome: str | None, before: int | None, size: int
    ) -> tuple[list[PastSlot], int | None]:
        """Return a page of decided slots, newest first, and the slot before which the next page starts (None: the end).

        Raises ScheduleNotFound.
        """
        schedule = await self.get(named)
        found = await self._read.slots(schedule.id, outcome, kept.NEWEST if before is None else before, size + 1)
        return found[:size], found[size - 1].nominal if len(found) > size else None

    async def coming(self, named: str, count: int) -> tuple[Schedule, list[Slot]]:
        """Return a schedule, paused or not, and its next slots; raise ScheduleNotFound."""
        schedule = await self.get(named)
        return schedule, preview(schedule, max(schedule.last_slot, self._store.clock.now_ms()), count)

    def preview(self, asked: wire.PreviewSchedule) -> tuple[Schedule, list[Slot]]:
        """Return the one spelling of an occurrence, and when it would fire; raise InvalidSchedule, naming the field."""
        starts_at, ends_at, after = (
            None if text is None else timestamp(text, f"/{name}")
            for name, text in (("starts_at", asked.starts_at), ("ends_at", asked.ends_at), ("after", asked.after))
        )
        schedule = Schedule(
            id="", occurrence=asked.occurrence, timezone=asked.timezone, starts_at=starts_at, ends_at=ends_at
        )
        try:
            schedule = kept_to(schedule)
        except InvalidSchedule as error:
            raise as_on_the_wire(error) from None
        return schedule, preview(schedule, self._store.clock.now_ms() if after is None else after, asked.count)

    # -- changing ----------------------------------------------------------------------------------------------------

    async def _change(self, command: ChangeSchedule, request: RequestKey | None) -> Schedule:
        """Apply a change to the schedule as it is in the transaction, after deciding about the slots that have come."""
        after = await self._store.write(keyed(command, request, self._namespace))
        await finish(self._store)
        return after

    async def patch(
        self, named: str, patch: wire.PatchSchedule, version: int | None, request: RequestKey | None = None
    ) -> Schedule:
        """Change fields of a schedule.

        Raises ScheduleNotFound, InvalidSchedule or InvalidInput (with the field), UnknownTask, VersionMismatch,
        ScheduleExists for a name in use, and IdempotencyKeyReused.
        """
        changes = said(patch, self._settings)
        if "task" in changes:
            await self._store.know(self._namespace, (str(changes["task"]),))
        return await self._change(PatchSchedule(self._organisation, named, version, self._scheduler, changes), request)

    async def pause(self, named: str, request: RequestKey | None = None) -> Schedule:
        """Pause a schedule: slots pass without runs until it is resumed. Existing runs go on. Raises ScheduleNotFound."""
        return await self._change(PauseSchedule(self._organisation, named, None, self._scheduler), request)

    async def resume(self, named: str, how: wire.ResumeSchedule, request: RequestKey | None = None) -> Schedule:
        """Resume a schedule. Slots that passed meanwhile are decided by its catch-up policy, or by that of `how`.

        Raises ScheduleNotFound, and InvalidSchedule if its zone is unknown here.
        """
        catch_up = None if how.catch_up is None else CatchUp(how.catch_up)
        return await self._change(ResumeSchedule(self._organisation, named, None, self._scheduler, catch_up), request)

    async def delete(self, named: str, version: int | None = None) -> None:
        """Remove a schedule; its runs go on, and its slots are removed by retention. Raises ScheduleNotFound or VersionMismatch."""
        await self._store.write(DeleteSchedule(self._organisation, named, version))

    # -- runs by hand ------------------------------------------------------------------------------------------------

    async def trigger(self, named: str, how: wire.TriggerSchedule, request: RequestKey | None = None) -> Run:
        """Start a run of the schedule now, beside its slots; the schedule may be paused or over.

        Overlap holds as for a slot; raises ScheduleBusy where that makes no run, and what a start raises.
        """
        await self._store.know(self._namespace, ((await self.get(named)).task,))
        command = TriggerSchedule(self._organisation, named, how, self._scheduler)
        run = await self._store.write(keyed(command, request, self._namespace))
        await finish(self._store)
        return self._namespace.run(run)

    async def backfill(
        self, named: str, asked: wire.BackfillSchedule, request: RequestKey | None = None
    ) -> BackfillResult:
        """Give runs to slots that have passed and have none: skipped, missed, or from before the schedule was made.

        One that has a run keeps it, so that asking twice starts nothing twice. Raises InvalidInput for more slots than
        BACKFILL_MAX, and for those further back than slots are remembered: their runs are not known any more.
        """
        first, last = timestamp(asked.first, "/from"), timestamp(asked.last, "/to")
        if last < first:
            raise invalid("/to", "it is before from")
        await self._store.know(self._namespace, ((await self.get(named)).task,))

        command = Backfill(self._organisation, named, asked, first, last, kept_ms(self._settings), self._scheduler)
        return BackfillResult(asked.dry_run, await self._store.write(keyed(command, request, self._namespace)))


def kept_ms(settings: Settings) -> int:
    """Return how long slots are remembered: as long as what is left of their runs tells that these were there."""
    return min(settings.slots_ms, settings.tombstone_ms)


def _remainders(uow: UnitOfWork, schedule: Schedule, known: dict[int, PastSlot], filled: list[int]) -> list[PastSlot]:
    """Several missed slots were kept as one, and the first of them has a run now: return what is left of them."""
    left = []
    for slot in filled:
        row = known.get(slot)
        if row is None or row.until is None:
            continue
        others = kept.slots_within(uow, schedule.id, slot, row.until)
        rest = timetable(schedule).next_after(slot)
        while rest is not None and rest in others:
            rest = timetable(schedule).next_after(rest)
        if rest is not None and rest <= row.until:
            left.append(replace(row, nominal=rest))
    return left


def sentence(schedule: Schedule) -> str:
    """Return a sentence about the times of a schedule, or its occurrence if its zone is unknown here."""
    try:
        return explain(schedule)
    except HeadwayError:
        return schedule.occurrence


def next_run_at(schedule: Schedule) -> int | None:
    """Return when the run of the next slot starts, its jitter included; also of a schedule that cannot be kept to here."""
    if schedule.next_at is None:
        return None
    try:
        return run_at(schedule, schedule.next_at)
    except HeadwayError:
        return schedule.next_at


def _load(uow: UnitOfWork, organisation: int, named: str, version: int | None) -> Schedule:
    schedule = kept.load(uow, organisation, named)
    if schedule is None:
        raise _missing(named)
    if version is not None and schedule.version != version:
        raise VersionMismatch(f"the schedule is at version {schedule.version}, not {version}", version=schedule.version)
    return schedule


def _checked(schedule: Schedule, scheduler: Scheduler, tasks: Mapping[str, Task]) -> Schedule:
    """Return the schedule in its one spelling, if it has slots and its task takes its input."""
    schedule = checked(schedule)
    task = Namespace(schedule.organisation).find(tasks, schedule.task)
    # One of an inactive task may be made: its slots say so, until the task is active again.
    scheduler.new_run(schedule, schedule.labels, None if task is None else replace(task, active=True))
    return schedule


def _check_free(uow: UnitOfWork, organisation: int, name: str) -> None:
    other = kept.load(uow, organisation, name)
    if other is not None:
        raise ScheduleExists(f"schedule {other.id} is named {name!r}", schedule_id=other.id)


def _missing(named: str) -> ScheduleNotFound:
    return ScheduleNotFound(f"there is no schedule {named[:200]!r}", schedule=named[:200])


def _over(field: str) -> InvalidSchedule:
    message = "the schedule has ended: no slot is left"
    return InvalidSchedule(
        f"{field}: {message}", errors=[{"pointer": f"/{field}", "code": "value", "message": message}]
    )
