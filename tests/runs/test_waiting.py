"""Waiting: for signals, tokens, children, people; nothing that came is missed, whenever it came."""

import json

import pytest
from tests.harness import declare, raw, spec

from headway.errors import AlreadyCompleted, InvalidInput, InvalidState, NotFound, RunPurged
from headway.kernel.run import Reason
from headway.protocol import workers as wire
from headway.protocol.runs import SignalRun

WHY = Reason(code="suspended", message="look first", actor="ann")


def waits(name, number=1):
    return wire.BlockerSpec(kind="signal", name=name, number=number)


async def suspended(harness, worker, *blockers, **fields):
    run = await harness.start()
    await harness.tell(worker, await harness.one(worker), wire.SuspendedReport, blockers=list(blockers), **fields)
    return run


@pytest.mark.parametrize("name", ["go", "a#b", "a#1", "ü %_'", "token", "timeout:x"])
@pytest.mark.parametrize("early", [True, False])
async def test_a_signal_is_found_whether_it_comes_before_or_during_the_wait(harness, name, early):
    worker = await harness.worker()
    run = await harness.start()
    lease = await harness.one(worker)
    if early:
        await harness.runs.signal(run.id, SignalRun(name=name, payload=raw({"a": 1})))
    await harness.tell(worker, lease, wire.SuspendedReport, blockers=[waits(name)])
    if not early:
        assert ["signal"] == await harness.why(run.id)
        await harness.runs.signal(run.id, SignalRun(name=name, payload=raw({"a": 1})))
    again = await harness.one(worker)
    assert (1, 2) == (again.attempt, again.epoch), "the wait took no attempt"
    assert b'{"a":1}' == bytes(again.steps[f"signal:{name}#1"])


async def test_signals_of_one_name_are_numbered_whatever_others_are_called(harness):
    worker = await harness.worker()
    run = await harness.start()
    for name in ("a#b", "a", "a#1", "a", "ab", "a#b"):
        await harness.runs.signal(run.id, SignalRun(name=name))
    steps = (await harness.one(worker)).steps
    assert {"signal:a#b#1", "signal:a#b#2", "signal:a#1", "signal:a#2", "signal:a#1#1", "signal:ab#1"} == set(steps)


async def test_a_run_waits_for_the_signal_of_the_right_number(harness):
    worker = await harness.worker()
    run = await suspended(harness, worker, waits("go", 2))
    assert "suspended" == (await harness.runs.signal(run.id, SignalRun(name="go"))).state
    assert "queued" == (await harness.runs.signal(run.id, SignalRun(name="go"))).state


async def test_a_run_waits_for_everything_that_it_named(harness):
    worker = await harness.worker()
    run = await suspended(harness, worker, waits("a"), waits("b"))
    assert "suspended" == (await harness.runs.signal(run.id, SignalRun(name="b"))).state
    assert ["signal"] == await harness.why(run.id)
    assert "queued" == (await harness.runs.signal(run.id, SignalRun(name="a"))).state


@pytest.mark.parametrize("state", ["scheduled", "queued", "running", "stopping"])
async def test_a_signal_to_a_run_that_does_not_wait_is_kept(harness, state):
    worker = await harness.worker()
    run = await harness.start(**({"delay": "1h"} if state == "scheduled" else {}))
    if state in ("running", "stopping"):
        await harness.one(worker)
    if state == "stopping":
        await harness.stop(run.id)
    assert state == (await harness.runs.signal(run.id, SignalRun(name="go"))).state
    assert ["signal:go#1"] == [step.name for step in await harness.store.read.steps(run.id)]


async def test_a_finished_run_takes_no_signals(harness):
    worker = await harness.worker()
    run = await harness.finished(worker)
    with pytest.raises(InvalidState):
        await harness.runs.signal(run.id, SignalRun(name="go"))


async def test_a_wait_times_out_and_the_run_goes_on(harness):
    worker = await harness.worker()
    run = await suspended(harness, worker, waits("go"), timeout="5s")
    await harness.advance(4_999, worker)
    assert "suspended" == await harness.state(run.id)
    await harness.advance(1, worker)
    assert "queued" == await harness.state(run.id)
    line = json.loads((await harness.history.events(run.id, 0, 100))[-1].data)
    assert ("resumed", True) == (line["cause"], line["timed_out"])


async def test_a_token_completes_the_wait_once(harness):
    worker = await harness.worker()
    run = await harness.start()
    lease = await harness.one(worker)
    token = (await harness.tell(worker, lease, wire.TokenReport, name="ok")).replies[0].token
    await harness.tell(worker, lease, wire.SuspendedReport, blockers=[waits("token:ok")])
    assert "queued" == (await harness.runs.complete_token(token, raw(True))).state
    with pytest.raises(AlreadyCompleted):
        await harness.runs.complete_token(token, raw(False))
    lease = await harness.one(worker)
    assert b"true" == bytes(lease.steps["signal:token:ok#1"])
    await harness.succeed(worker, lease)
    with pytest.raises(AlreadyCompleted):
        await harness.runs.complete_token(token, raw(False))
    await harness.runs.delete(run.id)
    with pytest.raises(RunPurged):
        await harness.runs.complete_token(token, raw(False))


async def test_the_wait_of_a_token_is_completed_by_nobody_without_the_token(harness):
    worker = await harness.worker()
    run = await harness.start()
    lease = await harness.one(worker)
    token = (await harness.tell(worker, lease, wire.TokenReport, name="ok")).replies[0].token
    await harness.tell(worker, lease, wire.SuspendedReport, blockers=[waits("token:ok")])
    with pytest.raises(InvalidInput, match="completed with its token"):
        await harness.runs.signal(run.id, SignalRun(name="token:ok", payload=raw("forged")))
    assert "suspended" == (await harness.runs.get(run.id)).state
    assert "queued" == (await harness.runs.complete_token(token, raw(True))).state


@pytest.mark.parametrize("token", ["", "x", "x.y", "e30.AAAA", "." * 1000, "é"])
async def test_a_token_that_was_not_handed_out_opens_nothing(harness, token):
    with pytest.raises(NotFound):
        await harness.runs.complete_token(token, raw(1))


async def parent_and_child(harness, worker):
    parent = await harness.start()
    lease = await harness.one(worker)
    child = (await harness.tell(worker, lease, wire.ChildReport, name="c", run=spec("t"))).replies[0].run_id
    return parent, lease, child, [wire.BlockerSpec(kind="run", run_id=child, name="ignored")]


@pytest.mark.parametrize("when", ["before", "after", "removed before"])
async def test_a_parent_goes_on_when_its_child_has_ended_whenever_that_was(harness, when):
    worker = await harness.worker()
    parent, lease, child, blockers = await parent_and_child(harness, worker)
    of_child = await harness.one(worker)
    if when != "after":
        await harness.succeed(worker, of_child, "done")
    if when == "removed before":
        await harness.runs.delete(child)
    await harness.tell(worker, lease, wire.SuspendedReport, blockers=blockers)
    if when == "after":
        assert ["child"] == await harness.why(parent.id)
        before = harness.store.writer.batches
        await harness.succeed(worker, of_child, "done")
        assert before + 1 == harness.store.writer.batches, "in one transaction"
    step = json.loads(bytes((await harness.one(worker)).steps[f"child-result:{child}"]))
    assert ("succeeded", "done", None) == (step["state"], step["output"], step["error"])


async def test_a_run_waits_for_its_own_children_only(harness):
    worker = await harness.worker()
    stranger = await harness.start()
    await harness.one(worker)
    _, lease, _, _ = await parent_and_child(harness, worker)
    for run_id in (stranger.id, "nonsense", lease.run_id):
        blockers = [wire.BlockerSpec(kind="run", run_id=run_id)]
        assert (409, "invalid_state") == await harness.refused(worker, lease, wire.SuspendedReport, blockers=blockers)


async def test_a_run_that_was_held_finds_what_came_meanwhile(harness):
    worker = await harness.worker()
    parent, lease, child, blockers = await parent_and_child(harness, worker)
    await harness.runs.suspend(parent.id, WHY)
    assert (409, "lease_lost") == await harness.refused(worker, lease, wire.SuspendedReport, blockers=blockers)
    await harness.succeed(worker, await harness.one(worker), 7)
    assert "suspended" == await harness.state(parent.id), "a person holds it, not the child"
    await harness.runs.resume(parent.id, WHY)
    again = await harness.one(worker)
    assert (1, True) == (again.attempt, f"child-result:{child}" in again.steps)
    await harness.tell(worker, again, wire.SuspendedReport, blockers=blockers)
    assert "queued" == await harness.state(parent.id), "it has come before"


@pytest.mark.parametrize("state", ["scheduled", "queued", "running"])
async def test_a_person_may_hold_a_run_and_let_it_go_on(harness, state):
    worker = await harness.worker()
    run = await harness.start(**({"delay": "1h"} if state == "scheduled" else {}))
    lease = await harness.one(worker) if state == "running" else None
    held = await harness.runs.suspend(run.id, WHY)
    assert ("suspended", 0, None) == (held.state, held.attempt, held.worker_id)
    assert held == await harness.runs.suspend(run.id, WHY), "again changes nothing"
    assert ["held"] == await harness.why(run.id)
    if lease is not None:
        (told,) = harness.sessions.get(worker).messages
        assert (run.id, 0) == (told.run_id, told.grace_ms)
        assert (409, "lease_lost") == await harness.refused(worker, lease, wire.SucceededReport)
    assert ("queued", None) == ((after := await harness.runs.resume(run.id, WHY)).state, after.reason)
    with pytest.raises(InvalidState):
        await harness.runs.resume(run.id, WHY)


async def test_a_sleeping_run_wakes_by_itself_with_its_attempt(harness):
    worker = await harness.worker()
    run = await harness.start()
    await harness.tell(worker, await harness.one(worker), wire.SleptReport, until="2027-01-15T08:00:10Z")
    await harness.advance(9_999, worker)
    assert "scheduled" == await harness.state(run.id)
    await harness.advance(1, worker)
    assert (1, 2) == ((lease := await harness.one(worker)).attempt, lease.epoch)


async def test_the_limits_of_a_held_run_are_those_of_a_new_one(harness):
    worker = await harness.worker(declare("t", retry={"max_attempts": 1}))
    run = await harness.start()
    for _ in range(5):
        await harness.one(worker)
        await harness.runs.suspend(run.id, WHY)
        await harness.runs.resume(run.id, WHY)
    await harness.fail(worker, await harness.one(worker))
    assert "failed" == await harness.state(run.id)


async def test_a_child_that_ended_before_its_parent_began_is_in_the_first_lease(harness):
    worker = await harness.worker(declare("t"), declare("u"))
    parent = await harness.start("t", delay="1s")
    child = await harness.start("u", parent_id=parent.id)
    await harness.succeed(worker, await harness.one(worker), 7)
    await harness.advance(1_000, worker)
    assert [f"child-result:{child.id}"] == list((await harness.one(worker)).steps)


async def test_why_a_run_waits_for_its_time_is_told_by_what_happened(harness):
    worker = await harness.worker(declare("t", retry={"backoff": "1m", "jitter": 0}))

    async def said(run):
        _, (cause,), _ = await harness.history.waiting(run.id)
        return cause.message

    asked = await harness.start(delay="1h")
    assert "it was asked to start at 2027-01-15 09:00:00 UTC" == await said(asked)
    slept = await harness.start()
    await harness.tell(worker, await harness.one(worker), wire.SleptReport, until="2027-01-15T08:00:10Z")
    assert "it sleeps until 2027-01-15 08:00:10 UTC" == await said(slept)
    failed = await harness.start()
    await harness.fail(worker, await harness.one(worker), message="no")
    why = "its last attempt failed with exception: no; it is tried again at 2027-01-15 08:01:00 UTC"
    assert why == await said(failed)
    parent, lease, child, blockers = await parent_and_child(harness, worker)
    await harness.tell(worker, lease, wire.SuspendedReport, blockers=blockers)
    assert f"it waits for the run {child} to end" == await said(parent)
    held = await harness.start()
    await harness.runs.suspend(held.id, WHY)
    assert "ann suspended it: look first" == await said(held)
