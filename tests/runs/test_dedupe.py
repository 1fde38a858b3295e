"""Dedupe keys: at most one run for a business key, as far and as long as was asked."""

import json

import pytest
from tests.world import spec

from headway.errors import DuplicateRun
from headway.kernel.run import Reason
from headway.protocol import workers as wire


def asked(conflict="return", scope="active", ttl="10s"):
    return {"key": "k", "scope": scope, "on_conflict": conflict, **({"ttl": ttl} if ttl else {})}


async def twice(world, **first):
    """Start a run with a key; return it and what starts it again."""
    run = await world.start("t", {"n": 1}, dedupe=asked(**first))

    async def again(conflict="return", given=None, **more):
        return await world.runs.start(
            spec("t", {"n": 2} if given is None else given, dedupe=asked(**(first | more | {"conflict": conflict})))
        )

    return run, again


SCOPES = {"active": None, "window": 10_000, "forever": None}


@pytest.mark.parametrize("scope", SCOPES)
async def test_the_first_is_answered_while_its_key_counts(world, scope):
    await world.worker()
    run, again = await twice(world, scope=scope)
    second = await again()
    assert (run.id, False) == (second.run.id, second.created)
    assert '{"n":1}' == second.run.input


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_duplicate_may_be_refused_and_the_first_is_named(world, scope):
    await world.worker()
    run, again = await twice(world, scope=scope)
    before = world.dump()
    with pytest.raises(DuplicateRun) as caught:
        await again("reject")
    assert run.id == caught.value.fields["run_id"]
    assert before == world.dump()


@pytest.mark.parametrize(("scope", "counts"), [("active", False), ("window", True), ("forever", True)])
async def test_whether_a_finished_run_still_counts_is_the_scopes_to_say(world, scope, counts):
    worker = await world.worker()
    run, again = await twice(world, scope=scope)
    await world.succeed(worker, await world.one(worker))
    assert counts == ((await again()).run.id == run.id)


async def test_a_window_ends(world):
    await world.worker()
    run, again = await twice(world, scope="window")
    world.clock.advance(9_999)
    assert run.id == (await again()).run.id
    world.clock.advance(1)
    assert run.id != (await again()).run.id


async def test_forever_lasts_longer_than_the_run(world):
    worker = await world.worker()
    run, again = await twice(world, scope="forever")
    await world.succeed(worker, await world.one(worker))
    await world.runs.delete(run.id)
    await world.tick()
    with pytest.raises(DuplicateRun):
        await again()


async def test_a_replacement_stops_the_first_and_takes_its_key(world):
    worker = await world.worker()
    run, again = await twice(world)
    await world.one(worker)
    second = await again("replace")
    assert second.created
    assert ["stopping", "queued"] == await world.states(run, second.run)
    assert "replaced" == json.loads((await world.runs.get(run.id)).reason)["code"]
    assert second.run.id == (await again()).run.id


async def test_a_debounced_start_really_waits_and_each_further_one_begins_the_wait_anew(world):
    worker = await world.worker()
    run, again = await twice(world, conflict="debounce")
    assert "scheduled" == run.state
    for n in range(3):
        await world.advance(9_000, worker)
        second = await again("debounce", {"n": n})
        assert (run.id, False, "scheduled") == (second.run.id, second.created, second.run.state)
        assert world.clock.now_ms() + 10_000 == second.run.run_at
    await world.advance(9_999, worker)
    assert [] == await world.claim(worker)
    await world.advance(1, worker)
    lease = await world.one(worker)
    assert (run.id, b'{"n":2}') == (lease.run_id, bytes(lease.input))


async def test_a_debounced_run_that_is_due_but_has_not_begun_waits_again(world):
    worker = await world.worker()
    run, again = await twice(world, conflict="debounce")
    await world.advance(10_000, worker)
    assert "queued" == await world.state(run.id)
    assert "scheduled" == (await again("debounce")).run.state
    assert [] == await world.claim(worker)
    assert ["created", "fell_due", "rescheduled"] == await world.causes(run.id)


async def test_a_debounced_run_that_has_begun_keeps_its_input(world):
    worker = await world.worker()
    run, again = await twice(world, conflict="debounce")
    await world.advance(10_000, worker)
    lease = await world.one(worker)
    assert (run.id, '{"n":1}') == ((await again("debounce")).run.id, (await world.runs.get(run.id)).input)
    await world.tell(worker, lease, wire.ReleasedReport)
    second = await again("debounce")
    assert '{"n":1}' == second.run.input, "an attempt has seen it"


async def test_a_debounce_in_a_window_moves_the_window(world):
    worker = await world.worker()
    run, again = await twice(world, scope="window", conflict="debounce")
    await world.advance(9_000, worker)
    await again("debounce")
    await world.advance(9_000, worker)
    assert run.id == (await again("debounce")).run.id


async def test_a_held_run_keeps_its_key(world):
    await world.worker()
    run, again = await twice(world)
    await world.runs.suspend(run.id, Reason(code="held"))
    assert run.id == (await again("debounce")).run.id


async def test_keys_are_apart_by_task_and_forgotten_when_they_are_over(world):
    worker = await world.worker(wire.TaskDeclaration(name="t"), wire.TaskDeclaration(name="u"))
    run, _ = await twice(world)
    assert run.id != (await world.start("u", dedupe=asked())).id
    for lease in await world.claim(worker):
        await world.succeed(worker, lease)
    await world.tick()
    assert [(0,)] == world.sql("SELECT count(*) FROM dedupes")


async def test_one_batch_has_one_run_for_a_key(world):
    await world.worker()
    items = await world.start_many(*[spec("t", dedupe=asked())] * 5)
    assert 1 == len({item.run.id for item in items})
    assert [True, False, False, False, False] == [item.created for item in items]
