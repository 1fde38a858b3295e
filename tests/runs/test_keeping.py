"""Keeping: retention, protection, removal; changing what may change; repeating what is over."""

import asyncio

import pytest
from tests.harness import declare, spec
from tests.runs.states import bring

from headway.errors import InvalidState, Protected, RunNotFound, RunPurged, TaskInactive, VersionMismatch
from headway.kernel.query import Page, RunFilter
from headway.kernel.run import KEEP, Reason, State
from headway.protocol import workers as wire
from headway.protocol.runs import PatchRun, SignalRun
from headway.runs.idempotency import request_key

WHY = Reason(code="test")


async def test_retention_removes_what_has_expired_and_leaves_a_stone(harness):
    worker = await harness.worker(declare("t", retention={"succeeded": "10s", "failed": None}))
    gone = await harness.finished(worker, labels={"a": "b"}, parent_id=None)
    kept = await harness.start()
    await harness.fail(worker, await harness.one(worker), retryable=False)
    await harness.advance(9_999, worker)
    assert "succeeded" == await harness.state(gone.id)
    await harness.advance(1, worker)
    for ask in (
        harness.runs.get,
        lambda run: harness.history.events(run, 0, 9),
        harness.stop,
        harness.runs.delete,
    ):
        with pytest.raises(RunPurged) as caught:
            await ask(gone.id)
        assert "retention" == caught.value.fields["policy"]
    assert "failed" == await harness.state(kept.id)
    assert 0 == sum(n for (n,) in harness.sql(
        "SELECT count(*) FROM events WHERE run_id = ? UNION ALL SELECT count(*) FROM run_labels", gone.id))  # fmt: skip


async def test_a_stone_is_forgotten_in_the_end(harness):
    worker = await harness.worker()
    run = await harness.finished(worker)
    await harness.runs.delete(run.id)
    harness.clock.advance(harness.settings.tombstone_ms + 1)
    await harness.pruner.tick()
    with pytest.raises(RunNotFound):
        await harness.runs.get(run.id)


async def test_a_protected_run_is_never_removed_until_it_is_let_go(harness):
    worker = await harness.worker()
    run = await harness.finished(worker, retention="1s")
    await harness.runs.protect(run.id, protected=True)
    await harness.advance(10_000, worker)
    with pytest.raises(Protected):
        await harness.runs.delete(run.id)
    assert "succeeded" == await harness.state(run.id)
    await harness.runs.protect(run.id, protected=False)
    await harness.pruner.tick()
    with pytest.raises(RunPurged):
        await harness.runs.get(run.id)


async def test_protection_against_the_pruner_has_one_winner_who_is_believed(disk):
    worker = await disk.worker()
    for _ in range(30):
        run = await disk.finished(worker, retention="0s")
        asks = [disk.runs.protect(run.id, protected=True), disk.pruner.tick()]
        answers = await asyncio.gather(*asks, return_exceptions=True)
        if isinstance(answers[0], RunPurged):
            assert [] == disk.sql("SELECT 1 FROM runs WHERE id = ?", run.id)
        else:
            assert 1 == (await disk.runs.get(run.id)).protected
            await disk.pruner.tick()
            assert "succeeded" == await disk.state(run.id)


async def test_more_than_a_chunk_is_removed_at_once(harness):
    worker = await harness.worker()
    for _ in range(3):
        await harness.start_many(*[spec("t", retention="1s")] * 400)
    for lease in await harness.claim(worker, 10_000):
        await harness.succeed(worker, lease)
    await harness.advance(1_000, worker)
    assert (1_200, 0) == (harness.pruner.removed, harness.sql("SELECT count(*) FROM runs")[0][0])


@pytest.mark.parametrize("state", State)
async def test_only_what_is_final_is_deleted(harness, state):
    worker = await harness.worker()
    run = await bring(harness, worker, state)
    if state in ("succeeded", "failed", "terminated"):
        await harness.runs.delete(run.id)
        with pytest.raises(RunPurged):
            await harness.runs.get(run.id)
    else:
        with pytest.raises(InvalidState):
            await harness.runs.delete(run.id)
        assert state == await harness.state(run.id)


@pytest.mark.parametrize("state", State)
async def test_what_may_change_in_which_state(harness, state):
    worker = await harness.worker()
    run = await bring(harness, worker, state)
    waiting = state in ("scheduled", "queued", "suspended")
    for fields, allowed in (
        ({"name": "n"}, True), ({"labels": {"x": "y"}}, True), ({"retention": None}, True), ({"priority": 9}, waiting),
        ({"queue": "q"}, waiting), ({"run_at": "2100-01-01T00:00:00Z"}, waiting and state != "suspended"),
    ):  # fmt: skip
        before = await harness.runs.get(run.id)
        if allowed:
            after = await harness.runs.patch(run.id, PatchRun(**fields), before.version)
            assert after == await harness.runs.get(run.id)
            assert after.version > before.version
        else:
            with pytest.raises(InvalidState):
                await harness.runs.patch(run.id, PatchRun(**fields), before.version)
            assert before == await harness.runs.get(run.id)


async def test_a_change_on_an_older_version_is_refused_and_an_empty_one_is_none(harness):
    await harness.worker()
    run = await harness.start()
    with pytest.raises(VersionMismatch) as caught:
        await harness.runs.patch(run.id, PatchRun(name="n"), run.version + 1)
    assert run.version == caught.value.fields["version"]
    assert run == await harness.runs.patch(run.id, PatchRun(), run.version)


async def test_changed_labels_are_found_and_the_old_ones_are_not(harness):
    await harness.worker()
    run = await harness.start(labels={"a": "1", "b": "2"})
    await harness.runs.patch(run.id, PatchRun(labels={"a": "3"}), None)

    async def found(**labels):
        runs, _ = await harness.runs.page(RunFilter(labels=labels), Page())
        return [one.id for one in runs]

    assert [[], [], [run.id]] == [await found(a="1"), await found(b="2"), await found(a="3")]


async def test_a_later_time_takes_a_queued_run_out_and_an_earlier_one_brings_it_back(harness):
    worker = await harness.worker()
    run = await harness.start()
    assert "scheduled" == (await harness.runs.patch(run.id, PatchRun(run_at="2100-01-01T00:00:00Z"), None)).state
    assert [] == await harness.claim(worker)
    assert "queued" == (await harness.runs.patch(run.id, PatchRun(run_at="2020-01-01T00:00:00Z"), None)).state
    assert run.id == (await harness.one(worker)).run_id


async def test_another_retention_counts_from_the_end(harness):
    worker = await harness.worker()
    run = await harness.finished(worker)
    ended = run.finished_at
    assert ended + 5_000 == (await harness.runs.patch(run.id, PatchRun(retention="5s"), None)).expires_at
    forever = await harness.runs.patch(run.id, PatchRun(retention=None), None)
    assert (None, KEEP) == (forever.expires_at, forever.keep_ms)


@pytest.mark.parametrize("state", State)
async def test_a_retry_is_a_new_run_that_names_the_old_one(harness, state):
    worker = await harness.worker()
    run = await bring(harness, worker, state)
    if state not in ("failed", "terminated"):
        with pytest.raises(InvalidState):
            await harness.runs.retry(run.id, WHY)
        return
    old = await harness.runs.get(run.id)
    new = await harness.runs.retry(run.id, WHY)
    assert (run.id, "queued", 0, old.input, "retry") == (
        new.previous_id,
        new.state,
        new.attempt,
        new.input,
        new.run_type,
    )
    assert old == await harness.runs.get(run.id), "what is final stays as it is"
    assert new == await harness.runs.get(new.id)
    await harness.tasks.activate("t", active=False)
    with pytest.raises(TaskInactive):
        await harness.runs.retry(run.id, WHY)


async def test_a_verb_with_a_key_is_carried_out_once(harness):
    worker = await harness.worker()
    run = await bring(harness, worker, "failed")
    key = request_key("k", "POST", f"/v1/runs/{run.id}:retry", b"", 60_000)
    assert (await harness.runs.retry(run.id, WHY, key)).id == (await harness.runs.retry(run.id, WHY, key)).id
    queued = await harness.start()
    key = request_key("k", "POST", f"/v1/runs/{queued.id}:signal", b"", 60_000)
    for _ in range(3):
        await harness.runs.signal(queued.id, SignalRun(name="go"), key)
    assert 1 == len(await harness.history.events(queued.id, 0, 9, "run.signal"))


async def test_lists_filters_and_counts_say_the_same(harness):
    worker = await harness.worker(declare("t"), declare("u"))
    for number in range(30):
        await harness.start(
            "tu"[number % 2], queue="qr"[number % 3 == 0], labels={"n": str(number % 5)}, key=f"k{number % 4}"
        )
        harness.clock.advance(1)
    for lease in await harness.claim(worker, 10):
        await harness.succeed(worker, lease)
    everything, after = await harness.runs.page(RunFilter(), Page(size=100))
    assert (30, "") == (len(everything), after)
    for wanted, test in (
        (RunFilter(state=(State.QUEUED,)), lambda run: run.state == "queued"),
        (RunFilter(state=(State.QUEUED, State.SUCCEEDED), task=("t",)), lambda run: run.task == "t"),
        (RunFilter(task=("t", "u"), queue=("q",)), lambda run: run.queue == "q"),
        (RunFilter(queue=("q", "r"), labels={"n": "1"}), lambda run: '"n":"1"' in run.labels),
        (RunFilter(key="k1"), lambda run: run.key == "k1"),
        (RunFilter(root_id=everything[3].id), lambda run: run.id == everything[3].id),
        (RunFilter(created_after=everything[9].created_at), lambda run: run.created_at >= everything[9].created_at),
        (RunFilter(created_before=everything[9].created_at), lambda run: run.created_at < everything[9].created_at),
        (RunFilter(finished_after=1), lambda run: run.finished_at is not None),
    ):
        expected = [run.id for run in everything if test(run)]
        assert expected == await paged(harness, wanted, newest_first=True)
        assert expected[::-1] == await paged(harness, wanted, newest_first=False)
        assert {"": len(expected)} == await harness.runs.count(wanted, None)
    for group in ("state", "task", "queue"):
        assert await harness.store.read.count(RunFilter(), group) == await harness.runs.count(RunFilter(), group)


async def paged(harness, wanted, *, newest_first):
    """Return the ids of all pages of four."""
    found, after = [], None
    while after != "":
        runs, after = await harness.runs.page(wanted, Page(4, after, newest_first))
        found += [run.id for run in runs]
    return found


async def test_counts_that_have_gone_to_zero_are_not_named(harness):
    await harness.worker()
    await harness.stop((await harness.start()).id)
    assert {"terminated": 1} == await harness.runs.count(RunFilter(), "state") == harness.tasks.counts("t")
    assert {"terminated": 1} == harness.queues.counts("default")


async def test_times_are_exact_also_for_many_runs_of_one_millisecond(harness):
    await harness.worker()
    for _ in range(6):
        await harness.start_many(*[spec()] * 1000)
    end = harness.clock.now_ms() + 1
    before = await harness.runs.count(RunFilter(created_before=end), None)
    after = await harness.runs.count(RunFilter(created_after=end), None)
    assert 6_000 == before[""] + after[""]
    assert before[""] == harness.sql("SELECT count(*) FROM runs WHERE created_at < ?", end)[0][0]


async def test_the_oldest_of_a_queue_is_known(harness):
    worker = await harness.worker(declare("t"), declare("u"))
    assert await harness.queues.oldest("default") is None
    first = await harness.start("u", priority=0)
    harness.clock.advance(5)
    await harness.start("t", priority=9)
    assert first.run_at == await harness.queues.oldest("default")
    await harness.claim(worker)
    assert await harness.queues.oldest("default") is None
    assert wire.ReportRuns(worker_id=worker).held is None
