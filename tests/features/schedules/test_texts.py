"""What people write about schedules: read, refused with a reason, spelled in one way, explained; and how much work it is."""

import sys
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import InvalidSchedule
from headway.features.schedules.model import Schedule
from headway.features.schedules.rules.explanation import explain
from headway.features.schedules.rules.occurrence import checked, parse, spell, timetable

MONDAY_AT_NINE = int(datetime(2026, 1, 5, 8, tzinfo=UTC).timestamp()) * 1000


def schedule(text, **options):
    return Schedule(id="s", **{"occurrence": text, "timezone": "Europe/Berlin"} | options)


@pytest.mark.parametrize(
    ("text", "spelled", "explained"),
    [
        ("every minute", "Every Minute", "every minute"),
        ("EVERY_MINUTE", "Every Minute", "every minute"),
        (" hourly ", "Hourly", "every hour"),
        ("Daily", "Daily", "every day at 00:00"),
        ("weekly", "Weekly", "every Monday at 00:00"),
        ("every month", "Monthly", "on day 1 of the month at 00:00"),
        ("Quarterly", "Quarterly", "every 3 months, on day 1 of the month at 00:00"),
        ("annually", "Yearly", "on day 1 in January at 00:00"),
        ("0 9 * * mon", "0 9 * * MON", "every Monday at 09:00"),
        ("0  9 ? * MON-FRI", "0 9 * * MON-FRI", "Monday to Friday at 09:00"),
        ("0 9,17 1,15 * *", "0 9,17 1,15 * *", "on day 1 and 15 of the month at 09:00 and 17:00"),
        ("0 0 13 * FRI", "0 0 13 * FRI", "on day 13 of the month or every Friday at 00:00"),
        ("0 9 LW * *", "0 9 LW * *", "on the last weekday of the month at 09:00"),
        ("0 9 * JAN,JUL FRI#2", "0 9 * JAN,JUL FRI#2", "on the second Friday in January and July at 09:00"),
        ("*/15 9-17 * * 1-5", "*/15 9-17 * * 1-5", "every 15 minutes from 09:00 to 17:59, Monday to Friday"),
        ("5 * * * *", "5 * * * *", "every hour at minute 5"),
        ("0 */2 * * *", "0 */2 * * *", "every day at minute 0 of every 2nd hour"),
        ("@hourly", "0 * * * *", "every hour"),
        ("RRULE:FREQ=WEEKLY;BYHOUR=9;BYDAY=MO;INTERVAL=1;", "FREQ=WEEKLY;BYDAY=MO;BYHOUR=9", "every Monday at 09:00"),
        (
            "freq=monthly;bysetpos=-1;byday=fr,mo,tu,we,th;byhour=18",
            "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYHOUR=18;BYSETPOS=-1",
            "Monday to Friday, but only the last of these in each month at 18:00",
        ),
        (
            "FREQ=WEEKLY;INTERVAL=2;BYDAY=WE,MO;UNTIL=20261231",
            "FREQ=WEEKLY;INTERVAL=2;UNTIL=20261231;BYDAY=MO,WE",
            "every 2 weeks, on Monday and Wednesday at 00:00, until 2026-12-31",
        ),
        ("FREQ=HOURLY;INTERVAL=6", "FREQ=HOURLY;INTERVAL=6", "every 6 hours at minute 0"),
        (
            "FREQ=YEARLY;BYYEARDAY=-1,100",
            "FREQ=YEARLY;BYYEARDAY=-1,100",
            "on the last day and day 100 of the year at 00:00",
        ),
    ],
)
def test_an_occurrence_is_read_spelled_and_explained(text, spelled, explained):
    case = checked(schedule(text))
    assert case.occurrence == spelled
    assert explain(case) == f"{explained}, Europe/Berlin"


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("every 90m", "every 90m"),
        ("2 hours", "every 2h"),
        ("PT15M", "every 15m"),
        ("@every 60s", "every 1m"),
        ("1d", "every 1d"),
    ],
)
def test_an_interval_is_read_and_explained_with_where_it_counts_from(text, spelled):
    case = checked(schedule(text, starts_at=MONDAY_AT_NINE))
    assert case.occurrence == spelled
    assert explain(case) == f"{spelled}, counted from 2026-01-05T09:00:00+01:00"


def test_a_word_is_explained_by_its_start():
    assert explain(schedule("Weekly", starts_at=MONDAY_AT_NINE)) == "every Monday at 09:00, Europe/Berlin"
    assert explain(schedule("Monthly", starts_at=MONDAY_AT_NINE)) == "on day 5 of the month at 09:00, Europe/Berlin"


REFUSED = [
    ("", "occurrence", "Every Minute, Hourly, Daily"),
    ("now and then", "occurrence", "five fields"),
    ("fortnightly", "occurrence", "an interval (every 90m)"),
    ("0 9 * *", "occurrence", "has 4"),
    ("0 0 9 * * *", "occurrence", "minute, hour, day of month, month, day of week"),
    ("60 9 * * *", "occurrence, minute", "'60' is not accepted; what is: *, 0-59"),
    ("0 24 * * *", "occurrence, hour", "0-23"),
    ("0 9-8 * * *", "occurrence, hour", "ranges (1-5)"),
    ("0 */0 * * *", "occurrence, hour", "steps (*/2)"),
    ("0 9 0 * *", "occurrence, day of month", "L (the last day)"),
    ("0 9 * FOO *", "occurrence, month", "JAN-DEC"),
    ("0 9 * * 8", "occurrence, day of week", "0 and 7 are Sunday"),
    ("0 9 * * MON#6", "occurrence, day of week", "MON#2"),
    ("0 9 * * \u0661", "occurrence, day of week", "0-7"),
    ("0 9, * * *", "occurrence, hour", "lists (1,2)"),
    ("@reboot", "occurrence", "what is: a word"),
    ("0 0 30 2 *", "occurrence", "never fires"),
    ("0 0 * 2 MON#5", None, None),  # in a leap year
    ("FREQ=SECONDLY;BYMONTHDAY=30;BYMONTH=2", "occurrence, FREQ", "YEARLY, MONTHLY, WEEKLY, DAILY, HOURLY, MINUTELY"),
    ("FREQ=YEARLY;BYMONTHDAY=30;BYMONTH=2", "occurrence", "never fires"),
    ("FREQ=MINUTELY;BYMONTHDAY=30;BYMONTH=2", "occurrence", "never fires"),
    ("FREQ=HOURLY;INTERVAL=24;BYHOUR=9", "occurrence", "never fires"),
    ("FREQ=WEEKLY;BYDAY=MO;BYSETPOS=2", "occurrence", "never fires"),
    ("RRULE:INTERVAL=2;FREQ=", "occurrence, FREQ", "with a value"),
    ("FREQ=DAILY;INTERVAL=0", "occurrence, INTERVAL", "1 to 1000"),
    ("FREQ=DAILY;INTERVAL=9999999999", "occurrence, INTERVAL", "1 to 1000"),
    ("FREQ=DAILY;COUNT=3;UNTIL=20270101", "occurrence, COUNT", "exclude each other"),
    ("FREQ=DAILY;COUNT=3", "starts_at", "give a start"),
    ("FREQ=DAILY;UNTIL=20270230", "occurrence, UNTIL", "20271231T235959"),
    ("FREQ=DAILY;BYDAY=1MO", "occurrence, BYDAY", "FREQ=MONTHLY and YEARLY"),
    ("FREQ=DAILY;BYDAY=XX", "occurrence, BYDAY", "2MO, -1FR"),
    ("FREQ=DAILY;BYWEEKNO=1", "occurrence, BYWEEKNO", "FREQ=YEARLY only"),
    ("FREQ=WEEKLY;BYMONTHDAY=1", "occurrence, BYMONTHDAY", "FREQ=WEEKLY"),
    ("FREQ=DAILY;BYHOUR=24", "occurrence, BYHOUR", "0 to 23"),
    ("FREQ=DAILY;BYSECOND=1", "occurrence, BYSECOND", "second of the schedule's start"),
    ("FREQ=HOURLY;BYMINUTE=1,2;BYSETPOS=1", "occurrence, BYSETPOS", "DAILY only"),
    ("FREQ=DAILY;FREQ=DAILY", "occurrence, FREQ", "once"),
    ("FREQ=DAILY;COLOUR=RED", "occurrence", "'COLOUR=RED' is not a part"),
    ("DTSTART:20260101T090000Z\nRRULE:FREQ=DAILY", "occurrence, DTSTART", "the schedule's own start"),
    ("every 500ms", "occurrence", "whole seconds"),
    ("every 11y", "occurrence", "what is: a word"),
    ("every 4000 days", "occurrence", "ten years"),
    ("0 9 * * " + "1," * 300 + "1", "occurrence", "at most 500 characters"),
]


@pytest.mark.parametrize(("text", "field", "accepted"), REFUSED)
def test_what_cannot_be_kept_to_is_refused_with_the_field_and_what_is_accepted(text, field, accepted):
    if field is None:
        checked(schedule(text))
        return
    with pytest.raises(InvalidSchedule) as refused:
        checked(schedule(text))
    assert refused.value.detail.startswith(f"{field}: ")
    assert accepted in refused.value.detail
    assert refused.value.errors[0]["pointer"] == f"/{field.partition(',')[0]}"


@pytest.mark.parametrize(
    "zone",
    ["", "Europe/berlin", "../etc/passwd", "/etc/passwd", "localtime", "right/UTC", "Europe", "x" * 5000, "a\0b"],
)
def test_what_is_no_zone_is_refused(zone):
    with pytest.raises(InvalidSchedule, match="is not a time zone; write an IANA name such as Europe/Berlin"):
        checked(schedule("Daily", timezone=zone))


def test_a_misspelled_zone_is_answered_with_the_one_that_was_meant():
    with pytest.raises(InvalidSchedule, match=r"Did you mean America/New_York\?"):
        checked(schedule("Daily", timezone="america/newyork"))


@pytest.mark.parametrize(
    "options",
    [
        {"starts_at": -1},
        {"starts_at": 10**15},
        {"starts_at": 5000, "ends_at": 4000},
        {"queue_max": 0},
        {"catch_up_max": 0},
        {"catch_up_max": 10_001},
        {"catch_up_window_ms": -1},
        {"late_after_ms": -1},
        {"jitter_ms": 86_400_001},
    ],
)
def test_numbers_that_make_no_sense_are_refused(options):
    with pytest.raises(InvalidSchedule, match="is not accepted; what is: "):
        checked(schedule("Daily", **options))


def test_a_schedule_without_a_slot_between_its_bounds_is_refused():
    with pytest.raises(InvalidSchedule, match="never fires between the schedule's start and end"):
        checked(schedule("0 9 * * MON", starts_at=MONDAY_AT_NINE + 1000, ends_at=MONDAY_AT_NINE + 86_400_000))


def test_the_bounds_are_slots_themselves():
    table = timetable(schedule("0 9 * * *", starts_at=MONDAY_AT_NINE, ends_at=MONDAY_AT_NINE + 86_400_000))
    assert list(table.between(0, 4 * 10**12)) == [MONDAY_AT_NINE, MONDAY_AT_NINE + 86_400_000]


@given(st.one_of(st.text(max_size=60), st.text(alphabet="0123456789*/-,LW# MONFRI;=BYDAHUTQSEP@", max_size=60)))
def test_any_text_is_read_or_refused_and_what_is_read_is_read_again(text):
    try:
        occurrence = parse(text)
    except InvalidSchedule:
        return
    assert parse(spell(occurrence)) == occurrence
    assert spell(parse(spell(occurrence))) == spell(occurrence)


# -- the work --------------------------------------------------------------------------------------------------------------


class Work:
    """Counts calls, of Python's functions and of C's, so that a budget means the same on every machine."""

    def __enter__(self):
        self.calls = 0
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)

    def _count(self, _frame, event, _arg):
        self.calls += event in {"call", "c_call"}


NEVER = [text for text, _, why in REFUSED if why == "never fires"]


@pytest.mark.parametrize(
    "text", [*NEVER, "FREQ=MINUTELY;INTERVAL=1000;BYMINUTE=1;BYHOUR=1", "FREQ=DAILY;INTERVAL=7;BYDAY=TU"]
)
def test_a_rule_that_never_fires_is_soon_found_out(text):
    table = timetable(schedule(text))
    with Work() as work:
        slot = table.next_after(MONDAY_AT_NINE)
    assert slot is None or text.startswith("FREQ=MINUTELY;INTERVAL=1000")
    assert work.calls < 250_000


@pytest.mark.parametrize(
    "text", ["* * * * *", "30 2 * * *", "0 0 29 2 *", "Every Minute", "every 1s", "FREQ=MINUTELY", "Daily"]
)
def test_the_next_slot_is_little_work_however_long_ago_the_schedule_began(text):
    table = timetable(schedule(text, starts_at=1_000))
    table.next_after(MONDAY_AT_NINE)  # the year's days and the zone's stretches are looked up once
    with Work() as work:
        assert table.next_after(MONDAY_AT_NINE) is not None
    assert work.calls < 60


def test_all_that_is_known_about_a_schedule_can_be_stored_as_json():
    case = checked(schedule("0 9 * * MON", starts_at=MONDAY_AT_NINE))
    assert msgspec.json.decode(msgspec.json.encode(case), type=Schedule) == case
