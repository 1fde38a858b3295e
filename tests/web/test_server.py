"""The embedded server on a real socket: limits of the connection, and the drain."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import threading

import pytest
from tests.commands import FunctionCommand
from tests.web.sockets import serving

from headway.errors import RunNotFound
from headway.logs import LoggedErrorFilter
from headway.web import connection as module
from headway.web import server as embedded


@contextlib.asynccontextmanager
async def draining():
    """A server that was told to end, and drains as long as the block lasts."""
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def on_drain():
        inside.set()
        await go_on.wait()

    async with serving(on_drain) as server:
        server.stop.set()
        await inside.wait()
        yield server
        go_on.set()
        await server.task


async def test_it_answers_over_a_socket():
    async with serving() as server:
        status, body = await server.request("POST", "/v1/runs", b'{"task":"backup"}')
        assert status == 202
        run_id = json.loads(body)["id"]
        status, body = await server.request("GET", f"/v1/runs/{run_id}")
        assert (status, json.loads(body)["id"]) == (200, run_id)
        head = await server.raw(
            f"HEAD /v1/runs/{run_id} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert head.endswith(b"\r\n\r\n")
        assert (await server.request("DELETE", f"/v1/runs/{run_id}"))[0] == 409
        assert (await server.request("OPTIONS", "/v1/runs")) == (204, b"")


async def test_pipelined_requests_are_answered_in_order():
    async with serving() as server:
        last = b"GET /nope HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = await server.raw(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3 + last)
        assert answer.count(b"HTTP/1.1 200 OK") == 3
        assert b"HTTP/1.1 404" in answer.rpartition(b"200 OK")[2]


async def test_a_body_above_the_limit_is_refused_before_it_is_sent():
    async with serving(body_max=1000) as server:
        answer = await server.raw(
            b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 5000000\r\n\r\n"
        )
        assert answer.startswith(b"HTTP/1.1 413")
        endless = b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = await server.raw(endless + b"400\r\n" + b"x" * 1024 + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "request_head",
    [
        b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /docs\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET http://evil.example/docs HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
    ],
)
async def test_requests_that_could_be_read_two_ways_are_refused(request_head):
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(request_head)
        writer.write_eof()
        answer = await reader.read()
        assert answer == b"" or int(answer.split()[1]) in range(400, 500), answer
        writer.close()


async def test_a_head_that_does_not_end_is_cut_off_by_its_size():
    async with serving() as server:
        answer = await server.raw(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + b"X-A: " + b"y" * 70_000)
        assert answer.startswith(b"HTTP/1.1 431")


async def test_a_head_that_does_not_come_is_cut_off_in_time(monkeypatch):
    monkeypatch.setattr(module, "HEAD_SECONDS", 0.05)
    async with serving() as server:
        assert await server.raw(b"GET /livez HT") == b""
        assert await server.raw(b"") == b""


async def test_a_client_that_does_not_read_is_cut_off(monkeypatch):
    monkeypatch.setattr(module, "STUCK_SECONDS", 0)
    async with serving() as server:
        big = b'{"task":"backup","input":{"a":"' + b"x" * 1_000_000 + b'"}}'
        for _ in range(12):
            assert (await server.request("POST", "/v1/runs", big))[0] == 202
        reader, writer = await server.connect()
        writer.write(b"GET /v1/runs?page_size=12 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        got = 0
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65536):
                got += len(chunk)
        assert got < 12_000_000
        writer.close()


async def test_a_drain_with_open_streams_ends_in_time_and_in_order():
    async with serving() as server:
        run = json.loads((await server.request("POST", "/v1/runs", b'{"task":"backup"}'))[1])
        streaming = asyncio.ensure_future(
            server.request("GET", run["url"] + "/events", headers="Accept: text/event-stream\r\n")
        )
        polling = asyncio.ensure_future(server.request("GET", run["url"], headers="Prefer: wait=30\r\n"))
        while len(server.api.waiting) < 2:  # noqa: ASYNC110 - both have to be on the server before it stops
            await asyncio.sleep(0)
        server.stop.set()
        status, body = await streaming
        assert (status, b"event: reconnect" in body) == (200, True)
        assert (await polling)[0] == 200
        await server.task
        assert server.api.streams.open == 0


async def test_a_stream_that_cannot_go_on_breaks_off_and_says_in_one_line_why(caplog):
    async def lost(*_):
        raise RunNotFound("it is gone")
        yield

    async with serving() as server:
        run = json.loads((await server.request("POST", "/v1/runs", b'{"task":"backup"}'))[1])
        server.api.service.of(1).history.watch = lost
        answer = await server.raw(
            f"GET {run['url']}/events HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: abc\r\nAccept: text/event-stream\r\n\r\n".encode()
        )
        assert b"retry: " in answer
        assert not answer.endswith(b"0\r\n\r\n")
    errors = [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]
    news = [record for record in errors if LoggedErrorFilter().filter(record)]
    assert [record.getMessage() for record in news] == [
        f"http.broken_off request_id=abc path='{run['url']}/events' error=it is gone"
    ]
    assert news != errors  # uvicorn tells it once more


async def test_while_it_drains_readiness_says_so_and_workers_can_report():
    async with draining() as server:
        assert (await server.request("GET", "/readyz"))[0] == 503
        assert (await server.request("GET", "/livez"))[0] == 200
        worker = (await server.service.of(1).workers.list())[0].id
        body = json.dumps({"worker_id": worker, "held": []}).encode()
        assert (await server.request("POST", "/v1/leases:report", body))[0] == 200


async def test_a_drain_that_takes_too_long_is_cut_short():
    async def on_drain():
        await asyncio.Event().wait()

    async with serving(on_drain, drain_ms=20) as server:
        server.stop.set()
        await server.task


# -- the end: whoever has asked is answered --------------------------------------------------------------------------------


@contextlib.contextmanager
def a_writer_that_stands_still(server):
    """Nothing is written within the block, as when a disk or a database takes its time."""
    go_on = threading.Event()
    standing = server.service.store.write(FunctionCommand(lambda uow: go_on.wait()))
    try:
        yield
    finally:
        go_on.set()
        standing.cancel()


async def asked(server):
    """Return once the server has begun to start a run."""
    while not server.api.limiter.in_flight:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)


async def test_what_cannot_be_answered_before_the_end_is_told_that_nobody_knows_and_to_come_again(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(embedded, "LAST_ANSWERS_S", 0.05)
    async with serving(path=tmp_path / "headway.db") as server:
        with a_writer_that_stands_still(server):
            starting = asyncio.ensure_future(server.raw(head("POST", "/v1/runs", b'{"task":"backup"}')))
            await asked(server)
            server.stop.set()
            answer = await starting
            await server.task
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "cut_off"


def head(method, path, body=b"", connection="keep-alive"):
    return (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Connection: {connection}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


async def test_who_has_connected_and_asked_when_the_server_goes_is_answered():
    """Such connections wait in the kernel's queue: closing the socket would reset them."""
    async with serving() as server:
        came = []
        close = server.api.close

        def come_in_the_last_moment():
            came.append(socket.create_connection(("127.0.0.1", server.port)))
            came[0].sendall(head("GET", "/livez"))
            came[0].setblocking(False)
            close()

        server.api.close = come_in_the_last_moment
        server.stop.set()
        await server.task
        with came[0] as last:
            answer = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(last, 1000), 5)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nconnection: close\r\n" in answer


async def test_who_has_connected_and_asks_a_moment_later_is_answered_when_the_server_goes():
    async with serving() as server:
        reader, writer = await server.connect()
        silent, unasked = await server.connect()
        going = asyncio.Event()
        server.api.close = lambda close=server.api.close: (going.set(), close())
        server.stop.set()
        await going.wait()
        for part in (head("GET", "/livez")[:20], head("GET", "/livez")[20:]):
            await asyncio.sleep(0.01)
            writer.write(part)
        async with asyncio.timeout(5):
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
            assert await silent.read() == b""
        writer.close()
        unasked.close()


async def test_a_server_that_drains_closes_each_connection_with_its_answer():
    """So that nobody asks on a connection that is being closed."""
    async with draining() as server:
        assert b"\r\nconnection: close\r\n" in await server.raw(head("GET", "/livez"))


async def test_no_connection_outlasts_the_server(monkeypatch):
    """One that is left would be answered by a service that has let go of its store."""
    monkeypatch.setattr(embedded, "LAST_ANSWERS_S", 0.05)
    monkeypatch.setattr(embedded, "LAST_WORDS_S", 0.05)
    async with serving() as server:
        halves = [head("POST", "/v1/runs", b'{"task":"backup"}')[:-3], head("GET", "/livez")[:-3]]
        open_ones = [await server.connect() for _ in halves]
        for (_, writer), half in zip(open_ones, halves, strict=True):
            writer.write(half)
        server.stop.set()
        await server.task
        for reader, writer in open_ones:
            async with asyncio.timeout(1):
                with contextlib.suppress(ConnectionError):
                    await reader.read()
            writer.close()


async def test_a_file_in_one_piece_or_many_is_downloaded_whole_and_the_connection_goes_on(caplog):
    def download(port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for size in (3, 3_000_000):
            connection.request("POST", "/v1/files?name=a.csv", b"x" * size, {"Content-Type": "text/csv"})
            path = f"/v1/files/{json.loads(connection.getresponse().read())['id']}/content"
            for _ in range(2):
                connection.request("GET", path)
                assert connection.getresponse().read() == b"x" * size
        connection.close()

    async with serving() as server:
        await asyncio.to_thread(download, server.port)
    assert not [record.getMessage() for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]
