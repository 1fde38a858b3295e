"""Cron expressions: the five fields of crontab(5), its names and nicknames, and L, LW, 5L and MON#2 for days.

The field rules are Debian's: if the day of the month or the weekday begins with `*`, a day has to match both; otherwise one
is enough. If the minute or the hour begins with `*`, the expression runs on elapsed time.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from headway.errors import InvalidSchedule
from headway.features.schedules.rules.pattern import Pattern
from headway.features.schedules.rules.refusal import quote, refuse

NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_LONGEST: Final = 500
_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_TERM: Final = re.compile(r"(\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d{1,4}))?")
_LAST_WEEKDAY: Final = re.compile(r"(\w+)L")
_NTH_WEEKDAY: Final = re.compile(r"(\w+)#([1-5])")


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: dict[str, int]
    also: str = ""


_MINUTE: Final = _Field("minute", 0, 59, {})
_HOUR: Final = _Field("hour", 0, 23, {})
_MONTH_DAY: Final = _Field("day of month", 1, 31, {}, ", L (the last day), LW (the last of Monday to Friday)")
_MONTH: Final = _Field("month", 1, 12, {name: place for place, name in enumerate(_MONTHS, 1)}, ", JAN-DEC")
_WEEKDAY: Final = _Field(
    "day of week",
    0,
    7,
    {name: place for place, name in enumerate(_WEEKDAYS[:7])},
    " (0 and 7 are Sunday), SUN-SAT, 5L (the last Friday), MON#2 (the second Monday)",
)
_FIELDS: Final = (_MINUTE, _HOUR, _MONTH_DAY, _MONTH, _WEEKDAY)


def canonical(text: str) -> str:
    """Return an expression in its one spelling: nicknames written out, capitals, single spaces, `*` for `?`."""
    text = NICKNAMES.get(text.strip().lower(), text)
    if len(text) > _LONGEST:
        raise refuse("occurrence", f"a cron expression has at most {_LONGEST} characters")
    fields = text.upper().split()
    if len(fields) != len(_FIELDS):
        said = "a cron expression has five fields: minute, hour, day of month, month, day of week"
        raise refuse("occurrence", f"{said}; {quote(text)} has {len(fields)}")
    for place in (2, 4):
        if fields[place] == "?":
            fields[place] = "*"
    return " ".join(fields)


def pattern(text: str) -> Pattern:
    """Return the pattern of a canonical expression; raise InvalidSchedule that names the invalid field."""
    fields = text.split()
    minutes, hours, months = (_numbers(_FIELDS[place], fields[place]) for place in (0, 1, 3))
    month_days: set[int] = set()
    last_workday = False
    for term in fields[2].split(","):
        if term == "L":
            month_days.add(-1)
        elif term == "LW":
            last_workday = True
        else:
            month_days |= _term(_MONTH_DAY, term)
    weekdays = {found for term in fields[4].split(",") for found in _weekdays(term)}
    either = not fields[2].startswith("*") and not fields[4].startswith("*")
    any_date = month_days >= set(range(1, 32))
    any_weekday = weekdays >= {(day, 0) for day in range(7)}
    if either and (any_date or any_weekday):
        any_date = any_weekday = True
    return Pattern(
        months=() if len(months) == _MONTH.high else tuple(sorted(months)),
        month_days=() if any_date else tuple(sorted(month_days)),
        last_workday=last_workday and not any_date,
        weekdays=() if any_weekday else tuple(sorted(weekdays)),
        either=either and not any_date,
        times=tuple(hour * 3600 + minute * 60 for hour in sorted(hours) for minute in sorted(minutes)),
        elapsed=fields[0].startswith("*") or fields[1].startswith("*"),
    )


def _weekdays(term: str) -> list[tuple[int, int]]:
    if last := _LAST_WEEKDAY.fullmatch(term):
        return [(_monday_first(_number(_WEEKDAY, last[1], term)), -1)]
    if nth := _NTH_WEEKDAY.fullmatch(term):
        return [(_monday_first(_number(_WEEKDAY, nth[1], term)), int(nth[2]))]
    return [(_monday_first(day), 0) for day in _term(_WEEKDAY, term)]


def _monday_first(day: int) -> int:
    return (day - 1) % 7


def _numbers(field: _Field, text: str) -> set[int]:
    return {number for term in text.split(",") for number in _term(field, term)}


def _term(field: _Field, term: str) -> set[int]:
    found = _TERM.fullmatch(term)
    if found is None:
        raise _unknown(field, term)
    first, last, step = found["first"], found["last"], found["step"]
    low = field.low if first is None else _number(field, first, term)
    if last is not None:
        high = _number(field, last, term)
        if field is _WEEKDAY and high == 0 < low:
            high = 7  # FRI-SUN
    else:
        high = field.high if first is None or step is not None else low
    if high < low or (step is not None and int(step) == 0):
        raise _unknown(field, term)
    return set(range(low, high + 1, int(step or 1)))


def _number(field: _Field, text: str, term: str) -> int:
    number = field.names.get(text, int(text) if text.isascii() and text.isdigit() and len(text) <= 2 else -1)  # noqa: PLR2004
    if not field.low <= number <= field.high:
        raise _unknown(field, term)
    return number


def _unknown(field: _Field, term: str) -> InvalidSchedule:
    accepted = f"*, {field.low}-{field.high}, lists (1,2), ranges (1-5), steps (*/2){field.also}"
    return refuse(f"occurrence/{field.name}", f"{quote(term)} is not accepted; what is: {accepted}")
