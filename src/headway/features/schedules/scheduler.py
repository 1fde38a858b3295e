"""Carries out what becomes of slots: runs are made, wait for earlier ones, stop them, or there is none, and why.

`settle` is the whole of it, for one schedule in one transaction: the slots that have passed since the last one that was
decided, their rows, their runs, and how far the schedule has come. It is what the scheduler does when a slot is due, and
what precedes every change of a schedule, so that a change is about slots to come.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec.structs import replace

from headway import failpoints
from headway.errors import HeadwayError, InvalidSchedule
from headway.features.schedules import store as kept
from headway.features.schedules.model import SLOT_LABEL, Outcome, Overlap, PastSlot, Schedule
from headway.features.schedules.rules.occurrence import timetable
from headway.features.schedules.rules.policy import SAID, Action, SlotDecision, decide_slots, run_at
from headway.kernel.lifecycle import Held
from headway.kernel.namespace import Namespace
from headway.kernel.run import BEHIND, Reason, Run
from headway.kernel.task import Task
from headway.notify.events import CommitEvent
from headway.protocol.runs import StartRun
from headway.protocol.times import to_text
from headway.runs import stopping
from headway.runs.starting import NewRun, RunFactory
from headway.runs.transitions import move, unblock
from headway.store.command import Command
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

AT_ONCE: Final = 1_000
"""Slots that one transaction of the scheduler decides about."""
SCHEDULES_AT_ONCE: Final = 200
RUN_TYPE: Final = "schedule"

_TIMING: Final = ("occurrence", "timezone", "starts_at", "ends_at")

_encode: Final = msgspec.json.Encoder().encode
_REPLACED: Final = Reason(code="replaced", message="a newer slot of its schedule came", actor="schedule")
_BEHIND: Final = Reason(code="behind", message="earlier runs of its schedule come first", actor="schedule")

log = logging.getLogger("headway.scheduler")


class SlotsDecided(CommitEvent, frozen=True):
    """Slots got their outcome."""

    slots: tuple[PastSlot, ...]


@dataclass
class SettleDue(Command[int]):
    """Decision about slots that are due; the result is the number of their schedules."""

    scheduler: Scheduler

    grows = True
    weight = AT_ONCE

    def apply(self, uow: UnitOfWork) -> int:
        """Settle the schedules that have been due longest."""
        return self.scheduler.settle_due_in(uow)


class Scheduler:
    """Decisions about the slots of all organisations' schedules, and the runs that follow from them."""

    def __init__(self, store: Store, run_factory: RunFactory) -> None:
        self._store = store
        self._run_factory = run_factory
        self.decided: Counter[tuple[str, str]] = Counter()
        """(outcome, why) → number of slots, since this server began."""
        store.events.subscribe(SlotsDecided, self._count)

    async def settle_due(self) -> int:
        """Decide about slots that are due, as many as fit into one transaction; return the number of their schedules."""
        return await self._store.write(SettleDue(self))

    def _count(self, decided: SlotsDecided) -> None:
        for slot in decided.slots:
            self.decided[slot.outcome, slot.why] += 1

    def settle_due_in(self, uow: UnitOfWork) -> int:
        """Decide about due slots within a transaction; return the number of their schedules."""
        due = kept.find_due(uow, SCHEDULES_AT_ONCE)
        running = kept.count_unfinished(uow, [schedule.id for schedule in due if schedule.overlap is Overlap.SKIP])
        slots: list[PastSlot] = []
        passed: list[tuple[Schedule, Schedule]] = []
        for schedule in due:
            if len(slots) >= AT_ONCE:
                break
            of_skip = running.get(schedule.id, 0) if schedule.overlap is Overlap.SKIP else None
            after, decided = self.settle(uow, schedule, of_skip, AT_ONCE - len(slots))
            slots += decided
            passed.append((schedule, after))
            if after.problem:
                kept.save(uow, after, schedule)
                passed.pop()
        if failpoints.ARMED and passed:
            failpoints.point("scheduler.before_save")
        kept.advance(uow, passed)
        add_slots(uow, slots)
        return len(due)

    def settle(
        self, uow: UnitOfWork, schedule: Schedule, running: int | None = None, most: int | None = None
    ) -> tuple[Schedule, list[PastSlot]]:
        """Decide about the slots up to now, the oldest `most` of them, and start what is to run.

        Return the schedule as it is after, and the slots: both are the caller's to save. One that cannot be kept to any
        more, because its zone is not known here, is paused, and says why.
        """
        try:
            if running is None:
                running = self.unfinished(uow, schedule)
            decisions = decide_slots(schedule, schedule.last_slot, uow.now_ms, running)[:most]
            last = decisions[-1].until or decisions[-1].nominal if decisions else schedule.last_slot
            after = with_next(replace(schedule, last_slot=last))
        except InvalidSchedule as error:
            log.error("schedule.paused schedule_id=%s error=%s", schedule.id, error)  # noqa: TRY400 - it is the user's
            version = schedule.version + 1
            broken = replace(
                schedule, paused=True, next_at=None, problem=schedule.problem or error.detail, version=version
            )
            return replace(broken, updated_at=uow.now_ms), []
        return after, self._carry_out(uow, schedule, decisions)

    def change(self, uow: UnitOfWork, before: Schedule, changed: Schedule) -> Schedule:
        """Decide the slots that are due by the schedule's old definition, then save the new one.

        Return it as it is kept.
        """
        last_slot = changed.last_slot
        if not before.paused:
            settled, slots = self.settle(uow, before)
            add_slots(uow, slots)
            last_slot = settled.last_slot
        if any(getattr(before, name) != getattr(changed, name) for name in _TIMING):
            last_slot = max(last_slot, uow.now_ms)  # slots that it did not have until now have not been missed
        changed = replace(changed, last_slot=last_slot, version=before.version + 1, updated_at=uow.now_ms)
        changed = with_next(changed)
        kept.save(uow, changed, before)
        return changed

    @staticmethod
    def unfinished(uow: UnitOfWork, schedule: Schedule) -> int:
        """Return how many runs of the schedule are not finished, as far as its overlap policy has to know."""
        match schedule.overlap:
            case Overlap.ALLOW:
                return 0
            case Overlap.SKIP:
                return kept.count_unfinished(uow, [schedule.id]).get(schedule.id, 0)
            case _:
                return kept.lock_unfinished(uow, schedule.id)

    def _carry_out(self, uow: UnitOfWork, schedule: Schedule, decisions: list[SlotDecision]) -> list[PastSlot]:
        slots: list[PastSlot] = []
        refusal: HeadwayError | None = None
        for decision in decisions:
            run_id: str | None = None
            outcome, why, detail = _OUTCOMES[decision.action], str(decision.why), SAID[decision.why]
            if refusal is None and outcome is Outcome.RAN:
                try:
                    run_id = self._slot_run(uow, schedule, decision).id
                except HeadwayError as error:
                    refusal = error
            if refusal is not None and outcome is not Outcome.MISSED:
                outcome, why, detail = Outcome.SKIPPED, refusal.code, refusal.detail
            if outcome is not Outcome.RAN:
                log.info(
                    "schedule.%s schedule_id=%s slot=%s why=%s", outcome, schedule.id, to_text(decision.nominal), why
                )
            slots.append(
                PastSlot(schedule.id, decision.nominal, decision.until, outcome, why, detail[:1000], run_id, uow.now_ms)
            )
        return slots

    def _slot_run(self, uow: UnitOfWork, schedule: Schedule, decision: SlotDecision) -> Run:
        new = self.new_slot_run(uow, schedule, decision.nominal, run_at(schedule, decision.nominal))
        return self.start(uow, schedule, new, decision.action)

    def new_slot_run(self, uow: UnitOfWork, schedule: Schedule, nominal: int | None = None, at: int = 0) -> NewRun:
        """Return the run of a slot, checked; raise UnknownTask, TaskInactive or InvalidInput, changing nothing."""
        namespace = Namespace(schedule.organisation)
        task = namespace.find(uow.tasks, schedule.task)
        if task is None or not task.active:  # another server may know better
            now = {name: known for name in namespace.tasks(schedule.task) if (known := uow.task_now(name)) is not None}
            task = namespace.find(now, schedule.task)
        labels = schedule.labels if nominal is None else schedule.labels | {SLOT_LABEL: to_text(nominal)}
        return self.new_run(schedule, labels, task, at if at > uow.now_ms else None)

    def new_run(
        self, schedule: Schedule, labels: dict[str, str], task: Task | None = None, at: int | None = None
    ) -> NewRun:
        """Return a run of the schedule, checked."""
        spec = StartRun(
            task=schedule.task,
            input=msgspec.Raw(schedule.input.encode()),
            name=schedule.name,
            priority=schedule.priority,
            queue=schedule.queue,
            key=schedule.key,
            labels=labels,
            max_attempts=schedule.max_attempts,
            run_at=None if at is None else to_text(at),
        )
        return self._run_factory.make_at_once(spec, Namespace(schedule.organisation), run_type=RUN_TYPE, task=task)

    def start(self, uow: UnitOfWork, schedule: Schedule, new: NewRun, action: Action, **told: str) -> Run:
        """Start a run of the schedule; stop the others first, or let it wait for them, as the action says.

        One that others are stopped for waits until they have stopped: they never run side by side.
        """
        behind = action is Action.QUEUE
        if action is Action.CANCEL_AND_RUN:
            for run in kept.find_unfinished(uow, schedule.id, AT_ONCE):
                stopping.terminate(uow, run, _REPLACED, None, cascade=True)
            behind = kept.lock_unfinished(uow, schedule.id) > 0
        run = replace(new.run, schedule_id=schedule.id)
        uow.queue(run.queue)
        uow.insert(run, new.labels)
        line = {"state": run.state, "cause": "created", "run_type": RUN_TYPE, "schedule_id": schedule.id} | told
        if SLOT_LABEL in new.labels:
            line["slot"] = new.labels[SLOT_LABEL]
        uow.record(run, "run.state", _encode(line).decode())
        if behind:
            uow.flush()  # a claim of this very transaction must not take it as it was born
            run = move(uow, run, Held(_BEHIND, BEHIND))
        return run


_OUTCOMES: Final = {
    Action.RUN: Outcome.RAN,
    Action.QUEUE: Outcome.RAN,
    Action.CANCEL_AND_RUN: Outcome.RAN,
    Action.SKIP: Outcome.SKIPPED,
    Action.MISSED: Outcome.MISSED,
}
FILLED: Final = "backfilled"
"""`why` of a slot that a back-fill ran."""


def add_slots(uow: UnitOfWork, slots: list[PastSlot]) -> None:
    """Insert decided slots, and announce them."""
    kept.add_slots(uow, slots)
    if slots:
        uow.emit(SlotsDecided(tuple(slots)))


def with_next(schedule: Schedule) -> Schedule:
    """Return the schedule with its next slot, counted from the last decided slot and never from now."""
    return replace(schedule, next_at=None if schedule.paused else timetable(schedule).next_after(schedule.last_slot))


def let_next(uow: UnitOfWork, ended: list[str]) -> None:
    """Queue the next waiting run of each of these schedules of which no other run is under way."""
    for run in kept.next_behind(uow, ended):
        unblock(uow, run, BEHIND)
