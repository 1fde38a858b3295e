"""Explanations of runs that run or have ended."""

import msgspec
import pytest
from tests.reachable import born

from headway.kernel.lifecycle import ABANDON_MS
from headway.kernel.run import State
from headway.kernel.situation import CurrentAttempt, ended, running
from headway.kernel.task import Task
from headway.kernel.worker import LoopBlock, WorkerHealth

NOW = 1_800_000_000_000
TASK = Task(name="t", timeout_ms=3_600_000, heartbeat_timeout_ms=30_000)
WORK = CurrentAttempt("w1", "ada (vm:7)", NOW - 90_000, WorkerHealth(NOW - 2_000, NOW + 13_000))


def run(state=State.RUNNING, **changes):
    started = {"attempt": 1, "max_attempts": 3, "worker_id": "w1", "started_at": NOW - 90_000}
    return msgspec.structs.replace(born(TASK), state=state, **{**started, **changes})


def said(causes):
    return {cause.code: cause.message for cause in causes}


def test_a_running_run_names_worker_life_progress_and_deadline():
    going = run(deadline_at=NOW + 60_000 + TASK.grace_ms + ABANDON_MS, progress_at=NOW - 300_000, progress_done=40, progress_total=100,
                progress_message="loading")  # fmt: skip
    assert said(running(going, TASK, WORK, NOW)) == {
        "running": "the worker ada (vm:7) has executed it for 1 m 30 s: attempt 1 of 3",
        "heard": "its worker was last heard from 2.0 s ago",
        "progress": "its last progress was 40 of 100 (loading), 5 m 00 s ago",
        "deadline": "this attempt is ended at 2027-01-15 08:01:00 UTC, by its timeout of 1h",
        "heartbeat": "it is ended when its function gives no sign of life for 30s",
    }


def test_a_run_whose_task_has_no_limits_speaks_of_none():
    assert list(said(running(run(), Task(name="t"), WORK, NOW))) == ["running", "heard", "progress"]


def test_a_silent_worker_is_told_with_when_others_get_its_runs():
    silent = msgspec.structs.replace(WORK, health=WorkerHealth(NOW - 9_000, NOW + 6_000))
    (cause,) = [cause for cause in running(run(), TASK, silent, NOW) if cause.code == "heard"]
    assert cause.message == (
        "its worker was last heard from 9.0 s ago; if it stays silent, others get its runs at 2027-01-15 08:00:06 UTC"
    )
    assert (cause.since, cause.until) == (NOW - 9_000, NOW + 6_000)


def test_where_another_server_hears_the_worker_no_sign_of_life_is_made_up():
    elsewhere = msgspec.structs.replace(WORK, health=None)
    assert "heard by another server" in said(running(run(), TASK, elsewhere, NOW))["heard"]


@pytest.mark.parametrize(
    ("by", "text"),
    [
        ("own", "by this run, at app.py:3 in f"), ("other", "by the task 'crunch' (run r2), at app.py:3 in f"),
        ("hidden", "by the task 'crunch', at app.py:3 in f"), ("nobody", "by something else"),
    ],
)  # fmt: skip
def test_a_blocked_loop_is_told_with_who_blocks_it_and_where(by, text):
    going = run()
    blocked = LoopBlock(
        NOW - 12_000, "crunch", {"own": going.id, "other": "r2"}.get(by, ""), "app.py:3 in f", "the stack"
    )
    if by == "nobody":
        blocked = LoopBlock(NOW - 12_000, "", "", "", "")
    held = msgspec.structs.replace(WORK, health=WorkerHealth(NOW, NOW + 15_000, blocked))
    (cause,) = [cause for cause in running(going, TASK, held, NOW) if cause.code == "loop_blocked"]
    assert cause.message == (
        f"the event loop of its worker has been blocked for 12 s {text}: no async task goes on there until then"
    )
    assert cause.details == (None if by == "nobody" else "the stack")


def test_a_stopping_run_says_who_asked_and_how_long_it_has():
    asked = run(
        State.STOPPING,
        reason='{"code":"stop","message":"wrong file","actor":"ann"}',
        deadline_at=NOW + 5_000 + ABANDON_MS,
    )
    told = said(running(asked, TASK, WORK, NOW))
    assert told["stopping"] == (
        "it was asked to stop by ann: wrong file: its function has until 2027-01-15 08:00:05 UTC to end"
    )
    assert "deadline" not in told


def failed(error=None, **changes):
    error = error or {"code": "exception", "type": "ValueError", "message": "no such customer"}
    return run(State.FAILED, worker_id=None, finished_at=NOW, error=msgspec.json.encode(error).decode(), **changes)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"attempt": 3}, "all its 3 attempts are used up"),
        ({"attempt": 1, "max_attempts": 1}, "its only attempt is used up"),
        ({"attempt": 1}, "its error is one that is not tried again; it had 1 attempt of 3"),
        ({"attempt": 2}, "its error is one that is not tried again; it had 2 attempts of 3"),
        ({"error": {"code": "poison"}, "crashes": 4}, "its workers died under it 4 times, of at most 3"),
    ],
)
def test_a_failed_run_says_its_error_why_it_is_final_and_what_a_retry_does(changes, why):
    told = said(ended(failed(**changes), TASK, WORK, goes_on=False))
    assert told["attempts"] == why
    assert told["error"] == ("poison" if "error" in changes else "ValueError: no such customer")
    assert told["last_worker"] == "the worker ada (vm:7) had it last"
    assert told["retry"].endswith("it starts at its beginning, since no step succeeded from which it could go on")


def test_a_run_that_no_worker_had_names_none():
    stopped = run(State.TERMINATED, worker_id=None, started_at=None, reason='{"code":"stop","actor":"ann"}')
    assert said(ended(stopped, TASK, None, goes_on=False))["terminated"] == "it was stopped by ann"
    assert "last_worker" not in said(ended(stopped, TASK, None, goes_on=False))


def test_a_run_that_succeeded_needs_no_retry():
    assert list(said(ended(run(State.SUCCEEDED, worker_id=None, finished_at=NOW), TASK, WORK, goes_on=False))) == [
        "succeeded", "last_worker",
    ]  # fmt: skip


def test_a_retry_is_said_to_go_on_where_steps_succeeded():
    told = said(ended(failed(attempt=3), TASK, WORK, goes_on=True))
    assert told["retry"].endswith("it goes on from the steps that succeeded, unless it is to start from scratch")
