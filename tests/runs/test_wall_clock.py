"""The wall clock may be set at any time: leases and durations do not notice, numbers keep the order, loops look again."""

import json

import pytest
from tests.harness import declare
from tests.running import of_sqlite

from headway.clock import ManualClock
from headway.ids import IdSource
from headway.kernel.history import attempts
from headway.notify.events import Dispatcher
from headway.protocol import workers as wire
from headway.runs.loops.timekeeper import Timekeeper
from headway.runs.sessions import Sessions

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
LEASE_MS = 15_000


@pytest.mark.parametrize("set_by_ms", [-400 * DAY_MS, -3_600_000, 3_600_000, 400 * DAY_MS])
def test_setting_the_wall_clock_neither_ends_a_lease_nor_prolongs_it(set_by_ms):
    clock = ManualClock()
    sessions = Sessions(clock, Dispatcher(), lease_ms=LEASE_MS, disconnect_ms=1_000)
    session = sessions.open("worker")
    clock.set_by_ms = set_by_ms
    clock.advance(LEASE_MS - 1)
    assert sessions.lapsed() == []
    clock.advance(1)
    assert sessions.lapsed() == [session]


def test_ids_keep_their_order_when_the_wall_clock_is_set_back():
    source, clock = IdSource(), ManualClock()
    before = [source.new(clock.now_ms()) for _ in range(10)]
    clock.set_by_ms = -DAY_MS
    after = [source.new(clock.now_ms()) for _ in range(10)]
    assert sorted(before + after) == before + after


# -- the times of a run ----------------------------------------------------------------------------------------------------


async def test_no_run_ends_before_it_has_begun_and_its_history_says_where_the_clock_was_set_back(harness):
    worker = await harness.worker()
    run = await harness.start()
    lease = await harness.one(worker)
    harness.clock.set_by_ms = -HOUR_MS
    await harness.advance(10_000, worker)
    await harness.succeed(worker, lease)
    run = await harness.runs.get(run.id)
    assert run.created_at <= run.started_at <= run.finished_at <= run.updated_at
    events = await harness.history.events(run.id, 0, 100, "run.state")
    assert sorted(event.time for event in events) == [event.time for event in events]
    assert [None, None, HOUR_MS - 10_000] == [json.loads(event.data).get("clock_set_back_ms") for event in events]
    assert [True] == [attempt.clock_set_back for attempt in attempts(events)]


async def test_what_is_claimed_after_the_clock_was_set_back_says_all_that_a_claim_says(harness):
    worker = await harness.worker()
    run = await harness.start()
    harness.clock.set_by_ms = -HOUR_MS
    lease = await harness.one(worker)
    (event,) = [event for event in await harness.history.events(run.id, 0, 100, "run.state") if "claimed" in event.data]
    said = {"attempt": 1, "epoch": 1, "worker_id": worker, "clock_set_back_ms": HOUR_MS}
    assert {"state": "running", "cause": "claimed", **said} == json.loads(event.data)
    await harness.succeed(worker, lease)
    run = await harness.runs.get(run.id)
    assert run.created_at <= run.started_at <= run.finished_at


async def test_a_run_during_which_no_clock_was_set_back_is_not_marked(harness):
    worker = await harness.worker()
    run = await harness.start()
    lease = await harness.one(worker)
    harness.clock.set_by_ms = HOUR_MS
    await harness.succeed(worker, lease)
    events = await harness.history.events(run.id, 0, 100, "run.state")
    assert [False] == [attempt.clock_set_back for attempt in attempts(events)]
    assert not any("clock_set_back_ms" in event.data for event in events)


# -- what waits --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def timekeeper(harness):
    woken = []
    keeper = Timekeeper(harness.service, lambda: woken.append(harness.clock.now_ms()))
    keeper.woken = woken
    return keeper


async def set_back(harness, timekeeper, by_ms=HOUR_MS):
    await timekeeper.tick()
    harness.clock.set_by_ms -= by_ms
    await timekeeper.tick()


@pytest.mark.parametrize("by_ms", [-HOUR_MS, -1_500, 1_500, HOUR_MS])
async def test_all_loops_look_again_when_the_clock_was_set_in_either_direction(harness, timekeeper, by_ms):
    await timekeeper.tick()
    harness.clock.advance(500)
    await timekeeper.tick()
    assert [] == timekeeper.woken
    harness.clock.set_by_ms += by_ms
    harness.clock.advance(500)
    await timekeeper.tick()
    assert [harness.clock.now_ms()] == timekeeper.woken
    await timekeeper.tick()
    assert 1 == len(timekeeper.woken)


async def test_all_loops_look_again_after_the_machine_was_suspended(harness, timekeeper):
    await timekeeper.tick()
    harness.clock.advance(HOUR_MS)
    await timekeeper.tick()
    assert 1 == len(timekeeper.woken)


RETRY = {"max_attempts": 3, "backoff": "5s", "jitter": 0}


@of_sqlite("harness")
async def test_a_retry_comes_after_its_backoff_though_the_clock_was_set_back(harness, timekeeper):
    worker = await harness.worker(declare("t", retry=RETRY))
    run = await harness.start()
    await harness.fail(worker, await harness.one(worker))
    await set_back(harness, timekeeper)
    await harness.advance(4_999, worker)
    assert "scheduled" == await harness.state(run.id)
    await harness.advance(1, worker)
    assert "queued" == await harness.state(run.id)


@of_sqlite("harness")
async def test_a_wait_times_out_when_it_said_though_the_clock_was_set_back_twice(harness, timekeeper):
    worker = await harness.worker()
    run = await harness.start()
    lease = await harness.one(worker)
    blocker = wire.BlockerSpec(kind="signal", name="go", number=0)
    await harness.tell(worker, lease, wire.SuspendedReport, blockers=[blocker], timeout="10s")
    for _ in range(2):
        await set_back(harness, timekeeper)
        await harness.advance(4_999, worker)
        assert "suspended" == await harness.state(run.id)
    await harness.advance(2, worker)
    assert "queued" == await harness.state(run.id)


@pytest.mark.parametrize("rate", ["rate", "rate_per_key"])
@of_sqlite("harness")
async def test_a_rate_lets_the_next_run_through_though_the_clock_was_set_back(harness, timekeeper, rate):
    worker = await harness.worker(declare("t", **{rate: {"limit": 1, "period": "10s"}}))
    for _ in range(3):
        await harness.start(key="k")
    assert 1 == len(await harness.claim(worker))
    assert 0 == len(await harness.claim(worker))
    await set_back(harness, timekeeper)
    await harness.advance(10_000, worker)
    assert 1 == len(await harness.claim(worker))
    assert 0 == len(await harness.claim(worker))
    await harness.advance(10_000, worker)
    assert 1 == len(await harness.claim(worker))


async def test_a_time_of_day_stays_one_when_the_clock_was_set_back(harness, timekeeper):
    await harness.worker()
    run = await harness.start(delay="30m")
    due = run.run_at
    await set_back(harness, timekeeper)
    assert due == (await harness.runs.get(run.id)).run_at
    await harness.advance(HOUR_MS)
    assert "scheduled" == await harness.state(run.id)
    await harness.advance(HOUR_MS // 2)
    assert "queued" == await harness.state(run.id)


# -- what workers did while nobody heard them ------------------------------------------------------------------------------------


async def test_a_run_that_was_done_in_time_is_not_ended_as_overdue_before_its_worker_is_heard(harness):
    worker = await harness.worker(declare("t", timeout="10s", grace="0s", retry={"max_attempts": 1}))
    run = await harness.start()
    lease = await harness.one(worker)
    lease_clock = harness.sessions.clock
    harness.clock.advance(6_000)
    await harness.tick()
    lease_clock.turn()
    harness.clock.advance(60_000)
    await harness.tick()  # the server wakes; the report is waiting
    assert "running" == await harness.state(run.id)
    await harness.succeed(worker, lease)
    assert "succeeded" == await harness.state(run.id)


async def test_a_run_that_is_overdue_is_ended_as_soon_as_its_worker_could_be_heard(harness):
    worker = await harness.worker(declare("t", timeout="10s", grace="0s", retry={"max_attempts": 1}))
    run = await harness.start()
    await harness.one(worker)
    lease_clock = harness.sessions.clock
    lease_clock.turn()
    harness.clock.advance(60_000)
    await harness.tick()
    for _ in range(LEASE_MS // 3 // lease_clock.turn_ms):
        lease_clock.turn()
        await harness.advance(lease_clock.turn_ms, worker)
    assert "failed" == await harness.state(run.id)
