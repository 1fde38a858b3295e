"""Retention: the task says, the run may override, protection wins."""

import pytest
from tests.reachable import born

from headway.kernel.lifecycle import expires_at, removable
from headway.kernel.run import FINAL, KEEP, State
from headway.kernel.task import Retention, Task

TASK = Task(name="t", retention=Retention(succeeded_ms=1, failed_ms=20, terminated_ms=None))
ENDED = born(TASK, state=State.SUCCEEDED, finished_at=100, expires_at=101)


@pytest.mark.parametrize(("state", "expected"), [(State.SUCCEEDED, 101), (State.FAILED, 120), (State.TERMINATED, None)])
def test_the_task_says_how_long_by_final_state(state, expected):
    assert expected == expires_at(ENDED, state, TASK, 100)


@pytest.mark.parametrize("state", sorted(FINAL))
def test_the_run_may_say_otherwise_for_every_end(state):
    assert 107 == expires_at(born(TASK, keep_ms=7), state, TASK, 100)
    assert 100 == expires_at(born(TASK, keep_ms=0), state, TASK, 100)
    assert expires_at(born(TASK, keep_ms=KEEP), state, TASK, 100) is None


@pytest.mark.parametrize(
    ("fields", "now_ms", "expected"),
    [
        ({}, 100, False),
        ({}, 101, True),
        ({"protected": 1}, 10**15, False),
        ({"expires_at": None}, 10**15, False),
        ({"state": State.QUEUED, "finished_at": None}, 10**15, False),
    ],
)
def test_only_what_is_final_expired_and_unprotected_may_be_removed(fields, now_ms, expected):
    run = born(TASK, **{"state": State.SUCCEEDED, "finished_at": 100, "expires_at": 101} | fields)
    assert expected == removable(run, now_ms)
