"""A commit that waits for the synchronous standby is not acknowledged before the standby has it, whoever loses patience."""

import asyncio

import pytest
from tests.faults.waiting import pause, until
from tests.harness import on_postgres, spec
from tests.postgres.standby import Pair
from tests.running import *  # all of them: the fixtures use each other

from headway.errors import StorageUnavailable
from headway.runs.idempotency import request_key


@pytest.fixture
def pair(postgres_installation):
    with Pair(installation=postgres_installation) as started:
        yield started


def waits(primary):
    """Return the process whose commit waits for a standby."""
    return primary.query("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")


async def test_a_commit_whose_wait_for_the_standby_was_ended_is_not_acknowledged(pair):
    harness = on_postgres(pair.primary.url("postgres"), threaded=True)
    await harness.service.servers.join()
    await harness.worker()
    pair.standby.kill()
    start = asyncio.ensure_future(harness.start())
    await asyncio.to_thread(until, lambda: waits(pair.primary), 10, "the commit waits")
    assert not start.done()
    pair.primary.query("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    with pytest.raises(StorageUnavailable):
        await start
    pair.standby.start()
    await asyncio.to_thread(until, lambda: not harness.store.writer.down, 20, "the database is there again")
    assert "queued" == (await harness.start()).state
    await harness.store.close()


async def test_a_repetition_is_not_told_of_a_run_that_the_standby_may_not_have(pair):
    """The run is on the primary's disk, and can be seen there, since the wait for the standby was ended."""
    harness = on_postgres(pair.primary.url("postgres"), threaded=True)
    await harness.service.servers.join()

    def start():
        request = request_key("k", "POST", "/v1/runs", b"{}", 3_600_000)
        return asyncio.ensure_future(harness.runs.start(spec(), request))

    await harness.worker()
    pair.standby.kill()
    first = start()
    await asyncio.to_thread(until, lambda: waits(pair.primary), 10, "the commit waits")
    pair.primary.query("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    with pytest.raises(StorageUnavailable):
        await first
    assert pair.primary.query("SELECT count(*) FROM runs") == [(1,)]
    for _ in range(30):  # time enough to be connected again, many times
        with pytest.raises(StorageUnavailable):
            await asyncio.wait_for(start(), 10)
        await asyncio.to_thread(pause, 0.1)
    pair.standby.start()
    await asyncio.to_thread(until, lambda: not harness.store.writer.down, 20, "the database is there again")
    assert "queued" == (await start()).run.state
    assert pair.primary.query("SELECT count(*) FROM runs") == [(1,)]
    await harness.store.close()
