"""Claims: the right run, to the right worker, within every limit; and no slot is ever lost."""

import asyncio

import pytest
from msgspec.structs import replace
from tests.commands import FunctionCommand
from tests.harness import declare, spec

from headway.errors import WorkerNotFound
from headway.kernel.lifecycle import Released
from headway.kernel.run import PARKED, Reason
from headway.kernel.task import Task
from headway.notify.events import RunDue
from headway.protocol import workers as wire
from headway.protocol.runs import PatchRun
from headway.runs.starting import new_run
from headway.runs.transitions import move

WHY = Reason(code="test")


async def ids(harness, worker, most=100):
    return [lease.run_id for lease in await harness.claim(worker, most)]


async def test_higher_priority_first_then_age(harness):
    worker = await harness.worker()
    runs = {}
    for name, priority in (("a", 5), ("b", 9), ("c", 5), ("d", 0), ("e", 9)):
        runs[(await harness.start(priority=priority)).id] = name
        harness.clock.advance(1)
    assert list("beacd") == [runs[found] for found in [(await harness.one(worker)).run_id for _ in range(5)]]


async def test_a_batch_of_claims_has_the_same_order_over_tasks_and_queues(harness):
    worker = await harness.worker(declare("t"), declare("u"))
    for number in range(12):
        await harness.start("tu"[number % 2], priority=number % 3, queue="qr"[number % 2])
        harness.clock.advance(1)
    leases = await harness.claim(worker, 7) + await harness.claim(worker)
    order = [(await harness.runs.get(lease.run_id)) for lease in leases]
    assert sorted(order, key=lambda run: (-run.priority, run.run_at)) == order


async def test_a_worker_gets_its_own_tasks_from_its_own_queues(harness):
    await harness.worker(declare("t"), declare("u"))
    first = await harness.worker(declare("t"), queues=["q"])
    wanted = await harness.start("t", queue="q")
    await harness.start("u", queue="q")
    await harness.start("t", queue="r")
    assert [wanted.id] == await ids(harness, first)


@pytest.mark.parametrize("spread", [1, 7, 40])
async def test_a_claim_over_many_lanes_is_the_same_as_over_one(harness, spread):
    """Of many lanes only the heads are read at first: what is behind them must not be passed over."""
    worker = await harness.worker(*(declare(f"t{number}") for number in range(spread)))
    for number in range(150):  # one lane has nearly everything, the others one run here and there
        task = number % spread if number % 10 == 0 else 0
        await harness.start(f"t{task}", priority=number * 7 % 4)
        harness.clock.advance(1)
    for most in (33, 100):
        leases = await harness.claim(worker, most)
        assert most == len(leases)
    order = [
        await harness.runs.get(run_id) for run_id in [*[lease.run_id for lease in leases], *await ids(harness, worker)]
    ]
    assert sorted(order, key=lambda run: (-run.priority, run.run_at)) == order


async def test_a_run_that_a_worker_waits_for_is_handed_over_as_if_it_had_been_queued(harness):
    worker = await harness.worker(declare(timeout="1h"))
    waiting = asyncio.ensure_future(harness.claim(worker, 1, "30s"))
    await asyncio.sleep(0)
    before = harness.store.writer.batches
    handed = await harness.start(given={"a": 1}, labels={"l": "m"})
    (lease,) = await waiting
    assert before + 1 == harness.store.writer.batches, "started and leased in one transaction"
    queued = await harness.start(given={"a": 1}, labels={"l": "m"})
    other = await harness.one(worker)
    first, second = [replace(await harness.runs.get(run.id), id="", root_id="") for run in (handed, queued)]
    assert first == second
    assert replace(lease, run_id="", root_id="") == replace(other, run_id="", root_id="")
    histories = [
        [(e.seq, e.type, e.data) for e in await harness.history.events(run.id, 0, 9)] for run in (handed, queued)
    ]
    assert histories[0] == histories[1]


async def test_of_a_batch_of_starts_the_waiting_worker_gets_the_best(harness):
    worker = await harness.worker()
    waiting = asyncio.ensure_future(harness.claim(worker, 2, "30s"))
    await asyncio.sleep(0)
    started = await harness.start_many(*(spec(priority=priority) for priority in (1, 9, 5, 3)))
    assert [started[1].run.id, started[2].run.id] == [lease.run_id for lease in await waiting]
    assert [started[3].run.id, started[0].run.id] == await ids(harness, worker)


async def test_a_run_that_comes_back_goes_before_one_that_is_born_in_the_same_moment(harness):
    worker = await harness.worker()
    old = await harness.start()
    lease = await harness.one(worker)
    harness.clock.advance(5)
    waiting = asyncio.ensure_future(harness.claim(worker, 1, "30s"))
    await asyncio.sleep(0)

    def both(uow):
        move(uow, uow.run(old.id), Released())
        uow.insert(
            new_run("ffffffff-0000-7000-8000-000000000000", Task(name="t"), uow.now_ms, name="t", input="null"), {}
        )
        uow.record(uow.run("ffffffff-0000-7000-8000-000000000000"), "run.state", '{"state":"queued","cause":"created"}')

    await harness.store.write(FunctionCommand(both))
    assert [(old.id, lease.epoch + 1)] == [(lease.run_id, lease.epoch) for lease in await waiting]


async def test_a_lease_carries_all_that_the_worker_needs(harness):
    worker = await harness.worker()
    run = await harness.start("t", {"a": 1}, name="n", key="k", labels={"l": "m"})
    lease = await harness.one(worker)
    assert (run.id, "t", 1, 1, 3, "n", "k", run.id) == (
        lease.run_id, lease.task, lease.epoch, lease.attempt, lease.max_attempts, lease.name, lease.key, lease.root_id
    )  # fmt: skip
    assert (b'{"a":1}', b'{"l":"m"}') == (bytes(lease.input), bytes(lease.labels))


async def test_a_paused_queue_gives_nothing_until_it_goes_on(harness):
    worker = await harness.worker()
    run = await harness.start()
    await harness.queues.pause("default", paused=True)
    waiting = asyncio.ensure_future(harness.claim(worker, 1, "30s"))
    await asyncio.sleep(0)
    assert ["queue_paused"] == await harness.why(run.id)
    assert not waiting.done()
    await harness.queues.pause("default", paused=False)
    assert [run.id] == [lease.run_id for lease in await waiting]


async def test_an_inactive_task_runs_on_and_its_queued_runs_wait(harness):
    worker = await harness.worker()
    running, queued = await harness.start(), await harness.start()
    lease = await harness.one(worker)
    await harness.tasks.activate("t", active=False)
    await harness.succeed(worker, lease)
    waiting = asyncio.ensure_future(harness.claim(worker, 1, "30s"))
    await asyncio.sleep(0)
    assert (["task_inactive"], False) == (await harness.why(queued.id), waiting.done())
    await harness.tasks.activate("t", active=True)
    assert [queued.id] == [lease.run_id for lease in await waiting]
    assert "succeeded" == await harness.state(running.id)


LIMITS = {
    "queue": ({}, lambda harness: harness.queues.limit("default", 2)),
    "task": ({"concurrency": 2}, None),
    "key": ({"concurrency_per_key": 2}, None),
}


async def limited(harness, which):
    """Return a worker of a task of which two may run at once."""
    fields, then = LIMITS[which]
    worker = await harness.worker(declare("t", **fields))
    if then is not None:
        await then(harness)
    return worker


ENDS = {
    "success": lambda harness, worker, lease: harness.succeed(worker, lease),
    "failure": lambda harness, worker, lease: harness.fail(worker, lease, retryable=False),
    "a retry": lambda harness, worker, lease: harness.fail(worker, lease),
    "a wait": lambda harness, worker, lease: harness.tell(
        worker, lease, wire.SuspendedReport, blockers=[], timeout="1h"
    ),
    "a sleep": lambda harness, worker, lease: harness.tell(
        worker, lease, wire.SleptReport, until="2100-01-01T00:00:00Z"
    ),
    "a hold": lambda harness, worker, lease: harness.runs.suspend(lease.run_id, WHY),
    "a crash": lambda harness, worker, lease: harness.fail(worker, lease, code="crashed"),
    "a hand-back": lambda harness, worker, lease: harness.tell(worker, lease, wire.ReleasedReport),
    "a lapse": lambda harness, worker, lease: harness.service.leases.lapse(harness.sessions.get(worker)),
    "a stop": lambda harness, worker, lease: stopped(harness, worker, lease),  # noqa: PLW0108 - it stands below
    "an abandoned stop": lambda harness, worker, lease: abandoned(harness, worker, lease),  # noqa: PLW0108
}


async def stopped(harness, worker, lease):
    await harness.stop(lease.run_id)
    await harness.tell(worker, lease, wire.StoppedReport)


async def abandoned(harness, worker, lease):
    await harness.stop(lease.run_id, grace="0s")
    await harness.advance(10_000, worker)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("which", LIMITS)
async def test_however_a_lease_ends_its_slot_goes_to_the_next(harness, which, end):
    worker = await limited(harness, which)
    for _ in range(4):
        await harness.start(key="k")
    first, _ = await harness.claim(worker)
    assert [] == await harness.claim(worker)
    other = await harness.worker(declare("t", **LIMITS[which][0]))
    waiting = asyncio.ensure_future(harness.claim(other, 1, "30s"))
    await asyncio.sleep(0)
    await ENDS[end](harness, worker, first)
    assert 1 == len(await waiting)
    live = harness.sql("SELECT count(*) FROM runs WHERE worker_id IS NOT NULL")[0][0]
    assert len(await harness.claim(other)) == 2 - live


@pytest.mark.parametrize("which", LIMITS)
async def test_a_stopping_run_holds_its_slot(harness, which):
    worker = await limited(harness, which)
    for _ in range(3):
        await harness.start(key="k")
    first, _ = await harness.claim(worker)
    await harness.stop(first.run_id)
    assert [] == await harness.claim(worker)


@pytest.mark.parametrize("which", LIMITS)
async def test_one_claim_does_not_take_more_than_there_is_room_for(harness, which):
    worker = await limited(harness, which)
    runs = [await harness.start(key="k") for _ in range(5)]
    assert [run.id for run in runs[:2]] == await ids(harness, worker)
    assert f"{which}_limit" in await harness.why(runs[-1].id)


async def test_a_hot_key_does_not_starve_the_others(harness):
    worker = await harness.worker(declare("t", concurrency_per_key=1))
    for _ in range(5):
        await harness.start_many(*[spec("t", key="hot")] * 1000)
    others = [await harness.start("t", key=f"cold {n}") for n in range(20)]
    found = set()
    for _ in range(4):
        found |= set(await ids(harness, worker))
        await harness.tick()
    assert {run.id for run in others} < found
    assert 21 == len(found)
    assert 4_999 == harness.sql("SELECT count(*) FROM runs WHERE parked_until = ?", PARKED)[0][0]


async def test_a_freed_slot_wakes_the_best_of_those_that_wait(harness):
    worker = await harness.worker(declare("t", concurrency_per_key=1))
    await harness.start(key="k")
    low, high = await harness.start(key="k", priority=1), await harness.start(key="k", priority=9)
    lease = await harness.one(worker)
    assert high.id == lease.run_id
    assert [] == await harness.claim(worker)
    await harness.succeed(worker, lease)
    lease = await harness.one(worker)
    assert 5 == (await harness.runs.get(lease.run_id)).priority
    await harness.succeed(worker, lease)
    assert low.id == (await harness.one(worker)).run_id


LEAVES = {
    "stopped": lambda harness, run: harness.stop(run),
    "held": lambda harness, run: harness.runs.suspend(run, WHY),
    "given another time": lambda harness, run: harness.runs.patch(run, PatchRun(run_at="2100-01-01T00:00:00Z"), None),
    "moved to a queue without workers": lambda harness, run: harness.runs.patch(run, PatchRun(queue="far"), None),
}


@pytest.mark.parametrize("leave", LEAVES)
async def test_a_run_that_was_let_through_and_then_leaves_lets_the_next_through(harness, leave):
    worker = await harness.worker(declare("t", concurrency_per_key=1), queues=["default"])
    for _ in range(3):
        await harness.start(key="k")
    lease = await harness.one(worker)
    assert [] == await harness.claim(worker)
    await harness.succeed(worker, lease)
    ((chosen,),) = harness.sql("SELECT id FROM runs WHERE state = 'queued' AND parked_until IS NULL")
    await LEAVES[leave](harness, chosen)
    (lease,) = await harness.claim(worker)
    assert chosen != lease.run_id


async def test_a_run_let_through_in_a_paused_queue_does_not_block_its_key_elsewhere(harness):
    worker = await harness.worker(declare("t", concurrency_per_key=1))
    await harness.start(key="k")
    lease = await harness.one(worker)
    await harness.start(key="k", queue="slow", priority=9)
    wanted = await harness.start(key="k")
    assert [] == await harness.claim(worker)
    await harness.queues.pause("slow", paused=True)
    await harness.succeed(worker, lease)
    assert [wanted.id] == await ids(harness, worker)


async def test_what_is_parked_competes_again_when_its_limit_is_lifted(harness):
    worker = await harness.worker(declare("t", concurrency_per_key=1))
    for _ in range(3):
        await harness.start(key="k")
    await harness.one(worker)
    assert [] == await harness.claim(worker)
    await harness.worker(declare("t"))
    assert 2 == len(await harness.claim(worker))


@pytest.mark.parametrize("fields", [{"priority": 10}, {"queue": "other"}])
async def test_a_parked_run_that_is_changed_competes_again(harness, fields):
    worker = await harness.worker(declare("t", concurrency_per_key=1))
    await harness.start(key="k")
    waiting = [await harness.start(key="k") for _ in range(2)]
    lease = await harness.one(worker)
    assert [] == await harness.claim(worker)
    await harness.runs.patch(waiting[1].id, PatchRun(**fields), None)
    assert [] == await harness.claim(worker), "the limit stands against it as before"
    await harness.succeed(worker, lease)
    found = await ids(harness, worker)
    assert 1 == len(found)
    assert "queue" in fields or [waiting[1].id] == found


async def test_a_rate_lets_its_count_start_and_then_one_an_interval(harness):
    worker = await harness.worker(declare("t", rate={"limit": 3, "period": "3s"}))
    for _ in range(8):
        await harness.start()
    assert 3 == len(await harness.claim(worker))
    waiting = asyncio.ensure_future(harness.claim(worker, 1, "30s"))
    await asyncio.sleep(0)
    assert 1_000 == await harness.stager.tick(), "the loops know when it opens"
    await harness.advance(999, worker)
    assert not waiting.done()
    await harness.advance(1, worker)
    assert 1 == len(await waiting)
    await harness.advance(3_000, worker)
    assert 3 == len(await harness.claim(worker))


async def test_a_rate_of_a_key_holds_that_key_only(harness):
    worker = await harness.worker(declare("t", rate_per_key={"limit": 1, "period": "10s"}))
    first, second, other = await harness.start(key="a"), await harness.start(key="a"), await harness.start(key="b")
    assert [first.id, other.id] == await ids(harness, worker)
    assert ["key_rate"] == await harness.why(second.id)
    await harness.advance(9_999, worker)
    assert [] == await ids(harness, worker)
    await harness.advance(1, worker)
    assert [second.id] == await ids(harness, worker)


async def test_the_stager_hears_when_a_run_is_due_that_a_waiting_claim_has_parked(harness):
    worker = await harness.worker(declare("t", rate_per_key={"limit": 1, "period": "10s"}))
    first, second = await harness.start(key="a"), await harness.start(key="a")
    assert [first.id] == await ids(harness, worker, 1)
    due = harness.announced(RunDue)
    waiting = asyncio.ensure_future(harness.claim(worker, wait="30s"))
    await asyncio.wait([waiting], timeout=0)
    parked_until = (await harness.runs.get(second.id)).parked_until
    assert [RunDue(parked_until)] == due
    await harness.advance(10_000, worker)
    assert [second.id] == [lease.run_id for lease in await waiting]


async def test_rates_survive_a_restart(disk):
    worker = await disk.worker(declare("t", rate={"limit": 1, "period": "10s"}))
    await disk.start()
    await disk.start()
    assert 1 == len(await disk.claim(worker))
    await disk.restart()
    assert [] == await disk.claim(worker)
    await disk.advance(10_000, worker)
    assert 1 == len(await disk.claim(worker))


async def test_a_worker_that_nobody_knows_claims_nothing(harness):
    with pytest.raises(WorkerNotFound):
        await harness.claim("01890000-0000-7000-8000-00000000abcd")


async def test_why_a_queued_run_waits_is_told_with_its_place(harness):
    worker = await harness.worker()
    runs = [await harness.start() for _ in range(3)]
    _, (cause,), _ = await harness.history.waiting(runs[2].id)
    assert ("position", 3) == (cause.code, cause.position)
    await harness.workers.drain(worker)
    assert ["no_worker"] == await harness.why(runs[0].id)


async def test_a_run_of_lower_priority_does_not_overtake_while_blocked_ones_are_passed_over(harness):
    worker = await harness.worker(declare("k", concurrency_per_key=1), declare("t"))
    for _ in range(3):
        await harness.start("k", key="a", priority=9)
    await harness.start("t", priority=0)
    wanted = await harness.start("k", key="b", priority=5)
    leases = await harness.claim(worker, 2)
    assert wanted.id == leases[1].run_id
    assert 9 == (await harness.runs.get(leases[0].run_id)).priority


async def roomy(harness, worker, most=100, wait="0s", **rooms):
    """Claim with the rooms given; return the leases."""
    return await harness.workers.claim(wire.ClaimRuns(worker_id=worker, max=most, wait=wait, rooms=rooms))


async def test_an_executor_gets_as_many_as_it_has_room_for_and_the_best_of_them(harness):
    worker = await harness.worker(declare("p", executor="process"), declare("q", executor="process"), declare("t"))
    names = {}
    asked = (("a", "p", 1), ("b", "t", 3), ("c", "q", 9), ("d", "p", 5), ("e", "t", 0), ("f", "q", 2))
    for name, task, priority in asked:
        names[(await harness.start(task, priority=priority)).id] = name
    found = [names[lease.run_id] for lease in await roomy(harness, worker, process=2)]
    assert list("cdbe") == found
    assert ["f"] == [names[lease.run_id] for lease in await roomy(harness, worker, process=1)]


async def test_rooms_hold_together_with_limits(harness):
    worker = await harness.worker(declare("p", executor="process", concurrency=3), declare("t"))
    for _ in range(5):
        await harness.start("p", priority=9)
        await harness.start("t")
    tasks = [lease.task for lease in await roomy(harness, worker, process=2)]
    assert ["p"] * 2 + ["t"] * 5 == tasks
    assert ["p"] == [lease.task for lease in await roomy(harness, worker, process=4)]


@pytest.mark.parametrize("limits", [{}, {"concurrency": 10}])
async def test_a_run_that_took_a_worker_down_needs_a_child_and_does_not_stand_before_others(harness, limits):
    worker = await harness.worker(declare("t", **limits))
    crashed = [await harness.start(priority=9) for _ in range(3)]
    for lease in await harness.claim(worker):
        await harness.fail(worker, lease, code="crashed")
    others = [await harness.start() for _ in range(2)]
    assert {run.id for run in others[:1]} == {lease.run_id for lease in await roomy(harness, worker, 1, process=0)}
    assert [crashed[0].id, others[1].id] == [lease.run_id for lease in await roomy(harness, worker, 2, process=1)]
    assert [run.id for run in crashed[1:]] == [lease.run_id for lease in await roomy(harness, worker, process=2)]


async def test_a_claim_waits_past_what_there_is_no_room_for(harness):
    worker = await harness.worker(declare("p", executor="process"), declare("t"))
    await harness.start("p")
    waiting = asyncio.ensure_future(roomy(harness, worker, wait="30s", process=0))
    await asyncio.sleep(0)
    await harness.start("p")
    await asyncio.sleep(0)
    assert not waiting.done()
    wanted = await harness.start("t")
    assert [wanted.id] == [lease.run_id for lease in await waiting]


async def test_a_claim_without_room_for_some_comes_back_when_a_run_of_the_worker_ends(harness):
    worker = await harness.worker(declare("p", executor="process"), declare("t"))
    await harness.start("p", priority=0)
    busy = await harness.one(worker)
    await harness.start("p", priority=0)
    urgent = await harness.start("p", priority=10)
    waiting = asyncio.ensure_future(roomy(harness, worker, wait="30s", process=0))
    await asyncio.sleep(0)
    await harness.tell(worker, busy, wire.LogReport, message="not over yet")
    assert not waiting.done()
    await harness.succeed(worker, busy)
    assert [] == await waiting
    assert [urgent.id] == [lease.run_id for lease in await roomy(harness, worker, process=1)]
