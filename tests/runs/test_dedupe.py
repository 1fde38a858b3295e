"""Dedupe keys: at most one run for a business key, as far and as long as was asked."""

import json

import pytest
from tests.harness import spec

from headway.errors import DuplicateRun
from headway.kernel.run import Reason
from headway.protocol import workers as wire


def asked(conflict="return", scope="active", ttl="10s"):
    return {"key": "k", "scope": scope, "on_conflict": conflict, **({"ttl": ttl} if ttl else {})}


async def twice(harness, **first):
    """Start a run with a key; return it and what starts it again."""
    run = await harness.start("t", {"n": 1}, dedupe=asked(**first))

    async def again(conflict="return", given=None, **more):
        return await harness.runs.start(
            spec("t", {"n": 2} if given is None else given, dedupe=asked(**(first | more | {"conflict": conflict})))
        )

    return run, again


SCOPES = {"active": None, "window": 10_000, "forever": None}


@pytest.mark.parametrize("scope", SCOPES)
async def test_the_first_is_answered_while_its_key_counts(harness, scope):
    await harness.worker()
    run, again = await twice(harness, scope=scope)
    second = await again()
    assert (run.id, False) == (second.run.id, second.created)
    assert '{"n":1}' == second.run.input


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_duplicate_may_be_refused_and_the_first_is_named(harness, scope):
    await harness.worker()
    run, again = await twice(harness, scope=scope)
    before = harness.dump()
    with pytest.raises(DuplicateRun) as caught:
        await again("reject")
    assert run.id == caught.value.fields["run_id"]
    assert before == harness.dump()


@pytest.mark.parametrize(("scope", "counts"), [("active", False), ("window", True), ("forever", True)])
async def test_whether_a_finished_run_still_counts_is_the_scopes_to_say(harness, scope, counts):
    worker = await harness.worker()
    run, again = await twice(harness, scope=scope)
    await harness.succeed(worker, await harness.one(worker))
    assert counts == ((await again()).run.id == run.id)


async def test_a_window_ends(harness):
    await harness.worker()
    run, again = await twice(harness, scope="window")
    harness.clock.advance(9_999)
    assert run.id == (await again()).run.id
    harness.clock.advance(1)
    assert run.id != (await again()).run.id


async def test_forever_lasts_longer_than_the_run(harness):
    worker = await harness.worker()
    run, again = await twice(harness, scope="forever")
    await harness.succeed(worker, await harness.one(worker))
    await harness.runs.delete(run.id)
    await harness.tick()
    with pytest.raises(DuplicateRun):
        await again()


async def test_a_replacement_stops_the_first_and_takes_its_key(harness):
    worker = await harness.worker()
    run, again = await twice(harness)
    await harness.one(worker)
    second = await again("replace")
    assert second.created
    assert ["stopping", "queued"] == await harness.states(run, second.run)
    assert "replaced" == json.loads((await harness.runs.get(run.id)).reason)["code"]
    assert second.run.id == (await again()).run.id


async def test_a_debounced_start_really_waits_and_each_further_one_begins_the_wait_anew(harness):
    worker = await harness.worker()
    run, again = await twice(harness, conflict="debounce")
    assert "scheduled" == run.state
    for n in range(3):
        await harness.advance(9_000, worker)
        second = await again("debounce", {"n": n})
        assert (run.id, False, "scheduled") == (second.run.id, second.created, second.run.state)
        assert harness.clock.now_ms() + 10_000 == second.run.run_at
    await harness.advance(9_999, worker)
    assert [] == await harness.claim(worker)
    await harness.advance(1, worker)
    lease = await harness.one(worker)
    assert (run.id, b'{"n":2}') == (lease.run_id, bytes(lease.input))


async def test_a_debounced_run_that_is_due_but_has_not_begun_waits_again(harness):
    worker = await harness.worker()
    run, again = await twice(harness, conflict="debounce")
    await harness.advance(10_000, worker)
    assert "queued" == await harness.state(run.id)
    assert "scheduled" == (await again("debounce")).run.state
    assert [] == await harness.claim(worker)
    assert ["created", "fell_due", "rescheduled"] == await harness.causes(run.id)


async def test_a_debounced_run_that_has_begun_keeps_its_input(harness):
    worker = await harness.worker()
    run, again = await twice(harness, conflict="debounce")
    await harness.advance(10_000, worker)
    lease = await harness.one(worker)
    assert (run.id, '{"n":1}') == ((await again("debounce")).run.id, (await harness.runs.get(run.id)).input)
    await harness.tell(worker, lease, wire.ReleasedReport)
    second = await again("debounce")
    assert '{"n":1}' == second.run.input, "an attempt has seen it"


async def test_a_debounce_in_a_window_moves_the_window(harness):
    worker = await harness.worker()
    run, again = await twice(harness, scope="window", conflict="debounce")
    await harness.advance(9_000, worker)
    await again("debounce")
    await harness.advance(9_000, worker)
    assert run.id == (await again("debounce")).run.id


async def test_a_held_run_keeps_its_key(harness):
    await harness.worker()
    run, again = await twice(harness)
    await harness.runs.suspend(run.id, Reason(code="held"))
    assert run.id == (await again("debounce")).run.id


async def test_keys_are_apart_by_task_and_forgotten_when_they_are_over(harness):
    worker = await harness.worker(wire.TaskDeclaration(name="t"), wire.TaskDeclaration(name="u"))
    run, _ = await twice(harness)
    assert run.id != (await harness.start("u", dedupe=asked())).id
    for lease in await harness.claim(worker):
        await harness.succeed(worker, lease)
    await harness.tick()
    assert [(0,)] == harness.sql("SELECT count(*) FROM dedupes")


async def test_one_batch_has_one_run_for_a_key(harness):
    await harness.worker()
    items = await harness.start_many(*[spec("t", dedupe=asked())] * 5)
    assert 1 == len({item.run.id for item in items})
    assert [True, False, False, False, False] == [item.created for item in items]
