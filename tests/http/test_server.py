"""The embedded server on a real socket: limits of the connection, and the drain."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from tests.http.kit import on_loop
from tests.http.sockets import serving

from headway.http import protocol


@on_loop
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


@on_loop
async def test_pipelined_requests_are_answered_in_order():
    async with serving() as server:
        last = b"GET /nope HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = await server.raw(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3 + last)
        assert answer.count(b"HTTP/1.1 200 OK") == 3
        assert b"HTTP/1.1 404" in answer.rpartition(b"200 OK")[2]


@on_loop
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
        b"GET /livez\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET http://evil.example/livez HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
    ],
)
@on_loop
async def test_requests_that_could_be_read_two_ways_are_refused(request_head):
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(request_head)
        writer.write_eof()
        answer = await reader.read()
        assert answer == b"" or int(answer.split()[1]) in range(400, 500), answer
        writer.close()


@on_loop
async def test_a_head_that_does_not_end_is_cut_off_by_its_size():
    async with serving() as server:
        answer = await server.raw(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + b"X-A: " + b"y" * 70_000)
        assert answer.startswith(b"HTTP/1.1 431")


@on_loop
async def test_a_head_that_does_not_come_is_cut_off_in_time(monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.05)
    async with serving() as server:
        assert await server.raw(b"GET /livez HT") == b""
        assert await server.raw(b"") == b""


@on_loop
async def test_a_client_that_does_not_read_is_cut_off(monkeypatch):
    monkeypatch.setattr(protocol, "STUCK_SECONDS", 0)
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


@on_loop
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
        assert server.api.streams == 0


@on_loop
async def test_while_it_drains_readiness_says_so_and_workers_can_report():
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def on_drain():
        inside.set()
        await go_on.wait()

    async with serving(on_drain) as server:
        server.stop.set()
        await inside.wait()
        assert (await server.request("GET", "/readyz"))[0] == 503
        assert (await server.request("GET", "/livez"))[0] == 200
        worker = (await server.service.workers.list())[0].id
        body = json.dumps({"worker_id": worker, "held": []}).encode()
        assert (await server.request("POST", "/v1/leases:report", body))[0] == 200
        go_on.set()
        await server.task


@on_loop
async def test_a_drain_that_takes_too_long_is_cut_short():
    async def on_drain():
        await asyncio.Event().wait()

    async with serving(on_drain, drain_ms=20) as server:
        server.stop.set()
        await server.task
