"""A server on PostgreSQL has two writers: what workers report is written beside everything else, and nothing shows the seam."""

import asyncio
import contextlib
import threading

import pytest
from tests.commands import FunctionCommand

from headway.protocol import workers as wire
from headway.store.counters import READS_MAX, CounterChanges, Counters

of_postgres = pytest.mark.parametrize("disk", ["postgres"], indirect=True)


@contextlib.asynccontextmanager
async def busy(harness):
    """Keep the first writer in the middle of a transaction."""
    entered, gate = threading.Event(), threading.Event()
    held = harness.store.write(FunctionCommand(lambda uow: entered.set() or gate.wait(20)))
    try:
        await asyncio.to_thread(entered.wait, 10)
        yield
    finally:
        gate.set()
        await held


@of_postgres
async def test_a_report_does_not_wait_for_what_the_other_writer_does(disk):
    worker = await disk.worker()
    run = await disk.start()
    lease = await disk.one(worker)
    async with asyncio.timeout(10), busy(disk):
        await disk.tell(worker, lease, wire.SucceededReport)
        assert "succeeded" == await disk.state(run.id)


@of_postgres
async def test_the_counters_of_one_writer_are_no_lock_for_the_other(disk):
    await disk.service.servers.join()
    worker = await disk.worker()
    await disk.start()
    lease = await disk.one(worker)
    with disk.connection().transaction():
        assert disk.sql("SELECT 1 FROM counters WHERE shard > 0 FOR UPDATE"), "those of starts and claims"
        async with asyncio.timeout(5):  # a statement waits for a lock for ten
            await disk.tell(worker, lease, wire.SucceededReport)
    assert {"succeeded": 1} == disk.tasks.counts("t")


@of_postgres
async def test_a_report_that_queues_its_run_again_wakes_the_claims_that_wait(disk):
    worker = await disk.worker()
    await disk.start()
    lease = await disk.one(worker)
    waiting = asyncio.ensure_future(disk.claim(worker, 1, "30s"))
    while not disk.store.writer._waiting:  # noqa: ASYNC110 - the writer sets no event for that
        await asyncio.sleep(0)
    await disk.tell(worker, lease, wire.ReleasedReport)
    async with asyncio.timeout(5):
        (again,) = await waiting
    assert (lease.run_id, lease.epoch + 1) == (again.run_id, again.epoch)
    assert {"running": 1} == disk.tasks.counts("t"), "what was told is not what is there"


@of_postgres
async def test_what_one_writer_claims_the_other_need_not_read(disk, monkeypatch):
    worker = await disk.worker()
    await disk.start()
    lease = await disk.one(worker)
    reading = disk.store.writers[1]._database
    asked = []
    rows = reading.rows
    monkeypatch.setattr(reading, "rows", lambda name, **binds: asked.append(name) or rows(name, **binds))
    await disk.tell(worker, lease, wire.SucceededReport)
    assert [] == asked


@of_postgres
async def test_a_copy_that_has_become_old_is_read_again(disk):
    worker = await disk.worker()
    await disk.start()
    lease = await disk.one(worker)
    disk.sql("UPDATE runs SET version = version + 1, priority = 9 WHERE id = ?", lease.run_id)  # another server
    await disk.tell(worker, lease, wire.SucceededReport)
    run = await disk.runs.get(lease.run_id)
    assert ("succeeded", 9) == (run.state, run.priority)


@of_postgres
async def test_a_statement_that_the_database_has_forgotten_is_prepared_anew_and_nobody_notices(disk):
    await disk.worker()
    for _ in range(4):
        await disk.start()
    # Behind the driver's back; the writer sleeps.
    disk.store.writer._database.connection.pgconn.exec_(b"DEALLOCATE ALL")
    await disk.start()
    assert {"queued": 5} == disk.tasks.counts("t")


class CounterTable:
    """A table of counters that another writer changes while it is read."""

    def __init__(self, counters, commits):
        self.counters, self.commits, self.count = counters, commits, 0
        self.reads = 0

    def rows(self, name):
        self.reads += 1
        seen = self.count
        if self.commits:
            self.commits -= 1
            self.counters.commit(self, (), ONE_QUEUED)
        return [("t", "q", "queued", seen)]

    def commit(self, messages):
        self.count += 1


ONE_QUEUED = CounterChanges(counts={("t", "q", "queued"): 1})


@pytest.mark.parametrize("commits", [0, 1, READS_MAX - 1])
def test_counters_that_are_read_while_the_other_writer_commits_are_read_again(commits):
    counters = Counters()
    table = CounterTable(counters, commits)
    counters.reload(table)
    assert {("t", "q", "queued"): commits} == counters.counts == {("t", "q", "queued"): table.count}
    assert commits + 1 == table.reads


async def test_counters_are_not_taken_over_in_the_middle_of_a_commit():
    counters = Counters()
    table = CounterTable(counters, 0)
    on_disk, counted = threading.Event(), threading.Event()

    def commit(messages):
        table.count = 1  # it is in the store, and not in memory yet
        on_disk.set()
        counted.wait(20)

    table.commit = commit
    committing = asyncio.ensure_future(asyncio.to_thread(counters.commit, table, (), ONE_QUEUED))
    await asyncio.to_thread(on_disk.wait, 20)
    reading = table.rows

    def rows(name):
        if table.reads == 2:
            counted.set()
            while not committing.done():
                threading.Event().wait(0.001)
        return reading(name)

    table.rows = rows
    await asyncio.to_thread(counters.reload, table)
    assert {("t", "q", "queued"): 1} == counters.counts
    assert 4 == table.reads, "what was read before the commit was over is not taken"
