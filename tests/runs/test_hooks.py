"""Hooks react to transitions within the transaction, in one order, and only for runs that concern them."""

from operator import attrgetter

import pytest
from tests.commands import FunctionCommand
from tests.harness import declare

from headway.errors import InvalidState
from headway.kernel.run import FINAL, State
from headway.notify.events import CommitEvent, RunDue
from headway.runs import hooks
from headway.runs.hooks import Hook


def noting(seen, name, states=frozenset(State), concerns=lambda run: True):
    def note(uow, run, after, event):
        seen.append((name, str(run.state), str(after.state)))

    return Hook(name=name, states=states, concerns=concerns, on_transition=note)


async def test_hooks_react_in_one_order_the_core_before_features(harness):
    found = harness.service.hooks
    assert [hook.name for hook in found] == ["worker", "slot", "key", "parent", "schedule"]
    assert [hook.name for hook in found if State.SUCCEEDED in hook.states] == ["slot", "key", "parent", "schedule"]
    assert not [hook.name for hook in found if State.RUNNING in hook.states], "a claim calls none"


async def test_a_hook_is_called_for_its_states_and_the_runs_that_concern_it_alone(harness):
    seen = []
    table = hooks.table([
        noting(seen, "all"), noting(seen, "ends", FINAL), noting(seen, "keys", concerns=attrgetter("key")),
    ])  # fmt: skip
    harness.store.install(table)
    worker = await harness.worker()
    await harness.start()
    await harness.succeed(worker, await harness.one(worker))
    assert seen == [
        ("all", "queued", "running"), ("all", "running", "succeeded"), ("ends", "running", "succeeded"),
    ]  # fmt: skip
    seen.clear()
    await harness.start(key="k")
    await harness.one(worker)
    assert seen == [("all", "queued", "running"), ("keys", "queued", "running")]


async def test_what_hooks_defer_is_done_once_with_all_its_keys_before_claims_are_served(harness):
    done = []

    def at_end(uow, keys):
        done.append(keys)
        if "again" not in keys:
            uow.defer(at_end, "again")

    def work(uow):
        for key in ("a", "b", "a"):
            uow.defer(at_end, key)

    await harness.store.write(FunctionCommand(work))
    assert done == [["a", "b"], ["again"]]


async def test_a_transaction_has_one_object_of_a_class_for_itself(harness):
    class Budget:
        left = 3

    def spend(uow):
        uow.local(Budget).left -= 1
        return uow.local(Budget).left

    assert await harness.store.write(FunctionCommand(spend)) == 2
    assert await harness.store.write(FunctionCommand(spend)) == 2


async def test_timers_are_announced_with_their_earliest_moment_and_equal_events_once(harness):
    class Happened(CommitEvent, frozen=True):
        what: str

    due, happened = harness.announced(RunDue), harness.announced(Happened)

    def work(uow):
        for at_ms in (30, 10, 20):
            uow.emit(RunDue(at_ms))
        for what in ("x", "y", "x"):
            uow.emit(Happened(what))

    await harness.store.write(FunctionCommand(work))
    assert due == [RunDue(10)]
    assert happened == [Happened("x"), Happened("y")]


async def test_an_undone_transaction_announces_nothing(harness):
    due = harness.announced(RunDue)

    def work(uow):
        uow.emit(RunDue(10))
        uow.later("delete_run_events", ids="[]")
        raise InvalidState("no")

    with pytest.raises(InvalidState):
        await harness.store.write(FunctionCommand(work))
    assert due == []
    await harness.worker(declare("u"))
    assert due == []
