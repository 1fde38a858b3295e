"""After-commit events: their delivery, and how servers relay them to each other."""

import json
from typing import ClassVar

import pytest

from headway.features.access.store import AccessChanged
from headway.notify.events import CommitEvent, Dispatcher, RunDue, StopRequested, Timer
from headway.notify.message import BYTES_MAX, messages, read


class SlotComes(Timer, frozen=True):
    relay: ClassVar[str] = "slot_at"


RELAYED = {kind.relay: kind for kind in (SlotComes, AccessChanged, StopRequested)}
STOP = StopRequested("w", "r", 3, 500, "enough")


def test_a_handler_gets_the_events_of_exactly_its_type_in_the_order_of_subscription():
    class Later(RunDue, frozen=True):
        pass

    dispatcher, seen = Dispatcher(), []
    dispatcher.subscribe(RunDue, lambda event: seen.append(("first", event.at_ms)))
    dispatcher.subscribe(RunDue, lambda event: seen.append(("second", event.at_ms)))
    for event in (RunDue(5), Later(6), AccessChanged()):
        dispatcher.publish(event)
    assert seen == [("first", 5), ("second", 5)]


def test_a_handler_that_fails_is_logged_and_the_others_still_run(caplog):
    dispatcher, seen = Dispatcher(), []
    dispatcher.subscribe(RunDue, lambda event: 1 / 0)
    dispatcher.subscribe(RunDue, seen.append)
    dispatcher.publish(RunDue(5))
    assert seen == [RunDue(5)]
    assert "events.failed event=RunDue" in caplog.text


def test_relayed_events_come_back_as_they_were_and_others_stay_at_home():
    (text,) = messages("a", [], [], [SlotComes(7), AccessChanged(), STOP, RunDue(9)])
    assert json.loads(text) == {
        "sender": "a", "slot_at": 7, "access": True, "stops": [["w", "r", 3, 500, "enough"]],
    }  # fmt: skip
    assert read(text, RELAYED).events == (SlotComes(7), AccessChanged(), STOP)


def test_many_events_are_spread_over_messages_that_fit():
    stops = [StopRequested("w", f"r{n}", 1, 0, "x" * 200) for n in range(100)]
    texts = messages("a", [], [], stops)
    assert len(texts) > 1
    assert all(len(text) <= BYTES_MAX for text in texts)
    assert [event for text in texts for event in read(text, RELAYED).events] == stops


@pytest.mark.parametrize("text", [
    "", "[]", "{}", '{"sender":1}', '{"sender":"a","slot_at":"soon"}', '{"sender":"a","stops":[["w"]]}',
    '{"sender":"a","access":3}',
])  # fmt: skip
def test_what_is_no_message_is_ignored(text):
    assert read(text, RELAYED) is None


def test_members_that_this_server_does_not_know_are_ignored():
    assert read('{"sender":"a","new":{"x":1},"lanes":[["q","t"]]}', RELAYED).lanes == (("q", "t"),)


def test_events_without_a_relay_alone_make_no_message():
    assert messages("a", [], [], [RunDue(1)]) == []
    assert issubclass(RunDue, CommitEvent)
