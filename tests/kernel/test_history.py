"""Attempts are read off the history, and waiting is explained."""

import msgspec
import pytest
from tests.reachable import BORN, EVENTS, STORIES, TASKS, born

from headway.kernel.event import Event
from headway.kernel.history import attempts
from headway.kernel.lifecycle import CAUSES, decide
from headway.kernel.run import PARKED, State
from headway.kernel.task import Limit, Task
from headway.kernel.waiting import Facts, causes
from headway.kernel.worker import Queue
from headway.runs.transitions import _line


def told(story):
    """Return the history that the story leaves behind."""
    run = story.born
    events = []
    for seq, name in enumerate(story.events, 2):
        run = decide(run, EVENTS[name], story.task, BORN + (seq - 1) * 1000)
        events.append(Event(seq, run.id, seq, "run.state", seq, _line(run, CAUSES[type(EVENTS[name])], {})))
    return events


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_a_history_tells_of_every_attempt_once(story):
    found = attempts(told(story))
    assert list(range(1, story.run.epoch + 1)) == [attempt.epoch for attempt in found]
    for attempt in found[:-1]:
        assert attempt.finished_at is not None
        assert "running" != attempt.outcome
    if found:
        assert (story.run.worker_id is not None) == (found[-1].outcome == "running")
        assert all(attempt.worker_id == "01890000-0000-7000-8000-000000000001" for attempt in found)


def test_an_attempt_says_how_it_ended():
    story = next(s for s in STORIES if s.events[:4] == ("claimed", "errored", "fell due", "claimed"))
    first = attempts(told(story))[0]
    assert (1, "errored", "boom") == (first.number, first.outcome, first.error["message"])


def facts(run, /, **changes):
    nothing = Facts(run, TASKS["plain"], Queue("default", 0, None, 0, 0), 1, 0, 0, 0, 0, 0, 0, None)
    return msgspec.structs.replace(nothing, **changes)


LIMITED = Task(name="t", concurrency=2, concurrency_per_key=1, rate=Limit(count=1, period_ms=1))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, "next"),
        ({"ahead": 3}, "position"),
        ({"workers": 0}, "no_worker"),
        ({"workers": 2, "full": 2}, "workers_full"),
        ({"workers": 2, "full": 1, "blocked": 1}, "workers_blocked"),
        ({"queue": Queue("default", 1, None, 0, 0)}, "queue_paused"),
        ({"queue": Queue("default", 0, 2, 0, 0), "running_in_queue": 2}, "queue_limit"),
        ({"task": Task(name="t", active=False)}, "task_inactive"),
        ({"task": LIMITED, "running_of_task": 2}, "task_limit"),
        ({"task": LIMITED, "running_of_key": 1}, "key_limit"),
        ({"task": LIMITED, "task_opens_at": 9}, "task_rate"),
        ({"run": born(LIMITED, parked_until=9)}, "key_rate"),
    ],
)
def test_a_queued_run_says_the_one_thing_in_its_way(changes, code):
    assert [code] == [cause.code for cause in causes(facts(born(TASKS["plain"]), **changes))]


def test_a_run_parked_for_a_slot_does_not_speak_of_rates():
    parked = born(LIMITED, parked_until=PARKED)
    assert ["key_limit"] == [c.code for c in causes(facts(parked, task=LIMITED, running_of_key=1))]


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_whatever_waits_says_why_and_nothing_else_does(story):
    waits = story.run.state in (State.SCHEDULED, State.QUEUED, State.SUSPENDED)
    found = causes(facts(story.run))
    assert waits == bool(found)
    assert all(cause.message and cause.code for cause in found)
