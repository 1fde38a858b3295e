"""A stream of events resumes by itself and ends after the end."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.client import samples
from tests.client.samples import END, ID, FakePace, line, progress, snapshot, sse
from tests.client.server import Answer, problem, script, serving, stream

from headway import errors
from headway.client.errors import UnexpectedAnswer
from headway.client.sync.client import Client

RUN = Answer(200, samples.run("running"))


def events_of(fake, after=0):
    with Client(fake.url, pace=FakePace()) as client:
        return list(client.runs.get(ID).events(after))


def numbers(events):
    return [event.seq for event in events if event.type == "run.state"]


def test_events_come_in_order_and_stop_at_the_end():
    with serving(script(RUN, stream(snapshot(0), line(1, to="queued"), progress(1, 2), line(2), END))) as fake:
        found = events_of(fake)
    assert [event.type for event in found] == ["snapshot", "run.state", "run.progress", "run.state"]
    assert (found[0].run.id, found[1].data, found[2].data["percent"]) == (ID, {"to": "queued"}, 50)
    assert (fake.requests[1].path, fake.requests[1].headers["accept"]) == (
        f"/v1/runs/{ID}/events?after=0",
        "text/event-stream",
    )
    assert "last-event-id" not in fake.requests[1].headers


def test_a_stream_that_breaks_off_is_resumed_after_the_last_event():
    answers = script(
        RUN,
        stream(snapshot(0), line(1), line(2)[:30], None),
        Answer(drop=True),
        problem(503, "draining"),
        stream(snapshot(1), line(2), line(3), None),
        Answer(204),
    )
    with serving(answers) as fake:
        assert numbers(events_of(fake)) == [1, 2, 3]
    assert [request.headers.get("last-event-id") for request in fake.requests[1:]] == [None, "1", "1", "1", "3"]


def test_a_server_that_repeats_itself_is_heard_once():
    with serving(script(RUN, stream(line(1), None), stream(line(1), line(2), END))) as fake:
        assert numbers(events_of(fake)) == [1, 2]


def test_a_server_that_asks_for_another_connection_gets_it():
    with serving(script(RUN, stream(line(1), sse("reconnect", {})), stream(line(2), END))) as fake:
        assert numbers(events_of(fake)) == [1, 2]


def test_a_server_that_closes_streams_at_once_is_not_overrun():
    with serving(script(RUN, *[stream(b"retry: 3000\n\n")] * 3, stream(END))) as fake:
        pace = FakePace()
        with Client(fake.url, pace=pace) as client:
            assert list(client.runs.get(ID).events()) == []
    assert pace.pauses == [3.0] * 3


def test_an_event_that_cannot_be_read_is_named():
    answers = script(RUN, stream(sse("run.state", [1], 1)))
    with serving(answers) as fake, pytest.raises(UnexpectedAnswer, match=r"run\.state"):
        events_of(fake)


def test_a_stream_starts_after_the_event_asked_for():
    with serving(script(RUN, stream(line(8), END))) as fake:
        assert numbers(events_of(fake, after=7)) == [8]
    assert fake.requests[1].path.endswith("/events?after=7")


def test_a_gap_is_shown_and_passed():
    with serving(script(RUN, stream(sse("gap", {"from": 1, "to": 40}), line(41), None), stream(END))) as fake:
        found = events_of(fake)
    assert [(event.type, event.seq) for event in found] == [("gap", 40), ("run.state", 41)]
    assert found[0].data == {"from": 1, "to": 40}
    assert fake.requests[2].headers["last-event-id"] == "41"


def test_events_of_a_later_version_are_passed_over():
    with serving(script(RUN, stream(sse("node.state", {"x": 1}, 1), line(2), END))) as fake:
        assert numbers(events_of(fake)) == [2]


def test_a_run_that_is_not_there_is_an_error_and_not_an_outage():
    with serving(script(RUN, problem(410, "run_purged"))) as fake, pytest.raises(errors.RunPurged):
        events_of(fake)


def test_the_feed_counts_by_position():
    with (
        serving(script(stream(line(3).replace(b"id: 3", b"id: 900"), line(1).replace(b"id: 1", b"id: 907")))) as fake,
        Client(fake.url, pace=FakePace()) as client,
    ):
        feed = client.events(after=899, run_id=["a", "b"])
        assert [(event.position, event.seq) for event in (next(feed), next(feed))] == [(900, 3), (907, 1)]
        feed.close()
    assert fake.requests[0].path == "/v1/events?after=899&run_id=a%2Cb"


def test_a_feed_that_breaks_off_before_anything_has_happened_misses_nothing():
    begin = sse("begin", {}, 0)
    answers = script(stream(begin, None), stream(begin, line(1)))
    with serving(answers) as fake, Client(fake.url, pace=FakePace()) as client:
        feed = client.events()
        assert next(feed).seq == 1
        feed.close()
    assert [request.headers.get("last-event-id") for request in fake.requests] == [None, "0"]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=4), st.integers(1, 6))
def test_however_often_it_breaks_every_event_comes_once(breaks, total):
    rest = list(breaks)

    def handle(request):
        if "/events" not in request.path:
            return RUN
        after = int(request.headers.get("last-event-id", 0))
        whole = snapshot(after) + b"".join(line(n) for n in range(after + 1, total + 1)) + END
        return stream(whole[: rest.pop(0)], None) if rest else stream(whole)

    with serving(handle) as fake:
        assert numbers(events_of(fake)) == list(range(1, total + 1))
