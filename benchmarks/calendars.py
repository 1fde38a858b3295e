"""Headway's calendar beside cronsim and python-dateutil: the same wall times, and what the next one costs.

    python benchmarks/calendars.py              # half a minute; needs `pip install cronsim python-dateutil`
    python benchmarks/calendars.py --draw 300   # and drawn rules, those that differ; needs hypothesis and pytest

Each library stands where `features/schedules/rules/pattern.Finder` does: it finds naive wall times, and `timetable` and `zone` carry
them over changes of the clock. For dateutil the rule begins anew at the interval's unit before each question, since from
its DTSTART on a rule by minutes takes seconds for each year; `until` bounds its answers, but not its search.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from cronsim import CronSim, CronSimError
from dateutil import rrule as dateutil

from headway.features.schedules.rules import cron, rrule
from headway.features.schedules.rules.pattern import Finder, Pattern, Unit

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - a wall time
FROM = 1_796_000_000
"""2026-11-30T00:53:20, the wall time that is asked from."""
ANCHOR = 978_307_200
CRON = (
    "30 2 * * *",
    "*/15 * * * *",
    "0 9 * * MON-FRI",
    "0 9 LW * *",
    "0 0 29 2 *",
    "0 0 */31 2 MON#5",
    "0 3-3/1 * * *",
)
RULES = (
    "FREQ=DAILY", "FREQ=WEEKLY;BYDAY=MO", "FREQ=MONTHLY;BYDAY=-1FR", "FREQ=YEARLY", "FREQ=MINUTELY",
    "FREQ=YEARLY;BYDAY=3FR,MO", "FREQ=MONTHLY;INTERVAL=2;BYMONTHDAY=2,3;BYDAY=2WE,TH", "FREQ=MONTHLY;BYDAY=20SU,MO",
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "FREQ=WEEKLY;BYDAY=MO;BYSETPOS=2", "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
)  # fmt: skip
Question = Callable[[int], int | None]


def by_cronsim(text: str) -> Question:
    """Return cronsim's answers: the first wall time at or after one."""

    def first_from(wall: int) -> int | None:
        try:
            return seconds(next(CronSim(text, moment(wall - 1))))
        except (CronSimError, RuntimeError, StopIteration):  # RuntimeError: its StopIteration leaves a generator
            return None

    return first_from


def by_dateutil(pattern: Pattern) -> Question:
    """Return dateutil's answers, with all that the rule takes from its start said."""
    names = {Unit.YEAR: dateutil.YEARLY, Unit.MONTH: dateutil.MONTHLY, Unit.WEEK: dateutil.WEEKLY}
    parts = {
        "freq": names.get(pattern.unit, dateutil.DAILY),
        "interval": pattern.interval if pattern.unit <= Unit.DAY else 1,
        "bymonth": pattern.months or None,
        "bymonthday": pattern.month_days or None,
        "byyearday": pattern.year_days or None,
        "byweekno": pattern.weeks or None,
        "byweekday": [dateutil.weekday(day, nth or None) for day, nth in pattern.weekdays] or None,
        "wkst": pattern.week_start,
        "bysetpos": pattern.positions or None,
        "byhour": sorted({second // 3600 for second in pattern.times}),
        "byminute": sorted({second // 60 % 60 for second in pattern.times}),
        "bysecond": sorted({second % 60 for second in pattern.times}),
    }

    def first_from(wall: int) -> int | None:
        at, until = moment(wall), moment(wall + 100 * 366 * 86_400)
        found = dateutil.rrule(dtstart=begin(pattern, at), until=until, **parts).after(at, inc=True)
        return None if found is None else seconds(found)

    return first_from


def begin(pattern: Pattern, at: datetime) -> datetime:
    """Return the first moment of the last unit before `at` that the interval counts."""
    anchor = moment(pattern.anchor // 86_400 * 86_400)
    if pattern.unit is Unit.YEAR:
        return datetime(at.year - (at.year - anchor.year) % pattern.interval, 1, 1)  # noqa: DTZ001
    if pattern.unit is Unit.MONTH:
        month = at.year * 12 + at.month - 1
        month -= (month - anchor.year * 12 - anchor.month + 1) % pattern.interval
        return datetime(month // 12, month % 12 + 1, 1)  # noqa: DTZ001
    days = {Unit.WEEK: 7 * pattern.interval, Unit.DAY: pattern.interval}.get(pattern.unit, 1)
    if pattern.unit is Unit.WEEK:
        anchor -= timedelta((anchor.weekday() - pattern.week_start) % 7)
    day = at.replace(hour=0, minute=0, second=0)
    return day - timedelta((day - anchor).days % days)


def moment(wall: int) -> datetime:
    return EPOCH + timedelta(seconds=wall)


def seconds(wall: datetime) -> int:
    return int((wall - EPOCH).total_seconds())


def walls(question: Question, wall: int, count: int = 5) -> list[str]:
    """Return the next wall times, and the error that a library has for the rule."""
    found, at = [], wall - 1
    while len(found) < count:
        try:
            answer = question(at + 1)
        except Exception as error:  # noqa: BLE001
            return [*found, f"{type(error).__name__}: {error}"]
        if answer is None:
            return [*found, "never"]
        at = answer
        found.append(f"{moment(at):%Y-%m-%d %H:%M}")
    return found


def cost(question: Question) -> float:
    """Return the median time of a question in µs: of one, or of those that fit into half a second."""
    took, end = [], time.monotonic() + 0.5
    while not took or time.monotonic() < end:
        begun = time.perf_counter()
        walls(question, FROM, 1)
        took.append((time.perf_counter() - begun) * 1e6)
    return sorted(took)[len(took) // 2]


def compare(text: str, ours: Question, theirs: Question, name: str) -> None:
    """Print both costs, and the wall times if they differ."""
    print(f"{text:52} headway {cost(ours):9,.0f} µs   {name} {cost(theirs):13,.0f} µs")
    differ(text, FROM, ours, theirs)


def differ(text: str, wall: int, ours: Question, theirs: Question) -> None:
    """Print the wall times if they differ."""
    found, other = walls(ours, wall), walls(theirs, wall)
    if found != other:
        print(
            f"    {text} from {moment(wall):%Y-%m-%d %H:%M}",
            f"headway: {', '.join(found)}",
            f"library: {', '.join(other)}",
            sep="\n    ",
        )


def draw(count: int) -> None:
    """Draw rules and expressions as the tests do, and print those that differ; a library has three seconds for an answer."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from tests.features.schedules.calendars import expressions, rules, starts

    from headway.errors import InvalidSchedule

    signal.signal(signal.SIGALRM, lambda *_: signal.default_int_handler(signal.SIGINT, None))

    def hold(text: str, wall: int, ours: Question, theirs: Question) -> None:
        signal.alarm(3)
        try:
            differ(text, wall, ours, theirs)
        except KeyboardInterrupt:
            print(f"    {text} from {moment(wall):%Y-%m-%d %H:%M}: no answer within 3 s")
        finally:
            signal.alarm(0)

    @seed(1)
    @settings(
        max_examples=count,
        deadline=None,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(rules(), expressions, starts)
    def both(rule: str, expression: str, start: datetime) -> None:
        text = cron.canonical(expression)
        hold(text, seconds(start), Finder(cron.pattern(text)).first_from, by_cronsim(text))
        with contextlib.suppress(InvalidSchedule):  # drawn positions may be more than there can be
            pattern = rrule.pattern(rrule.parse(rule), seconds(start))
            hold(rule, seconds(start), Finder(pattern).first_from, by_dateutil(pattern))

    both()


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draw", type=int, default=0, metavar="N", help="rules drawn by Hypothesis")
    options = parser.parse_args()
    for text in map(cron.canonical, CRON):
        compare(text, Finder(cron.pattern(text)).first_from, by_cronsim(text), "cronsim")
    for text in RULES:
        pattern = rrule.pattern(rrule.parse(text), ANCHOR)
        compare(text, Finder(pattern).first_from, by_dateutil(pattern), "dateutil")
    if options.draw:
        draw(options.draw)


if __name__ == "__main__":
    main()
