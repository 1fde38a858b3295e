"""A schedule in a sentence: "every Monday at 09:00, Europe/Berlin"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headway.durations import format_ms
from headway.features.schedules.model import Schedule
from headway.features.schedules.rules import occurrence as occurrences
from headway.features.schedules.rules import rrule
from headway.features.schedules.rules.occurrence import Every, Occurrence
from headway.features.schedules.rules.pattern import Pattern, Unit
from headway.features.schedules.rules.rrule import Recurrence

_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_UNITS: Final = {
    Unit.YEAR: "year",
    Unit.MONTH: "month",
    Unit.WEEK: "week",
    Unit.DAY: "day",
    Unit.HOUR: "hour",
    Unit.MINUTE: "minute",
}
_ORDINALS: Final = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth", -1: "last", -2: "last but one"}
_TIMES_SHOWN: Final = 6
_HOURS_SHOWN: Final = 8


def explain(schedule: Schedule) -> str:
    """Return when the schedule fires, for people."""
    occurrence = occurrences.parse(schedule.occurrence)
    if isinstance(occurrence, Every):
        since = occurrences.ANCHOR if schedule.starts_at is None else schedule.starts_at // 1000
        zone = occurrences.zone_of(schedule.timezone)
        since = zone.instant(since) if schedule.starts_at is None else since
        return f"every {format_ms(occurrence.seconds * 1000)}, counted from {zone.isoformat(since)}"
    pattern = occurrences.pattern_of(occurrence, occurrences.anchor_of(schedule))
    said = _pattern(pattern)
    return f"{said}{_ends(occurrence)}, {schedule.timezone}"


def _pattern(pattern: Pattern) -> str:
    days, times = _days(pattern), _times(pattern.times)
    if pattern.unit > Unit.DAY and pattern.interval > 1:
        times = f"every {pattern.interval} {_UNITS[pattern.unit]}s" + _within_hours(pattern)
    elif pattern.unit <= Unit.DAY and not times.startswith("every"):
        return f"{days} {times}"
    return times if days == "every day" else f"{times}, {days}"


def _ends(occurrence: Occurrence) -> str:
    if isinstance(occurrence, Recurrence) and occurrence.count is not None:
        return f", {_number(occurrence.count, 'time')}"
    if isinstance(occurrence, Recurrence) and occurrence.until is not None:
        _, utc = rrule.until(occurrence.until)
        day, time = occurrence.until[:8], occurrence.until[9:13]
        moment = f"{day[:4]}-{day[4:6]}-{day[6:]}" + (f" {time[:2]}:{time[2:]}" if time else "")
        return f", until {moment}{' UTC' if utc else ''}"
    return ""


# -- times of the day ------------------------------------------------------------------------------------------------------


def _times(times: Sequence[int]) -> str:
    hours = sorted({time // 3600 for time in times})
    minutes = sorted({time // 60 % 60 for time in times})
    if len(times) <= _TIMES_SHOWN:
        return f"at {_and([_clock(time) for time in times])}"
    if len(times) != len(hours) * len(minutes):
        return f"at {len(times)} times from {_clock(times[0])} to {_clock(times[-1])}"
    if len(hours) == 24:  # noqa: PLR2004
        return _minutes(minutes)
    if len(minutes) == 1:
        return f"at minute {minutes[0]}{_hours(hours)}"
    return f"{_minutes(minutes)}{_hours(hours)}"


def _minutes(minutes: list[int]) -> str:
    step = _step(minutes, 60)
    if step == 1:
        return "every minute"
    if minutes == [0]:
        return "every hour"
    if step is not None:
        return f"every {step} minutes"
    return f"every hour at minute{'s' if len(minutes) > 1 else ''} {_and(minutes)}"


def _hours(hours: list[int]) -> str:
    if hours[-1] - hours[0] == len(hours) - 1:
        return f" from {hours[0]:02d}:00 to {hours[-1]:02d}:59"
    if len(hours) > _HOURS_SHOWN and (step := _step(hours, 24)):
        return f" of every {_ordinal(step)} hour"
    return f" in the hour{'s' if len(hours) > 1 else ''} {_and(hours)}"


def _within_hours(pattern: Pattern) -> str:
    hours = sorted({time // 3600 for time in pattern.times})
    minutes = sorted({time // 60 % 60 for time in pattern.times})
    at_minutes = f" at minute{'s' if len(minutes) > 1 else ''} {_and(minutes)}" if len(minutes) < 60 else ""  # noqa: PLR2004
    return at_minutes + (_hours(hours) if len(hours) < 24 else "")  # noqa: PLR2004


def _step(numbers: list[int], modulus: int) -> int | None:
    """Return n if the numbers are all multiples of n below the modulus, and it divides it."""
    if len(numbers) < 2 or modulus % len(numbers):  # noqa: PLR2004
        return None
    step = modulus // len(numbers)
    return step if numbers == list(range(0, modulus, step)) else None


def _clock(time: int) -> str:
    second = f":{time % 60:02d}" if time % 60 else ""
    return f"{time // 3600:02d}:{time // 60 % 60:02d}{second}"


# -- days ------------------------------------------------------------------------------------------------------------------


def _days(pattern: Pattern) -> str:
    by_date, by_weekday = _dates(pattern), _weekdays(pattern)
    chosen = [text for text in (by_date, by_weekday, _year_days(pattern), _weeks(pattern)) if text]
    every = _UNITS[pattern.unit] if pattern.unit <= Unit.DAY else "day"
    counted = pattern.interval > 1 and pattern.unit <= Unit.DAY
    if counted:
        every = f"{pattern.interval} {every}s"
        chosen = [f"every {every}", *chosen]
    if not chosen:
        chosen = ["every day"]
    said = (" or " if pattern.either else ", ").join(chosen)
    if pattern.months:
        said += f" in {_and([_MONTHS[month - 1] for month in pattern.months])}"
    if pattern.positions:
        said += f", but only the {_and([_nth(place) for place in pattern.positions])} of these"
        said += "" if counted else f" in each {every}"
    return said


def _dates(pattern: Pattern) -> str:
    days = [str(day) for day in pattern.month_days if day > 0]
    named = [f"the {_nth(day)} day" for day in pattern.month_days if day < 0]
    named += ["the last weekday"] if pattern.last_workday else []
    said = ([f"day {_and(days)}"] if days else []) + named
    of = " of the month" if not pattern.months else ""
    return f"on {_and(said)}{of}" if said else ""


def _weekdays(pattern: Pattern) -> str:
    days = [day for day, nth in pattern.weekdays if nth == 0]
    nths = [f"the {_nth(nth)} {_WEEKDAYS[day]}" for day, nth in pattern.weekdays if nth]
    said = []
    if len(days) > 2 and days[-1] - days[0] == len(days) - 1:  # noqa: PLR2004
        said.append(f"{_WEEKDAYS[days[0]]} to {_WEEKDAYS[days[-1]]}")
    elif days:
        on = "on " if pattern.interval > 1 or (pattern.month_days and not pattern.either) else "every "
        said.append(on + _and([_WEEKDAYS[day] for day in days]))
    if nths:
        of = "" if pattern.months else " of the year" if pattern.unit is Unit.YEAR else " of the month"
        said.append(f"on {_and(nths)}{of}")
    return " and ".join(said)


def _year_days(pattern: Pattern) -> str:
    days = [f"day {day}" if day > 0 else f"the {_nth(day)} day" for day in pattern.year_days]
    return f"on {_and(days)} of the year" if days else ""


def _weeks(pattern: Pattern) -> str:
    weeks = [f"week {week}" if week > 0 else f"the {_nth(week)} week" for week in pattern.weeks]
    return f"in {_and(weeks)}" if weeks else ""


# -- words -----------------------------------------------------------------------------------------------------------------


def _nth(place: int) -> str:
    if place in _ORDINALS:
        return _ORDINALS[place]
    return _ordinal(place) if place > 0 else f"{_ordinal(-place)} last"


def _ordinal(number: int) -> str:
    ending = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _and(items: Sequence[object]) -> str:
    words = [str(item) for item in items]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
