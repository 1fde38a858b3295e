"""Occurrences: how often a schedule fires, as people write it, read once and kept in one spelling.

Four kinds: a word (`Daily`), a cron expression (`0 9 * * MON-FRI`), an RRULE (`FREQ=WEEKLY;BYDAY=MO`), and a fixed interval
(`every 90m`).
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import Final

import msgspec

from headway.durations import format_ms, parse_ms
from headway.features.schedules.model import Schedule
from headway.features.schedules.rules import cron, rrule, year
from headway.features.schedules.rules.pattern import Pattern
from headway.features.schedules.rules.refusal import quote, refuse
from headway.features.schedules.rules.rrule import Recurrence
from headway.features.schedules.rules.timetable import (
    INSTANT_MOST,
    ElapsedTime,
    Interval,
    Rule,
    Timetable,
    WallTimes,
)
from headway.kernel.zone import DAY, UnknownZone, Zone, named

ANCHOR: Final = 978_307_200
"""Wall time from which a schedule without a start counts: Monday 1 January 2001, 00:00."""
_INTERVAL_MOST_MS: Final = 10 * 366 * 86_400_000
_COUNT_MOST: Final = 10_000
_JITTER_MOST_MS: Final = 86_400_000


class Word(StrEnum):
    """The words for occurrences; the schedule's start says at which minute, time, weekday and day of the month."""

    EVERY_MINUTE = "Every Minute"
    HOURLY = "Hourly"
    DAILY = "Daily"
    WEEKLY = "Weekly"
    MONTHLY = "Monthly"
    """Monthly on the start's day; in shorter months on their last day."""
    QUARTERLY = "Quarterly"
    """Every three months, as `MONTHLY`."""
    YEARLY = "Yearly"
    """A start on 29 February means the 28th in other years."""


_WORDS: Final = {word.lower(): word for word in Word} | {
    "minutely": Word.EVERY_MINUTE,
    "every hour": Word.HOURLY,
    "every day": Word.DAILY,
    "every week": Word.WEEKLY,
    "every month": Word.MONTHLY,
    "every quarter": Word.QUARTERLY,
    "every year": Word.YEARLY,
    "annually": Word.YEARLY,
}


class Cron(msgspec.Struct, frozen=True):
    """A cron expression and what it means."""

    text: str
    pattern: Pattern


class Every(msgspec.Struct, frozen=True):
    """A fixed interval."""

    seconds: int


Occurrence = Word | Cron | Recurrence | Every


def parse(text: str) -> Occurrence:
    """Return the occurrence; refuse it, naming the invalid part and the values accepted there."""
    words = " ".join(text.lower().replace("_", " ").replace("-", " ").split())
    if words in _WORDS:
        return _WORDS[words]
    upper = text.strip().upper()
    if upper.startswith(("RRULE:", "FREQ=", "DTSTART")) or "FREQ=" in upper:
        return rrule.parse(text)
    length = text.strip().removeprefix("@").strip()
    length = length[5:].strip() if length[:5].lower() == "every" else length
    try:
        return _every(parse_ms(length))
    except ValueError:
        pass
    if upper.lower() in cron.NICKNAMES or len(upper.split()) > 2:  # noqa: PLR2004 - "every fortnight" is no cron expression
        canonical = cron.canonical(text)
        return Cron(canonical, cron.pattern(canonical))
    accepted = f"a word ({', '.join(Word)}), a cron expression (0 9 * * MON-FRI), an RRULE (FREQ=WEEKLY;BYDAY=MO)"
    raise refuse("occurrence", f"{quote(text)} is not accepted; what is: {accepted}, or an interval (every 90m)")


def spell(occurrence: Occurrence) -> str:
    """Return the one spelling of an occurrence; `parse` reads it back."""
    match occurrence:
        case Word():
            return occurrence.value
        case Cron():
            return occurrence.text
        case Every():
            return f"every {format_ms(occurrence.seconds * 1000)}"
        case Recurrence():
            return rrule.canonical(occurrence)


def pattern_of(occurrence: Word | Cron | Recurrence, anchor: int) -> Pattern:
    """Return the wall times that the occurrence names if it starts at one."""
    match occurrence:
        case Cron():
            return occurrence.pattern
        case Recurrence():
            return rrule.pattern(occurrence, anchor)
        case Word():
            return rrule.pattern(_recurrence(occurrence, anchor // DAY), anchor)


def timetable(schedule: Schedule) -> Timetable:
    """Return the slots of a schedule; the same object for equal schedules, as far as they are used together."""
    return _timetable(schedule.occurrence, schedule.timezone, schedule.starts_at, schedule.ends_at)


def zone_of(name: str) -> Zone:
    """Return the zone of a schedule; raise InvalidSchedule for a name that is none."""
    try:
        return named(name)
    except UnknownZone as error:
        raise refuse("timezone", str(error)) from None


def checked(schedule: Schedule) -> Schedule:
    """Return the schedule with its occurrence in the one spelling, if it can be kept to and fires at least once."""
    _within("starts_at", schedule.starts_at, 0, INSTANT_MOST * 1000)
    _within("ends_at", schedule.ends_at, schedule.starts_at or 0, INSTANT_MOST * 1000)
    _within("queue_max", schedule.queue_max, 1, _COUNT_MOST)
    _within("catch_up_max", schedule.catch_up_max, 1, _COUNT_MOST)
    _within("catch_up_window_ms", schedule.catch_up_window_ms, 0, _INTERVAL_MOST_MS)
    _within("late_after_ms", schedule.late_after_ms, 0, _INTERVAL_MOST_MS)
    _within("jitter_ms", schedule.jitter_ms, 0, _JITTER_MOST_MS)
    zone_of(schedule.timezone)
    occurrence = parse(schedule.occurrence)
    if isinstance(occurrence, Recurrence) and occurrence.count is not None and schedule.starts_at is None:
        raise refuse("starts_at", "an RRULE with COUNT counts from here: give a start")
    schedule = msgspec.structs.replace(schedule, occurrence=spell(occurrence))
    if timetable(schedule).next_after((schedule.starts_at or ANCHOR * 1000) - 1) is None:
        raise refuse("occurrence", f"{quote(schedule.occurrence)} never fires between the schedule's start and end")
    return schedule


def anchor_of(schedule: Schedule) -> int:
    """Return the wall time from which the schedule counts."""
    return _anchor(zone_of(schedule.timezone), schedule.starts_at)


def _anchor(zone: Zone, starts_at: int | None) -> int:
    return ANCHOR if starts_at is None else zone.wall(starts_at // 1000)


@lru_cache(maxsize=4096)
def _timetable(text: str, timezone: str, starts_at: int | None, ends_at: int | None) -> Timetable:
    zone, occurrence = zone_of(timezone), parse(text)
    anchor = _anchor(zone, starts_at)
    origin = zone.instant(anchor) if starts_at is None else starts_at // 1000
    ends = None if ends_at is None else ends_at // 1000
    count = None
    if isinstance(occurrence, Recurrence):
        count = occurrence.count
        if occurrence.until is not None:
            moment, utc = rrule.until(occurrence.until)
            last = moment if utc else zone.instant(moment)
            ends = last if ends is None else min(ends, last)
    starts = 0 if starts_at is None else origin
    return Timetable(_rule(occurrence, zone, anchor, origin), zone, starts=starts, ends=ends, count=count)


def _rule(occurrence: Occurrence, zone: Zone, anchor: int, origin: int) -> Rule:
    if isinstance(occurrence, Every):
        return Interval(occurrence.seconds, origin)
    pattern = pattern_of(occurrence, anchor)
    return ElapsedTime(pattern, zone, origin) if pattern.elapsed else WallTimes(pattern, zone)


def _recurrence(word: Word, day: int) -> Recurrence:
    month, month_day = year.month_of(day) % 12 + 1, year.month_day_of(day)
    last_of: tuple[int, ...] = tuple(range(28, month_day + 1)) if month_day > 28 else ()  # noqa: PLR2004 - February has them
    match word:
        case Word.EVERY_MINUTE:
            return Recurrence(frequency="MINUTELY")
        case Word.HOURLY:
            return Recurrence(frequency="HOURLY")
        case Word.DAILY:
            return Recurrence(frequency="DAILY")
        case Word.WEEKLY:
            return Recurrence(frequency="WEEKLY")
        case Word.MONTHLY | Word.QUARTERLY:
            interval = 3 if word is Word.QUARTERLY else 1
            # The 31st: the last there is of 28, 29, 30 and 31.
            positions = (-1,) if last_of else ()
            return Recurrence(frequency="MONTHLY", interval=interval, month_days=last_of, positions=positions)
        case Word.YEARLY if (month, month_day) == (2, 29):
            return Recurrence(frequency="YEARLY", months=(2,), month_days=(28, 29), positions=(-1,))
        case Word.YEARLY:
            return Recurrence(frequency="YEARLY")


def _every(length_ms: int) -> Every:
    if length_ms % 1000 or not 1000 <= length_ms <= _INTERVAL_MOST_MS:  # noqa: PLR2004
        raise refuse("occurrence", "an interval has whole seconds, from 1s to ten years")
    return Every(length_ms // 1000)


def _within(field: str, value: int | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        raise refuse(field, f"{value} is not accepted; what is: {low} to {high}")
