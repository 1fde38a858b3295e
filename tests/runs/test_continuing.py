"""Retries that go on from what succeeded: steps, waits and children of the old run are the new run's."""

import asyncio
import json

import pytest
from tests.commands import FunctionCommand
from tests.harness import declare, raw, spec

from headway.errors import AlreadyCompleted, InvalidState
from headway.kernel import inheritance
from headway.kernel.query import Page, RunFilter
from headway.kernel.run import Reason
from headway.protocol import workers as wire
from headway.protocol.runs import BulkAction, RunQuery, SignalRun, Terminate
from headway.runs.built_in import bulk
from headway.runs.built_in.bulk import Bulk, BulkProgress

WHY = Reason(code="test")


async def step(harness, worker, lease, name, value=1):
    await harness.tell(worker, lease, wire.StepReport, name=name, value=raw(value))


async def child(harness, worker, lease, name="child:c#1", task="c", **fields):
    """Start a child; return its id."""
    report = wire.ChildReport(run_id=lease.run_id, epoch=lease.epoch, name=name, run=spec(task, **fields))
    reported = await harness.report(worker, report)
    return reported.replies[0].run_id


async def fail(harness, worker, lease):
    await harness.fail(worker, lease, retryable=False)


async def again(harness, worker, run_id, **how):
    """Retry the run and claim the new one; return its lease."""
    run = await harness.runs.retry(run_id, WHY, **how)
    lease = await harness.one(worker)
    assert run.id == lease.run_id
    return lease


def steps(lease):
    """Return what the lease has recorded, but the origin of its idempotency keys."""
    return {name: json.loads(bytes(value)) for name, value in lease.steps.items() if name != inheritance.ORIGIN}


async def begun(harness, *tasks):
    worker = await harness.worker(declare("t"), *tasks)
    await harness.start()
    return worker, await harness.one(worker)


async def test_a_retry_has_the_steps_of_the_run_that_it_repeats(harness):
    worker, lease = await begun(harness)
    await step(harness, worker, lease, "a", {"n": 1})
    await step(harness, worker, lease, "b", [2])
    await harness.runs.signal(lease.run_id, SignalRun(name="go"))
    await fail(harness, worker, lease)
    new = await again(harness, worker, lease.run_id)
    assert {"a": {"n": 1}, "b": [2], "signal:go#1": None} == steps(new)
    first = json.loads((await harness.history.events(new.run_id, 0, 1))[0].data)
    assert ("created", lease.run_id, 4) == (first["cause"], first["previous_id"], first["inherited"])


async def test_a_retry_from_scratch_has_none_of_them(harness):
    worker, lease = await begun(harness)
    await step(harness, worker, lease, "a")
    await fail(harness, worker, lease)
    new = await again(harness, worker, lease.run_id, from_scratch=True)
    assert {} == new.steps
    assert lease.run_id == (await harness.runs.get(new.run_id)).previous_id


async def test_a_terminated_run_goes_on_as_well(harness):
    worker, lease = await begun(harness)
    await step(harness, worker, lease, "a")
    await harness.stop(lease.run_id)
    await harness.tell(worker, lease, wire.StoppedReport)
    assert {"a": 1} == steps(await again(harness, worker, lease.run_id))


async def test_a_chain_of_retries_keeps_what_each_has_done_and_the_first_runs_keys(harness):
    worker, lease = await begun(harness)
    first = lease.run_id
    for name in "abc":
        await step(harness, worker, lease, name)
        await fail(harness, worker, lease)
        old, lease = lease, await again(harness, worker, lease.run_id)
        await harness.runs.delete(old.run_id)
    assert {"a": 1, "b": 1, "c": 1} == steps(lease)
    assert first == json.loads(bytes(lease.steps[inheritance.ORIGIN]))


async def test_two_retries_of_one_run_go_on_each_for_itself(harness):
    worker, lease = await begun(harness)
    await step(harness, worker, lease, "a")
    await fail(harness, worker, lease)
    one = await again(harness, worker, lease.run_id)
    await step(harness, worker, one, "b")
    two = await again(harness, worker, lease.run_id)
    assert {"a": 1} == steps(two)


async def test_a_retry_that_is_claimed_in_the_transaction_of_its_start_has_its_steps(disk):
    worker, lease = await begun(disk)
    await step(disk, worker, lease, "a")
    await fail(disk, worker, lease)
    waiting = asyncio.ensure_future(disk.claim(worker, 1, "20s"))
    await asyncio.wait([waiting], timeout=0)
    await disk.runs.retry(lease.run_id, WHY)
    (new,) = await waiting
    assert {"a": 1} == steps(new)


# -- waits -----------------------------------------------------------------------------------------------------------------


async def test_a_wait_that_timed_out_is_asked_again_with_its_whole_time(harness):
    worker, lease = await begun(harness)
    await step(harness, worker, lease, "signal-timeout:go#1", 1)
    await step(harness, worker, lease, "signal-expired:go#1", True)
    await fail(harness, worker, lease)
    assert {} == steps(await again(harness, worker, lease.run_id))


async def test_a_wait_that_timed_out_stays_so_if_the_run_went_on_after_it(harness):
    worker, lease = await begun(harness)
    await step(harness, worker, lease, "signal-timeout:go#1", 1)
    await step(harness, worker, lease, "signal-expired:go#1", True)
    await step(harness, worker, lease, "escalate")
    await fail(harness, worker, lease)
    assert {"signal-expired:go#1": True, "escalate": 1} == steps(await again(harness, worker, lease.run_id))


@pytest.mark.parametrize("woken", [True, False])
async def test_a_suspension_is_over_if_the_run_was_woken_from_it(harness, woken):
    worker, lease = await begun(harness)
    await step(harness, worker, lease, "suspend:1", True)
    await harness.tell(worker, lease, wire.SuspendedReport, blockers=[wire.BlockerSpec(kind="signal", name="go")])
    if woken:
        await harness.runs.signal(lease.run_id, SignalRun(name="go"))
        lease = await harness.one(worker)
        await fail(harness, worker, lease)
    else:
        await harness.stop(lease.run_id)
    assert woken == ("suspend:1" in steps(await again(harness, worker, lease.run_id)))


# -- tokens ----------------------------------------------------------------------------------------------------------------


async def token(harness, worker, lease):
    report = wire.TokenReport(run_id=lease.run_id, epoch=lease.epoch, name="ok")
    return (await harness.report(worker, report)).replies[0].token


async def test_a_token_that_was_handed_out_completes_the_wait_of_the_newest_retry(harness):
    worker, lease = await begun(harness)
    given = await token(harness, worker, lease)
    await fail(harness, worker, lease)
    for _ in range(2):
        lease = await again(harness, worker, lease.run_id)
        await fail(harness, worker, lease)
    new = await again(harness, worker, lease.run_id)
    await harness.tell(worker, new, wire.SuspendedReport, blockers=[wire.BlockerSpec(kind="signal", name="token:ok")])
    assert new.run_id == (await harness.runs.complete_token(given, raw("yes"))).id
    assert "yes" == steps(await harness.one(worker))["signal:token:ok#1"]
    with pytest.raises(AlreadyCompleted):
        await harness.runs.complete_token(given, raw("no"))


async def test_a_token_that_was_completed_is_not_asked_for_again(harness):
    worker, lease = await begun(harness)
    given = await token(harness, worker, lease)
    await harness.runs.complete_token(given, raw("yes"))
    await fail(harness, worker, lease)
    assert {"signal:token:ok#1": "yes"} == steps(await again(harness, worker, lease.run_id))
    with pytest.raises(AlreadyCompleted):
        await harness.runs.complete_token(given, raw("no"))


async def test_a_token_is_that_of_the_old_run_if_the_retry_is_from_scratch(harness):
    worker, lease = await begun(harness)
    given = await token(harness, worker, lease)
    await fail(harness, worker, lease)
    await again(harness, worker, lease.run_id, from_scratch=True)
    with pytest.raises(InvalidState):
        await harness.runs.complete_token(given, raw("yes"))


# -- children --------------------------------------------------------------------------------------------------------------


async def family(harness):
    """Return a worker, the parent's lease, and those of three of its children; the parent waits for none of them."""
    worker, lease = await begun(harness, declare("c"))
    ids = [await child(harness, worker, lease, f"child:c#{n}") for n in (1, 2, 3)]
    leases = {one.run_id: one for one in await harness.claim(worker)}
    return worker, lease, [leases[run_id] for run_id in ids]


async def test_children_that_succeeded_are_not_started_again_and_those_that_failed_are(harness):
    worker, lease, (one, two, three) = await family(harness)
    await harness.succeed(worker, one, 11)
    await fail(harness, worker, two)
    await harness.stop(three.run_id)
    await harness.tell(worker, three, wire.StoppedReport)
    await fail(harness, worker, lease)
    new = await again(harness, worker, lease.run_id)
    had = steps(new)
    assert one.run_id == had["child:c#1"]
    assert 11 == had[f"child-result:{one.run_id}"]["output"]
    assert not {"child:c#2", "child:c#3", f"child-result:{two.run_id}", f"child-result:{three.run_id}"} & had.keys()
    assert one.run_id == await child(harness, worker, new, "child:c#1")
    assert await child(harness, worker, new, "child:c#2") not in (one.run_id, two.run_id, three.run_id)


async def test_a_child_that_is_started_again_goes_on_from_its_own_steps(harness):
    worker, lease, (_, two, _) = await family(harness)
    await step(harness, worker, two, "inner", 5)
    await fail(harness, worker, two)
    await fail(harness, worker, lease)
    new = await again(harness, worker, lease.run_id)
    second = await child(harness, worker, new, "child:c#2")
    started = await harness.runs.get(second)
    assert (two.run_id, new.run_id, "child") == (started.previous_id, started.parent_id, started.run_type)
    (claimed,) = await harness.claim(worker)
    assert {"inner": 5} == steps(claimed)
    await fail(
        harness, worker, claimed
    )  # and so does the one after that, though its parent did not come so far in between
    await fail(harness, worker, new)
    third = await again(harness, worker, new.run_id)
    await fail(harness, worker, third)
    fourth = await again(harness, worker, third.run_id)
    await child(harness, worker, fourth, "child:c#2")
    (claimed,) = await harness.claim(worker)
    assert {"inner": 5} == steps(claimed)


@pytest.mark.parametrize("changed", [{"given": {"other": 1}}, {"task": "d"}])
async def test_a_child_with_another_input_or_task_starts_anew(harness, changed):
    worker, lease = await begun(harness, declare("c"), declare("d"))
    await child(harness, worker, lease)
    (one,) = await harness.claim(worker)
    await step(harness, worker, one, "inner")
    await fail(harness, worker, one)
    await fail(harness, worker, lease)
    new = await again(harness, worker, lease.run_id)
    started = await harness.runs.get(await child(harness, worker, new, **changed))
    assert None is started.previous_id
    assert {} == (await harness.one(worker)).steps


async def test_children_that_have_not_ended_get_the_retry_as_their_parent_and_wake_it(harness):
    worker, lease, (one, two, three) = await family(harness)
    await fail(harness, worker, lease)
    new = await again(harness, worker, lease.run_id)
    ids = [one.run_id, two.run_id, three.run_id]
    children, _ = await harness.runs.page(RunFilter(parent_id=new.run_id), Page())
    assert sorted(ids) == sorted(run.id for run in children)
    assert {new.run_id} == {run.root_id for run in children}
    blockers = [wire.BlockerSpec(kind="run", run_id=run_id) for run_id in ids]
    await harness.tell(worker, new, wire.SuspendedReport, blockers=blockers)
    for number, leased in enumerate((one, two, three)):
        assert "suspended" == await harness.state(new.run_id)
        await harness.succeed(worker, leased, number)
    woken = steps(await harness.one(worker))
    assert [0, 1, 2] == [woken[f"child-result:{run_id}"]["output"] for run_id in ids]


@pytest.mark.parametrize("ended", [True, False])
async def test_a_retry_waits_for_children_whose_steps_have_names_of_a_workers_own(harness, ended):
    worker, lease = await begun(harness, declare("c"))
    run_id = await child(harness, worker, lease, "mine")
    (one,) = await harness.claim(worker)
    await fail(harness, worker, lease)
    if ended:
        await harness.succeed(worker, one, 7)
    new = await again(harness, worker, lease.run_id)
    assert run_id == steps(new)["mine"]
    await harness.tell(worker, new, wire.SuspendedReport, blockers=[wire.BlockerSpec(kind="run", run_id=run_id)])
    if not ended:
        assert "suspended" == await harness.state(new.run_id)
        await harness.succeed(worker, one, 7)
    assert 7 == steps(await harness.one(worker))[f"child-result:{run_id}"]["output"]


async def test_a_child_that_one_retry_has_is_not_taken_from_it_by_another(harness):
    worker, lease, (one, *_) = await family(harness)
    await fail(harness, worker, lease)
    first = await again(harness, worker, lease.run_id)
    second = await again(harness, worker, lease.run_id)
    assert one.run_id == steps(first)["child:c#1"]
    assert "child:c#1" not in steps(second), "it starts one of its own"
    assert first.run_id == (await harness.runs.get(one.run_id)).parent_id


@pytest.mark.parametrize("first", ["mum", "gran"])
async def test_a_retry_that_waits_for_a_child_is_woken_by_it_though_the_run_above_is_retried_too(harness, first):
    worker, gran = await begun(harness, declare("c"), declare("k"))
    await child(harness, worker, gran)
    mum = await harness.one(worker)
    kid_id = await child(harness, worker, mum, "child:k#1", "k")
    kid = await harness.one(worker)
    await fail(harness, worker, mum)
    await fail(harness, worker, gran)

    async def waits(lease):
        run_id = await child(harness, worker, lease, "child:k#1", "k")
        await harness.tell(worker, lease, wire.SuspendedReport, blockers=[wire.BlockerSpec(kind="run", run_id=run_id)])
        return run_id

    async def alone():
        return await waits(await again(harness, worker, mum.run_id))

    async def below():
        await child(harness, worker, await again(harness, worker, gran.run_id))
        return await waits(await harness.one(worker))

    had = [await retry() for retry in ((alone, below) if first == "mum" else (below, alone))]
    assert (kid_id, True) == (had[0], had[1] != kid_id), "the later one starts a child of its own"
    (own,) = await harness.claim(worker)
    for leased in (kid, own):
        await harness.succeed(worker, leased, leased.run_id)
        woken = steps(await harness.one(worker))
        assert leased.run_id == woken[f"child-result:{leased.run_id}"]["output"]


async def test_two_retries_of_a_run_that_was_stopped_without_its_children_are_both_woken(harness):
    worker, lease = await begun(harness, declare("c"))
    await child(harness, worker, lease)
    kids = await harness.claim(worker)
    await harness.runs.terminate(lease.run_id, Terminate(children="leave"))
    await harness.tell(worker, lease, wire.StoppedReport)
    for _ in range(2):
        new = await again(harness, worker, lease.run_id)
        run_id = await child(harness, worker, new)
        await harness.tell(worker, new, wire.SuspendedReport, blockers=[wire.BlockerSpec(kind="run", run_id=run_id)])
    kids += await harness.claim(worker)
    assert 2 == len(kids)
    for kid in kids:
        await harness.succeed(worker, kid)
        assert f"child-result:{kid.run_id}" in steps(await harness.one(worker))


@pytest.mark.parametrize("removed", [True, False])
async def test_a_child_with_a_name_of_a_workers_own_that_cannot_be_waited_for_counts_as_stopped(harness, removed):
    worker, lease = await begun(harness, declare("c"))
    run_id = await child(harness, worker, lease, "mine")
    (one,) = await harness.claim(worker)
    await fail(harness, worker, lease)
    blockers = [wire.BlockerSpec(kind="run", run_id=run_id)]
    first = await again(harness, worker, lease.run_id)
    if removed:
        await harness.succeed(worker, one)
        await harness.runs.delete(run_id)
    else:
        await harness.tell(worker, first, wire.SuspendedReport, blockers=blockers)
    new = await again(harness, worker, lease.run_id)
    await harness.tell(worker, new, wire.SuspendedReport, blockers=blockers)
    ended = steps(await harness.one(worker))[f"child-result:{run_id}"]
    assert ("terminated", "not_taken_over") == (ended["state"], ended["error"]["code"])


async def test_a_retry_waits_for_no_run_that_is_not_a_child_of_its_chain(harness):
    worker, lease = await begun(harness, declare("c"))
    await fail(harness, worker, lease)
    strange = await harness.start("c")
    (one,) = await harness.claim(worker)
    new = await again(harness, worker, lease.run_id)
    blocker = wire.BlockerSpec(kind="run", run_id=strange.id)
    assert (409, "invalid_state") == await harness.refused(worker, new, wire.SuspendedReport, blockers=[blocker])
    await step(harness, worker, new, "mine", strange.id)
    assert (409, "invalid_state") == await harness.refused(worker, new, wire.SuspendedReport, blockers=[blocker])
    await harness.succeed(worker, one, "secret")
    assert (409, "invalid_state") == await harness.refused(worker, new, wire.SuspendedReport, blockers=[blocker])
    assert strange.id not in str(steps(new))


async def test_children_that_have_not_ended_are_stopped_with_the_retry(harness):
    worker, lease, (one, *_) = await family(harness)
    await fail(harness, worker, lease)
    new = await again(harness, worker, lease.run_id)
    await harness.stop(new.run_id)
    assert "stopping" == await harness.state(one.run_id)


async def test_the_result_of_a_child_that_ended_after_its_parent_is_told_to_the_retry(harness):
    worker, lease, (one, two, _) = await family(harness)
    await fail(harness, worker, lease)
    await harness.succeed(worker, one, 11)
    await fail(harness, worker, two)
    had = steps(await again(harness, worker, lease.run_id))
    assert 11 == had[f"child-result:{one.run_id}"]["output"]
    assert "child:c#2" not in had


async def test_a_child_that_was_removed_is_started_again_unless_its_result_is_known(harness):
    worker, lease, (one, two, _) = await family(harness)
    await harness.succeed(worker, one, 11)
    await fail(harness, worker, lease)
    await harness.succeed(worker, two, 22)
    for leased in (one, two):
        await harness.runs.delete(leased.run_id)
    had = steps(await again(harness, worker, lease.run_id))
    assert 11 == had[f"child-result:{one.run_id}"]["output"]
    assert "child:c#2" not in had


async def test_a_retry_waits_for_children_that_are_stopping(harness):
    worker, lease, (one, *_) = await family(harness)
    await fail(harness, worker, lease)
    await harness.stop(one.run_id)
    before = harness.dump()
    with pytest.raises(InvalidState, match=f"{one.run_id} is still stopping"):
        await harness.runs.retry(lease.run_id, WHY)
    assert before == harness.dump()
    assert {} == (await again(harness, worker, lease.run_id, from_scratch=True)).steps


async def test_too_many_children_that_have_not_ended_are_not_taken_over(harness, monkeypatch):
    monkeypatch.setattr("headway.runs.continuing.CHILDREN_MAX", 2)
    worker, lease, _ = await family(harness)
    await fail(harness, worker, lease)
    with pytest.raises(InvalidState, match="3 of the run's children have not ended"):
        await harness.runs.retry(lease.run_id, WHY)


# -- many ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("from_scratch", [True, False])
async def test_many_are_retried_from_what_succeeded_a_bounded_number_of_steps_a_transaction(
    harness, monkeypatch, from_scratch
):
    monkeypatch.setattr(bulk, "INHERITED", 3)
    worker = await harness.worker()
    for _ in range(4):
        await harness.start()
        lease = await harness.one(worker)
        await step(harness, worker, lease, "a")
        await fail(harness, worker, lease)
    of = await harness.start("t", name="bulk", queue="other")
    await harness.claim(worker)
    action = BulkAction(filter=RunQuery(), action="retry", from_scratch=from_scratch)
    retries = Bulk(harness.service, await harness.runs.get(of.id), RunFilter(state=("failed",)), action)
    done, chunks = BulkProgress(), 0
    while (more := await retries.chunk(done)) is not None:
        done, chunks = more, chunks + 1
    assert (4, 1 if from_scratch else 2) == (done.changed, chunks)
    leases = await harness.claim(worker)
    assert [{} if from_scratch else {"a": 1}] * 4 == [steps(lease) for lease in leases]


async def test_the_retry_of_a_built_in_task_starts_anew(harness):
    worker, lease = await begun(harness)
    await step(harness, worker, lease, "a")
    await fail(harness, worker, lease)
    await harness.store.write(FunctionCommand(lambda uow: uow.define(_records(uow.task("t")))))
    assert {} == (await again(harness, worker, lease.run_id)).steps


def _records(task):
    return type(task)(name=task.name, executor="records")


async def test_failures_of_steps_are_of_the_run_that_had_them(harness):
    worker, lease = await begun(harness)
    await harness.tell(worker, lease, wire.StepFailureReport, name="s", number=1, error=wire.FunctionError())
    await fail(harness, worker, lease)
    assert {} == steps(await again(harness, worker, lease.run_id))
