"""Check of the stored schedules and slots, for `headway doctor`."""

from __future__ import annotations

from collections.abc import Iterator

from headway.errors import InvalidSchedule
from headway.features.schedules.model import Schedule
from headway.features.schedules.rules.occurrence import timetable
from headway.features.schedules.store import BEHIND_TEXT, make_schedule
from headway.store.verify import Finding, Read


def findings(read: Read) -> Iterator[Finding]:
    """Yield the faults of schedules, slots and runs that wait for earlier ones."""
    for row in read("verify_schedules"):
        yield from _schedule(make_schedule(row))
    for schedule_id, nominal, message in read("verify_slots"):
        yield Finding(schedule_id, f"slot {nominal}: {message}")
    for (run_id,) in read("verify_behind", behind=BEHIND_TEXT):
        yield Finding(run_id, "it waits for earlier runs of its schedule, and there are none")


def _schedule(schedule: Schedule) -> Iterator[Finding]:
    """Compare the next slot of a schedule with its definition."""
    try:
        following = None if schedule.paused else timetable(schedule).next_after(schedule.last_slot)
    except InvalidSchedule as error:
        yield Finding(schedule.id, f"the schedule cannot be kept to: {error}")
        return
    if following != schedule.next_at:
        yield Finding(schedule.id, f"its next slot is {following}, it says {schedule.next_at}")
