"""The life of a run, walked whole: every run that can exist, every event in it."""

import msgspec
import pytest
from tests.reachable import BORN, EVENTS, STORIES, TASKS, born

from headway.errors import InvalidState
from headway.kernel.lifecycle import ABANDON_MS, CAUSES, FENCED, TRANSITIONS, Claimed, Event
from headway.kernel.run import FINAL, LEASED, State

WALKED = [
    (story, name, story.after(name))
    for story in STORIES
    for name, event in EVENTS.items()
    if type(event) in TRANSITIONS[story.run.state]
]
"""Every step that can be taken: from, by what, to."""


def each_story(test):
    """Hold the test against every run that can exist, and say which story it fails for."""

    def whole():
        for story in STORIES:
            try:
                test(story.run)
            except AssertionError as error:
                raise AssertionError(f"after {story}: {error}") from error

    whole.__name__ = test.__name__
    return whole


def test_every_state_is_reached():
    assert set(State) == {story.run.state for story in STORIES}


def test_every_arrow_of_the_table_is_walked():
    arrows = {(s, e, t) for s, row in TRANSITIONS.items() for e, ts in row.items() for t in ts}
    assert arrows == {(story.run.state, type(EVENTS[name]), after.state) for story, name, after in WALKED}


def test_every_event_has_a_name_in_the_history():
    assert set(Event.__args__) == set(CAUSES) == {type(event) for event in EVENTS.values()}
    assert len(set(CAUSES.values())) == len(CAUSES)


def test_what_the_table_does_not_name_is_refused_and_says_the_state():
    refused = 0
    for story in STORIES:
        for name, event in EVENTS.items():
            if type(event) not in TRANSITIONS[story.run.state]:
                with pytest.raises(InvalidState) as caught:
                    story.after(name)
                assert str(story.run.state) == caught.value.fields["state"]
                refused += 1
    assert len(STORIES) * len(EVENTS) == refused + len(WALKED)


def test_what_is_final_stays_as_it_is():
    assert all(not TRANSITIONS[state] for state in FINAL)
    assert all(TRANSITIONS[state] for state in set(State) - FINAL)


@each_story
def test_a_lease_is_held_exactly_by_what_runs_or_stops(run):
    assert (run.state in LEASED) == (run.worker_id is not None)


@each_story
def test_the_end_is_dated_exactly_by_what_is_final(run):
    assert (run.state in FINAL) == (run.finished_at is not None)
    assert run.expires_at is None or run.finished_at is not None
    assert run.output is None or run.state is State.SUCCEEDED


@each_story
def test_only_the_suspended_wait_for_blockers_and_only_the_queued_are_parked(run):
    assert run.blocked_on == "[]" or run.state is State.SUSPENDED
    assert run.parked_until is None or run.state is State.QUEUED


@each_story
def test_only_what_may_take_too_long_has_a_deadline(run):
    timed = run.task == "timed"
    match run.state:
        case State.RUNNING:
            assert timed == (run.deadline_at is not None)
        case State.STOPPING:
            assert run.deadline_at is not None
        case State.SUSPENDED:
            held = '"kind":"hold"' in run.blocked_on
            assert not (held and run.deadline_at is not None)
        case _:
            assert run.deadline_at is None


@each_story
def test_attempts_and_crashes_keep_their_limits(run):
    task = TASKS[run.task]
    assert 0 <= run.crashes <= run.attempt <= run.epoch
    assert run.attempt - run.crashes <= run.max_attempts
    assert run.crashes <= task.max_crashes
    if run.state in (State.SCHEDULED, State.QUEUED, State.SUSPENDED):
        assert run.attempt - run.crashes < run.max_attempts, "waits for an attempt that it does not have"
        assert run.crashes < task.max_crashes, "waits although it is poison"


def test_a_claim_raises_the_epoch_by_one_and_nothing_else_touches_it():
    for story, name, after in WALKED:
        claimed = isinstance(EVENTS[name], Claimed)
        assert story.run.epoch + claimed == after.epoch
        assert not claimed or after.attempt == story.run.attempt + 1


def test_waiting_gives_the_attempt_back_and_failing_does_not():
    waits = {"suspended", "slept", "released", "held"}
    for story, name, after in WALKED:
        if story.run.state is State.RUNNING:
            given_back = CAUSES[type(EVENTS[name])] in waits
            assert story.run.attempt - given_back == after.attempt, name
        elif not isinstance(EVENTS[name], Claimed):
            assert story.run.attempt == after.attempt, name


def test_only_crashes_count_as_crashes():
    for story, name, after in WALKED:
        assert story.run.crashes + (name == "crashed") == after.crashes


def test_a_word_from_the_lease_holder_ends_a_stop_whatever_it_says():
    said = {type(EVENTS[name]) for story, name, _ in WALKED if story.run.state is State.STOPPING}
    assert said >= FENCED
    for story, _, after in WALKED:
        if story.run.state is State.STOPPING:
            assert (State.TERMINATED, None) == (after.state, after.output)
            assert story.run.reason == after.reason


def test_a_stop_says_who_and_why():
    for _, name, after in WALKED:
        if name.startswith("stop asked"):
            assert {"code": "terminated", "message": 'because "ü"', "actor": "ann"} == msgspec.json.decode(after.reason)


def test_the_first_start_is_remembered_and_never_moves():
    for story, name, after in WALKED:
        if story.run.started_at is not None:
            assert story.run.started_at == after.started_at
        else:
            assert (name == "claimed") == (after.started_at is not None)


def test_no_event_touches_what_is_not_its_business():
    kept = ("id", "task", "task_version", "name", "queue", "priority", "key", "max_attempts", "input", "labels",
            "progress_done", "run_type", "parent_id", "root_id", "protected", "created_at", "keep_ms", "seq", "version")  # fmt: skip
    for story, _, after in WALKED:
        for field in kept:
            assert getattr(story.run, field) == getattr(after, field), field


def test_a_stop_has_its_grace_and_then_some():
    for story, name, after in WALKED:
        if after.state is State.STOPPING:
            grace_ms = 0 if name == "stop asked without grace" else story.task.grace_ms
            assert story.now_ms + grace_ms + ABANDON_MS == after.deadline_at


def test_a_run_goes_on_when_the_last_thing_it_waits_for_has_come():
    two = next(s for s in STORIES if s.events[-1:] == ("suspended for two",))
    one = two.after("unblocked by pay")
    assert State.SUSPENDED is one.state
    assert two.run.deadline_at == one.deadline_at
    assert one.blocked_on.count("kind") == 1
    story = msgspec.structs.replace(two, run=one)
    assert State.QUEUED is story.after("unblocked by go").state
    assert State.SUSPENDED is story.after("unblocked by pay").state, "that has come before"


def test_what_it_does_not_wait_for_does_not_let_it_go_on():
    story = next(s for s in STORIES if s.events[-1:] == ("suspended for a time",))
    assert State.SUSPENDED is story.after("unblocked by go").state
    assert story.run.deadline_at == story.after("unblocked by go").deadline_at


def test_poison_is_failed_and_says_so():
    poisoned = [after for _, name, after in WALKED if name == "crashed" and after.state is State.FAILED]
    assert poisoned
    for run in poisoned:
        error = msgspec.json.decode(run.error)
        assert ("poison", False) == (error["code"], error["retryable"])


def test_some_errors_are_final_at_once():
    for story, name, after in WALKED:
        if name in ("errored for good", "errored by a class not retried") and story.run.state is State.RUNNING:
            assert State.FAILED is after.state


def test_an_error_may_name_the_wait_before_the_next_attempt():
    for story, name, after in WALKED:
        if name == "errored with a wait of its own" and after.state is State.SCHEDULED:
            assert story.now_ms + 60_000 == after.run_at


def test_what_was_in_the_queue_keeps_its_place_when_its_worker_is_lost():
    for story, name, after in WALKED:
        if name in ("crashed", "released") and after.state is State.QUEUED:
            assert story.run.run_at == after.run_at


def test_another_time_means_waiting_for_it():
    waiting = born(TASKS["plain"], parked_until=5)
    story = msgspec.structs.replace(STORIES[0], run=waiting)
    later = story.after("rescheduled to come")
    assert (State.SCHEDULED, BORN + 10**9, None) == (later.state, later.run_at, later.parked_until)
    assert State.QUEUED is story.after("rescheduled to the past").state
