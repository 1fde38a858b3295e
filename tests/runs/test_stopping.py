"""Stopping: asked, confirmed, escalated; durable from the first answer."""

import asyncio
import json

import pytest
from msgspec.structs import replace
from tests.commands import FunctionCommand
from tests.harness import declare, spec
from tests.runs.states import bring

from headway.errors import InvalidInput, InvalidState, RunNotFound
from headway.kernel.query import RunFilter
from headway.kernel.run import Reason, State
from headway.notify.events import DeadlineSet
from headway.protocol import workers as wire
from headway.protocol.runs import BulkAction, RunQuery
from headway.runs import control
from headway.runs.built_in.bulk import Bulk, BulkProgress
from headway.runs.stopping import ContinueStops, terminate
from headway.runs.transitions import change

WHY = Reason(code="test")


AFTER = {
    "scheduled": "terminated", "queued": "terminated", "suspended": "terminated", "running": "stopping",
    "stopping": "stopping", "terminated": "terminated",
}  # fmt: skip


@pytest.mark.parametrize("state", State)
async def test_a_stop_in_every_state(harness, state):
    worker = await harness.worker()
    run = await bring(harness, worker, state)
    before = await harness.runs.get(run.id)
    if state not in AFTER:
        with pytest.raises(InvalidState) as caught:
            await harness.stop(run.id)
        assert str(state) == caught.value.fields["state"]
        assert before == await harness.runs.get(run.id)
        return
    after = await harness.stop(run.id, reason="second", actor="bob")
    assert AFTER[state] == after.state
    assert after == await harness.runs.get(run.id)
    again = state in ("stopping", "terminated")
    assert ("ann" if again else "bob") == json.loads(after.reason)["actor"], "the first to ask is remembered"
    assert (before == after) == again


async def test_a_stop_is_told_to_the_worker_and_ends_by_itself_if_that_says_nothing(harness):
    worker = await harness.worker(declare("t", grace="5s"))
    run = await harness.start()
    lease = await harness.one(worker)
    await harness.stop(run.id, reason="enough", grace="2s")
    (told,) = harness.sessions.get(worker).messages
    assert (run.id, lease.epoch, 2_000, "enough") == (told.run_id, told.epoch, told.grace_ms, told.reason)
    answer = await harness.report(worker, held=[(lease.run_id, lease.epoch)])
    assert ([], [run.id]) == (answer.lost, [stop.run_id for stop in answer.stop])
    await harness.advance(11_999, worker)
    assert "stopping" == await harness.state(run.id)
    await harness.advance(1, worker)
    run = await harness.runs.get(run.id)
    assert ("terminated", "abandoned") == (run.state, json.loads(run.error)["code"])
    assert (409, "lease_lost") == await harness.refused(worker, lease, wire.StoppedReport)


async def test_a_stop_is_over_when_its_worker_is(harness):
    worker = await harness.worker()
    run = await bring(harness, worker, "stopping")
    await harness.advance(15_000)
    assert "terminated" == await harness.state(run.id)


async def family(harness, worker):
    """Return a running parent, a running child, a queued grandchild and a queued child."""
    parent = await harness.start()
    await harness.one(worker)
    child = await harness.start(parent_id=parent.id)
    await harness.one(worker)
    return parent, child, await harness.start(parent_id=child.id), await harness.start(parent_id=parent.id)


async def test_a_stop_goes_down_the_family(harness):
    worker = await harness.worker()
    members = await family(harness, worker)
    other = await harness.start()
    await harness.stop(members[0].id, reason="enough", actor="ann")
    assert ["stopping", "stopping", "terminated", "terminated"] == await harness.states(*members)
    assert "queued" == await harness.state(other.id)
    reason = json.loads((await harness.runs.get(members[2].id)).reason)
    assert {"code": "parent_terminated", "message": "enough", "actor": "ann"} == reason


async def test_a_stop_may_leave_the_children_and_take_them_later(harness):
    worker = await harness.worker()
    members = await family(harness, worker)
    await harness.stop(members[0].id, children="leave")
    assert ["stopping", "running", "queued", "queued"] == await harness.states(*members)
    await harness.stop(members[0].id)
    assert ["stopping", "stopping", "terminated", "terminated"] == await harness.states(*members)


async def large_family(harness, worker, children=600):
    """Return a running parent of many queued children, each with a child of its own."""
    parent = await harness.start()
    await harness.one(worker)
    for _ in range(2):
        for started in await harness.start_many(*[spec(parent_id=parent.id)] * (children // 2)):
            await harness.start(parent_id=started.run.id)
    return parent


def unfinished(harness):
    """Return how many children nobody has asked to stop."""
    asked = "('stopping', 'terminated')"
    return harness.sql(f"SELECT count(*) FROM runs WHERE parent_id IS NOT NULL AND state NOT IN {asked}")[0][0]


async def test_a_large_family_is_stopped_in_several_transactions_before_the_answer(harness):
    parent = await large_family(harness, await harness.worker())
    before = harness.store.writer.batches
    await harness.stop(parent.id, reason="enough")
    assert 0 == unfinished(harness)
    assert 3 <= harness.store.writer.batches - before <= 5
    assert [] == harness.sql("SELECT * FROM cascades")


async def test_all_stops_of_a_transaction_share_its_room(harness):
    parents = [await large_family(harness, await harness.worker(), 400) for _ in range(2)]

    def both(uow):
        for parent in parents:
            terminate(uow, uow.run(parent.id), WHY, None, cascade=True)

    await harness.store.write(FunctionCommand(both))
    assert 1_600 - 500 == unfinished(harness)


async def test_a_family_that_was_half_stopped_when_the_server_died_is_stopped_by_the_next(disk):
    parent = await large_family(disk, await disk.worker())
    why = Reason(code="terminated", message="enough")
    await disk.store.write(FunctionCommand(lambda uow: terminate(uow, uow.run(parent.id), why, 1_000, cascade=True)))
    assert 700 == unfinished(disk)
    await disk.restart()
    await disk.store.write(ContinueStops())
    assert 200 == unfinished(disk)
    await disk.restart()
    await disk.rescuer.tick()
    assert 0 == unfinished(disk)
    assert {'{"code":"parent_terminated","message":"enough"}'} == {
        reason for (reason,) in disk.sql("SELECT DISTINCT reason FROM runs WHERE parent_id IS NOT NULL")
    }
    assert [] == disk.sql("SELECT * FROM cascades")


async def test_the_rescuer_is_woken_for_what_a_transaction_has_left(harness):
    parent = await large_family(harness, await harness.worker())
    woken = harness.announced(DeadlineSet)
    await harness.store.write(FunctionCommand(lambda uow: terminate(uow, uow.run(parent.id), WHY, None, cascade=True)))
    assert [DeadlineSet(harness.clock.now_ms())] == woken


async def test_a_task_and_a_bulk_action_stop_whole_families_too(harness):
    worker, other = await harness.worker(declare("t")), await harness.worker(declare("u"))
    await large_family(harness, worker)
    assert 500 <= await harness.tasks.terminate("t", wire.TerminateTask())
    assert 0 == unfinished(harness)
    parent = await large_family(harness, worker)
    bulk = await harness.start("u")
    await harness.one(other)
    wanted = RunFilter(root_id=parent.id)
    action = BulkAction(filter=RunQuery(), action="terminate", reason="enough")
    await Bulk(harness.service, await harness.runs.get(bulk.id), wanted, action).chunk(BulkProgress())
    assert 0 == unfinished(harness)
    assert "terminated" == json.loads((await harness.runs.get(parent.id)).reason)["code"]


async def test_a_bulk_action_that_fails_halfway_through_a_run_changes_none_of_it(harness, monkeypatch):
    await harness.worker(declare("t"))
    other = await harness.worker(declare("u"))
    run, bulk = await harness.start(), await harness.start("u")
    await harness.one(other)

    def halfway(uow, run, reason):
        change(uow, run, replace(run, name="half"), "run.changed", "{}")
        raise InvalidState("half done")

    monkeypatch.setattr(control, "suspend", halfway)
    action = BulkAction(filter=RunQuery(), action="suspend")
    with pytest.raises(InvalidState, match="half done"):
        await Bulk(harness.service, await harness.runs.get(bulk.id), RunFilter(task=("t",)), action).chunk(
            BulkProgress()
        )
    assert run == await harness.runs.get(run.id)


async def test_a_stop_goes_down_a_family_of_any_depth(harness):
    await harness.worker()
    run = first = await harness.start()
    for _ in range(1_200):
        run = await harness.start(parent_id=run.id)
    await harness.stop(first.id)
    assert {"terminated"} == {state for (state,) in harness.sql("SELECT DISTINCT state FROM runs")}


async def test_a_child_that_was_stopped_lets_its_parent_go_on(harness):
    worker = await harness.worker()
    parent = await harness.start()
    lease = await harness.one(worker)
    child = (await harness.tell(worker, lease, wire.ChildReport, name="c", run=spec("t"))).replies[0].run_id
    await harness.tell(worker, lease, wire.SuspendedReport, blockers=[wire.BlockerSpec(kind="run", run_id=child)])
    await harness.stop(child, reason="no more")
    assert "queued" == await harness.state(parent.id)
    step = json.loads(bytes((await harness.one(worker)).steps[f"child-result:{child}"]))
    assert ("terminated", "no more") == (step["state"], step["reason"]["message"])


async def test_a_run_that_stops_starts_no_children(harness):
    worker = await harness.worker()
    run = await harness.start()
    lease = await harness.one(worker)
    await harness.stop(run.id)
    assert (409, "run_stopping") == await harness.refused(worker, lease, wire.ChildReport, name="c", run=spec("t"))


async def test_stopping_what_is_not_there_or_with_nonsense_is_refused(harness):
    await harness.worker()
    with pytest.raises(RunNotFound):
        await harness.stop("01890000-0000-7000-8000-00000000abcd")
    with pytest.raises(InvalidInput):
        await harness.stop((await harness.start()).id, grace="soon")


async def test_a_stop_against_an_outcome_has_one_winner_and_one_end(disk):
    worker = await disk.worker()
    runs = [await disk.start() for _ in range(100)]
    leases = await disk.claim(worker)
    ends = [disk.report(worker, wire.SucceededReport(run_id=one.run_id, epoch=one.epoch)) for one in leases]
    stops = [disk.stop(run.id) for run in runs]
    # Who wins the race may be the same for all of them: of two it is known.
    for first, second in ((ends[0], stops[0]), (stops[1], ends[1])):
        await first
        await asyncio.gather(second, return_exceptions=True)
    mixed = [one for pair in zip(ends[2:], stops[2:], strict=True) for one in pair]
    mixed[1::4], mixed[0::4] = mixed[0::4], mixed[1::4]
    await asyncio.gather(*mixed, return_exceptions=True)
    assert {"succeeded", "terminated"} == set(await disk.states(*runs))
    finals = disk.sql(
        'SELECT count(*) FROM events WHERE data LIKE \'{"state":"succeeded"%\' OR data LIKE \'{"state":"failed"%\''
        ' OR data LIKE \'{"state":"terminated"%\' GROUP BY run_id'
    )
    assert [(1,)] * 100 == finals


async def test_a_stop_against_a_claim_against_a_lapse_starts_no_attempt_after_it(disk):
    for _ in range(20):
        worker, other = await disk.worker(), await disk.worker()
        run = await disk.start()
        await disk.one(worker)
        session = disk.sessions.get(worker)
        await asyncio.gather(
            disk.service.leases.lapse(session), disk.stop(run.id), disk.claim(other, 1), return_exceptions=True
        )
        causes = await disk.causes(run.id)
        assert "claimed" not in causes[causes.index("stop_asked") :]
        for lease in disk.sql("SELECT id, epoch FROM runs WHERE worker_id IS NOT NULL"):
            await disk.report(other, wire.StoppedReport(run_id=lease[0], epoch=lease[1]))
