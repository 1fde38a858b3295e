"""What runs in a child process harms only itself."""

import os
import select
import socket
import time
from pathlib import Path

import msgspec
import pytest
from tests.worker.kit import lease
from tests.worker.rough import app

from headway.protocol.workers import (
    ChildReport,
    LogReport,
    ProgressReport,
    ReleasedReport,
    StepReport,
    StoppedReport,
    SucceededReport,
)
from headway.worker.executors.frames import Pipe
from headway.worker.executors.process import pool


@pytest.fixture
def works(start):
    return start(app, processes=2)


def output(works, run_id="run"):
    outcome = works.link.outcome(run_id)
    assert isinstance(outcome, SucceededReport), outcome
    return msgspec.json.decode(outcome.output)


def test_a_child_reports_all_that_its_function_says(works):
    works.link.give(lease("add", input={"a": 41}))
    assert output(works) == 42
    kinds = [type(report) for report in works.link.reports]
    assert sorted(kinds[:3], key=repr) == [LogReport, ProgressReport, StepReport]
    assert kinds[3:] == [SucceededReport]


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
    assert works.link.outcome() == StoppedReport(run_id="run", epoch=1)


def test_a_child_that_ignores_its_end_is_killed(works):
    works.link.give(lease("ignore_the_end"))
    works.link.until(lambda: works.link.reports)
    works.link.stop(grace_ms=50)
    assert works.link.outcome() == StoppedReport(run_id="run", epoch=1, killed=True)


def test_a_timeout_kills_the_child(works):
    works.link.give(lease("slow"))
    assert works.link.outcome().error.code == "timeout"


def test_a_drain_kills_what_does_not_end_and_hands_it_back(start):
    works = start(app, drain_grace_ms=10)
    works.link.give(lease("ignore_the_end"))
    works.link.until(lambda: works.link.reports)
    works.worker.drain()
    assert isinstance(works.link.outcome(), ReleasedReport)


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


APP = """
import headway, os, sys
app = headway.App()
{more}

@app.task(executor="process")
def add(a: int) -> int:
    return a + 1
"""


def test_children_start_as_the_worker_did_whatever_a_run_has_left_behind(works, tmp_path, monkeypatch):
    here, umask = str(Path.cwd()), os.umask(0o027)
    try:
        works.link.give(lease("surroundings"))
        assert output(works)[0] == here
        (tmp_path / "tests/worker").mkdir(parents=True)
        (tmp_path / "tests/worker/rough.py").write_text("raise SystemExit('the wrong app')")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("LEFT_BEHIND", "yes")
        monkeypatch.syspath_prepend("/left/behind")
        works.link.give(lease("leave"))  # the child that is there ends, so that another one is started
        works.link.outcome()
        works.link.give(lease("leave", "again"))
        works.link.outcome("again")
        works.link.give(lease("surroundings", "later"))
        assert output(works, "later") == [here, None, umask, False]
    finally:
        os.umask(umask)


def released(works, run_id):
    outcome = works.link.outcome(run_id)
    assert isinstance(outcome, ReleasedReport), outcome
    return outcome.note


def until_claimed(works, fitting):
    """Have claims end without runs until one is made whose rooms fit."""
    deadline = time.monotonic() + 30
    while not fitting(works.link.claims[-1].rooms):
        assert time.monotonic() < deadline, works.link.claims[-1]
        number = len(works.link.claims)
        works.link.give()
        works.link.until(lambda: len(works.link.claims) > number)  # noqa: B023 - it is called at once


@pytest.mark.parametrize("fault", ["raise RuntimeError('not today')", "os._exit(3)", "os.abort()", None])
def test_a_run_whose_child_cannot_load_the_app_is_handed_back_and_none_is_claimed_until_one_can(start, tmp_path, fault):
    path = tmp_path / "late.py"
    if fault is not None:
        path.write_text(APP.format(more=fault))
    works = start(app, spec=f"{path}:app")
    works.link.until(lambda: works.link.claims)
    assert works.link.claims[0].rooms.get("process") != 0
    works.link.give(lease("add", input={"a": 1}))
    note = released(works, "run")
    assert note.startswith("the app could not be loaded where the function was to run: ")
    assert {None: "no file", "os._exit(3)": "exit code 3", "os.abort()": "SIGABRT"}.get(fault, "not today") in note
    until_claimed(works, lambda rooms: rooms.get("process") == 0)
    path.write_text(APP.format(more=""))
    until_claimed(works, lambda rooms: rooms.get("process") != 0)
    works.link.give(lease("add", "next", input={"a": 1}))
    assert output(works, "next") == 2
    assert len([said for said in works.said if "no child process can load the app" in said]) == 1


def test_a_folder_that_is_gone_fails_no_run_and_one_that_is_made_again_is_used(start, tmp_path, monkeypatch):
    folder = tmp_path / "app"
    folder.mkdir()
    monkeypatch.chdir(folder)
    works = start(app, spec=f"{tmp_path}/late.py:app")
    (tmp_path / "late.py").write_text(APP.format(more=""))
    monkeypatch.chdir(tmp_path)
    folder.rmdir()
    works.link.give(lease("add", input={"a": 1}))
    assert str(folder) in released(works, "run")
    folder.mkdir()
    until_claimed(works, lambda rooms: rooms.get("process") != 0)
    works.link.give(lease("add", "next", input={"a": 1}))
    assert output(works, "next") == 2


def test_a_run_that_took_a_worker_down_is_held_for_a_while_where_children_cannot_load_the_app(start, tmp_path):
    """Its task's own executor has room, so it may be claimed again and again."""
    works = start(app, spec=f"{tmp_path}/never.py:app")
    works.link.give(lease("add"))
    released(works, "run")
    begun = time.monotonic()
    works.link.give(lease("inline_poison", "held", crashes=1))
    assert "this worker waits until a child process can load it" in released(works, "held")
    assert time.monotonic() - begun >= pool.HOLD_S


def test_a_task_that_a_child_does_not_have_any_more_is_missing(start, tmp_path):
    (tmp_path / "newer.py").write_text(APP.format(more=""))
    works = start(app, spec=f"{tmp_path}/newer.py:app")
    works.link.give(lease("leave"))
    error = works.link.outcome().error
    assert (error.code, error.message[:40]) == ("task_missing", "The app as a child process loads it has ")
