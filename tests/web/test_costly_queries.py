"""Queries that would take long, asked of a real server: they end in time or with their client, and hold up nobody else."""

import asyncio
import contextlib
import json

import psycopg
import pytest
from tests.harness import opened
from tests.web.sockets import serving

from headway.clock import SystemClock
from headway.kernel.authority import GRANTABLE

PATIENCE_S = 20
"""Far less than the query takes, and enough for a busy machine."""
# Each of the words is found at once to be missing by one of the two databases, and slowly by the other.
WORDS = [word for _ in range(50) for word in ("a" * 49 + "b", "b" + "a" * 49)]
COSTLY = {"filter": {"or": [{"field": "T", "operator": "contains", "value": word} for word in WORDS]}}
QUERY = "/v1/tables/texts/records:query"


@pytest.fixture(params=["sqlite", "postgres"])
def kept(request, tmp_path):
    """Begin to serve from a new store of each kind, with threads that read."""
    where = tmp_path / "headway.db" if request.param == "sqlite" else request.getfixturevalue("postgres_store")

    @contextlib.asynccontextmanager
    async def begin(**settings):
        async with serving(store=opened(where, SystemClock()), **settings) as server:
            server.url = None if request.param == "sqlite" else where
            await server.service.servers.join()
            yield server

    return begin


async def send(server, method, path, document=None, key=""):
    body = b"" if document is None else json.dumps(document).encode()
    status, content = await server.request(method, path, body, f"Authorization: Bearer {key}\r\n" if key else "")
    return status, json.loads(content)


async def fill(server, key=""):
    """A table of long texts: the costly query takes minutes over them."""
    fields = [{"name": "T", "type": "text"}]
    assert 201 == (await send(server, "POST", "/v1/tables", {"name": "texts", "fields": fields}, key))[0]
    for _ in range(5):
        rows = [{"T": "a" * 70_000}] * 100
        assert 201 == (await send(server, "POST", "/v1/tables/texts/records:batch", {"records": rows}, key))[0]


async def ask_and_stay(server, path=QUERY, document=COSTLY, key=""):
    """Ask, and return the connection on which nobody has answered yet."""
    body = json.dumps(document).encode()
    _, writer = connection = await server.connect()
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    lines += [f"Authorization: Bearer {key}"] if key else []
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    await writer.drain()
    return connection


def under_way(server):
    """How many queries are carried out in the database."""
    if server.url is None:
        return server.service.store.read.busy
    with psycopg.connect(server.url) as side:
        sql = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND state = 'active' AND pid <> pg_backend_pid() AND query LIKE '%strpos%'"
        )
        return side.execute(sql).fetchone()[0]


async def until(expected, server, looked_at=under_way):
    async with asyncio.timeout(PATIENCE_S):
        while not expected(await asyncio.to_thread(looked_at, server)):
            pass


@pytest.mark.parametrize("path", [QUERY, "/v1/tables/texts/records:count"])
async def test_a_query_that_takes_too_long_is_refused_and_ends(kept, path):
    async with kept(query_max_ms=1_000) as server:
        await fill(server)
        status, answer = await send(server, "POST", path, COSTLY)
        assert (422, "query_too_costly") == (status, answer["code"])
        assert "Narrow it" in answer["hint"]
        await until(lambda number: number == 0, server)
        status, answer = await send(server, "GET", "/v1/runs")
        assert (200, []) == (status, answer["data"]), "another one is answered on the same threads"


async def test_a_query_ends_when_its_client_leaves(kept):
    async with kept(query_max_ms=600_000) as server:
        await fill(server)
        _, writer = await ask_and_stay(server)
        await until(lambda number: number == 1, server)
        writer.close()
        await until(lambda number: number == 0, server)
        # The database has ended it before the reading thread knows.
        await until(lambda number: number == 0, server, lambda server: server.service.store.read.busy)


async def test_what_has_an_effect_goes_on_when_its_client_leaves(kept):
    async with kept() as server:
        _, writer = await ask_and_stay(server, "/v1/runs", {"task": "backup"})
        writer.close()
        async with asyncio.timeout(PATIENCE_S):
            while not (await send(server, "GET", "/v1/runs"))[1]["data"]:
                pass


async def test_one_organisations_costly_queries_hold_up_no_others(kept):
    async with kept(query_max_ms=600_000) as server:
        _, made = await send(server, "POST", "/v1/keys", {"name": "a", "scopes": [str(each) for each in GRANTABLE]})
        ours = made["key"]
        _, other = await send(server, "POST", "/v1/organisations", {"name": "b"}, ours)
        asked = {"name": "b", "scopes": ["run:read", "run:start", "record:read", "record:write", "table:write", "table:read",
                 "worker:protocol"], "organisation": other["id"]}  # fmt: skip
        _, made = await send(server, "POST", "/v1/keys", asked, ours)
        theirs = made["key"]
        await fill(server, ours)
        staying = [await ask_and_stay(server, key=ours) for _ in range(20)]
        await until(lambda number: number >= 2, server)
        async with asyncio.timeout(PATIENCE_S):
            assert 200 == (await send(server, "GET", "/v1/runs?queue=default", key=theirs))[0]
            assert 200 == (await send(server, "GET", "/v1/runs:count?state=running", key=theirs))[0]
            fields = [{"name": "T", "type": "text"}]
            await send(server, "POST", "/v1/tables", {"name": "texts", "fields": fields}, theirs)
            assert 200 == (await send(server, "POST", QUERY, COSTLY, theirs))[0]
            worker = {"name": "w", "tasks": [{"name": "work"}]}
            status, worker = await send(server, "POST", "/v1/workers", worker, theirs)
            assert 201 == status
            assert 202 == (await send(server, "POST", "/v1/runs", {"task": "work"}, theirs))[0]
            status, claimed = await send(server, "POST", "/v1/leases:claim", {"worker_id": worker["id"]}, theirs)
            assert (200, 1) == (status, len(claimed["leases"]))
        for _, writer in staying:
            writer.close()
        await until(lambda number: number == 0, server)


async def test_a_server_that_goes_does_not_wait_for_a_costly_query(kept):
    async with kept(query_max_ms=600_000, drain_ms=100) as server:
        await fill(server)
        reader, writer = await ask_and_stay(server)
        await until(lambda number: number == 1, server)
        server.stop.set()
        async with asyncio.timeout(PATIENCE_S):
            assert b" 503 " in await reader.readline()
            await server.task
        writer.close()
        await until(lambda number: number == 0, server)
