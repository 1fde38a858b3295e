"""A blocked event loop is told, with the task, the line and its stack; once, and again ever more seldom."""

import asyncio
import ctypes
import errno
import os
import queue
import threading
import time
from pathlib import Path

import pytest
from tests.faults.waiting import until
from tests.worker.kit import FakeLink, lease

from headway import App
from headway.clock import ManualClock
from headway.protocol.workers import LogReport
from headway.worker.attempts.loopwatch import LoopWatch

BLOCKED_MS = 50


def said_of(works, text):
    return [said for said in works.said if text in said]


def blocking(app, free, name="crunch"):
    @app.task(name=name)
    async def blocks():
        free.wait(30)  # the line that blocks

    return blocks


def test_a_blocked_loop_is_told_with_the_task_the_run_and_the_line(start):
    app, free = App(), threading.Event()
    blocking(app, free)
    works = start(app, loop_blocked_ms=BLOCKED_MS)
    works.link.give(lease("crunch", "r1"))
    until(lambda: said_of(works, "the event loop has been blocked"), 20, "it is told")
    free.set()
    (said,) = said_of(works, "the event loop has been blocked")[:1]
    first, *stack = said.splitlines()
    assert "by the task 'crunch' (run r1) at tests/worker/test_loopwatch.py:" in first
    assert first.count(" in blocks: ") == 1
    assert "free.wait(30)  # the line that blocks" in said
    assert not [line for line in stack if "attempt.py" in line or "asyncio/" in line], (
        "only the user's frames are shown"
    )
    until(
        lambda: said_of(works, "the event loop turns again; the task 'crunch' (run r1) had blocked it"), 20, "its end"
    )


def test_the_run_has_it_in_its_log_and_the_server_in_a_heartbeat(start):
    app, free = App(), threading.Event()
    blocking(app, free)
    works = start(app, FakeLink(heartbeat_ms=600_000), loop_blocked_ms=BLOCKED_MS)
    works.link.give(lease("crunch", "r1"))
    until(lambda: works.link.heartbeats, 20, "the server is told, and not only when a heartbeat is due")
    told = works.link.heartbeats[0].blocked
    assert (told.task, told.run_id) == ("crunch", "r1")
    assert told.where.endswith(" in blocks")
    assert told.for_ms >= BLOCKED_MS
    logs = until(
        lambda: [one for one in works.link.reports if isinstance(one, LogReport)], 20, "it is in the run's log"
    )
    assert (logs[0].run_id, logs[0].level) == ("r1", "warning")
    assert "free.wait(30)" in logs[0].message
    free.set()
    until(lambda: works.link.heartbeats[-1].blocked is None, 20, "the server is told of its end")


@pytest.mark.parametrize("indirect", ["a task of its own", "a callback"])
def test_what_a_run_has_started_on_the_loop_is_named_too(start, indirect):
    app, free = App(), threading.Event()

    async def inner():
        free.wait(30)

    @app.task
    async def outer():
        if indirect == "a callback":
            asyncio.get_running_loop().call_soon(free.wait, 30)
        else:
            await asyncio.create_task(inner())
        await asyncio.sleep(0.01)

    works = start(app, loop_blocked_ms=BLOCKED_MS)
    works.link.give(lease("outer", "r1"))
    (said,) = until(lambda: said_of(works, "the event loop has been blocked"), 20, "it is told")[:1]
    free.set()
    by = "a callback, which belongs to no task," if indirect == "a callback" else "the task 'outer' (run r1)"
    assert f"by {by} at " in said


def gone():
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def test_a_working_folder_that_was_deleted_does_not_end_the_watch(start, monkeypatch):
    app, free = App(), threading.Event()
    blocking(app, free)
    monkeypatch.setattr(Path, "cwd", gone)  # a folder that is deleted would be every thread's, and others set it back
    works = start(app, loop_blocked_ms=BLOCKED_MS)
    works.link.give(lease("crunch", "r1"))
    (said,) = until(lambda: said_of(works, "the event loop has been blocked"), 20, "it is told")[:1]
    free.set()
    assert f"at {__file__}:" in said


class RunningAttempts:
    """Attempts as the watch sees them, whose loop is held as long as the test says."""

    def __init__(self):
        self.blocked_ms, self.loop, self.thread, self.held, self.running = 0, None, 0, {}, {}
        self.inline = self

    def held_ms(self):
        return self.blocked_ms


def watched():
    attempts, clock, said = RunningAttempts(), ManualClock(), []
    watch = LoopWatch(
        attempts,
        None,
        clock,
        threading.Event(),
        threshold_ms=1_000,
        say=said.append,
        changed=lambda: said.append("changed"),
    )
    return attempts, clock, said, watch


def passing(attempts, clock, watch, ms, held):
    for _ in range(ms // 250):
        clock.advance(250)
        attempts.blocked_ms = attempts.blocked_ms + 250 if held else 0
        watch.look()


def test_a_blockage_that_lasts_is_told_ever_more_seldom():
    attempts, clock, said, watch = watched()
    passing(attempts, clock, watch, 3_600_000, held=True)
    told = [text for text in said if "has been blocked for" in text]
    assert [text.split("for ")[1].split(" s")[0] for text in told] == [
        "1.0",
        "4.0",
        "16.0",
        "64.0",
        "256.0",
        "1024.0",
    ]
    assert watch.blocked.for_ms == 3_600_000
    passing(attempts, clock, watch, 250, held=False)
    assert said[-2:] == [
        "the event loop turns again; a callback, which belongs to no task, had blocked it for 3600.0 s", "changed",
    ]  # fmt: skip
    assert watch.blocked is None


def test_a_place_that_blocks_again_and_again_is_told_ever_more_seldom():
    attempts, clock, said, watch = watched()
    for _ in range(100):
        passing(attempts, clock, watch, 1_500, held=True)
        passing(attempts, clock, watch, 250, held=False)
    told = [text for text in said if "has been blocked for" in text]
    assert len(told) == 7, "the 1st, 2nd, 4th … 64th time"
    assert "(the 64th time; the next is told at the 128th)" in told[-1]
    assert len([text for text in said if "turns again" in text]) == 7
    assert said.count("changed") == 200, "heartbeats say it each time"


def test_a_process_in_which_nothing_ran_says_so_and_does_not_blame_a_task(start):
    app, ended = App(), queue.SimpleQueue()
    slept = ctypes.PyDLL(None).usleep  # a PyDLL function keeps the lock while it waits

    @app.task(executor="thread")
    def native():
        slept(600_000)
        ended.put(time.monotonic())

    works = start(app, loop_blocked_ms=BLOCKED_MS)
    works.link.give(lease("native", "r1"))
    ended.get(timeout=20)
    (said,) = until(lambda: said_of(works, "no thread of this worker has run for"), 20, "it is told")[:1]
    assert "held Python's lock (the GIL)" in said


def test_nothing_is_watched_or_told_where_the_threshold_is_0(start):
    app, free = App(), threading.Event()
    blocking(app, free)
    works = start(app, loop_blocked_ms=0)
    assert "headway-loopwatch" not in {thread.name for thread in threading.enumerate()}
    free.set()
    assert works.end() == 0


def test_a_default_executor_that_is_wholly_stuck_does_not_hold_up_the_end(start):
    app, begun, free = App(), threading.Event(), threading.Event()

    @app.task
    async def stuck():
        waits = [asyncio.to_thread(free.wait, 60) for _ in range(64)]
        begun.set()
        await asyncio.gather(*waits)

    works = start(app, drain_grace_ms=10)
    works.link.give(lease("stuck"))
    assert begun.wait(10)
    try:
        assert works.end() == 0
    finally:
        free.set()
