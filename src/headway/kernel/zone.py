"""A time zone as stretches of constant offset, so that wall clocks are integer arithmetic.

Instants are seconds since 1970-01-01T00:00Z. A *wall time* is what a clock in the zone reads, counted in the same way, as if
the zone were UTC. Stretches are found by asking the zone's database, which is the system's or, where there is none, tzdata's.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

DAY: Final = 86_400
SHIFT_MOST: Final = 2 * DAY
"""No two clocks of a zone, before and after a change, are further apart (Apia and Kwajalein moved by one day)."""
_BLOCK: Final = 25
"""Stretches are found for blocks of 2**25 seconds, some 388 days, and kept."""
_SAMPLE: Final = 18
"""The offset is looked at every 2**18 seconds, three days: no zone has changed its clocks twice within a week since 1970."""
_ELSEWHERE: Final = ("posix/", "right/", "localtime", "posixrules", "Factory")
"""Names in the database that mean another thing on each machine, or count leap seconds."""


class UnknownZone(ValueError):
    """A name that is no IANA time zone; its text suggests the nearest one."""


class Stretch(NamedTuple):
    """The instants from `begin` until before `end`, during which clocks are `offset` seconds ahead of UTC."""

    begin: int
    end: int
    offset: int


class Zone:
    """Time zone: wall times of instants, and instants of wall times."""

    def __init__(self, name: str, info: ZoneInfo) -> None:
        """`named` is the usual way to get one."""
        self.name = name
        self._info = info
        self._blocks: dict[int, list[Stretch]] = {}

    def stretch_at(self, instant: int) -> Stretch:
        """Return the stretch that the instant lies in. Long ones come in pieces."""
        for stretch in self._block(instant >> _BLOCK):
            if instant < stretch.end:
                return stretch
        raise AssertionError(instant)

    def stretches_from(self, instant: int) -> Iterator[Stretch]:
        """Yield the stretch of the instant and its successors, without end."""
        while True:
            stretch = self.stretch_at(instant)
            yield stretch
            instant = stretch.end

    def wall(self, instant: int) -> int:
        """Return the wall time of an instant."""
        return instant + self.stretch_at(instant).offset

    def instant(self, wall: int) -> int:
        """Return when the clocks first read `wall`; if they leap over it, when they do so."""
        for begin, end, offset in self.stretches_from(wall - SHIFT_MOST):
            if wall < end + offset:
                return max(wall - offset, begin)
        raise AssertionError(wall)

    def passed(self, instant: int) -> int:
        """Return the first wall time that the clocks have neither read nor leapt over up to the instant."""
        latest = instant + self.stretch_at(instant).offset + 1
        for _, end, offset in self.stretches_from(instant - SHIFT_MOST):
            if end > instant:
                return latest
            latest = max(latest, end + offset)  # the clocks were set back: this much they have read before
        raise AssertionError(instant)

    def isoformat(self, instant: int) -> str:
        """Return the instant as people of the zone write it."""
        return datetime.fromtimestamp(instant, self._info).isoformat()

    def _block(self, number: int) -> list[Stretch]:
        if number not in self._blocks:
            self._blocks[number] = self._stretches(number << _BLOCK, (number + 1) << _BLOCK)
        return self._blocks[number]

    def _stretches(self, begin: int, end: int) -> list[Stretch]:
        found = []
        first, offset = begin, self._offset(begin)
        for sample in range(begin + (1 << _SAMPLE), end + 1, 1 << _SAMPLE):
            after = self._offset(sample)
            if after != offset:
                change = self._change(sample - (1 << _SAMPLE), sample, offset)
                found.append(Stretch(first, change, offset))
                first, offset = change, after
        if first < end:
            found.append(Stretch(first, end, offset))
        return found

    def _change(self, before: int, after: int, offset: int) -> int:
        while after - before > 1:
            middle = (before + after) // 2
            if self._offset(middle) == offset:
                before = middle
            else:
                after = middle
        return after

    def _offset(self, instant: int) -> int:
        offset = datetime.fromtimestamp(instant, self._info).utcoffset()
        assert offset is not None
        return offset.days * DAY + offset.seconds


@lru_cache(maxsize=1024)
def named(name: str) -> Zone:
    """Return the zone of an IANA name, such as `Europe/Berlin`; raise UnknownZone."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # noqa: PLC0415 - a first start has no schedules, and no zones

    if name.startswith(_ELSEWHERE):
        raise UnknownZone(_unknown(name))
    try:
        return Zone(name, ZoneInfo(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a folder, or one too long for a file
        raise UnknownZone(_unknown(name)) from None


def _unknown(name: str) -> str:
    import difflib  # noqa: PLC0415 - only who misspells needs it
    from zoneinfo import available_timezones  # noqa: PLC0415

    spelled = {known.lower(): known for known in available_timezones() if not known.startswith(_ELSEWHERE)}
    near = difflib.get_close_matches(name.lower()[:64], spelled, n=1)
    said = f"{name[:40]!r} is not a time zone; write an IANA name such as Europe/Berlin, or UTC"
    return f"{said}. Did you mean {spelled[near[0]]}?" if near else said
