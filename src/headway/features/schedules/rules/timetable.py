"""Slots of an occurrence, found by integer arithmetic over a pattern and a zone.

Three kinds of rule differ when clocks are changed:

- rules of wall times fire once for each: at its first instant, or, if the clocks leap over it, when they leap;
- rules that repeat through the hours (`elapsed`) fire at every instant at which a clock reads such a time;
- fixed intervals look at no clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

import msgspec

from headway.features.schedules.rules.pattern import Finder, Pattern, Unit
from headway.kernel.zone import SHIFT_MOST, Zone

INSTANT_MOST: Final = 247_000_000_000
"""End of all rules, in the year 9797, so that no date runs out of its range."""
_TRIES: Final = 10_000
"""Number of units of a rule by hours or minutes without a slot, after which it counts as never firing."""
_SECONDS: Final = {Unit.HOUR: 3_600, Unit.MINUTE: 60}


class Rule(Protocol):
    """Rule of slots without start and end; in seconds."""

    def next_after(self, instant: int) -> int | None:
        """Return the first instant of the rule after this one."""
        ...


class Interval(msgspec.Struct, frozen=True):
    """Fixed intervals, counted from an instant; they look at no clock."""

    seconds: int
    anchor: int

    def next_after(self, instant: int) -> int:
        """Return the next multiple of the interval after the anchor, or before it."""
        return self.anchor + ((instant - self.anchor) // self.seconds + 1) * self.seconds


class WallTimes:
    """Wall times, each once: at its first instant, or, if the clocks leap over it, when they do so."""

    def __init__(self, pattern: Pattern, zone: Zone) -> None:
        """Take a pattern that does not run on elapsed time."""
        self._finder = Finder(pattern)
        self._zone = zone

    def next_after(self, instant: int) -> int | None:
        """Return the instant of the first wall time that has not passed by then."""
        wall = self._finder.first_from(self._zone.passed(instant))
        return None if wall is None else self._zone.instant(wall)


class ElapsedTime:
    """Every instant at which a clock reads a wall time of the pattern, every so many hours or minutes."""

    def __init__(self, pattern: Pattern, zone: Zone, anchor: int) -> None:
        """Count hours and minutes from the anchor's own."""
        self._finder = Finder(pattern)
        self._zone = zone
        self._unit = _SECONDS.get(pattern.unit, 1)
        self._period = self._unit * pattern.interval
        self._zero = anchor - zone.wall(anchor) % self._unit
        self._aligned = pattern.interval > 1

    def next_after(self, instant: int) -> int | None:
        """Return the next such instant; None, too, if the interval and the times do not meet in ten thousand tries."""
        found = self._first_from(instant + 1)
        if not self._aligned:
            return found
        for _ in range(_TRIES):
            if found is None:
                return None
            late = (found - self._zero) % self._period
            if late < self._unit:
                return found
            found = self._first_from(found - late + self._period)
        return None

    def _first_from(self, instant: int) -> int | None:
        while True:
            _, end, offset = self._zone.stretch_at(instant)
            wall = self._finder.first_from(instant + offset)
            if wall is not None and wall < end + offset:
                return wall - offset
            # Not before the clocks change, or before they may have changed: go on there, or close to the next such wall
            # time, whatever the offset will be by then.
            ahead = self._finder.first_from(end + offset - SHIFT_MOST)
            if ahead is None:
                return None
            instant = max(end, ahead - offset - SHIFT_MOST)


class Timetable:
    """The slots of an occurrence in a zone between two bounds: instants in milliseconds UTC, strictly ascending."""

    def __init__(self, rule: Rule, zone: Zone, *, starts: int, ends: int | None, count: int | None = None) -> None:
        """Take bounds in seconds; both may be slots themselves. With `count`, the so-many-th slot is the last."""
        self.zone = zone
        self._rule = rule
        self._starts = starts
        self._ends = INSTANT_MOST if ends is None else min(ends, INSTANT_MOST)
        slot: int | None = starts - 1
        for _ in range(count or 0):
            slot = None if slot is None else self._next(slot)
        if count and slot is not None:
            self._ends = slot

    def next_after(self, instant_ms: int) -> int | None:
        """Return the first slot after the instant, or None if there is none, or none within a hundred years."""
        slot = self._next(instant_ms // 1000)
        return None if slot is None else slot * 1000

    def between(self, after_ms: int, until_ms: int) -> Iterator[int]:
        """Yield the slots after one instant, up to and including another, from the oldest on."""
        slot = self.next_after(after_ms)
        while slot is not None and slot <= until_ms:
            yield slot
            slot = self.next_after(slot)

    def last_until(self, until_ms: int, after_ms: int, span: int = 1_000) -> int | None:
        """Return the last slot after one instant, up to and including another, without walking through the others.

        `span` is a guess at how far back it lies; a good one saves work.
        """
        low, found = until_ms, None
        while found is None and low > after_ms:
            low = max(until_ms - span, after_ms)
            found = self._within(low, until_ms)
            span *= 4
        if found is None or self._within(found, until_ms) is None:
            return found
        high = until_ms
        while found < high:  # after `high` there is none
            middle = (found + high) // 2
            later = self._within(middle, until_ms)
            if later is None:
                high = middle
            else:
                found = later
        return found

    def newest(self, until_ms: int, after_ms: int, most: int) -> list[int]:
        """Return the last slots after one instant, up to and including another, from the oldest on."""
        found: list[int] = []
        slot = self.last_until(until_ms, after_ms)
        while slot is not None and len(found) < most:
            found.append(slot)
            distance = found[-2] - slot if len(found) > 1 else 1_000
            slot = self.last_until(slot - 1, after_ms, distance)
        return found[::-1]

    def _within(self, after_ms: int, until_ms: int) -> int | None:
        slot = self.next_after(after_ms)
        return None if slot is None or slot > until_ms else slot

    # -- in seconds ----------------------------------------------------------------------------------------------------

    def _next(self, instant: int) -> int | None:
        instant = max(instant, self._starts - 1)
        if instant >= self._ends:
            return None
        slot = self._rule.next_after(instant)
        return None if slot is None or slot > self._ends else slot
