"""Cron expressions in real zones: what fires is what an oracle finds that walks through the minutes."""

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import available_timezones

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.features.schedules.calendars import CHANGES, around, expressions, found, milliseconds
from tests.features.schedules.wall_clock import cron, slots, walk

from headway.features.schedules.model import Schedule
from headway.features.schedules.rules.occurrence import timetable


def agrees(expression, zone, begin, end):
    fires, elapsed = cron(expression)
    assert found(expression, zone, begin, end) == slots(zone, begin, end, fires, elapsed=elapsed)


@given(expressions, st.sampled_from(CHANGES))
@settings(max_examples=120, deadline=None)
@example("30 2 * * *", CHANGES[0])
@example("0,30 2,3 * * *", CHANGES[0])
@example("30 2 * * *", CHANGES[1])
@example("*/15 2 * * *", CHANGES[1])
@example("0 9 30 12 *", CHANGES[8])
@example("0 0 * * *", CHANGES[12])
@example("*/30 0 * * *", CHANGES[12])
@example("45 1 * * *", CHANGES[5])
@example("0 12 1,2 * 0-6", CHANGES[-1])
def test_a_cron_expression_fires_when_the_clock_on_the_wall_says_so(expression, change):
    zone, moment = change
    agrees(expression, zone, *around(moment))


@pytest.mark.parametrize("zone", ["Australia/Lord_Howe"])
def test_a_whole_year_agrees(zone):
    begin = datetime(2018, 1, 1, tzinfo=UTC)
    for expression in ("30 2 * * *", "0 */3 * * MON-FRI", "15 0 L * *"):
        agrees(expression, zone, begin, begin + timedelta(days=366))


@pytest.mark.parametrize(
    ("zone", "date", "expression", "expected"),
    [
        ("Europe/Berlin", "2026-03-29", "30 2 * * *", ["01:00"]),  # leapt over: once, when the clocks leap
        ("Europe/Berlin", "2026-10-25", "30 2 * * *", ["00:30"]),  # twice on the clock: the first
        ("Europe/Berlin", "2026-10-25", "*/30 2 * * *", ["00:00", "00:30", "01:00", "01:30"]),  # elapsed time: both
        (
            "Europe/Berlin",
            "2026-10-25",
            "*/30 2 25 10 *",
            ["00:00", "00:30", "01:00", "01:30"],
        ),  # … and no more that year
        ("Europe/Berlin", "2026-03-29", "*/30 2 * * *", []),
        ("Antarctica/Troll", "2026-03-29", "0,30 1,2 * * *", ["01:00", "23:00", "23:30"]),
        ("Australia/Lord_Howe", "2026-10-03", "15 2 * * *", ["15:30"]),
        ("Pacific/Apia", "2011-12-30", "0 9 * * *", ["10:00", "19:00"]),  # the lost day's, and the next's
        ("America/Sao_Paulo", "2017-10-15", "0 0 * * *", ["03:00"]),
    ],
)
def test_changes_of_the_clock_fire_as_promised(zone, date, expression, expected):
    begin = datetime.fromisoformat(date).replace(tzinfo=UTC) - timedelta(seconds=1)
    fired = found(expression, zone, begin, begin + timedelta(days=1))
    assert [f"{moment:%H:%M}" for moment in fired] == expected


def test_a_slot_that_was_found_from_within_the_repeated_hour_lies_ahead():
    change = datetime(2026, 10, 25, 1, tzinfo=UTC)
    for minutes in range(-70, 70):
        now = milliseconds(change + timedelta(minutes=minutes))
        for expression in ("30 2 * * *", "*/7 2 * * *", "5 1-3 * * *"):
            slot = timetable(Schedule(id="s", occurrence=expression, timezone="Europe/Berlin")).next_after(now)
            assert slot is not None
            assert slot > now


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(20))
def test_every_zone_agrees_over_a_year(part):
    """Each zone through one of the years since 1973 that a seed draws, minute by minute, with rules around the night."""
    chance = random.Random(part)
    for zone in sorted(available_timezones() - {"localtime", "posixrules", "Factory"})[part::20]:
        if zone.startswith(("posix/", "right/")):
            continue
        walk.cache_clear()  # a year of minutes is 90 MB
        begin = datetime(chance.randrange(1973, 2037), 1, 1, tzinfo=UTC)
        for _ in range(3):
            hours = chance.choice(["0", "1", "2", "3", "0-4", "*/5", "23", "1,2"])
            days = chance.choice(["* * *", "* * *", "*/2 * *", "1-7 * SUN", "* * SUN", "L * *", "* 3,4,9,10,11 *"])
            expression = f"{chance.choice(['0', '30', '*/20', '0-59/29'])} {hours} {days}"
            agrees(expression, zone, begin, begin + timedelta(days=366))
