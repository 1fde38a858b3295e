"""Every verb, failing at its first statement, at its second, and so on: nothing is half done, and it works afterwards."""

import asyncio
import logging

import pytest
from tests.harness import declare, key, raw, spec
from tests.store.faulty import faulty_world

from headway.errors import HeadwayError, StorageFull, StorageUnavailable
from headway.kernel.run import Reason
from headway.protocol import workers as wire
from headway.protocol.runs import BulkAction, PatchRun, RunQuery, SignalRun
from headway.runs.built_in.bulk import Bulk, BulkProgress
from headway.runs.filters import to_filter
from headway.store.database import DatabaseGone, DiskFull, Outdated
from headway.store.writer import TRIES_MAX

WHY = Reason(code="test")
GO = wire.BlockerSpec(kind="signal", name="go")


class StoreWithRuns:
    """A queued, a leased, a suspended, a scheduled and a finished run, a parent with a child, and a parked one."""

    async def set(self, harness):
        self.harness = harness
        self.worker = await harness.worker(declare("t", retry={"max_attempts": 2}), declare("k", concurrency_per_key=1))
        self.ended = await harness.finished(self.worker, task="t", retention="1s")
        self.failed = await harness.start("t", max_attempts=1)
        await harness.fail(self.worker, await harness.one(self.worker))
        self.parent = await harness.start("t")
        self.lease = await harness.one(self.worker)
        self.child = await harness.start("t", parent_id=self.parent.id)
        child = await harness.one(self.worker)
        await harness.tell(self.worker, child, wire.SuspendedReport, blockers=[GO])
        self.keyed = [await harness.start("k", key="a") for _ in range(2)]
        self.held = await harness.one(self.worker)
        assert not await harness.claim(self.worker)
        self.later = await harness.start("t", delay="2s")
        self.queued = await harness.start("t", labels={"a": "b"})
        harness.clock.advance(3_000)
        return self

    def report(self, kind, **fields):
        return self.harness.tell(self.worker, self.lease, kind, **fields)


BATCH = [spec("t", dedupe={"key": "x"}), spec("t", labels={"c": "d"}), spec("k", key="a")]
VERBS = {
    "start": lambda s: s.harness.runs.start(spec("t", labels={"c": "d"}, queue="new", dedupe={"key": "x"}), key("1")),
    "start a batch": lambda s: s.harness.start_many(*BATCH, request=key("2")),
    "start an atomic batch": lambda s: s.harness.start_many(*BATCH, atomic=True),
    "claim": lambda s: s.harness.claim(s.worker),
    "succeed": lambda s: s.report(wire.SucceededReport, output=raw({"a": 1})),
    "fail": lambda s: s.report(wire.ErroredReport, error=wire.FunctionError()),
    "free a slot": lambda s: s.harness.succeed(s.worker, s.held),
    "progress": lambda s: s.report(wire.ProgressReport, done=1, total=2),
    "log": lambda s: s.report(wire.LogReport, message="m"),
    "publish": lambda s: s.report(wire.ResultReport, value=raw(1)),
    "step": lambda s: s.report(wire.StepReport, name="s", value=raw(1)),
    "start a child": lambda s: s.report(wire.ChildReport, name="c", run=spec("t")),
    "wait for a child": lambda s: s.report(wire.SuspendedReport, blockers=[wire.BlockerSpec(kind="run", run_id=s.child.id)]),
    "sleep": lambda s: s.report(wire.SleptReport, until="2100-01-01T00:00:00Z"),
    "release": lambda s: s.report(wire.ReleasedReport),
    "signal": lambda s: s.harness.runs.signal(s.child.id, SignalRun(name="go")),
    "hold": lambda s: s.harness.runs.suspend(s.queued.id, WHY),
    "resume": lambda s: s.harness.runs.resume(s.child.id, WHY),
    "terminate a family": lambda s: s.harness.stop(s.parent.id),
    "retry": lambda s: s.harness.runs.retry(s.failed.id, WHY),
    "protect": lambda s: s.harness.runs.protect(s.ended.id, protected=True),
    "patch": lambda s: s.harness.runs.patch(s.queued.id, PatchRun(queue="q2", labels={"z": "y"}, priority=9), None),
    "another time": lambda s: s.harness.runs.patch(s.queued.id, PatchRun(run_at="2100-01-01T00:00:00Z"), None),
    "delete": lambda s: s.harness.runs.delete(s.failed.id),
    "lapse": lambda s: s.harness.service.leases.lapse(s.harness.sessions.get(s.worker)),
    "stage": lambda s: s.harness.stager.tick(),
    "prune": lambda s: s.harness.pruner.tick(),
    "terminate a task": lambda s: s.harness.tasks.terminate("t", wire.TerminateTask()),
    "pause": lambda s: s.harness.queues.pause("default", paused=True),
    "deactivate": lambda s: s.harness.tasks.activate("t", active=False),
    "register": lambda s: s.harness.worker(declare("k"), declare("new", queue="other"), queues=["third"]),
    "bulk": lambda s: Bulk(s.harness.service, s.bulk, to_filter(RunQuery(task=["t", "k"])),
                           BulkAction(filter=RunQuery(), action="terminate")).chunk(BulkProgress()),
}  # fmt: skip


def sound(harness):
    assert [] == harness.wrong()


async def repeated(harness, database, scene, verb):
    """Do it again, now that nothing fails any more."""
    database.disarm()
    harness.store.check_space()
    await harness.store.refresh()  # a connection that was lost is there again
    scene.bulk = await harness.runs.get(scene.parent.id)
    await VERBS[verb](scene)


async def fails(verb, scene, database, error):
    """Let the verb fail at the statement that is armed, if there is one; tell whether it did, and has done nothing."""
    harness = scene.harness
    before = harness.dump()
    raised = None
    try:
        await VERBS[verb](scene)
    except (HeadwayError, RuntimeError) as failure:
        raised = failure
    if raised is None:
        return False
    assert database.fired
    assert verb == "prune" or before == harness.dump(), "prune has two transactions"
    assert harness.store.full == isinstance(error, DiskFull)
    assert isinstance(raised, StorageUnavailable) == isinstance(error, DatabaseGone)
    return True


async def scene_of(url=None):
    harness, database = faulty_world(url)
    await harness.service.servers.join()
    scene = await StoreWithRuns().set(harness)
    scene.bulk = await harness.runs.get(scene.parent.id)
    return harness, database, scene


async def until_it_passes(verb, error):
    """Let the verb fail at each of its statements in turn, each time in a new harness; return how many that were."""
    for number in range(1, 100):
        harness, database, scene = await scene_of()
        database.arm(number, error)
        if await fails(verb, scene, database, error):
            await repeated(harness, database, scene, verb)
        database.disarm()
        sound(harness)
        await harness.close()
        if not database.fired:
            return number - 1
    raise AssertionError("it never passes")


async def until_it_passes_in_one_world(verb, error, url):
    """Let the verb fail at each of its statements in turn; what failed has done nothing, so the harness is as it was."""
    harness, database, scene = await scene_of(url)
    for number in range(1, 100):
        database.arm(number, error)
        if not await fails(verb, scene, database, error):
            database.disarm()
            sound(harness)
            await harness.close()
            return number - 1
        database.disarm()
        harness.store.check_space()
        await harness.store.refresh()
    raise AssertionError("it never passes")


ERRORS = {
    "full": DiskFull("no space"),
    "bug": RuntimeError("a bug in the driver"),
    "gone": DatabaseGone("the connection was lost"),
}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_fails_halfway_has_done_nothing_and_works_afterwards(verb, error, caplog):
    caplog.set_level(logging.CRITICAL)
    assert asyncio.run(until_it_passes(verb, ERRORS[error])) >= 3, "begin, a statement, commit"


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_fails_halfway_on_postgresql_has_done_nothing_and_works_afterwards(
    verb, error, caplog, postgres_store
):
    caplog.set_level(logging.CRITICAL)
    assert asyncio.run(until_it_passes_in_one_world(verb, ERRORS[error], postgres_store)) >= 3


@pytest.fixture(params=["sqlite", "postgres"])
def url(request):
    """The place of a harness of each kind."""
    return None if request.param == "sqlite" else request.getfixturevalue("postgres_store")


@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_that_another_server_overtakes_at_every_turn_is_done_once(verb, url):
    """Its first try fails at the first statement, the second at the second, and so on, as long as it is tried."""
    harness, database, scene = await scene_of(url)
    database.arm_in_turn(Outdated("another server was faster"), TRIES_MAX - 1)
    await VERBS[verb](scene)
    assert database.fired >= 3
    database.disarm()
    sound(harness)
    await harness.close()


@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_whose_answer_was_lost_is_done_as_a_whole_and_its_caller_knows_nothing(verb, url, caplog):
    caplog.set_level(logging.CRITICAL)
    harness, database, scene = await scene_of(url)
    before = harness.dump()
    database.arm(1, DatabaseGone("the answer did not come"), only="commit", answered=True)
    with pytest.raises(StorageUnavailable):
        await VERBS[verb](scene)
    assert before != harness.dump()
    database.disarm()
    await harness.store.refresh()
    sound(harness)
    await harness.close()


async def test_a_start_whose_answer_was_lost_is_found_again_by_its_key(url):
    harness, database, _ = await scene_of(url)
    known = {run_id for (run_id,) in harness.sql("SELECT id FROM runs")}
    database.arm(1, DatabaseGone("the answer did not come"), only="commit", answered=True)
    with pytest.raises(StorageUnavailable):
        await harness.runs.start(spec("t"), key("again"))
    database.disarm()
    started = await harness.runs.start(spec("t"), key("again"))
    assert started.replayed
    assert {started.run.id} == {run_id for (run_id,) in harness.sql("SELECT id FROM runs")} - known
    await harness.close()


async def test_what_finishes_runs_goes_on_where_starts_are_refused(url):
    harness, database, scene = await scene_of(url)
    database.arm(1, DiskFull("no space"), only="insert_runs")
    with pytest.raises(StorageFull):
        await harness.start("t")
    assert harness.store.full
    with pytest.raises(StorageFull):
        await harness.start("t")
    await scene.report(wire.SucceededReport)
    assert "succeeded" == await harness.state(scene.parent.id)
    harness.store.check_space()
    assert "queued" == (await harness.start("t")).state
    await harness.close()
