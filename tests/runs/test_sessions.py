"""Sessions: leases live and die with the worker's word; a server that restarts gives everyone time to be heard."""

import asyncio
import json
import threading

import pytest
from tests.commands import FunctionCommand
from tests.faults.waiting import until
from tests.harness import declare, raw, spec
from tests.runs.heartbeats import HeartbeatingWorker

from headway.errors import Draining, HeadwayError, Unavailable, WorkerNotFound
from headway.protocol import workers as wire
from headway.protocol.runs import BulkAction, RunQuery
from headway.runs.built_in import bulk
from headway.runs.built_in.worker import BuiltInWorker
from headway.runs.filters import to_filter
from headway.runs.loops.rescuer import EndOverdue, Rescuer
from headway.server import BUILT_IN


async def test_a_worker_that_is_not_heard_from_loses_its_runs_after_its_lease(harness):
    worker = await harness.worker()
    run = await harness.start()
    await harness.one(worker)
    await harness.advance(14_999)
    assert "running" == await harness.state(run.id)
    assert 1 == harness.waits
    await harness.advance(1)
    assert ("queued", 1, 1) == ((run := await harness.runs.get(run.id)).state, run.attempt, run.crashes)
    assert "gone" == (await harness.workers.get(worker)).state
    with pytest.raises(WorkerNotFound):
        await harness.report(worker, held=[])


@pytest.mark.parametrize("sign", ["report", "claim", "heartbeat"])
async def test_any_word_keeps_a_worker_alive(harness, sign):
    worker = await harness.worker()
    run = await harness.start()
    lease = await harness.one(worker)
    for _ in range(5):
        await harness.advance(10_000)
        match sign:
            case "report":
                await harness.tell(worker, lease, wire.ProgressReport, done=1)
            case "claim":
                await harness.claim(worker)
            case "heartbeat":
                await harness.report(worker, held=[(lease.run_id, lease.epoch)])
    assert "running" == await harness.state(run.id)


async def test_a_worker_whose_stream_breaks_has_a_moment_to_come_back(harness):
    worker = await harness.worker()
    run = await harness.start()
    await harness.one(worker)
    session = harness.sessions.get(worker)
    for _ in range(3):
        harness.sessions.connected(session)
        await harness.advance(2_000)
        harness.sessions.disconnected(session)
        await harness.advance(999)
    assert "running" == await harness.state(run.id)
    await harness.advance(1)
    assert "queued" == await harness.state(run.id)


async def test_a_second_stream_keeps_a_worker_when_the_first_breaks(harness):
    worker = await harness.worker()
    session = harness.sessions.get(worker)
    harness.sessions.connected(session)
    harness.sessions.connected(session)
    harness.sessions.disconnected(session)
    await harness.advance(5_000)
    assert session is harness.sessions.get(worker)


async def test_a_worker_that_was_lost_gets_nothing_for_a_claim_that_still_waits(harness):
    """A claim may wait longer than its worker lives; a run given to it would be held for ever."""
    worker = await harness.worker()
    waiting = asyncio.ensure_future(harness.claim(worker, 1, "60s"))
    await asyncio.sleep(0)
    await harness.advance(15_000)
    run = await harness.start()
    assert "queued" == await harness.state(run.id)
    other = await harness.worker()
    assert run.id == (await harness.one(other)).run_id
    assert [] == await waiting, "it is not kept waiting for what it will not get"
    with pytest.raises(WorkerNotFound):
        await harness.claim(worker)


async def test_a_worker_that_drains_is_given_nothing_more_also_by_claims_that_wait(harness):
    worker = await harness.worker()
    waiting = asyncio.ensure_future(harness.claim(worker, 1, "60s"))
    await asyncio.sleep(0)
    await harness.workers.drain(worker)
    run = await harness.start()
    assert "queued" == await harness.state(run.id)
    assert [] == await harness.claim(worker)
    assert (await harness.report(worker, held=[])).drain
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_server_that_goes_hands_out_nothing_and_leaves_workers_to_their_work(harness):
    worker = await harness.worker()
    waiting = asyncio.ensure_future(harness.claim(worker, 1, "60s"))
    await asyncio.sleep(0)
    harness.sessions.draining = True
    run = await harness.start()
    assert "queued" == await harness.state(run.id)
    with pytest.raises(Draining):
        await harness.claim(worker)
    assert not (await harness.report(worker, held=[])).drain
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_draining_worker_drains_on_after_a_restart(disk):
    worker = await disk.worker()
    await disk.workers.drain(worker)
    await disk.start()
    await disk.restart()
    assert [] == await disk.claim(worker)
    assert (await disk.report(worker, held=[])).drain


async def test_a_heartbeat_says_what_was_lost_and_what_is_to_stop(harness):
    worker = await harness.worker()
    lost, stopping, kept = [await harness.start() for _ in range(3)]
    leases = await harness.claim(worker)
    held = [(lease.run_id, lease.epoch) for lease in leases]
    await harness.succeed(worker, leases[0])
    await harness.stop(stopping.id)
    answer = await harness.report(worker, held=[*held, (kept.id, 7)])
    assert [held[0], (kept.id, 7)] == [tuple(one) for one in answer.lost]
    assert [(stopping.id, 1)] == [(stop.run_id, stop.epoch) for stop in answer.stop]
    assert lost.id == held[0][0]


# -- leases that never arrived: the answer to their claim was lost -----------------------------------------------------------


@pytest.fixture
async def beating(harness):
    return HeartbeatingWorker(harness, await harness.worker())


async def test_a_lease_that_is_not_named_after_its_claim_is_over_never_arrived(harness, beating):
    run = await harness.start()
    await harness.claim(beating.worker, number=1)
    await beating.beat()
    assert "running" == await harness.state(run.id), "it may have been sent before that claim"
    await beating.beat()
    assert ("queued", 0, 0) == ((run := await harness.runs.get(run.id)).state, run.attempt, run.crashes)


async def test_a_lease_whose_answer_is_under_way_is_nobody_elses_however_long_that_takes(harness, beating):
    run = await harness.start()
    (lease,) = await harness.claim(beating.worker, number=1)
    for _ in range(10):
        await beating.beat(claiming=[1])
        await harness.advance(5_000)
    await beating.beat((run.id, lease.epoch))
    await beating.beat((run.id, lease.epoch))
    await harness.succeed(beating.worker, lease)
    assert "succeeded" == await harness.state(run.id)


async def test_heartbeats_that_were_late_say_nothing_of_a_claim_that_came_after_them(harness, beating):
    """A busy machine carries out at once what it was sent one after the other, tries that were given up among them."""
    await beating.beat()
    run = await harness.start()
    (lease,) = await harness.claim(beating.worker, number=1)
    for _ in range(5):
        await harness.report(beating.worker, held=[], claiming=[], heard=beating.heard)
        await harness.advance(2_500)
    await beating.beat((run.id, lease.epoch), heard=beating.heard + 5)
    await beating.beat((run.id, lease.epoch))
    assert "running" == await harness.state(run.id)


async def test_a_claim_that_waits_here_holds_nothing_and_gets_what_was_lost(harness, beating):
    run = await harness.start()
    await harness.claim(beating.worker, number=1)
    waiting = asyncio.ensure_future(harness.claim(beating.worker, wait="20s", number=2))
    await asyncio.sleep(0)
    await beating.beat(claiming=[2])
    assert not waiting.done()
    await beating.beat(claiming=[2])
    (lease,) = await waiting
    assert (run.id, 2, 1) == (lease.run_id, lease.epoch, lease.attempt)
    for _ in range(3):
        await beating.beat(claiming=[2])
    assert "running" == await harness.state(run.id), "the answer to the second claim is under way"


async def test_a_claim_that_comes_twice_is_not_known_to_hold_nothing(harness, beating):
    """Something between us has repeated it: one of the two has taken a run, the other waits."""
    run = await harness.start()
    await harness.claim(beating.worker, number=1)
    again = asyncio.ensure_future(harness.claim(beating.worker, wait="20s", number=1))
    await asyncio.sleep(0)
    for _ in range(5):
        await beating.beat(claiming=[1])
    assert ("running", 1) == ((run := await harness.runs.get(run.id)).state, run.epoch)
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)


async def test_a_claim_that_has_taken_a_run_does_not_wait_any_more_before_that_is_committed(disk):
    """Else a heartbeat could find the lease in the store, and the claim as one that has nothing."""
    worker, begun, go_on = await disk.worker(), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def stand(uow):
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(10)

    waiting = asyncio.ensure_future(disk.claim(worker, wait="20s", number=1))
    await asyncio.sleep(0.05)
    standing = disk.store.write(FunctionCommand(stand))
    await begun.wait()
    starting = asyncio.ensure_future(disk.start())
    while not disk.store.writer._todo:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)
    go_on.set()
    # From here on nothing is settled: the loop does not turn.
    until(lambda: disk.sql("SELECT 1 FROM runs WHERE state = 'running'"), 10, "the run is claimed")
    claims, lease = disk.sessions.get(worker).claims, ("run", 1)
    _, beat = claims.never_arrived({lease}, [1], 0, 0, 15_000)
    assert ([], beat + 1) == claims.never_arrived({lease}, [1], beat, 0, 15_000)
    await asyncio.gather(standing, starting, waiting)


async def test_a_claim_that_waits_at_another_server_may_hold_what_is_not_named(harness, beating):
    run = await harness.start()
    await harness.claim(beating.worker, number=1)
    for _ in range(5):
        await beating.beat(claiming=[7])
    assert "running" == await harness.state(run.id)
    await beating.beat()
    assert "queued" == await harness.state(run.id)


async def test_what_was_heard_of_another_server_counts_for_nothing(harness, beating):
    other = await harness.worker()
    theirs = (await harness.report(other, held=[], claiming=[])).beat
    await harness.start()
    (lease,) = await harness.claim(beating.worker, number=1)
    for heard in (0, theirs, 2**53 - 1, 1):
        await beating.beat(heard=heard)
    assert "running" == await harness.state(lease.run_id)


async def test_of_a_worker_that_says_nothing_of_its_claims_no_answer_is_under_way_longer_than_a_lease(harness):
    """As those of before: two heartbeats may be one after the other, when the first was not answered in time."""
    worker = await harness.worker()
    run = await harness.start()
    await harness.one(worker)
    for _ in range(3):
        await harness.report(worker, held=[])
        await harness.advance(4_999)
    await harness.report(worker, held=[])
    assert "running" == await harness.state(run.id)
    await harness.advance(3)
    await harness.report(worker, held=[])
    assert ("queued", 0, 0) == ((run := await harness.runs.get(run.id)).state, run.attempt, run.crashes)


# -- restarts ------------------------------------------------------------------------------------------------------------


async def test_a_restart_gives_every_worker_a_full_lease_to_be_heard_from(disk):
    quiet, alive = await disk.worker(), await disk.worker()
    await disk.start_many(spec(), spec())
    a, b = await disk.one(quiet), await disk.one(alive)
    await disk.restart()
    await disk.advance(14_999)
    await disk.report(alive, held=[(b.run_id, b.epoch)])
    await disk.advance(1)
    assert ["queued", "running"] == [await disk.state(a.run_id), await disk.state(b.run_id)]
    await disk.succeed(alive, b)


async def test_leases_of_a_worker_that_nobody_remembers_lapse_after_a_restart(disk):
    worker = await disk.worker()
    run = await disk.start()
    await disk.one(worker)
    await disk.store.write(FunctionCommand(lambda uow: uow.database.run("delete_gone_workers", before=0)))
    disk.store._connections[0].connection.execute("DELETE FROM workers")
    await disk.restart()
    await disk.advance(15_000)
    assert "queued" == await disk.state(run.id)


async def test_what_is_scheduled_and_timed_goes_on_after_a_restart(disk):
    worker = await disk.worker(declare("t", timeout="10s", grace="0s", retry={"max_attempts": 1}))
    timed, later = await disk.start(), await disk.start(delay="15s")
    await disk.one(worker)
    await disk.restart()
    await disk.advance(20_000, worker)
    assert ["failed", "queued"] == await disk.states(timed, later)


async def test_the_stream_tells_of_stops_and_of_draining(harness):
    worker = await harness.worker()
    run = await harness.start()
    await harness.one(worker)
    await harness.stop(run.id)
    stream = harness.workers.signals(worker)
    assert run.id == (await anext(stream)).run_id
    await harness.workers.drain(worker)
    assert "drain" == await anext(stream)
    await stream.aclose()
    assert 0 == harness.sessions.get(worker).streams


async def test_the_newest_declaration_counts_and_says_nothing_about_activity(harness):
    await harness.worker(declare("t", version="1"))
    await harness.tasks.activate("t", active=False)
    harness.clock.advance(5)
    await harness.worker(declare("t", version="2", concurrency=3))
    task = harness.tasks.get("t")
    assert ("2", 3, False) == (task.version, task.concurrency, task.active)
    assert task.created_at < task.updated_at


async def test_a_deadline_is_not_forgotten_when_the_rescuer_fails(harness, monkeypatch):
    worker = await harness.worker(declare("t", timeout="10s", grace="0s", retry={"max_attempts": 1}))
    run = await harness.start()
    await harness.one(worker)
    await harness.tick()
    rescuer = harness.rescuer

    def fails(command, uow):
        raise HeadwayError("once")

    monkeypatch.setattr(EndOverdue, "apply", fails)
    harness.clock.advance(20_000)
    harness.sessions.heard(harness.sessions.get(worker))
    with pytest.raises(HeadwayError):
        await rescuer.tick()
    monkeypatch.undo()
    await rescuer.tick()
    assert isinstance(rescuer, Rescuer)
    assert "failed" == await harness.state(run.id)


async def test_no_heartbeat_waits_for_being_written_down(harness, monkeypatch):
    worker = await harness.worker()
    on_the_way = []

    def write(work, **_):
        on_the_way.append(asyncio.get_running_loop().create_future())
        return on_the_way[-1]

    monkeypatch.setattr(harness.store, "write", write)
    async with asyncio.timeout(5):
        await harness.report(worker, held=[])
    assert len(on_the_way) == 1
    on_the_way[0].set_exception(Unavailable())


async def test_people_see_when_a_worker_was_heard_not_when_that_was_written_down(harness):
    worker = await harness.worker()
    await harness.report(worker, held=[])
    harness.clock.advance(7_000)
    await harness.report(worker, held=[])
    harness.clock.advance(2_000)
    heard = harness.clock.now_ms() - 2_000
    assert [heard, heard] == [(await harness.workers.get(worker)).heard_at, (await harness.workers.list())[0].heard_at]


# -- bulk actions: the server's own worker ---------------------------------------------------------------------------------


async def built_in(harness):
    """Register the server's own worker; return its id."""
    asked = wire.RegisterWorker(tasks=[bulk.TASK.declaration], queues=["headway"])
    return (await harness.workers.register(asked, built_in=True)).id


async def start_bulk(harness, action, **wanted):
    body = {"filter": wanted, "action": action}
    return await harness.runs.get((await harness.start("headway.bulk", body)).id)


@pytest.mark.parametrize(
    ("action", "expected"),
    [("terminate", {"terminated": 7, "failed": 3}), ("suspend", {"suspended": 7, "failed": 3}),
     ("retry", {"queued": 10, "failed": 3}), ("delete", {"queued": 7}), ("protect", {"queued": 7, "failed": 3})],
)  # fmt: skip
async def test_a_verb_on_many(harness, action, expected):
    worker = await harness.worker(declare("t", retry={"max_attempts": 1}))
    own = await built_in(harness)
    await harness.start_many(*[spec()] * 10)
    for lease in await harness.claim(worker, 3):
        await harness.fail(worker, lease)
    asked = await start_bulk(harness, action, task=["t"])
    await harness.one(own)
    output = await bulk.execute(harness.service, await harness.runs.get(asked.id))
    applies = {"terminate": 7, "suspend": 7, "retry": 3, "delete": 3, "protect": 10}[action]
    assert b'{"changed":%d,"passed_over":%d}' % (applies, 10 - applies) == bytes(output)
    assert expected == harness.tasks.counts("t")


@pytest.mark.parametrize(
    ("action", "code"), [("terminate", "terminated"), ("suspend", "suspended"), ("retry", "retried")]
)
async def test_a_bulk_action_gives_the_reasons_that_the_verb_itself_gives(harness, action, code):
    worker = await harness.worker()
    own = await built_in(harness)
    await harness.start()
    if action == "retry":
        await harness.fail(worker, await harness.one(worker), retryable=False)
    asked = await start_bulk(harness, action, task=["t"])
    await harness.one(own)
    await bulk.execute(harness.service, await harness.runs.get(asked.id))
    lines = [json.loads(data) for (data,) in harness.sql("SELECT data FROM events WHERE type = 'run.state'")]
    assert {code} == {line["reason"]["code"] for line in lines if "reason" in line}


async def test_a_bulk_action_knows_from_the_start_how_much_there_is(harness):
    await harness.worker()
    own = await built_in(harness)
    for _ in range(2):
        await harness.start_many(*[spec()] * 300)
    asked = await start_bulk(harness, "terminate", task=["t"])
    await harness.one(own)
    first = await harness.runs.get(asked.id)
    wanted = to_filter(RunQuery(task=["t"]))
    terminated = bulk.Bulk(harness.service, first, wanted, BulkAction(filter=RunQuery(task=["t"]), action="terminate"))
    await terminated.chunk(await terminated.begin())
    now = await harness.runs.get(asked.id)
    assert (500, 600) == (now.progress_done, now.progress_total)
    assert 600 == (await terminated.begin()).total


async def test_a_bulk_action_goes_on_where_another_attempt_stood_and_the_first_is_fenced(harness):
    await harness.worker()
    own = await built_in(harness)
    for _ in range(2):
        await harness.start_many(*[spec()] * 600)
    asked = await start_bulk(harness, "terminate", task=["t"])
    await harness.one(own)
    first = await harness.runs.get(asked.id)
    wanted = to_filter(RunQuery(task=["t"]))
    terminated = bulk.Bulk(harness.service, first, wanted, BulkAction(filter=RunQuery(task=["t"]), action="terminate"))
    done = await terminated.chunk(await terminated.begin())
    assert 500 == done.changed
    await harness.service.leases.lapse(harness.sessions.get(own))
    again = await built_in(harness)
    await harness.one(again)
    with pytest.raises(HeadwayError, match="lease"):
        await terminated.chunk(done)
    output = await bulk.execute(harness.service, await harness.runs.get(first.id))
    assert b'{"changed":1200,"passed_over":0}' == bytes(output)
    await harness.report(again, wire.SucceededReport(run_id=first.id, epoch=2, output=raw(1)))


async def test_the_servers_own_worker_lets_go_of_the_loop_while_its_session_is_being_ended(harness):
    worker = await built_in(harness)
    session = harness.sessions.get(worker)
    session.over = True
    await BuiltInWorker.of_tasks(harness.service, BUILT_IN)._work(
        worker, session
    )  # went round for ever, without another word from the loop


async def test_the_servers_own_worker_executes_and_registers_again_when_its_session_ends(harness):
    await harness.worker()
    await harness.start_many(*[spec()] * 5)
    own = BuiltInWorker.of_tasks(harness.service, BUILT_IN)
    own.start()
    await asyncio.sleep(0)
    first = await start_bulk(harness, "terminate", task=["t"])
    done = await harness.runs.wait(first.id, 5, lambda run: run.final)
    assert ("succeeded", '{"changed":5,"passed_over":0}') == (done.state, done.output)
    await own.stop()
    assert 0 == harness.sql("SELECT count(*) FROM runs WHERE worker_id IS NOT NULL")[0][0]
