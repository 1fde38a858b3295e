"""What runs in a child process harms only itself."""

import os
import select
import socket

import msgspec
import pytest
from tests.worker.kit import lease
from tests.worker.rough import app

from headway.wire.workers import ChildReport, LogReport, ProgressReport, Released, StepReport, Stopped, Succeeded
from headway.worker.frames import Pipe


@pytest.fixture
def works(start):
    return start(app, processes=2)


def output(works, run_id="run"):
    outcome = works.link.outcome(run_id)
    assert isinstance(outcome, Succeeded), outcome
    return msgspec.json.decode(outcome.output)


def test_a_child_reports_all_that_its_function_says(works):
    works.link.give(lease("add", input={"a": 41}))
    assert output(works) == 42
    kinds = [type(report) for report in works.link.reports]
    assert sorted(kinds[:3], key=repr) == [LogReport, ProgressReport, StepReport]
    assert kinds[3:] == [Succeeded]


def test_an_async_function_runs_in_a_child_too_and_the_child_is_used_again(works):
    works.link.give(lease("add_async", input={"a": 1}))
    total, child, pid = output(works)
    assert (total, child) == (2, "child-1")
    assert any(isinstance(report, ChildReport) for report in works.link.reports)
    works.link.give(lease("add_async", "second", input={"a": 2}))
    assert output(works, "second")[2] == pid != os.getpid()


@pytest.mark.parametrize(("task", "said"), [("abort", "SIGABRT"), ("leave", "exit code 7"), ("orphan", "exit code 0")])
def test_a_child_that_dies_is_a_crash(works, task, said):
    works.link.give(lease(task))
    error = works.link.outcome().error
    assert (error.code, error.retryable) == ("crashed", True)
    assert said in error.message
    works.link.give(lease("add", "next", input={"a": 1}))
    assert output(works, "next") == 2


def test_a_fork_does_not_report_in_its_parents_name(works):
    works.link.give(lease("fork"))
    copy = os.pidfd_open(output(works))
    assert select.select([copy], [], [], 10)[0], "the copy waits for ever"
    os.close(copy)


def test_memory_beyond_the_limit_is_a_failure_of_the_function(works):
    works.link.give(lease("eat"))
    assert works.link.outcome().error.type == "MemoryError"


def test_a_flood_of_output_is_cut(works, capfd):
    works.link.give(lease("flood"))
    assert output(works) == "done"
    printed = capfd.readouterr().out
    assert len(printed) < 5_000_000
    assert "bytes of output were dropped" in printed


def test_a_run_that_took_a_worker_down_before_runs_in_a_child(works):
    works.link.give(lease("inline_poison", crashes=1))
    assert output(works) != os.getpid()


def test_a_stop_reaches_the_child(works):
    works.link.give(lease("heed_the_end"))
    works.link.until(lambda: works.link.reports)
    works.link.stop()
    assert works.link.outcome() == Stopped(run_id="run", epoch=1)


def test_a_child_that_ignores_its_end_is_killed(works):
    works.link.give(lease("ignore_the_end"))
    works.link.until(lambda: works.link.reports)
    works.link.stop(grace_ms=50)
    assert works.link.outcome() == Stopped(run_id="run", epoch=1, killed=True)


def test_a_timeout_kills_the_child(works):
    works.link.give(lease("slow"))
    assert works.link.outcome().error.code == "timeout"


def test_a_drain_kills_what_does_not_end_and_hands_it_back(start):
    works = start(app, drain_grace_ms=10)
    works.link.give(lease("ignore_the_end"))
    works.link.until(lambda: works.link.reports)
    works.worker.drain()
    assert isinstance(works.link.outcome(), Released)


@pytest.mark.timeout(10)
def test_who_does_not_wait_hears_at_once_that_nothing_has_come():
    """A child may have died while others of its making hold the other end: nothing comes from there, and no end."""
    ours, theirs = socket.socketpair()
    pipe = Pipe(ours)
    try:
        assert not pipe.read_some(wait=False)
        theirs.sendall(b"\0")
        assert pipe.read_some(wait=False)
    finally:
        pipe.close()
        theirs.close()
