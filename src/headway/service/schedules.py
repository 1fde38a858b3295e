"""Schedules: make, look, change, pause, trigger, back-fill, remove.

Who changes a schedule decides first about the slots that have come, by what it has said until then: a change is about
slots to come, and none falls between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

import msgspec
from msgspec.structs import replace

from headway.config import Settings
from headway.durations import format_ms
from headway.engine.schedules.explanation import explain
from headway.engine.schedules.occurrence import checked as kept_to
from headway.engine.schedules.occurrence import timetable
from headway.engine.schedules.policy import Action, Slot, decide_trigger, preview, run_at
from headway.errors import (
    HeadwayError,
    InvalidSchedule,
    ScheduleBusy,
    ScheduleExists,
    ScheduleNotFound,
    VersionMismatch,
)
from headway.ids import IdSource
from headway.model.run import Run
from headway.model.schedule import CatchUp, Outcome, Overlap, PastSlot, Schedule
from headway.model.space import Space
from headway.service.idempotency import RequestKey, keys_of, once
from headway.service.schedule_terms import as_on_the_wire, checked, said
from headway.service.slots import FILLED, Slots, with_next
from headway.service.stopping import finish
from headway.storage import schedules as kept
from headway.storage.store import Store
from headway.storage.unit import Unit
from headway.wire import schedules as wire
from headway.wire.values import invalid, timestamp

BACKFILL_MAX: Final = 1_000
"""Slots of one back-fill, which is one transaction."""

_encode: Final = msgspec.json.Encoder().encode
_decode_slots: Final = msgspec.json.Decoder(PastSlot).decode


class Filled(msgspec.Struct, frozen=True):
    """Slots that a back-fill has given runs, or would give them."""

    dry_run: bool
    slots: list[PastSlot]


class Schedules:
    """Every verb on the schedules of an organisation. A schedule is named by its id or by its name."""

    def __init__(self, store: Store, slots: Slots, ids: IdSource, settings: Settings, organisation: int = 1) -> None:
        self._store = store
        self._slots = slots
        self._ids = ids
        self._settings = settings
        self._organisation = organisation
        self._space = Space(organisation)
        self._read = kept.ScheduleReader(store.read)

    # -- making ------------------------------------------------------------------------------------------------------

    async def create(self, spec: wire.CreateSchedule, request: RequestKey | None = None) -> Schedule:
        """Make a schedule; its first slot is the first after now.

        Raises InvalidSchedule, which names the field, UnknownTask, InvalidInput for what its task does not take, and
        ScheduleExists. With `validate_only` everything is checked and nothing is kept.
        """
        await self._store.know(self._space, (spec.task,))
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
        schedule = with_next(self._checked(draft))
        if timetable(schedule).next_after(now_ms) is None:
            raise _over("ends_at" if schedule.ends_at is not None else "occurrence")
        if spec.validate_only:
            return schedule

        def make(unit: Unit) -> list[str]:
            self._free(unit, schedule.name)
            kept.insert(unit, schedule)
            return [schedule.id]

        lines, replayed = await self._store.write(
            lambda unit: once(unit, request, self._space, make), keys=keys_of(request, self._space), grows=True
        )
        return await self.get(lines[0]) if replayed else schedule

    def _free(self, unit: Unit, name: str) -> None:
        other = kept.load(unit, self._organisation, name)
        if other is not None:
            raise ScheduleExists(f"schedule {other.id} is named {name!r}", schedule_id=other.id)

    def _checked(self, schedule: Schedule) -> Schedule:
        """Return the schedule in its one spelling, if it can be kept to and its task takes what it gives."""
        schedule = checked(schedule)
        task = self._space.find(self._store.catalog.tasks, schedule.task)
        # One of an inactive task may be made: its slots say so, until the task is active again.
        self._slots.drafted(schedule, schedule.labels, None if task is None else replace(task, active=True))
        return schedule

    # -- looking -----------------------------------------------------------------------------------------------------

    async def get(self, named: str) -> Schedule:
        """Return a schedule; raise ScheduleNotFound."""
        found = await self._read.get(self._organisation, named)
        if found is None:
            raise _missing(named)
        return found

    async def page(self, task: str | None, after: str, size: int) -> tuple[list[Schedule], str]:
        """Return schedules in the order of names, of a task or of all, and after which name to go on ("": the end)."""
        found = await self._read.page(self._organisation, task, after, size + 1)
        return found[:size], found[size - 1].name if len(found) > size else ""

    async def soonest(self, tasks: Iterable[str]) -> dict[str, Schedule]:
        """Return of each of these tasks that has schedules the one whose slot comes first, in one statement for all.

        Where no slot is to come, since all are paused or have ended, it is the first by name.
        """
        found = await self._read.soonest(self._organisation, list(tasks))
        return {schedule.task: schedule for schedule in found}

    async def slots(
        self, named: str, outcome: str | None, before: int | None, size: int
    ) -> tuple[list[PastSlot], int | None]:
        """Return what became of a schedule's slots, the newest first, and before which to go on (None: the end)."""
        schedule = await self.get(named)
        found = await self._read.slots(schedule.id, outcome, kept.NEWEST if before is None else before, size + 1)
        return found[:size], found[size - 1].nominal if len(found) > size else None

    async def coming(self, named: str, count: int) -> tuple[Schedule, list[Slot]]:
        """Return the next slots of a schedule, also of one that is paused."""
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

    async def _change(
        self,
        named: str,
        work: Callable[[Unit, Schedule], Schedule],
        request: RequestKey | None = None,
        version: int | None = None,
    ) -> Schedule:
        """Carry out `work` on the schedule as it is in the transaction, after deciding about the slots that have come."""
        after: list[Schedule] = []
        decided: list[PastSlot] = []

        def whole(unit: Unit) -> None:
            after.clear()
            decided.clear()

            def change(unit: Unit) -> list[str]:
                schedule = self._load(unit, named, version)
                changed = work(unit, schedule)
                if changed != schedule:
                    changed = self._slots.change(unit, schedule, changed, decided)
                after.append(changed)
                return [schedule.id]

            lines, replayed = once(unit, request, self._space, change)
            if replayed:
                after.append(self._load(unit, lines[0], None))

        await self._store.write(whole, keys=keys_of(request, self._space))
        self._slots.count(decided)
        await finish(self._store)
        return after[0]

    def _load(self, unit: Unit, named: str, version: int | None) -> Schedule:
        schedule = kept.load(unit, self._organisation, named)
        if schedule is None:
            raise _missing(named)
        if version is not None and schedule.version != version:
            raise VersionMismatch(
                f"the schedule is at version {schedule.version}, not {version}", version=schedule.version
            )
        return schedule

    async def patch(
        self, named: str, patch: wire.PatchSchedule, version: int | None, request: RequestKey | None = None
    ) -> Schedule:
        """Change what a schedule says; raise InvalidSchedule or InvalidInput, VersionMismatch, or ScheduleExists."""
        changes = said(patch, self._settings)
        if "task" in changes:
            await self._store.know(self._space, (str(changes["task"]),))

        def work(unit: Unit, schedule: Schedule) -> Schedule:
            if not changes:
                return schedule
            if changes.get("name", schedule.name) != schedule.name:
                self._free(unit, str(changes["name"]))
            return self._checked(replace(schedule, problem="", **changes))

        return await self._change(named, work, request, version)

    async def pause(self, named: str, request: RequestKey | None = None) -> Schedule:
        """Let no slot come until it is resumed. Runs that are there go on."""
        return await self._change(named, lambda _, schedule: replace(schedule, paused=True), request)

    async def resume(self, named: str, how: wire.ResumeSchedule, request: RequestKey | None = None) -> Schedule:
        """Let slots come again. What becomes of those that passed meanwhile is what its catch-up says, or `how`."""
        decided: list[PastSlot] = []

        def work(unit: Unit, schedule: Schedule) -> Schedule:
            decided.clear()
            if not schedule.paused:
                return schedule
            try:
                resumed = with_next(replace(schedule, paused=False, problem=""))
            except InvalidSchedule as error:
                raise as_on_the_wire(error) from None
            if how.catch_up is not None:
                once_only = replace(resumed, catch_up=CatchUp(how.catch_up))
                settled, slots = self._slots.settle(unit, once_only)
                kept.add_slots(unit, slots)
                decided.extend(slots)
                resumed = replace(resumed, last_slot=settled.last_slot)
            return resumed

        after = await self._change(named, work, request)
        self._slots.count(decided)
        return after

    async def delete(self, named: str, version: int | None = None) -> None:
        """Remove a schedule. Its runs go on; what became of its slots is forgotten with retention."""

        def work(unit: Unit) -> None:
            kept.delete(unit, self._load(unit, named, version))

        await self._store.write(work)

    # -- runs by hand ------------------------------------------------------------------------------------------------

    async def trigger(self, named: str, how: wire.TriggerSchedule, request: RequestKey | None = None) -> Run:
        """Start a run of the schedule now, beside its slots; also of one that is paused or has ended.

        Overlap holds as for a slot; raises ScheduleBusy where that makes no run, and what a start raises.
        """
        made: list[Run] = []
        await self._store.know(self._space, ((await self.get(named)).task,))

        def start(unit: Unit) -> list[str]:
            schedule = self._load(unit, named, None)
            if how.overlap is not None:
                schedule = replace(schedule, overlap=Overlap(how.overlap))
            draft = self._slots.draft(unit, schedule)
            decision = decide_trigger(schedule, unit.now_ms, self._slots.unfinished(unit, schedule))
            if decision.action is Action.SKIP:
                raise ScheduleBusy
            told = {name: text for name, text in (("reason", how.reason), ("actor", how.actor)) if text}
            made.append(self._slots.start(unit, schedule, draft, decision.action, **told))
            return [made[0].id]

        def work(unit: Unit) -> tuple[list[str], bool]:
            made.clear()
            return once(unit, request, self._space, start)

        lines, replayed = await self._store.write(work, keys=keys_of(request, self._space), grows=True)
        await finish(self._store)
        if not replayed:
            return self._space.run(made[0])
        found = await self._store.read.run(lines[0])
        if found is None:
            raise ScheduleNotFound(f"the run {lines[0]} that was started is not there any more")
        return self._space.run(found)

    async def backfill(self, named: str, asked: wire.BackfillSchedule, request: RequestKey | None = None) -> Filled:
        """Give runs to slots that have passed and have none: skipped, missed, or from before the schedule was made.

        One that has a run keeps it, so that asking twice starts nothing twice. Raises InvalidInput for more slots than
        BACKFILL_MAX, and for those further back than slots are remembered: nobody knows which of them had runs.
        """
        first, last = timestamp(asked.first, "/from"), timestamp(asked.last, "/to")
        if last < first:
            raise invalid("/to", "it is before from")
        await self._store.know(self._space, ((await self.get(named)).task,))

        def fill(unit: Unit) -> list[str]:
            schedule = self._load(unit, named, None)
            oldest = unit.now_ms - kept_ms(self._settings)
            if first < oldest:
                raise invalid("/from", f"slots are remembered for {format_ms(kept_ms(self._settings))}")
            known = kept.slots_within(unit, schedule.id, first, last)
            passed = timetable(schedule).between(first - 1, min(last, schedule.last_slot))
            found = list(islice(passed, BACKFILL_MAX + 1))
            if len(found) > BACKFILL_MAX:
                raise invalid("/to", f"these are more than {BACKFILL_MAX:,} slots: take a shorter time")
            wanted = [slot for slot in found if slot not in known or known[slot].run_id is None]
            slots = self._fill(unit, schedule, wanted, asked)
            if not asked.dry_run:
                kept.fill_slots(unit, slots)
                kept.add_slots(unit, _remainders(unit, schedule, known, wanted))
            return [_encode(slot).decode() for slot in slots]

        lines, _ = await self._store.write(
            lambda unit: once(unit, request, self._space, fill),
            keys=keys_of(request, self._space),
            grows=not asked.dry_run,
            weight=BACKFILL_MAX,
        )
        return Filled(asked.dry_run, [_decode_slots(line) for line in lines])

    def _fill(self, unit: Unit, schedule: Schedule, wanted: list[int], asked: wire.BackfillSchedule) -> list[PastSlot]:
        if asked.dry_run:
            return [PastSlot(schedule.id, slot, None, Outcome.MISSED, FILLED, "", None, unit.now_ms) for slot in wanted]
        drafts = [self._slots.draft(unit, schedule, slot) for slot in wanted]
        beside = asked.overlap == "allow" or (asked.overlap is None and schedule.overlap is Overlap.ALLOW)
        waits = not beside and kept.lock_unfinished(unit, schedule.id) > 0
        slots = []
        for slot, draft in zip(wanted, drafts, strict=True):
            run = self._slots.start(unit, schedule, draft, Action.QUEUE if waits else Action.RUN)
            waits = not beside
            message = "it was back-filled"
            slots.append(PastSlot(schedule.id, slot, None, Outcome.RAN, FILLED, message, run.id, unit.now_ms))
        return slots


def kept_ms(settings: Settings) -> int:
    """Return how long slots are remembered: as long as what is left of their runs tells that these were there."""
    return min(settings.slots_ms, settings.tombstone_ms)


def _remainders(unit: Unit, schedule: Schedule, known: dict[int, PastSlot], filled: list[int]) -> list[PastSlot]:
    """Several missed slots were kept as one, and the first of them has a run now: return what is left of them."""
    left = []
    for slot in filled:
        row = known.get(slot)
        if row is None or row.until is None:
            continue
        others = kept.slots_within(unit, schedule.id, slot, row.until)
        rest = timetable(schedule).next_after(slot)
        while rest is not None and rest in others:
            rest = timetable(schedule).next_after(rest)
        if rest is not None and rest <= row.until:
            left.append(replace(row, nominal=rest))
    return left


def sentence(schedule: Schedule) -> str:
    """Return when a schedule fires, for people; also of one that cannot be kept to here."""
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


def _missing(named: str) -> ScheduleNotFound:
    return ScheduleNotFound(f"there is no schedule {named[:200]!r}", schedule=named[:200])


def _over(field: str) -> InvalidSchedule:
    message = "there is no slot any more: it is over"
    return InvalidSchedule(
        f"{field}: {message}", errors=[{"pointer": f"/{field}", "code": "value", "message": message}]
    )
