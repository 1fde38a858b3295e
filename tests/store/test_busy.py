"""Another program holds the database: callers are told to come back, and nothing is lost."""

import asyncio
import contextlib
import logging

import apsw
import pytest
from tests.commands import FunctionCommand
from tests.harness import declare
from tests.running import of_sqlite
from tests.store.faulty import faulty_world

from headway.errors import StorageBusy
from headway.features.access.access import Access
from headway.server import NATIVE_SURFACE
from headway.store.database import DatabaseLocked
from headway.web.asgi import Api


@contextlib.contextmanager
def held(path, writer):
    """Hold the write lock from outside; the writer does not wait for it, so that the test need not."""
    writer._database.connection.set_busy_timeout(1)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


@of_sqlite("disk")
async def test_while_another_program_writes_commands_are_answered_with_503_and_nothing_is_lost(disk, caplog):
    worker = await disk.worker()
    waiting = asyncio.ensure_future(disk.claim(worker, 1, "30s"))
    await asyncio.sleep(0)
    await disk.store.write(FunctionCommand(lambda uow: None))  # the claim has been looked at, and waits
    with held(disk.path, disk.store.writer), caplog.at_level(logging.WARNING):
        found = await asyncio.gather(
            *(disk.start() for _ in range(3)), disk.worker(declare("u")), return_exceptions=True
        )
        assert [StorageBusy] * 4 == [type(error) for error in found]
        assert (503, 1) == (found[0].status, found[0].retry_after_s)
    assert {"storage.busy"} == {record.message.split()[0] for record in caplog.records}, "it is no bug"
    run = await disk.start()
    assert [run.id] == [lease.run_id for lease in await waiting]


async def test_in_one_by_one_only_the_first_waits_for_the_lock():
    harness, database = faulty_world()
    writer = harness.store.writer
    database.arm(1, DatabaseLocked(), only="begin")
    done, _ = writer._one_by_one([FunctionCommand(lambda uow: None) for _ in range(3)])
    assert [StorageBusy] * 3 == [type(command.failure) for command in done]
    await harness.close()


async def test_a_read_that_finds_the_database_locked_is_a_503(disk):
    class Locked:
        def rows(self, name, /, **binds):
            raise DatabaseLocked("database is locked")

    await disk.service.part(Access).load()
    api = Api(disk.service, (NATIVE_SURFACE,))
    near, disk.store.read.near = disk.store.read.near, Locked()
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request"}

    path = "/v1/runs/01890000-0000-7000-8000-00000000abcd"
    scope = {
        "type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [(b"host", b"localhost")],
    }  # fmt: skip
    await api(scope, receive, send)
    disk.store.read.near = near
    assert 503 == sent[0]["status"]
    assert (b"retry-after", b"1") in sent[0]["headers"]
    assert b"storage_busy" in sent[1]["body"]


@pytest.mark.parametrize("kind", [apsw.BusyError, apsw.LockedError, apsw.ProtocolError])
def test_all_ways_of_being_locked_out_are_the_same(kind):
    from headway.store.sqlite.connection import translated

    assert isinstance(translated(kind("locked")), DatabaseLocked)
