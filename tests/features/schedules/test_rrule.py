"""RRULEs, words and intervals: held against the oracle's reading of RFC 5545, and against examples of the RFC itself."""

# A wall time has no zone.
# ruff: noqa: DTZ001

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.features.schedules.calendars import CHANGES, around, found, milliseconds, rules, starts
from tests.features.schedules.wall_clock import rrule, slots

from headway.errors import InvalidSchedule
from headway.features.schedules.model import Schedule
from headway.features.schedules.rules import rrule as engine_rrule
from headway.features.schedules.rules.occurrence import timetable
from headway.features.schedules.rules.pattern import Finder
from headway.kernel.zone import DAY

EPOCH = datetime(1970, 1, 1)


def walls(text, start, end):
    """Return the wall times of a rule, as the engine's pattern has them."""
    finder = Finder(engine_rrule.pattern(engine_rrule.parse(text), int((start - EPOCH).total_seconds())))
    found, wall = [], int((start - EPOCH).total_seconds())
    while (wall := finder.first_from(wall)) is not None and wall <= (end - EPOCH).total_seconds():
        found.append(EPOCH + timedelta(seconds=wall))
        wall += 1
    return found


def expected(text, start, end):
    fires = rrule(text, start)
    hours = {int(h) for part in text.split(";") if part.startswith("BYHOUR") for h in part[7:].split(",")} or {
        start.hour
    }
    minutes = {int(m) for part in text.split(";") if part.startswith("BYMINUTE") for m in part[9:].split(",")}
    times = [(h, m) for h in sorted(hours) for m in sorted(minutes or {start.minute})]
    days = (date.fromordinal(n) for n in range(start.toordinal(), end.toordinal() + 1))
    moments = (datetime(day.year, day.month, day.day, h, m) for day in days for h, m in times)
    return [moment for moment in moments if moment <= end and fires(moment)]


@given(rules(), starts)
@settings(max_examples=150, deadline=None)
@example("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SU;WKST=MO", datetime(1997, 8, 5, 9))
@example("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SU;WKST=SU", datetime(1997, 8, 5, 9))
@example("FREQ=WEEKLY;BYDAY=MO;BYSETPOS=2", datetime(2026, 1, 5))
@example("FREQ=MONTHLY", datetime(2024, 1, 31, 9))
@example("FREQ=YEARLY;BYWEEKNO=53,-1;BYDAY=MO,SU", datetime(2020, 12, 1))
def test_a_rule_names_the_wall_times_that_the_rfc_says(text, start):
    try:
        engine_rrule.parse(text)
    except InvalidSchedule as error:
        assert "never more than" in error.detail  # noqa: PT017 - drawn positions may be more than there can be
        return
    end = start + timedelta(days=3 * 366)
    assert walls(text, start, end) == expected(text, start, end)


@given(rules().filter(lambda rule: "INTERVAL=1;" in rule + ";"), st.sampled_from(CHANGES))
@settings(max_examples=40, deadline=None)
@example("FREQ=DAILY;BYHOUR=2;BYMINUTE=30", CHANGES[0])
@example("FREQ=DAILY;BYHOUR=2;BYMINUTE=30", CHANGES[1])
def test_a_rule_fires_in_its_zone_when_the_clock_says_so(text, change):
    zone, moment = change
    begin, end = around(moment)
    start = begin - timedelta(days=400)
    wall = start.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    try:
        table = timetable(Schedule(id="s", occurrence=text, timezone=zone, starts_at=milliseconds(start)))
    except InvalidSchedule:
        return
    got = [datetime.fromtimestamp(ms / 1000, UTC) for ms in table.between(milliseconds(begin), milliseconds(end))]
    assert got == slots(zone, begin, end, rrule(text, wall), elapsed=False)


@pytest.mark.parametrize("change", CHANGES, ids="-".join)
@pytest.mark.parametrize(
    ("text", "fires"),
    [
        ("FREQ=MINUTELY", lambda wall, passed: True),
        ("FREQ=MINUTELY;INTERVAL=7", lambda wall, passed: passed % 7 == 0),
        ("FREQ=MINUTELY;INTERVAL=90;BYHOUR=0,1,2,3", lambda wall, passed: passed % 90 == 0 and wall.hour < 4),
        ("FREQ=MINUTELY;BYMINUTE=15;BYHOUR=2", lambda wall, passed: (wall.hour, wall.minute) == (2, 15)),
    ],
)
def test_a_rule_by_minutes_runs_on_elapsed_time(text, fires, change):
    zone, moment = change
    begin, end = around(moment)
    info = ZoneInfo(zone)
    table = timetable(Schedule(id="s", occurrence=text, timezone=zone, starts_at=milliseconds(begin)))
    minutes = [begin + timedelta(minutes=n) for n in range(4 * 1440 + 1)]
    expected = [now for n, now in enumerate(minutes) if fires(now.astimezone(info), n)]
    got = table.between(milliseconds(begin) - 1, milliseconds(end))
    assert [datetime.fromtimestamp(ms / 1000, UTC) for ms in got] == expected


def test_every_six_hours_are_six_hours_also_when_the_clocks_change():
    start = milliseconds(datetime(2026, 10, 24, 0, tzinfo=UTC))
    table = timetable(Schedule(id="s", occurrence="FREQ=HOURLY;INTERVAL=6", timezone="Europe/Berlin", starts_at=start))
    fired = list(table.between(start - 1, start + 3 * DAY * 1000))
    assert {later - earlier for earlier, later in itertools.pairwise(fired)} == {6 * 3_600_000}


@pytest.mark.parametrize(
    ("text", "start", "first"),
    [  # RFC 5545, 3.8.5.3
        (
            "FREQ=MONTHLY;BYDAY=1SU,-1SU;INTERVAL=2",
            "1997-09-07",
            ["1997-09-07", "1997-09-28", "1997-11-02", "1997-11-30"],
        ),
        ("FREQ=MONTHLY;BYMONTHDAY=-3", "1997-09-28", ["1997-09-28", "1997-10-29", "1997-11-28", "1997-12-29"]),
        (
            "FREQ=YEARLY;INTERVAL=3;BYYEARDAY=1,100,200",
            "1997-01-01",
            ["1997-01-01", "1997-04-10", "1997-07-19", "2000-01-01"],
        ),
        ("FREQ=YEARLY;BYDAY=20MO", "1997-05-19", ["1997-05-19", "1998-05-18", "1999-05-17"]),
        ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", "1997-05-12", ["1997-05-12", "1998-05-11", "1999-05-17"]),
        ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", "1997-09-02", ["1998-02-13", "1998-03-13", "1998-11-13", "1999-08-13"]),
        (
            "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8",
            "1996-11-05",
            ["1996-11-05", "2000-11-07"],
        ),
        ("FREQ=MONTHLY;BYDAY=TU,WE,TH;BYSETPOS=3", "1997-09-04", ["1997-09-04", "1997-10-07", "1997-11-06"]),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2", "1997-09-29", ["1997-09-29", "1997-10-30", "1997-11-27"]),
    ],
)
def test_examples_of_the_rfc(text, start, first):
    begin = datetime.fromisoformat(start)
    assert [f"{wall:%Y-%m-%d}" for wall in walls(text, begin, begin + timedelta(days=5000))][: len(first)] == first


@pytest.mark.parametrize(
    ("word", "start", "first"),
    [
        ("Every Minute", "2026-01-31T09:30", ["2026-01-31T09:30", "2026-01-31T09:31"]),
        ("Hourly", "2026-01-31T09:30", ["2026-01-31T09:30", "2026-01-31T10:30"]),
        ("Daily", "2026-01-31T09:30", ["2026-01-31T09:30", "2026-02-01T09:30"]),
        ("Weekly", "2026-01-31T09:30", ["2026-01-31T09:30", "2026-02-07T09:30"]),
        ("Monthly", "2026-01-31T09:30", ["2026-01-31T09:30", "2026-02-28T09:30", "2026-03-31T09:30", "2026-04-30T09:30"]),
        ("Quarterly", "2026-01-31T09:30", ["2026-01-31T09:30", "2026-04-30T09:30", "2026-07-31T09:30"]),
        ("Yearly", "2024-02-29T09:30", ["2024-02-29T09:30", "2025-02-28T09:30", "2026-02-28T09:30", "2027-02-28T09:30", "2028-02-29T09:30"]),
    ],
)  # fmt: skip
def test_words_count_from_the_start(word, start, first):
    begin = datetime.fromisoformat(start).replace(tzinfo=UTC)
    table = timetable(Schedule(id="s", occurrence=word, starts_at=milliseconds(begin)))
    slot, got = milliseconds(begin) - 1, []
    while len(got) < len(first):
        slot = table.next_after(slot)
        got.append(f"{datetime.fromtimestamp(slot / 1000, UTC):%Y-%m-%dT%H:%M}")
    assert got == first


def test_without_a_start_a_week_begins_on_monday_and_a_quarter_in_january():
    begin = datetime(2026, 1, 1, 12, tzinfo=UTC)
    end = begin + timedelta(days=92)
    assert found("Weekly", "UTC", begin, end)[0] == datetime(2026, 1, 5, tzinfo=UTC)
    assert found("Quarterly", "UTC", begin, end) == [datetime(2026, 4, 1, tzinfo=UTC)]


@given(st.integers(1, 10**8), st.integers(0, 2 * 10**9), st.integers(0, 4 * 10**9))
def test_an_interval_counts_from_the_start_and_looks_at_no_clock(seconds, start, now):
    schedule = Schedule(id="s", occurrence=f"every {seconds}s", timezone="Europe/Berlin", starts_at=start * 1000)
    slot = timetable(schedule).next_after(now * 1000)
    assert slot % 1000 == 0
    assert (slot // 1000 - start) % seconds == 0
    assert max(start, now + 1) <= slot // 1000 <= max(start, now + seconds)


@given(
    st.integers(1, 40),
    st.sampled_from(["FREQ=DAILY;BYHOUR=2;BYMINUTE=30", "FREQ=MINUTELY;INTERVAL=17", "FREQ=MONTHLY"]),
)
def test_a_count_is_so_many_slots(count, text):
    start = milliseconds(datetime(2026, 3, 1, tzinfo=UTC))
    table = timetable(Schedule(id="s", occurrence=f"{text};COUNT={count}", timezone="Europe/Berlin", starts_at=start))
    assert len(list(table.between(0, start + 10**12))) == count


@pytest.mark.parametrize(
    ("until", "last"),
    [
        ("20260310", "2026-03-10T08:00"),
        ("20260310T090000", "2026-03-10T08:00"),
        ("20260310T085959", "2026-03-09T08:00"),
        ("20260310T080000Z", "2026-03-10T08:00"),
        ("20260310T075959Z", "2026-03-09T08:00"),
    ],
)
def test_until_is_the_last_moment_in_the_zone_or_in_utc(until, last):
    start = milliseconds(datetime(2026, 3, 1, tzinfo=UTC))
    rule = f"FREQ=DAILY;BYHOUR=9;BYMINUTE=0;UNTIL={until}"
    table = timetable(Schedule(id="s", occurrence=rule, timezone="Europe/Berlin", starts_at=start))
    slot = list(table.between(0, start + 10**11))[-1]
    assert f"{datetime.fromtimestamp(slot / 1000, UTC):%Y-%m-%dT%H:%M}" == last
