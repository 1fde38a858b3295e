"""A year as sets of days: each set is an integer with one bit a day, so that rules about days are `&` and `|`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from typing import Final

EPOCH: Final = date(1970, 1, 1).toordinal()
YEAR_LAST: Final = 9998
"""The last year that rules look at; its successor is the last that dates have."""


class Year:
    """The days of one year; bit 0 is 1 January. `first` is that day's number, counted from 1 January 1970."""

    def __init__(self, number: int) -> None:
        """`of` is the usual way to get one."""
        starts = [date(number, month, 1).toordinal() - EPOCH for month in range(1, 13)]
        ends = [*starts[1:], date(number + 1, 1, 1).toordinal() - EPOCH]
        self.first = starts[0]
        self.end = ends[-1]
        self.length = self.end - self.first
        self.all = (1 << self.length) - 1
        self._starts = [start - self.first for start in starts]
        self._ends = [end - self.first for end in ends]
        self._weekdays = [self._every_seventh((day - weekday_of(self.first)) % 7) for day in range(7)]

    def month(self, month: int) -> int:
        """Return the days of a month."""
        return (1 << self._ends[month - 1]) - (1 << self._starts[month - 1])

    def weekday(self, weekday: int) -> int:
        """Return every Monday (0), … or every Sunday (6)."""
        return self._weekdays[weekday]

    def month_day(self, day: int) -> int:
        """Return this day of every month that has it; -1 is the last."""
        found = 0
        for start, end in zip(self._starts, self._ends, strict=True):
            bit = start + day - 1 if day > 0 else end + day
            if start <= bit < end:
                found |= 1 << bit
        return found

    def nth_of_months(self, weekday: int, nth: int) -> int:
        """Return the nth of a weekday in every month that has one; -1 is the last."""
        return union(nth_bit(self.weekday(weekday) & self.month(month), nth) for month in range(1, 13))

    def nth(self, weekday: int, nth: int) -> int:
        """Return the nth of a weekday in the year; -1 is the last."""
        return nth_bit(self.weekday(weekday), nth)

    def last_workdays(self) -> int:
        """Return the last of Monday to Friday of every month."""
        workdays = self.all & ~(self.weekday(5) | self.weekday(6))
        return union(nth_bit(workdays & self.month(month), -1) for month in range(1, 13))

    def year_day(self, day: int) -> int:
        """Return a day by its number; -1 is the last."""
        bit = day - 1 if day > 0 else self.length + day
        return 1 << bit if 0 <= bit < self.length else 0

    def week(self, number: int, week_start: int) -> int:
        """Return the days whose week has that number; -1 is the last week. A week is of the year that most of it is in."""
        found = 0
        start = self.first - (weekday_of(self.first) - week_start) % 7
        while start < self.end:
            year = of(year_of(start + 3))
            week = (start + 3 - year.first) // 7
            weeks = (year.length - 1 - (week_start + 3 - weekday_of(year.first)) % 7) // 7 + 1
            if number in (week + 1, week - weeks):
                begin, end = max(start, self.first), min(start + 7, self.end)
                found |= (1 << (end - self.first)) - (1 << (begin - self.first))
            start += 7
        return found

    def _every_seventh(self, bit: int) -> int:
        return union(1 << day for day in range(bit, self.length, 7))


@lru_cache(maxsize=512)
def of(number: int) -> Year:
    """Return the year of that number."""
    return Year(number)


def year_of(day: int) -> int:
    """Return the year that a day lies in."""
    return date.fromordinal(day + EPOCH).year


def month_of(day: int) -> int:
    """Return the number of the month that a day lies in, twelve to a year."""
    found = date.fromordinal(day + EPOCH)
    return found.year * 12 + found.month - 1


def month_day_of(day: int) -> int:
    """Return the day's number in its month."""
    return date.fromordinal(day + EPOCH).day


def first_of_month(month: int) -> int:
    """Return the first day of the month of that number."""
    return date(month // 12, month % 12 + 1, 1).toordinal() - EPOCH


def weekday_of(day: int) -> int:
    """Return the weekday of a day; Monday is 0."""
    return (day + 3) % 7


def lowest(days: int) -> int:
    """Return the first day of a set."""
    return (days & -days).bit_length() - 1


def nth_bit(days: int, nth: int) -> int:
    """Return the nth day of a set as a set of its own, from 1 on, or from -1 downwards; empty if there are not so many."""
    if nth > 0:
        for _ in range(nth - 1):
            days &= days - 1
        return days & -days
    for _ in range(-nth - 1):
        days ^= 1 << days.bit_length() >> 1
    return 1 << days.bit_length() >> 1


def union(sets: Iterable[int]) -> int:
    """Return the days that are in any of the sets."""
    found = 0
    for days in sets:
        found |= days
    return found
