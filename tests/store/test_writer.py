"""The writer: one transaction for all who wait, one answer for each, nothing promised that is not on disk."""

import asyncio
import contextlib
import logging
import threading

import pytest
from msgspec.structs import replace
from tests.commands import FunctionCommand
from tests.harness import START, declare, on_postgres, opened, spec
from tests.store.faulty import faulty, faulty_world

from headway.clock import ManualClock
from headway.errors import Draining, InvalidState, StorageBusy, StorageFailed, StorageFull, StorageUnavailable
from headway.notify.events import StorageRegained, StorageStopped
from headway.protocol import workers as wire
from headway.store.database import DatabaseGone, DatabaseLocked, DiskFull, Outdated, StorageBroken
from headway.store.postgres.dialect import POSTGRES
from headway.store.sqlite.dialect import SQLITE
from headway.store.sqlite.open import open_file
from headway.store.unit_of_work import as_rows


async def test_what_comes_together_is_one_transaction(disk):
    gate, entered = threading.Event(), threading.Event()
    await disk.worker()
    blocked = disk.store.write(FunctionCommand(lambda uow: entered.set() or gate.wait(10)))
    await asyncio.to_thread(entered.wait, 10)
    first = disk.store.write(FunctionCommand(lambda uow: uow))
    waiting = [asyncio.ensure_future(disk.runs.start(spec())) for _ in range(200)]
    await asyncio.sleep(0)
    last = disk.store.write(FunctionCommand(lambda uow: uow))
    gate.set()
    await asyncio.gather(blocked, *waiting)
    assert await first is await last, "what came between the two is in their transaction"
    assert 200 == disk.tasks.counts("t")["queued"]


async def test_answers_come_in_the_order_of_the_questions(disk):
    order = []
    asked = [disk.store.write(FunctionCommand(lambda uow, n=n: order.append(n))) for n in range(50)]
    await asyncio.gather(*asked)
    assert list(range(50)) == order


CHANGES = {
    "insert": lambda uow, run: uow.insert(replace(run, id=SPOILED), {}),
    "save": lambda uow, run: uow.save(replace(run, name="x", version=run.version + 1), run),
    "record": lambda uow, run: uow.record(replace(run, seq=99), "run.changed", "{}"),
    "add_step": lambda uow, run: uow.add_step(run.id, "x", "1"),
    "add_result": lambda uow, run: uow.add_result(run.id, "x", "1"),
    "remember": lambda uow, run: uow.remember("x", "x", "[]", uow.now_ms + 60_000),
    "later": lambda uow, run: uow.later("delete_run_events", ids=as_rows([run.id])),
    "define": lambda uow, run: uow.define(replace(uow.task(run.task), active=False)),
    "queue": lambda uow, run: uow.queue("x"),
    "save_queue": lambda uow, run: uow.save_queue(replace(uow.queue(run.queue), paused=1)),
    "remove": lambda uow, run: uow.remove([run], "deleted"),
    "execute": lambda uow, run: uow.execute("delete_run_events", ids=as_rows([run.id])),
    "execute and expect": lambda uow, run: uow.execute("delete_runs", expect=1, ids=as_rows([run.id])),
    "delete_rows": lambda uow, run: uow.delete_rows("delete_file_chunks", file_id="x", limit=1),
    "defer": lambda uow, run: uow.defer(_delete_events, run.id),
    "do_last": lambda uow, run: uow.do_last(_delete_events_last, run.id),
}
SPOILED = "01980000-0000-7000-8000-000000000000"


def _delete_events(uow, run_ids):
    uow.execute("delete_run_events", ids=as_rows(run_ids))


def _delete_events_last(database, run_ids):
    database.run("delete_run_events", ids=as_rows(run_ids))


@pytest.mark.parametrize("change", CHANGES)
async def test_a_command_that_raises_after_a_change_of_any_kind_leaves_none(disk, change):
    await disk.worker()
    run = await disk.start()
    before = disk.dump()

    def halfway(uow):
        CHANGES[change](uow, uow.run(run.id))
        assert uow.changes
        raise InvalidState("half done")

    with pytest.raises(InvalidState):
        await disk.store.write(FunctionCommand(halfway))
    assert before == disk.dump()


async def test_a_command_that_fails_halfway_fails_alone(disk, caplog):
    caplog.set_level(logging.CRITICAL)
    await disk.worker()
    run = await disk.start()

    def halfway(uow):
        uow.later("delete_run_events", ids=f'["{run.id}"]')
        raise InvalidState("half done")

    others = [asyncio.ensure_future(disk.runs.start(spec())) for _ in range(5)]
    bad = [disk.store.write(FunctionCommand(halfway)) for _ in range(5)]
    others += [asyncio.ensure_future(disk.runs.start(spec())) for _ in range(5)]
    assert all(isinstance(error, InvalidState) for error in await asyncio.gather(*bad, return_exceptions=True))
    assert 10 == len({(await other).run.id for other in others})
    assert 11 == disk.tasks.counts("t")["queued"]


async def test_a_refusal_that_changed_nothing_costs_nobody_anything(disk):
    await disk.worker()

    def refuse(uow):
        raise InvalidState("no")

    before = disk.store.writer.batches
    answers = await asyncio.gather(
        disk.store.write(FunctionCommand(refuse)),
        disk.runs.start(spec()),
        disk.store.write(FunctionCommand(refuse)),
        return_exceptions=True,
    )
    assert [True, False, True] == [isinstance(answer, InvalidState) for answer in answers]
    assert disk.store.writer.batches - before <= 2


async def test_a_claim_that_may_not_wait_is_answered_at_once(disk):
    worker = await disk.worker()
    async with asyncio.timeout(5):
        assert [] == await disk.claim(worker)


async def test_claims_that_wait_are_served_in_the_order_in_which_they_came(disk):
    workers = [await disk.worker() for _ in range(3)]
    waiting = []
    for worker in workers:
        waiting.append(asyncio.ensure_future(disk.claim(worker, 1, "30s")))
        await asyncio.sleep(0)
    await disk.store.write(FunctionCommand(lambda uow: None))
    runs = [await disk.start() for _ in range(3)]
    leases = await asyncio.gather(*waiting)
    assert [run.id for run in runs] == [lease.run_id for (lease,) in leases]


async def test_a_claim_for_which_nothing_is_ready_waits_without_a_transaction(disk):
    worker, writer = await disk.worker(), disk.store.writer
    if disk.postgres:  # what it reads again when it begins to listen is a transaction, and no claim's
        disk.store.peers._on_message = lambda message: None
        await asyncio.gather(*disk.store._tasks)
    before = writer.batches
    waiting = asyncio.ensure_future(disk.claim(worker, 1, "30s"))
    while not writer._waiting:  # noqa: ASYNC110 - the writer sets no event for that
        await asyncio.sleep(0)
    assert before == writer.batches
    started = await disk.start()
    assert [started.id] == [lease.run_id for lease in await waiting]
    assert 1 == writer.batches - before


async def test_a_run_is_claimed_in_the_transaction_that_starts_it(disk):
    worker = await disk.worker()
    waiting = asyncio.ensure_future(disk.claim(worker, 1, "30s"))
    await asyncio.sleep(0)
    await disk.store.write(FunctionCommand(lambda uow: None))
    before = disk.store.writer.batches
    await disk.start()
    await waiting
    assert 1 == disk.store.writer.batches - before


async def test_what_a_vanished_caller_was_given_is_handed_back(disk):
    worker = await disk.worker()
    for _ in range(20):
        run = await disk.start()
        waiting = asyncio.ensure_future(disk.claim(worker, 1, "30s"))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        run = await disk.runs.get(run.id)
        assert ("queued", 0) == (run.state, run.attempt)
        await disk.stop(run.id)


class LeavesMeanwhile(FunctionCommand):
    """A command that is cancelled, once it `may` be, just after the writer has looked whether it is."""

    looks, may = 0, False

    @property
    def cancelled(self):
        self.looks += self.may
        return self.looks > 1

    @cancelled.setter
    def cancelled(self, value):
        self.looks, self.may = 2 * value, False


async def test_who_leaves_while_another_is_let_go_is_let_go_too(disk):
    writer = disk.store.writer
    leaves, other = (
        LeavesMeanwhile(lambda uow: [], lanes=lambda lane: False),
        FunctionCommand(list, lanes=lambda lane: False),
    )
    answers = [writer.write(command) for command in (leaves, other)]
    await disk.store.write(FunctionCommand(lambda uow: None))
    leaves.may = True
    writer.cancel(other)
    await answers[1]
    writer.cancel(leaves)
    async with asyncio.timeout(5):
        assert await answers[0] is None


async def test_a_caller_that_left_is_not_given_what_comes_later(disk):
    worker = await disk.worker()
    waiting = asyncio.ensure_future(disk.claim(worker, 1, "30s"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    run = await disk.start()
    assert ("queued", 0) == (await disk.state(run.id), (await disk.runs.get(run.id)).epoch)


@pytest.mark.parametrize("served_first", [True, False])
async def test_a_caller_that_leaves_in_the_turn_in_which_it_is_served_has_it_handed_back(harness, served_first):
    """Either comes first: what it is given, or its end; it hears of neither before the next turn of the loop."""
    worker = await harness.worker()
    waiting = asyncio.ensure_future(harness.claim(worker, 1, "30s"))
    await asyncio.sleep(0)
    if not served_first:
        waiting.cancel()
    run = await harness.start()
    assert ("running", 1) == (await harness.state(run.id), (await harness.runs.get(run.id)).attempt)
    if served_first:
        waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    run = await harness.runs.get(run.id)
    assert ("queued", 0) == (run.state, run.attempt)


async def test_who_waited_for_work_is_answered_before_who_brought_it(disk):
    worker = await disk.worker()
    order = []

    async def noted(name, coming):
        await coming
        order.append(name)

    waiting = asyncio.ensure_future(noted("claim", disk.claim(worker, 1, "30s")))
    await asyncio.sleep(0)
    await noted("start", disk.start())
    await waiting
    assert ["claim", "start"] == order


async def test_a_time_out_and_a_run_that_comes_at_that_moment_lose_nothing(disk):
    worker = await disk.worker()
    for _ in range(30):
        waiting = asyncio.ensure_future(disk.claim(worker, 1, "1ms"))
        await asyncio.sleep(0.001)
        run = await disk.start()
        leases = await waiting or await disk.claim(worker)
        assert [run.id] == [lease.run_id for lease in leases]


@pytest.fixture(params=["sqlite", "postgres"])
def broken_world(request, tmp_path):
    """Make a harness, on disk, whose storage can be made to fail."""
    if request.param == "sqlite":
        place, dialect = tmp_path / "s.db", SQLITE
    else:
        place, dialect = request.getfixturevalue("postgres_store"), POSTGRES

    def make(*, threaded):
        clock = ManualClock(START)
        # Listening for others, and what it sets going, is no part of what is tested here.
        made = opened(place, clock, threaded=False) if dialect is POSTGRES else open_file(place, clock, reserve_bytes=0)
        return faulty(made, clock, dialect, path=place, threaded=threaded)

    return make


async def started_again(harness):
    """Start a run as soon as the database is there again."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(StorageUnavailable):
                return await harness.start()
            await asyncio.sleep(0)


@pytest.mark.parametrize("threaded", [True, False])
@pytest.mark.parametrize("where", ["begin", "insert_runs", "insert_events", "add_counters", "commit"])
async def test_storage_that_broke_its_word_is_not_asked_again(broken_world, where, threaded, caplog):
    caplog.set_level(logging.CRITICAL + 1)

    harness, database = broken_world(threaded=threaded)
    stopped = harness.announced(StorageStopped)
    worker = await harness.worker()
    kept = await harness.start()
    lease = await harness.one(worker)
    waiting = asyncio.ensure_future(harness.claim(await harness.worker(declare("u")), 1, "30s"))
    await asyncio.sleep(0)
    database.arm(1, StorageBroken("fsync failed"), only=where)
    answers = await asyncio.gather(*(harness.runs.start(spec()) for _ in range(20)), return_exceptions=True)
    assert {StorageFailed} == {type(answer) for answer in answers}
    asked = len(database.log)
    for verb in (
        harness.start(),
        harness.succeed(worker, lease),
        harness.stop(kept.id),
        harness.claim(worker),
        waiting,
    ):
        with pytest.raises(StorageFailed):
            await verb
    assert asked == len(database.log), "storage was asked again"
    await asyncio.sleep(0)
    assert 1 == len(stopped)
    database.disarm()
    await harness.let_go()


async def test_a_break_in_the_middle_of_one_by_one_ends_all_the_rest(broken_world, caplog):
    caplog.set_level(logging.CRITICAL + 1)

    harness, database = broken_world(threaded=True)
    await harness.worker()
    gate, entered = threading.Event(), threading.Event()
    blocked = harness.store.write(FunctionCommand(lambda uow: entered.set() or gate.wait(10)))
    await asyncio.to_thread(entered.wait, 10)  # it has a transaction of its own; the rest shares the next

    def spoil(uow):
        uow.later("delete_run_events", ids="[]")
        raise InvalidState("half done")

    spoilers = [harness.store.write(FunctionCommand(spoil)) for _ in range(4)]
    starts = [asyncio.ensure_future(harness.runs.start(spec())) for _ in range(6)]
    await asyncio.sleep(0)
    database.arm(3, StorageBroken("fsync failed"), only="commit")
    gate.set()
    answers = await asyncio.gather(blocked, *spoilers, *starts, return_exceptions=True)
    acknowledged = [answer for answer in answers[5:] if not isinstance(answer, Exception)]
    assert len(acknowledged) == harness.sql("SELECT count(*) FROM runs")[0][0]
    assert StorageFailed is type(answers[-1])
    database.disarm()
    await harness.let_go()


async def test_what_was_decided_on_an_older_state_is_decided_again(broken_world):
    harness, database = broken_world(threaded=False)
    worker = await harness.worker()
    await harness.start()
    lease = await harness.one(worker)
    database.arm(1, Outdated("another server was faster"), only="save_finished")
    await harness.succeed(worker, lease, 7)
    assert (True, "succeeded", ["created", "claimed", "succeeded"]) == (
        database.fired, await harness.state(lease.run_id), await harness.causes(lease.run_id)
    )  # fmt: skip
    await harness.close()


async def test_a_report_whose_commit_failed_is_decided_again_on_the_run_as_it_was(broken_world):
    harness, database = broken_world(threaded=False)
    worker = await harness.worker()
    await harness.start()
    lease = await harness.one(worker)
    database.arm(1, DatabaseLocked("another process"), only="commit")
    with pytest.raises(StorageBusy):
        await harness.succeed(worker, lease)
    await harness.succeed(worker, lease, 7)
    assert "succeeded" == await harness.state(lease.run_id)
    assert ["created", "claimed", "succeeded"] == await harness.causes(lease.run_id)
    await harness.close()


async def test_a_save_that_finds_another_version_changes_nothing_and_is_decided_on_the_new_one(broken_world):
    """As if another server had written: the writer's own copy of the leased run is older than the row."""
    harness, _ = broken_world(threaded=False)
    worker = await harness.worker()
    run = await harness.start()
    lease = await harness.one(worker)
    harness.sql("UPDATE runs SET protected = 1, version = version + 1 WHERE id = ?", run.id)
    await harness.succeed(worker, lease)
    after = await harness.runs.get(run.id)
    assert ("succeeded", 1, run.version + 3) == (after.state, after.protected, after.version)
    await harness.close()


async def test_what_can_never_be_saved_is_told_to_try_again_later(broken_world, monkeypatch):
    harness, database = broken_world(threaded=False)
    await harness.worker()
    real = database.must

    def must(count, name, /, **binds):
        if name == "save_dedupe":
            raise Outdated("another server is always faster")
        real(count, name, **binds)

    monkeypatch.setattr(database, "must", must)
    others = [asyncio.ensure_future(harness.start()) for _ in range(2)]
    with pytest.raises(StorageBusy):
        await harness.start(dedupe={"key": "k", "scope": "active"})
    assert 2 == len(await asyncio.gather(*others))
    await harness.close()


async def test_leases_of_a_transaction_that_was_undone_are_not_handed_out(broken_world):
    """The claim is served in a transaction that does not commit; afterwards there is nothing for it."""
    harness, database = broken_world(threaded=False)
    worker = await harness.worker()
    waiting = asyncio.ensure_future(harness.claim(worker, 1, "30s"))
    await asyncio.sleep(0)
    database.arm(1, DiskFull("no space"), only="commit")
    answers = await asyncio.gather(harness.runs.start(spec()), return_exceptions=True)
    assert isinstance(answers[0], Exception)
    database.disarm()
    harness.store.check_space()
    await harness.report(worker, held=[])
    assert not waiting.done()
    run = await harness.start()
    assert [run.id] == [lease.run_id for lease in await waiting]
    await harness.close()


@pytest.mark.parametrize("failure", [DiskFull("no space"), DatabaseGone("the connection was lost")])
async def test_who_leaves_after_a_transaction_that_was_undone_takes_nothing_of_it_along(broken_world, failure):
    """Its wait ends before it has had another try: the run that it was given there does not exist."""
    harness, database = broken_world(threaded=False)
    worker = await harness.worker()
    waiting = asyncio.ensure_future(harness.claim(worker, 1, "30s"))
    await asyncio.sleep(0)
    database.arm(1, failure, only="commit")
    with pytest.raises((StorageFull, StorageUnavailable)):
        await harness.start()
    (claim,) = harness.store.writer._waiting
    harness.store.writer.cancel(claim)
    assert [] == await waiting
    await harness.close()


async def test_after_the_end_nothing_is_taken_on(broken_world):
    harness, _ = broken_world(threaded=True)
    waiting = asyncio.ensure_future(harness.claim(await harness.worker(), 1, "30s"))
    await asyncio.sleep(0)
    await harness.store.writer.stop()
    assert [] == await waiting
    with pytest.raises(Draining):
        await harness.store.write(FunctionCommand(lambda uow: None))
    await harness.let_go()


async def test_a_progress_of_a_lease_is_never_written_over_an_older_copy(disk):
    """The writer's copies of leased runs are dropped with a transaction that fails."""
    worker = await disk.worker(declare("t"))
    await disk.start()
    lease = await disk.one(worker)

    def spoil(uow):
        from headway.runs.transitions import change

        run = uow.run(lease.run_id)
        change(uow, run, run, "run.log", "{}")
        raise InvalidState("half done")

    for _ in range(5):
        with pytest.raises(InvalidState):
            await disk.store.write(FunctionCommand(spoil))
        await disk.tell(worker, lease, wire.LogReport, message="kept")
    assert 7 == (await disk.runs.get(lease.run_id)).seq


@pytest.mark.parametrize("overtaken", [False, True], ids=["alone", "overtaken"])
async def test_a_claim_that_waits_is_served_when_another_server_says_that_there_is_something(postgres_store, overtaken):
    harness, database = faulty_world(postgres_store)
    other = on_postgres(postgres_store)
    waiting = asyncio.ensure_future(harness.claim(await harness.worker(), 1, "30s"))
    await asyncio.sleep(0)
    await other.store.refresh()
    run = await other.start()
    if overtaken:
        database.arm(1, Outdated("another server was faster"), only="commit")
    harness.store.writer.expect([("default", "t")])
    async with asyncio.timeout(5):
        assert [run.id] == [lease.run_id for lease in await waiting]
    assert not harness.store.writer._due(), "it would ask itself again and again"
    assert overtaken == bool(database.fired)
    await other.store.close()
    await harness.let_go()


async def test_a_claim_that_waits_outlives_a_lost_connection(broken_world):
    harness, database = broken_world(threaded=True)
    waiting = asyncio.ensure_future(harness.claim(await harness.worker(), 1, "30s"))
    await asyncio.sleep(0)
    await harness.store.write(FunctionCommand(lambda uow: None))
    database.arm(1, DatabaseGone("the connection was lost"), only="commit")
    with pytest.raises(StorageUnavailable):
        await harness.start()
    assert not waiting.done()
    run = await started_again(harness)
    async with asyncio.timeout(10):
        assert [run.id] == [lease.run_id for lease in await waiting]
    await harness.close()


async def test_whatever_goes_wrong_when_the_writer_connects_again_it_tries_on(broken_world, monkeypatch, caplog):
    harness, database = broken_world(threaded=True)
    await harness.worker()
    again, tries = database.reopen, []

    def reopen():
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("nobody has thought of this")
        again()

    monkeypatch.setattr(database, "reopen", reopen)
    database.arm(1, DatabaseGone("the connection was lost"), only="commit")
    with pytest.raises(StorageUnavailable):
        await harness.start()
    await started_again(harness)
    assert len(tries) == 2
    assert "nobody has thought of this" in caplog.text
    await harness.close()


async def test_what_has_passed_the_gate_before_an_outage_is_carried_out_after_it(broken_world):
    """The event loop may stand still between its look at the gate and the queue, as long as it likes."""
    harness, database = broken_world(threaded=True)
    await harness.worker()
    writer = harness.store.writer
    late = FunctionCommand(lambda uow: "done")
    late.future = asyncio.get_running_loop().create_future()
    put = writer._todo.append
    regained = asyncio.Event()
    harness.store.events.subscribe(StorageRegained, lambda _: regained.set())
    database.arm(1, DatabaseGone("the connection was lost"), only="commit")
    with pytest.raises(StorageUnavailable):
        await harness.start()
    async with asyncio.timeout(10):
        await regained.wait()
        put(late)
        writer._look()
        assert "done" == await late.future
    await harness.close()


async def test_a_writer_that_fails_answers_all_who_wait_and_says_so(broken_world, monkeypatch, caplog):
    harness, _ = broken_world(threaded=True)
    worker = await harness.worker()
    told = asyncio.get_running_loop().create_future()
    harness.store.events.subscribe(StorageStopped, lambda stopped: told.set_result(stopped.error))
    patient = asyncio.ensure_future(harness.claim(worker, 1, "30s"))
    while not harness.store.writer._waiting:  # noqa: ASYNC110 - the writer sets no event for that
        await asyncio.sleep(0)
    fails = ZeroDivisionError("nobody has thought of this")

    def commit(batch):
        raise fails

    monkeypatch.setattr(harness.store.writer, "_commit", commit)
    async with asyncio.timeout(10):
        with pytest.raises(StorageUnavailable):  # perhaps it was carried out: nobody knows
            await harness.store.write(FunctionCommand(lambda uow: None))
        with pytest.raises(StorageFailed):
            await patient
        assert fails is await told
        with pytest.raises(StorageFailed):
            await harness.store.write(FunctionCommand(lambda uow: None))
    assert "the writer has failed" in caplog.text
    await harness.let_go()


async def test_whatever_a_command_raises_it_is_answered_and_so_are_those_after_it(broken_world, caplog):
    caplog.set_level(logging.CRITICAL)
    harness, _ = broken_world(threaded=True)
    gate = threading.Event()
    blocked = harness.store.write(FunctionCommand(lambda uow: gate.wait(10)))
    raising = harness.store.write(FunctionCommand(lambda uow: next(iter(()))))
    others = [harness.store.write(FunctionCommand(lambda uow, n=n: n)) for n in range(3)]
    gate.set()
    async with asyncio.timeout(10):
        await blocked
        with pytest.raises(RuntimeError, match="StopIteration"):
            await raising
        assert [0, 1, 2] == await asyncio.gather(*others)
    await harness.close()
