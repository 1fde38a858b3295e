"""Python's values on their way to the wire."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.client import backoff, encoding
from headway.client.errors import ConnectionLost
from headway.durations import parse_ms
from headway.errors import Draining, InvalidState, TooManyRequests
from headway.protocol import times
from headway.protocol.runs import StartRun


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=10_000)))
def test_a_timedelta_is_a_duration_that_the_server_reads(delta):
    assert abs(parse_ms(encoding.span(delta)) - delta.total_seconds() * 1000) <= 0.5


@pytest.mark.parametrize(("given", "expected"), [("3 days", "3 days"), (90, "90s"), (0.25, "250ms"), (None, None)])
def test_a_duration_is_text_or_seconds(given, expected):
    assert encoding.span(given) == expected


@given(st.integers(-30_000_000_000, 250_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds + 0.25, UTC)))
def test_a_datetime_keeps_its_milliseconds(moment):
    assert abs(times.from_text(encoding.moment(moment)) - moment.timestamp() * 1000) <= 0.51


def test_a_datetime_of_another_zone_is_the_same_moment():
    there = datetime(2026, 12, 1, 3, tzinfo=timezone(timedelta(hours=1)))
    assert encoding.moment(there) == "2026-12-01T02:00:00.000Z"


@dataclass
class Point:
    x: int


def test_dataclasses_structs_datetimes_and_ids_are_json():
    value = {"p": Point(1), "at": datetime(2026, 1, 1, tzinfo=UTC), "id": UUID(int=0), "set": {1}}
    expected = b'{"p":{"x":1},"at":"2026-01-01T00:00:00Z","id":"00000000-0000-0000-0000-000000000000","set":[1]}'
    assert encoding.to_json(value) == expected


@pytest.mark.parametrize("value", [object(), {"x": open}, {1j: 1}, {"x": "\ud800"}])
def test_what_is_not_json_is_a_type_error(value):
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        encoding.to_json(value)


class Measured(msgspec.Struct):
    value: float
    done: msgspec.Raw = msgspec.Raw(b"null")


@pytest.mark.parametrize(
    "value",
    [
        math.nan, math.inf, -math.inf, Decimal("NaN"), Decimal("-Infinity"), [1, {"x": (None, math.nan)}],
        {"s": {math.inf}}, Point(math.nan), [Point([Decimal("NaN")])], Measured(math.nan),
    ],
)  # fmt: skip
def test_a_number_that_json_does_not_have_is_refused_and_not_turned_into_null(value):
    with pytest.raises(TypeError, match=r"cannot be written as JSON: .* is not a number that JSON has"):
        encoding.to_json(value)
    with pytest.raises(TypeError, match="the input of 't' cannot be written as JSON"):
        encoding.start_body("t", {"value": value})


def test_a_null_is_still_a_null():
    value = [None, "NaN", Point(None), Measured(1.5), {1: None}, Decimal("1.5"), b"x", UUID(int=0)]
    expected = [None, "NaN", {"x": None}, {"value": 1.5, "done": None}, {"1": None}, 1.5, "eA==", str(UUID(int=0))]
    assert msgspec.json.decode(encoding.to_json(value)) == expected


def test_a_decimal_is_text_for_user_code_and_a_number_for_the_api():
    value = {"d": [Decimal("1.10"), Point(Decimal("2.0"))]}
    as_text = b'{"d":["1.10",{"x":"2.0"}]}'
    assert bytes(encoding.raw(value)) == bytes(encoding.start_body("t", value)["input"]) == as_text
    assert bytes(encoding.schedule_body({"input": value})["input"]) == as_text
    assert encoding.to_json({"price": Decimal("1.10")}) == b'{"price":1.10}'
    with pytest.raises(TypeError, match="is not a number that JSON has"):
        encoding.raw({"d": Decimal("NaN")})


def test_a_start_is_what_the_server_reads():
    body = encoding.start_body("t", {"a": 1}, b=[2], dedupe={"key": "k", "scope": "forever"}, max_attempts=1)
    read = msgspec.json.decode(encoding.to_json(body), type=StartRun)
    assert (read.task, bytes(read.input), read.dedupe.scope, read.max_attempts) == (
        "t",
        b'{"a":1,"b":[2]}',
        "forever",
        1,
    )


def test_only_what_is_given_is_sent():
    assert set(encoding.start_body("t")) == {"task", "input"}


def test_a_list_filter_is_a_query_string():
    text = encoding.query(
        state=["queued", "running"], task="a b", labels={"x": "1&2"}, created_after=None, protected=True
    )
    assert text == "state=queued%2Crunning&task=a+b&label.x=1%262&protected=true"


@given(st.integers(0, 100), st.floats(0, 1))
def test_a_delay_grows_and_is_bounded(attempt, spread):
    assert 0.05 <= backoff.delay_s(ConnectionLost(), attempt, spread) <= backoff.LONGEST_S


def test_the_server_is_given_the_time_it_asks_for_up_to_a_bound():
    busy = TooManyRequests()
    busy.retry_after_s = 7
    assert backoff.delay_s(busy, 0, 0.0) == 7
    busy.retry_after_s = 3600
    assert backoff.delay_s(busy, 0, 0.0) is None


def test_what_is_wrong_is_not_worth_another_try():
    assert backoff.delay_s(InvalidState(), 0, 1.0) is None
    assert backoff.delay_s(Draining(), 0, 1.0) is not None
