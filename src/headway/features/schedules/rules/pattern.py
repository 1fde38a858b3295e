"""Wall times of an occurrence: the common form of words, cron expressions and RRULEs.

A pattern has no time zone; `timetable` carries its wall times over to instants.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from enum import IntEnum
from typing import Final

import msgspec

from headway.features.schedules.rules import year
from headway.kernel.zone import DAY

LOOKAHEAD_DAYS: Final = 100 * 366
"""Days after which a pattern without a match counts as never matching: a hundred years."""


class Unit(IntEnum):
    """Units of intervals."""

    YEAR = 0
    MONTH = 1
    WEEK = 2
    DAY = 3
    HOUR = 4
    MINUTE = 5


class Pattern(msgspec.Struct, frozen=True, kw_only=True):
    """Wall times by their calendar fields; an empty tuple does not restrict.

    A day has to match every field that restricts (`either` excepted); then each of `times` on it is meant.
    """

    unit: Unit = Unit.DAY
    interval: int = 1
    """Distance between the units that count, from the anchor's own on."""
    months: tuple[int, ...] = ()
    month_days: tuple[int, ...] = ()
    """1 … 31, and -1 … -31 from the month's end."""
    last_workday: bool = False
    """Beside `month_days`: the last of Monday to Friday of the month."""
    weekdays: tuple[tuple[int, int], ...] = ()
    """(0 for Monday …, nth): 0 is each, 1 the first, -1 the last, of the month, or of the year if no month is named."""
    year_days: tuple[int, ...] = ()
    weeks: tuple[int, ...] = ()
    week_start: int = 0
    either: bool = False
    """A day of the month *or* a weekday is enough: cron, when both are given."""
    times: tuple[int, ...] = (0,)
    """Seconds of the day, ascending."""
    positions: tuple[int, ...] = ()
    """Positions of the wall times within a unit that are kept (BYSETPOS), from 1, or from -1 backwards. Not for hours and minutes."""
    elapsed: bool = False
    """Elapsed time: the pattern matches every instant at which a clock reads such a time, also the second time."""
    anchor: int = 0
    """The wall time from which intervals count."""


class Finder:
    """Finds a pattern's wall times."""

    def __init__(self, pattern: Pattern) -> None:
        """Look nowhere yet: what is known of a year is kept."""
        self._pattern = pattern
        self._days: dict[int, int] = {}
        self._origin = self._unit_of(pattern.anchor // DAY)

    def first_from(self, wall: int) -> int | None:
        """Return the first wall time at or after `wall`, or None if none comes within a hundred years."""
        day, second = divmod(wall, DAY)
        last = day + LOOKAHEAD_DAYS
        if self._pattern.positions:
            return self._first_chosen(day, second, last)
        times = self._pattern.times
        place = bisect_left(times, second)
        if place == len(times):
            day, place = day + 1, 0
        found = self._day_from(day, last)
        if found is None:
            return None
        return found * DAY + times[place if found == day else 0]

    # -- days ----------------------------------------------------------------------------------------------------------

    def _day_from(self, day: int, last: int) -> int | None:
        while day <= last:
            number = year.year_of(day)
            if number > year.YEAR_LAST:
                return None
            here = year.of(number)
            rest = self._days_of(number) >> (day - here.first)
            if not rest:
                day = here.end
                continue
            day += year.lowest(rest)
            aligned = self._aligned(day)
            if aligned == day:
                return day if day <= last else None
            day = aligned
        return None

    def _days_of(self, number: int) -> int:
        """Return the days of a year that match, whatever the interval says."""
        if number not in self._days:
            self._days[number] = days_of(self._pattern, year.of(number))
        return self._days[number]

    def _aligned(self, day: int) -> int:
        """Return the day itself if its unit counts, or the first day of the next unit that does."""
        pattern = self._pattern
        if pattern.interval == 1 or pattern.unit > Unit.DAY:
            return day
        unit = self._unit_of(day)
        late = (unit - self._origin) % pattern.interval
        return day if late == 0 else self._first_day(unit + pattern.interval - late)

    def _unit_of(self, day: int) -> int:
        match self._pattern.unit:
            case Unit.YEAR:
                return year.year_of(day)
            case Unit.MONTH:
                return year.month_of(day)
            case Unit.WEEK:
                return (day - self._week_zero) // 7
            case _:
                return day

    def _first_day(self, unit: int) -> int:
        match self._pattern.unit:
            case Unit.YEAR:
                return year.of(unit).first if unit <= year.YEAR_LAST else year.of(year.YEAR_LAST).end
            case Unit.MONTH:
                return year.first_of_month(unit)
            case Unit.WEEK:
                return unit * 7 + self._week_zero
            case _:
                return unit

    @property
    def _week_zero(self) -> int:
        return self._pattern.week_start - 3  # the day of that weekday in the week of 1 January 1970, a Thursday

    # -- positions -----------------------------------------------------------------------------------------------------

    def _first_chosen(self, day: int, second: int, last: int) -> int | None:
        wall = day * DAY + second
        found = self._day_from(self._first_day(self._unit_of(day)), last)
        while found is not None:
            unit = self._unit_of(found)
            begin, end = self._first_day(unit), self._first_day(unit + 1)
            for chosen in self._chosen(list(self._days_between(begin, end))):
                if chosen >= wall:
                    return chosen
            found = self._day_from(end, last)
        return None

    def _days_between(self, begin: int, end: int) -> Iterator[int]:
        day = self._day_from(begin, end - 1)
        while day is not None:
            yield day
            day = self._day_from(day + 1, end - 1)

    def _chosen(self, days: list[int]) -> list[int]:
        """Return the wall times at the pattern's positions among all on these days."""
        times = self._pattern.times
        count = len(days) * len(times)
        places = {position - 1 if position > 0 else count + position for position in self._pattern.positions}
        return sorted(
            days[place // len(times)] * DAY + times[place % len(times)] for place in places if 0 <= place < count
        )


def days_of(pattern: Pattern, here: year.Year) -> int:
    """Return the days of a year that match the pattern's fields."""
    days = here.all
    if pattern.months:
        days &= year.union(here.month(month) for month in pattern.months)
    if pattern.weeks:
        days &= year.union(here.week(week, pattern.week_start) for week in pattern.weeks)
    if pattern.year_days:
        days &= year.union(here.year_day(day) for day in pattern.year_days)
    by_date = year.union(here.month_day(day) for day in pattern.month_days)
    if pattern.last_workday:
        by_date |= here.last_workdays()
    in_year = pattern.unit is Unit.YEAR and not pattern.months
    by_weekday = year.union(_weekday(here, weekday, nth, in_year=in_year) for weekday, nth in pattern.weekdays)
    if pattern.either:
        return days & (by_date | by_weekday)
    if pattern.month_days or pattern.last_workday:
        days &= by_date
    if pattern.weekdays:
        days &= by_weekday
    return days


def _weekday(here: year.Year, weekday: int, nth: int, *, in_year: bool) -> int:
    if nth == 0:
        return here.weekday(weekday)
    return here.nth(weekday, nth) if in_year else here.nth_of_months(weekday, nth)
