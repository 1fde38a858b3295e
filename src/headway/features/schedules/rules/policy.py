"""Decisions about due slots: run, queue, stop the running ones, skip or miss, with the reason.

Two steps, for the slots that have passed since the last decided one:

1. Catch-up chooses which of them are wanted: `latest` the newest; `all` the newest `catch_up_max` within the window; `skip`
   the newest, if it is hardly late. The others are missed.
2. Overlap goes through the wanted ones from the oldest on, as if each had come in its time: `skip` runs one if nothing else
   is unfinished; `queue` lets them wait for each other; `cancel_running` runs the newest and stops what runs; `allow` runs
   all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import StrEnum
from itertools import islice
from typing import Final

import msgspec

from headway.features.schedules.model import CatchUp, Overlap, Schedule
from headway.features.schedules.rules.occurrence import timetable
from headway.features.schedules.rules.timetable import Timetable

MISSED_MOST: Final = 100
"""Number of the newest missed slots that are decided one by one; earlier ones are decided together."""
PREVIEW_MOST: Final = 1000


class Action(StrEnum):
    """Action for a slot."""

    RUN = "run"
    """A run is made, and may start at once."""
    QUEUE = "queue"
    """A run is made, and waits for the earlier ones of the schedule."""
    CANCEL_AND_RUN = "cancel_and_run"
    """The unfinished runs of the schedule are stopped, and a run is made."""
    SKIP = "skip"
    """No run, because of another one."""
    MISSED = "missed"
    """No run, because the slot was noticed too late."""


class Why(StrEnum):
    """Reason for an action."""

    DUE = "due"
    CAUGHT_UP = "caught_up"
    RUNNING = "running"
    QUEUE_FULL = "queue_full"
    NEWER = "newer"
    TOO_OLD = "too_old"
    TOO_MANY = "too_many"
    LATE = "late"


SAID: Final = {
    Why.DUE: "its time had come",
    Why.CAUGHT_UP: "its time had passed, and the schedule catches up",
    Why.RUNNING: "an earlier run of the schedule was not finished",
    Why.QUEUE_FULL: "as many runs of the schedule as may wait were unfinished",
    Why.NEWER: "a newer slot was due as well",
    Why.TOO_OLD: "it was older than the catch-up window when it was noticed",
    Why.TOO_MANY: "more newer slots were due than are caught up",
    Why.LATE: "it was noticed too late, and the schedule does not catch up",
}


class SlotDecision(msgspec.Struct, frozen=True):
    """Decision about one slot; or, only for the oldest of very many missed ones, about all from `nominal` to `until`."""

    nominal: int
    """The slot's time, in milliseconds UTC: with the schedule's id, its name."""
    action: Action
    why: Why
    until: int | None = None
    """The last of several slots that are decided together."""


class Slot(msgspec.Struct, frozen=True):
    """A slot to come."""

    nominal: int
    run_at: int
    """Start of the run: the slot's time and the jitter."""
    local: str
    """The slot's time as the schedule's zone has it, ISO 8601 with the offset."""


def decide_slots(schedule: Schedule, last_slot: int, now: int, running: int) -> list[SlotDecision]:
    """Return a decision about each slot after `last_slot` up to now, from the oldest on.

    `last_slot` is the newest slot that was decided, or when the schedule was made or resumed; `running` is how many of its
    runs are not finished, the waiting ones among them. A clock that was set back finds nothing due.
    """
    slots = timetable(schedule)
    needed = MISSED_MOST + (schedule.catch_up_max if schedule.catch_up is CatchUp.ALL else 1)
    due = list(islice(slots.between(last_slot, now), needed + 1))
    decisions: list[SlotDecision] = []
    older: tuple[int, int] | None = None
    if len(due) > needed:
        first, due = due[0], slots.newest(now, last_slot, needed)
        before = slots.last_until(due[0] - 1, last_slot)
        assert before is not None
        older = (first, before)
    wanted, why_not = _wanted(schedule, due, now)
    left_out = due[: len(due) - len(wanted)]
    if older is not None:
        decisions.append(SlotDecision(older[0], Action.MISSED, why_not(older[1]), older[1]))
    decisions += [SlotDecision(slot, Action.MISSED, why_not(slot)) for slot in left_out]
    return decisions + _overlap(schedule, wanted, now, running)


def decide_trigger(schedule: Schedule, now: int, running: int) -> SlotDecision:
    """Return the decision about a run that is triggered now: the same as for a slot."""
    return _overlap(schedule, [now], now, running)[0]


def run_at(schedule: Schedule, nominal: int) -> int:
    """Return when the run of a slot starts: after its jitter, and before the next slot."""
    if schedule.jitter_ms == 0:
        return nominal
    following = timetable(schedule).next_after(nominal)
    most = schedule.jitter_ms if following is None else min(schedule.jitter_ms, following - nominal - 1)
    digest = hashlib.sha256(f"{schedule.id}\n{nominal}".encode()).digest()
    return nominal + int.from_bytes(digest[:8]) % (most + 1)


def preview(schedule: Schedule, after: int, count: int) -> list[Slot]:
    """Return the next slots after an instant."""
    slots: Timetable = timetable(schedule)
    found: list[Slot] = []
    slot = slots.next_after(after)
    while slot is not None and len(found) < min(count, PREVIEW_MOST):
        found.append(Slot(slot, run_at(schedule, slot), slots.zone.isoformat(slot // 1000)))
        slot = slots.next_after(slot)
    return found


def _wanted(schedule: Schedule, due: list[int], now: int) -> tuple[list[int], Callable[[int], Why]]:
    """Return the slots that catch-up takes, the newest of those due, and why each of the others is missed."""
    match schedule.catch_up:
        case CatchUp.LATEST:
            return due[-1:], lambda _slot: Why.NEWER
        case CatchUp.SKIP:
            if due and _late(schedule, due[-1], now):
                return [], lambda _slot: Why.LATE
            return due[-1:], lambda _slot: Why.NEWER
        case CatchUp.ALL:
            opens = now - schedule.catch_up_window_ms
            young = [slot for slot in due if slot >= opens]
            return young[-schedule.catch_up_max :], lambda slot: Why.TOO_OLD if slot < opens else Why.TOO_MANY


def _overlap(schedule: Schedule, wanted: list[int], now: int, running: int) -> list[SlotDecision]:
    decisions = []
    for slot in wanted:
        why = Why.CAUGHT_UP if _late(schedule, slot, now) else Why.DUE
        match schedule.overlap:
            case Overlap.ALLOW:
                action = Action.RUN
            case Overlap.CANCEL_RUNNING if slot != wanted[-1]:
                action, why = Action.SKIP, Why.NEWER  # the newer one would stop it at once
            case Overlap.CANCEL_RUNNING:
                action = Action.CANCEL_AND_RUN if running else Action.RUN
            case Overlap.QUEUE if running >= schedule.queue_max:
                action, why = Action.SKIP, Why.QUEUE_FULL
            case Overlap.QUEUE:
                action = Action.QUEUE if running else Action.RUN
            case Overlap.SKIP if running:
                action, why = Action.SKIP, Why.RUNNING
            case Overlap.SKIP:
                action = Action.RUN
        if action in {Action.RUN, Action.QUEUE}:
            running += 1
        decisions.append(SlotDecision(slot, action, why))
    return decisions


def _late(schedule: Schedule, slot: int, now: int) -> bool:
    return now - slot > schedule.late_after_ms
