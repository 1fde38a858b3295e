"""Recurrence rules of RFC 5545, from yearly to minutely; the schedule's start is their DTSTART.

What is left out: seconds (a slot is at the second of the start), positions (BYSETPOS) within an hour, and counts and
intervals beyond a thousand.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from headway.errors import InvalidSchedule
from headway.features.schedules.rules import year
from headway.features.schedules.rules.pattern import Pattern, Unit
from headway.features.schedules.rules.refusal import quote, refuse
from headway.kernel.zone import DAY

MOST: Final = 1000
"""The highest COUNT and INTERVAL."""
_LONGEST: Final = 1000
FREQUENCIES: Final = {
    "YEARLY": Unit.YEAR,
    "MONTHLY": Unit.MONTH,
    "WEEKLY": Unit.WEEK,
    "DAILY": Unit.DAY,
    "HOURLY": Unit.HOUR,
    "MINUTELY": Unit.MINUTE,
}
WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_BY_WEEKDAY: Final = re.compile(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_UNTIL: Final = re.compile(r"(\d{8})(?:T(\d{6})(Z)?)?")
_DAYS_MOST: Final = {Unit.YEAR: 366, Unit.MONTH: 31, Unit.WEEK: 7, Unit.DAY: 1}


class Recurrence(msgspec.Struct, frozen=True, kw_only=True):
    """A rule as it was written, part by part; an empty tuple is a part that is not there."""

    frequency: str
    interval: int = 1
    count: int | None = None
    until: str | None = None
    months: tuple[int, ...] = ()
    weeks: tuple[int, ...] = ()
    year_days: tuple[int, ...] = ()
    month_days: tuple[int, ...] = ()
    weekdays: tuple[tuple[int, int], ...] = ()
    hours: tuple[int, ...] = ()
    minutes: tuple[int, ...] = ()
    positions: tuple[int, ...] = ()
    week_start: int = 0

    @property
    def unit(self) -> Unit:
        """The unit that the interval counts."""
        return FREQUENCIES[self.frequency]


def parse(text: str) -> Recurrence:
    """Return the rule; refuse it, naming the part, if it cannot be kept to."""
    if len(text) > _LONGEST:
        raise refuse("occurrence", f"an RRULE has at most {_LONGEST} characters")
    parts: dict[str, str] = {}
    for part in text.strip().upper().removeprefix("RRULE:").rstrip(";").split(";"):
        name, _, value = part.partition("=")
        for other, why in _ELSEWHERE.items():
            if name.startswith(other):
                raise refuse(f"occurrence/{other}", why)
        if name not in _PARTS:
            raise refuse("occurrence", f"{quote(part)} is not a part of an RRULE; what is: {', '.join(_PARTS)}")
        if name in parts or not value:
            raise refuse(f"occurrence/{name}", "it stands once, with a value")
        parts[name] = value
    if "FREQ" not in parts:
        raise refuse("occurrence/FREQ", f"an RRULE needs it; what is accepted: {', '.join(FREQUENCIES)}")
    rule = Recurrence(**{_PARTS[name][0]: _PARTS[name][1](name, value) for name, value in parts.items()})
    _check(rule)
    return rule


def canonical(rule: Recurrence) -> str:
    """Return the rule in its one spelling: parts in a fixed order, values sorted, what goes without saying left out."""
    said = {"FREQ": rule.frequency}
    for name, (field, _) in _PARTS.items():
        value = getattr(rule, field)
        if field == "weekdays":
            value = tuple(f"{nth or ''}{WEEKDAYS[day]}" for day, nth in value)
        if field == "week_start":
            value = WEEKDAYS[value] if value else None
        if isinstance(value, tuple):
            value = ",".join(map(str, value))
        if value and not (field == "interval" and value == 1):
            said[name] = str(value)
    return ";".join(f"{name}={value}" for name, value in said.items())


def pattern(rule: Recurrence, anchor: int) -> Pattern:
    """Return the pattern of a rule that starts at a wall time, from which missing parts are taken (RFC 5545, 3.3.10)."""
    day, time = divmod(anchor, DAY)
    hour, minute, second = time // 3600, time // 60 % 60, time % 60
    month = year.month_of(day) % 12 + 1
    months, month_days, weekdays = rule.months, rule.month_days, rule.weekdays
    if not (rule.weeks or rule.year_days or month_days or weekdays):
        if rule.unit is Unit.YEAR and not months:
            months = (month,)
        if rule.unit <= Unit.MONTH:
            month_days = (year.month_day_of(day),)
        elif rule.unit is Unit.WEEK:
            weekdays = ((year.weekday_of(day), 0),)
    hours = rule.hours or ((hour,) if rule.unit <= Unit.DAY else range(24))
    minutes = rule.minutes or ((minute,) if rule.unit <= Unit.HOUR else range(60))
    times = tuple(h * 3600 + m * 60 + second for h in hours for m in minutes)
    positions = rule.positions
    if positions and rule.unit is Unit.DAY:  # a unit has but one day: the positions are places in it
        places = {place - 1 if place > 0 else len(times) + place for place in positions}
        times = tuple(times[place] for place in sorted(places) if 0 <= place < len(times))
        positions = ()
    return Pattern(
        unit=rule.unit,
        interval=rule.interval,
        months=months,
        month_days=month_days,
        weekdays=weekdays,
        year_days=rule.year_days,
        weeks=rule.weeks,
        week_start=rule.week_start,
        times=times,
        positions=positions,
        elapsed=rule.unit > Unit.DAY,
        anchor=anchor,
    )


def until(text: str) -> tuple[int, bool]:
    """Return the last moment of a rule in seconds, and whether it is UTC; otherwise it is what clocks read."""
    found = _UNTIL.fullmatch(text)
    assert found is not None, text
    moment = datetime.strptime(f"{found[1]}{found[2] or '235959'}", "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    return int(moment.timestamp()), found[3] is not None


# -- the parts -------------------------------------------------------------------------------------------------------------


def _frequency(name: str, value: str) -> str:
    if value not in FREQUENCIES:
        raise refuse(f"occurrence/{name}", f"{quote(value)} is not accepted; what is: {', '.join(FREQUENCIES)}")
    return value


def _number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 4 and 1 <= int(value) <= MOST):  # noqa: PLR2004
        raise refuse(f"occurrence/{name}", f"{quote(value)} is not accepted; what is: 1 to {MOST}")
    return int(value)


def _moment(name: str, value: str) -> str:
    try:
        if _UNTIL.fullmatch(value):
            until(value)
            return value
    except ValueError:
        pass
    raise refuse(f"occurrence/{name}", f"{quote(value)} is not accepted; write 20271231, 20271231T235959 or …Z for UTC")


def _numbers(low: int, high: int, *, signed: bool = False) -> Callable[[str, str], tuple[int, ...]]:
    def parse(name: str, value: str) -> tuple[int, ...]:
        found = set()
        for word in value.split(","):
            digits = word[1:] if signed and word[:1] in {"+", "-"} else word
            if not (digits.isascii() and digits.isdigit() and len(digits) <= 3 and low <= int(digits) <= high):  # noqa: PLR2004
                accepted = f"{low} to {high}" + (f" and -{low} to -{high}" if signed else "")
                raise refuse(f"occurrence/{name}", f"{quote(word)} is not accepted; what is: {accepted}")
            found.add(int(word))
        return tuple(sorted(found))

    return parse


def _weekdays(name: str, value: str) -> tuple[tuple[int, int], ...]:
    found = set()
    for word in value.split(","):
        match = _BY_WEEKDAY.fullmatch(word)
        nth = int(match[1] or 0) if match else 0
        if match is None or (match[1] and not 1 <= abs(nth) <= 53):  # noqa: PLR2004 - so many weeks has a year
            accepted = f"{', '.join(WEEKDAYS)}, with a number for the nth: 2MO, -1FR"
            raise refuse(f"occurrence/{name}", f"{quote(word)} is not accepted; what is: {accepted}")
        found.add((WEEKDAYS.index(match[2]), nth))
    return tuple(sorted(found))


def _week_start(name: str, value: str) -> int:
    if value not in WEEKDAYS:
        raise refuse(f"occurrence/{name}", f"{quote(value)} is not accepted; what is: {', '.join(WEEKDAYS)}")
    return WEEKDAYS.index(value)


_PARTS: Final[dict[str, tuple[str, Callable[[str, str], Any]]]] = {
    "FREQ": ("frequency", _frequency),
    "INTERVAL": ("interval", _number),
    "COUNT": ("count", _number),
    "UNTIL": ("until", _moment),
    "BYMONTH": ("months", _numbers(1, 12)),
    "BYWEEKNO": ("weeks", _numbers(1, 53, signed=True)),
    "BYYEARDAY": ("year_days", _numbers(1, 366, signed=True)),
    "BYMONTHDAY": ("month_days", _numbers(1, 31, signed=True)),
    "BYDAY": ("weekdays", _weekdays),
    "BYHOUR": ("hours", _numbers(0, 23)),
    "BYMINUTE": ("minutes", _numbers(0, 59)),
    "BYSETPOS": ("positions", _numbers(1, 366, signed=True)),
    "WKST": ("week_start", _week_start),
}
_ELSEWHERE: Final = {
    "DTSTART": "the schedule's own start is the rule's; say it there, and the zone in timezone",
    "EXDATE": "dates cannot be left out of a schedule",
    "RDATE": "dates cannot be added to a schedule",
    "BYSECOND": "slots are at the second of the schedule's start",
}


def _check(rule: Recurrence) -> None:
    """Refuse combinations that RFC 5545 forbids, and rules that can never fire."""
    if rule.count is not None and rule.until is not None:
        raise refuse("occurrence/COUNT", "COUNT and UNTIL exclude each other")
    yearly, monthly = rule.unit is Unit.YEAR, rule.unit is Unit.MONTH
    if rule.weeks and not yearly:
        raise _only("BYWEEKNO", "YEARLY")
    if rule.year_days and rule.unit in {Unit.MONTH, Unit.WEEK, Unit.DAY}:
        raise _only("BYYEARDAY", "YEARLY, HOURLY and MINUTELY")
    if rule.month_days and rule.unit is Unit.WEEK:
        raise refuse("occurrence/BYMONTHDAY", "it does not go with FREQ=WEEKLY")
    if any(nth for _, nth in rule.weekdays):
        if not (yearly or monthly):
            raise refuse("occurrence/BYDAY", "numbers as in 2MO go with FREQ=MONTHLY and YEARLY only")
        if rule.weeks:
            raise refuse("occurrence/BYDAY", "numbers as in 2MO do not go with BYWEEKNO")
    if rule.positions:
        if rule.unit not in _DAYS_MOST:
            raise _only("BYSETPOS", "YEARLY, MONTHLY, WEEKLY and DAILY")
        others = (rule.months, rule.weeks, rule.year_days, rule.month_days, rule.weekdays, rule.hours, rule.minutes)
        if not any(others):
            raise refuse("occurrence/BYSETPOS", "it chooses among what another BY part names; there is none")
        most = _DAYS_MOST[rule.unit] * max(1, len(rule.hours)) * max(1, len(rule.minutes))
        if all(abs(position) > most for position in rule.positions):
            raise refuse("occurrence/BYSETPOS", f"there are never more than {most} to choose from")


def _only(part: str, frequencies: str) -> InvalidSchedule:
    return refuse(f"occurrence/{part}", f"it goes with FREQ={frequencies} only")
