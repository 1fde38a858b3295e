"""Watching: history plus a wake-up; no event is missed, none comes twice, and it ends when the run does."""

import asyncio
import random

import pytest
from tests.harness import declare, raw

from headway.errors import RunNotFound, RunPurged
from headway.kernel.event import Event
from headway.protocol import workers as wire
from headway.protocol.runs import SignalRun
from headway.runs import history
from headway.runs.history import ProgressChange, Snapshot, WatchEnd

NOBODY = "01890000-0000-7000-8000-00000000abcd"


def never():
    return False


async def watched(harness, run_id, after=None):
    """Return everything that a watch yields, to its end."""
    return [item async for item in harness.history.watch(run_id, after, never)]


async def test_a_finished_run_is_told_from_any_number_to_its_end(harness):
    worker = await harness.worker()
    run = await harness.finished(worker)
    for after, expected in ((0, [1, 2, 3]), (1, [2, 3]), (3, []), (None, []), (99, [])):
        items = await watched(harness, run.id, after)
        assert isinstance(items[0], Snapshot)
        assert isinstance(items[-1], WatchEnd)
        assert expected == [item.seq for item in items if isinstance(item, Event)]


async def test_who_is_not_there_is_not_watched(harness):
    with pytest.raises(RunNotFound):
        await watched(harness, NOBODY)


async def test_a_run_that_is_removed_ends_its_watch(harness):
    worker = await harness.worker()
    run = await harness.start()
    watch = harness.history.watch(run.id, None, never)
    await anext(watch)
    waiting = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    await harness.succeed(worker, await harness.one(worker))
    await harness.runs.delete(run.id)
    with pytest.raises(RunPurged):  # noqa: PT012 - whatever the watch still has to say comes first
        while True:
            await waiting
            waiting = asyncio.ensure_future(anext(watch))


async def live(disk, worker, lease, randomly):
    """Let a run live noisily to its end."""
    for number in range(randomly.randint(5, 40)):
        match randomly.randint(0, 4):
            case 0:
                await disk.tell(worker, lease, wire.LogReport, message=str(number))
            case 1:
                await disk.tell(worker, lease, wire.StepReport, name=str(number), value=raw(1))
            case 2:
                await disk.tell(worker, lease, wire.ResultReport, value=raw(number))
            case 3:
                await disk.runs.signal(lease.run_id, SignalRun(name="s"))
            case 4:
                disk.clock.advance(1)
                await disk.tell(worker, lease, wire.ProgressReport, done=number)
    await disk.succeed(worker, lease)


@pytest.mark.parametrize("seed", range(5))
async def test_whoever_watches_whenever_from_wherever_misses_nothing(disk, seed):
    randomly = random.Random(seed)
    worker = await disk.worker()
    for _ in range(5):
        await disk.start()
    leases = await disk.claim(worker)

    async def follow(lease):
        await asyncio.sleep(randomly.random() / 100)
        after = randomly.randint(0, 10)
        items = await watched(disk, lease.run_id, after)
        last = (await disk.runs.get(lease.run_id)).seq
        seen = [item.seq for item in items if isinstance(item, Event)]
        assert list(range(after + 1, last + 1)) == seen
        assert [Snapshot, WatchEnd] == [type(items[0]), type(items[-1])]
        assert items[-1].run == await disk.runs.get(lease.run_id)

    lives = [live(disk, worker, lease, random.Random(seed * 100 + n)) for n, lease in enumerate(leases)]
    await asyncio.gather(*lives, *(follow(lease) for lease in leases for _ in range(4)))
    assert 0 == disk.store.notifier.count


async def test_a_watch_that_breaks_off_goes_on_without_gap_or_repetition(disk):
    worker = await disk.worker()
    await disk.start()
    lease = await disk.one(worker)
    seen = []

    async def follow():
        while True:
            async for item in disk.history.watch(lease.run_id, seen[-1] if seen else 0, never):
                if isinstance(item, WatchEnd):
                    return
                if isinstance(item, Event):
                    seen.append(item.seq)
                    if item.seq % 3 == 0:
                        break

    await asyncio.gather(follow(), live(disk, worker, lease, random.Random(1)))
    assert list(range(1, (await disk.runs.get(lease.run_id)).seq + 1)) == seen


async def test_progress_is_told_also_twice_in_one_millisecond(harness):
    worker = await harness.worker()
    run = await harness.start()
    lease = await harness.one(worker)
    watch = harness.history.watch(run.id, None, never)
    await anext(watch)
    for done in (1, 2, 3):
        await harness.tell(worker, lease, wire.ProgressReport, done=done)
        item = await anext(watch)
        assert (ProgressChange, done) == (type(item), item.run.progress_done)
    await watch.aclose()


async def test_the_feed_tells_of_everyone_in_order_and_can_be_narrowed(disk):
    worker = await disk.worker()
    runs = [await disk.start() for _ in range(6)]
    stopped = False
    seen, of_two = [], []

    async def follow(into, run_ids):
        async for event in disk.history.feed(0, run_ids, lambda: stopped):
            if event is not None:
                into.append(event)

    wanted = (runs[0].id, runs[5].id)
    tasks = [asyncio.ensure_future(follow(seen, ())), asyncio.ensure_future(follow(of_two, wanted))]
    for lease in await disk.claim(worker):
        await disk.succeed(worker, lease)
    async with asyncio.timeout(10):
        while len(seen) < 18 or len(of_two) < 6:  # noqa: ASYNC110 - the watches' own turns
            await asyncio.sleep(0)
    stopped = True
    await disk.stop((await disk.start()).id)  # wakes them
    await asyncio.gather(*tasks)
    del seen[18:]
    positions = [event.position for event in seen]
    assert sorted(set(positions)) == positions
    assert {run.id: [1, 2, 3] for run in runs} == {
        run.id: [event.seq for event in seen if event.run_id == run.id] for run in runs
    }
    assert [event for event in seen if event.run_id in wanted] == of_two


async def test_who_waits_for_a_run_is_answered_when_it_ends_or_when_the_time_is_up(disk):
    worker = await disk.worker(declare("t"))
    run = await disk.start()
    assert "queued" == (await disk.runs.wait(run.id, 0.01, lambda run: run.final)).state
    waiting = [asyncio.ensure_future(disk.runs.wait(run.id, 30, lambda run: run.final)) for _ in range(5)]
    await asyncio.sleep(0)
    await disk.succeed(worker, await disk.one(worker), 7)
    assert {("succeeded", "7")} == {(one.state, one.output) for one in await asyncio.gather(*waiting)}


@pytest.mark.parametrize("whom", ["a run", "others"])
async def test_who_is_woken_for_nothing_again_and_again_still_says_that_it_lives(disk, monkeypatch, whom):
    """Others' commits and the database's outages wake who has nothing to tell; a silent stream would be cut."""
    monkeypatch.setattr(history, "SILENCE_S", 0.2)
    await disk.worker()
    run = await disk.start()
    if whom == "a run":
        items = disk.history.watch(run.id, None, never)
        assert isinstance(await anext(items), Snapshot)
    else:
        items = disk.history.feed(0, (NOBODY,), never)
    told = asyncio.ensure_future(anext(items))
    async with asyncio.timeout(10):
        while not told.done():
            disk.store.notifier.publish_all()
            await asyncio.sleep(0)
    assert told.result() is None
    await items.aclose()
