"""Threads that read: what is interrupted ends, and nothing else does; on each store."""

import asyncio
import threading

import pytest
from tests.faults.waiting import until

from headway.errors import Overloaded, QueryTooCostly, StorageUnavailable
from headway.store import reader_pool
from headway.store.query_context import QUERY_CONTEXT, ClientDisconnected, QueryContext

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


def endless(database, dialect):
    return database.select(ENDLESS, {})


def quick(database, dialect):
    return database.select("SELECT 1", {})[0][0]


async def within_context(disk, query_context, read=endless):
    QUERY_CONTEXT.set(query_context)
    return await disk.store.read.ask(read, slow=True)


async def idle(disk):
    await asyncio.to_thread(until, lambda: disk.store.read.busy == 0, 20, "the threads are free")


async def test_a_query_ends_when_its_time_is_up(disk):
    with pytest.raises(QueryTooCostly):
        await within_context(disk, QueryContext(1, 0.1))
    await idle(disk)
    assert 1 == await within_context(disk, QueryContext(1, 30), quick)


async def test_a_query_ends_with_the_task_that_waits_for_it(disk):
    asking = asyncio.create_task(within_context(disk, None))
    await asyncio.to_thread(until, lambda: disk.store.read.busy == 1, 20, "it is under way")
    asking.cancel()
    await idle(disk)


async def test_what_a_client_waits_for_ends_when_it_leaves_also_before_its_turn(disk):
    query_context, other = QueryContext(1, 600), QueryContext(2, 600)
    leaving = [asyncio.create_task(within_context(disk, query_context)) for _ in range(10)]
    staying = asyncio.create_task(within_context(disk, other))
    await asyncio.sleep(0)
    query_context.leave()
    for each in leaving:
        with pytest.raises(ClientDisconnected):
            await each
    with pytest.raises(ClientDisconnected):
        await within_context(disk, query_context, quick)
    await asyncio.to_thread(until, lambda: disk.store.read.busy == 1, 20, "only the other one is under way")
    assert not staying.done()
    staying.cancel()
    await idle(disk)


async def test_an_interrupt_meets_no_other_query(disk):
    """They follow each other on the same connections, one half of them interrupted at any moment."""

    async def one(number):
        if number % 2:
            with pytest.raises(QueryTooCostly):
                await within_context(disk, QueryContext(1, 0.02))
        else:
            assert 1 == await within_context(disk, QueryContext(1, 600), quick)

    await asyncio.gather(*(asyncio.create_task(one(number)) for number in range(60)))
    await idle(disk)


async def test_what_the_server_reads_for_itself_has_no_limit_and_waits_for_no_organisation(disk):
    asking = [asyncio.create_task(within_context(disk, QueryContext(number % 3 + 1, 600))) for number in range(30)]
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        assert 1 == await within_context(disk, None, quick)
    for each in asking:
        each.cancel()
    await idle(disk)


async def test_whose_turn_does_not_come_is_told_so(disk, monkeypatch):
    monkeypatch.setattr(reader_pool, "TURN_S", 0.1)
    asking = [asyncio.create_task(within_context(disk, QueryContext(1, 600))) for _ in range(10)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await within_context(disk, QueryContext(1, 0.1), quick)
    for each in asking:
        each.cancel()
    await idle(disk)


async def test_a_database_that_does_not_answer_an_interrupt_is_called_unavailable(disk, monkeypatch):
    monkeypatch.setattr(reader_pool, "NOTICED_S", 0.1)
    go_on = threading.Event()
    with pytest.raises(StorageUnavailable):
        await within_context(disk, QueryContext(1, 0.1), lambda database, dialect: go_on.wait(20))
    go_on.set()
    await idle(disk)


async def test_a_query_in_memory_ends_in_time_as_well(harness):
    with pytest.raises(QueryTooCostly):
        await within_context(harness, QueryContext(1, 0.1))
    assert 1 == await within_context(harness, QueryContext(1, 30), quick)


async def test_closing_interrupts_what_is_under_way(disk):
    asking = asyncio.create_task(within_context(disk, None))
    await asyncio.to_thread(until, lambda: disk.store.read.busy == 1, 20, "it is under way")
    await asyncio.to_thread(disk.store.read._threads.close)
    with pytest.raises(StorageUnavailable):
        await asking
    with pytest.raises(StorageUnavailable):
        await within_context(disk, None, quick)
    disk.store.read._threads._seats.clear()
