"""What a server does not hear while it stands still is not held against its workers, nor what they do not hear of it."""

import asyncio
import threading

import pytest
from tests.commands import FunctionCommand
from tests.runs.heartbeats import HeartbeatingWorker

from headway.clock import ManualClock
from headway.errors import WorkerNotFound
from headway.protocol import workers as wire
from headway.runs.loops.timekeeper import Timekeeper
from headway.runs.sessions import LeaseClock

LEASE_MS = 15_000
BEAT_MS = LEASE_MS // 3


def turning(harness, for_ms):
    """Let time pass in which the event loop turns."""
    while for_ms > 0:
        for_ms -= (step_ms := min(for_ms, harness.sessions.clock.turn_ms))
        harness.clock.advance(step_ms)
        harness.sessions.clock.turn()


def test_time_counts_as_it_passes_while_the_loop_turns():
    clock = ManualClock()
    lease_clock = LeaseClock(clock, LEASE_MS)
    began_ms = lease_clock.now_ms()
    for _ in range(100):
        lease_clock.turn()
        clock.advance(lease_clock.turn_ms)
    assert 100 * lease_clock.turn_ms == lease_clock.now_ms() - began_ms


@pytest.mark.parametrize("still_ms", [2_000, 14_000, 86_400_000])
def test_a_pause_counts_no_longer_than_a_turn_is_good_for(still_ms):
    clock = ManualClock()
    lease_clock = LeaseClock(clock, LEASE_MS)
    lease_clock.turn()
    began_ms = lease_clock.now_ms()
    clock.advance(still_ms)
    assert [2 * lease_clock.turn_ms] * 3 == [lease_clock.now_ms() - began_ms for _ in range(3)], (
        "whoever reads it first"
    )
    assert still_ms - 2 * lease_clock.turn_ms == lease_clock.turn()
    assert 0 == lease_clock.turn()


def test_a_break_in_which_the_clock_is_read_again_and_again_is_one_break():
    """The event loop turns while the database stands still, and no turn is noted."""
    clock = ManualClock()
    lease_clock = LeaseClock(clock, LEASE_MS)
    lease_clock.turn()
    for _ in range(100):
        clock.advance(100)
        lease_clock.now_ms()
    assert lease_clock.now_ms() == lease_clock.since_ms
    lease_clock.turn()
    clock.advance(lease_clock.turn_ms)
    lease_clock.turn()
    assert lease_clock.turn_ms == lease_clock.now_ms() - lease_clock.since_ms


async def test_time_in_which_the_database_stands_still_is_not_held_against_workers(disk):
    worker = await disk.worker()
    run = await disk.start()
    await disk.one(worker)
    begun, go_on = threading.Event(), threading.Event()

    def stand(unit):
        begun.set()
        go_on.wait(10)

    keeper = Timekeeper(disk.service, lambda: None)
    await keeper.tick()
    standing = disk.store.write(FunctionCommand(stand))
    await asyncio.to_thread(begun.wait, 10)
    for _ in range(2 * LEASE_MS // keeper._lease_clock.turn_ms):
        disk.clock.advance(keeper._lease_clock.turn_ms)
        await keeper.tick()
        assert [] == disk.sessions.lapsed()
    go_on.set()
    await standing
    while disk.store.busy_ms:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)
    await keeper.tick()
    for _ in range(LEASE_MS // keeper._lease_clock.turn_ms - 1):
        disk.clock.advance(keeper._lease_clock.turn_ms)
        await keeper.tick()
    await disk.tick()
    assert "running" == await disk.state(run.id)
    disk.clock.advance(keeper._lease_clock.turn_ms)
    await disk.tick()
    assert "queued" == await disk.state(run.id)


async def test_who_is_heard_after_a_pause_that_is_longer_than_a_lease_keeps_his_runs(harness):
    worker = await harness.worker()
    run = await harness.start()
    await harness.one(worker)
    turning(harness, 4_000)
    harness.clock.advance(100_000)
    await harness.tick()  # the rescuer may be the first to run, before what has come meanwhile is read
    harness.sessions.clock.turn()
    turning(harness, LEASE_MS - 1)
    await harness.tick()
    assert "running" == await harness.state(run.id)
    turning(harness, 1)
    await harness.tick()
    assert ("queued", 1) == ((run := await harness.runs.get(run.id)).state, run.crashes), (
        "but leases do not become eternal"
    )


async def test_pauses_that_are_shorter_than_a_lease_do_not_add_up_to_one(harness):
    worker = await harness.worker()
    run = await harness.start()
    await harness.one(worker)
    for _ in range(10):
        turning(harness, 100)
        harness.clock.advance(LEASE_MS * 3 // 10)  # too short for a break of its own
        await harness.tick()
    assert "running" == await harness.state(run.id)


async def test_a_stream_that_breaks_soon_after_a_pause_says_nothing(harness):
    """Its worker may have closed it, for want of answers while the server stood still."""
    worker = await harness.worker()
    run = await harness.start()
    await harness.one(worker)
    session = harness.sessions.get(worker)
    harness.sessions.connected(session)
    turning(harness, 1_000)
    harness.clock.advance(30_000)
    harness.sessions.disconnected(session)
    turning(harness, 5_000)
    await harness.tick()
    assert "running" == await harness.state(run.id)
    harness.sessions.connected(session)
    turning(harness, LEASE_MS)
    harness.sessions.disconnected(session)
    turning(harness, 1_000)
    await harness.tick()
    assert "queued" == await harness.state(run.id), "later it does"


async def test_who_is_heard_before_his_leases_are_taken_keeps_them(disk):
    """The database stood still when the session had been found to be over."""
    worker = await disk.worker()
    run = await disk.start()
    await disk.one(worker)
    begun, go_on = threading.Event(), threading.Event()

    def stand(unit):
        begun.set()
        go_on.wait(10)

    standing = disk.store.write(FunctionCommand(stand))
    await asyncio.to_thread(begun.wait, 10)
    disk.clock.advance(LEASE_MS)
    (session,) = disk.sessions.lapsed()
    lapsing = asyncio.ensure_future(disk.service.leases.lapse(session))
    await asyncio.sleep(0)
    disk.clock.advance(1)
    disk.sessions.heard(session)
    go_on.set()
    await standing
    assert await lapsing is None
    assert session is disk.sessions.get(worker)
    assert "running" == await disk.state(run.id)
    assert not session.over


# -- a worker that hears no answers -------------------------------------------------------------------------------------------


@pytest.fixture
async def beating(harness):
    return HeartbeatingWorker(harness, await harness.worker())


async def deaf(harness, beating, *held, for_ms=LEASE_MS):
    """Let heartbeats come whose answers do not arrive, until one comes `for_ms` after the last answer."""
    heard = beating.heard
    for _ in range(for_ms // BEAT_MS):
        harness.clock.advance(BEAT_MS)
        await beating.beat(*held, heard=heard)
    beating.heard = heard


async def test_runs_of_a_worker_that_hears_no_answer_for_a_lease_are_given_back_and_no_crash_counts(harness, beating):
    run = await harness.start()
    lease = await harness.one(beating.worker)
    await beating.beat((run.id, lease.epoch))
    other = await harness.worker()
    harness.sessions.heard(harness.sessions.get(other))
    await deaf(harness, beating, (run.id, lease.epoch), for_ms=LEASE_MS - BEAT_MS)
    assert [] == await harness.claim(other)
    harness.clock.advance(BEAT_MS)
    with pytest.raises(WorkerNotFound):
        await beating.beat((run.id, lease.epoch), heard=beating.heard)
    again = await harness.one(other)
    assert (run.id, 2, 1, 0) == (again.run_id, again.epoch, again.attempt, again.crashes)
    assert ["created", "claimed", "released", "claimed"] == await harness.causes(run.id)
    with pytest.raises(WorkerNotFound):
        await harness.claim(beating.worker)
    assert (409, "lease_lost") == await harness.refused(other, lease, wire.SucceededReport)


async def test_a_worker_that_hears_now_and_then_keeps_its_runs(harness, beating):
    run = await harness.start()
    lease = await harness.one(beating.worker)
    await beating.beat((run.id, lease.epoch))
    for _ in range(5):
        await deaf(harness, beating, (run.id, lease.epoch), for_ms=2 * BEAT_MS)
        await beating.beat((run.id, lease.epoch))
    assert "running" == await harness.state(run.id)


async def test_a_worker_that_seldom_sends_heartbeats_has_missed_no_answer(harness, beating):
    """It is alive by its reports: those that the server's own worker sends, for one."""
    run = await harness.start()
    lease = await harness.one(beating.worker)
    for _ in range(3):
        await beating.beat((run.id, lease.epoch))
        for _ in range(10):
            harness.clock.advance(BEAT_MS)
            await harness.report(beating.worker)
        await beating.beat((run.id, lease.epoch))
    assert "running" == await harness.state(run.id)


async def test_a_worker_that_heard_another_server_meanwhile_has_missed_nothing(harness, beating):
    run = await harness.start()
    lease = await harness.one(beating.worker)
    await beating.beat((run.id, lease.epoch))
    await deaf(harness, beating, (run.id, lease.epoch), for_ms=2 * BEAT_MS)
    harness.clock.advance(10 * BEAT_MS)
    other = await harness.worker()
    theirs = (await harness.report(other, held=[], claiming=[])).beat
    await beating.beat((run.id, lease.epoch), heard=theirs)
    assert "running" == await harness.state(run.id)


async def test_answers_that_were_missing_while_the_server_stood_still_are_not_missed(harness, beating):
    run = await harness.start()
    lease = await harness.one(beating.worker)
    await beating.beat((run.id, lease.epoch))
    heard = beating.heard
    turning(harness, BEAT_MS)
    await beating.beat((run.id, lease.epoch), heard=heard)
    harness.clock.advance(100_000)
    turning(harness, BEAT_MS)
    await beating.beat((run.id, lease.epoch), heard=heard)
    assert "running" == await harness.state(run.id)
