"""Generators of cron and RRULE expressions, and the days around which time zones change."""

# ruff: noqa: DTZ001

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from headway.features.schedules.model import Schedule
from headway.features.schedules.rules.occurrence import timetable

# Moments at which the clocks of these zones were changed: by an hour, half an hour, two, a whole day; at midnight, in Ramadan.
CHANGES = [
    ("Europe/Berlin", "2026-03-29T01:00"),
    ("Europe/Berlin", "2026-10-25T01:00"),
    ("America/New_York", "2026-03-08T07:00"),
    ("America/New_York", "2026-11-01T06:00"),
    ("Australia/Lord_Howe", "2026-04-04T15:00"),
    ("Australia/Lord_Howe", "2026-10-03T15:30"),
    ("Antarctica/Troll", "2026-03-29T01:00"),
    ("Antarctica/Troll", "2026-10-25T01:00"),
    ("Pacific/Apia", "2011-12-30T10:00"),
    ("Pacific/Apia", "2011-04-02T14:00"),
    ("Africa/Casablanca", "2026-02-15T02:00"),
    ("Africa/Casablanca", "2026-03-22T02:00"),
    ("America/Sao_Paulo", "2017-10-15T03:00"),
    ("America/Sao_Paulo", "2018-02-18T02:00"),
    ("Asia/Gaza", "2023-04-29T00:00"),
    ("Asia/Gaza", "2023-10-28T00:00"),
    ("Asia/Kathmandu", "1985-12-31T18:30"),
    ("Asia/Pyongyang", "2018-05-04T15:00"),
    ("America/Caracas", "2016-05-01T07:00"),
    ("Pacific/Kwajalein", "1993-08-21T12:00"),
    ("Africa/Cairo", "2010-08-10T21:00"),
    ("UTC", "2026-02-28T12:00"),
]


def found(expression, zone, begin, end):
    table = timetable(Schedule(id="s", occurrence=expression, timezone=zone))
    return [datetime.fromtimestamp(ms / 1000, UTC) for ms in table.between(milliseconds(begin), milliseconds(end))]


def milliseconds(moment):
    return int(moment.timestamp()) * 1000


def around(change, days=2):
    moment = datetime.fromisoformat(change).replace(tzinfo=UTC)
    return moment - timedelta(days=days), moment + timedelta(days=days)


def field(low, high, others=(), extra=()):
    number = st.integers(low, high)
    spans = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    term = st.one_of(
        number.map(str),
        spans,
        st.tuples(spans, st.integers(1, 30)).map(lambda t: f"{t[0]}/{t[1]}"),
        st.tuples(number, st.integers(1, 30)).map(lambda t: f"{t[0]}/{t[1]}"),
        *([st.sampled_from(extra)] if extra else []),
    )
    return st.one_of(
        st.just("*"),
        st.sampled_from(others) if others else st.just("*"),
        st.integers(1, 30).map(lambda step: f"*/{step}"),
        st.lists(term, min_size=1, max_size=4).map(",".join),
    )


near_midnight_or_night = ("0", "1", "2", "3", "0-4", "1,2,3", "23", "*/2")


expressions = st.tuples(
    field(0, 59, ("0", "30", "0,30", "*/15", "59")),
    field(0, 23, near_midnight_or_night),
    field(1, 31, ("*", "29-31"), ("L", "LW")),
    field(1, 12, ("*", "MAR,APR,OCT-DEC")),
    field(0, 7, ("*", "MON-FRI"), ("0L", "5L", "SUN#4", "6#1", "FRI#5")),
).map(" ".join)


NAMES = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


def numbers(low, high, *, signed=False):
    number = st.integers(low, high)
    if signed:
        number = st.one_of(number, number.map(lambda n: -n))
    return st.sets(number, min_size=1, max_size=4).map(lambda found: ",".join(map(str, sorted(found))))


@st.composite
def rules(draw):
    freq = draw(st.sampled_from(["YEARLY", "MONTHLY", "WEEKLY", "DAILY"]))
    parts = {"FREQ": freq, "INTERVAL": str(draw(st.sampled_from([1, 1, 1, 2, 3, 5, 14])))}
    may = lambda: draw(st.integers(0, 2)) == 0  # noqa: E731
    if may():
        parts["BYMONTH"] = draw(numbers(1, 12))
    if freq == "YEARLY" and may():
        parts["BYWEEKNO"] = draw(numbers(1, 53, signed=True))
    if freq == "YEARLY" and may():
        parts["BYYEARDAY"] = draw(numbers(1, 366, signed=True))
    if freq != "WEEKLY" and may():
        parts["BYMONTHDAY"] = draw(numbers(1, 31, signed=True))
    if draw(st.booleans()):
        nth = st.just("")
        if freq in {"YEARLY", "MONTHLY"} and "BYWEEKNO" not in parts:
            nth = st.sampled_from(["", "", "1", "2", "-1", "5", "+3", "20", "-7"])
        days = st.tuples(nth, st.sampled_from(NAMES)).map("".join)
        parts["BYDAY"] = ",".join(draw(st.lists(days, min_size=1, max_size=3, unique=True)))
    if may():
        parts["BYHOUR"] = draw(numbers(0, 23))
    if may():
        parts["BYMINUTE"] = draw(numbers(0, 59))
    if len(parts) > 2 and may():
        parts["BYSETPOS"] = draw(numbers(1, 6, signed=True))
    if may():
        parts["WKST"] = draw(st.sampled_from(NAMES))
    return ";".join(f"{name}={value}" for name, value in parts.items())


starts = st.datetimes(datetime(1996, 1, 1), datetime(2030, 12, 31)).map(
    lambda moment: moment.replace(second=0, microsecond=0)
)
