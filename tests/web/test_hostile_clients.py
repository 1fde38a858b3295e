"""Clients that take their time on purpose, or send what was not asked for: each is cut off, and costs others nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from tests.web.sockets import serving

from headway.web import connection as module

START = b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LIVE = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
TOO_SOON_S = 0.2
"""A client that is cut off is cut off within some multiple of this, however busy the machine is."""

DRIPS = {
    "a head": (b"GET /livez HTTP/1.1\r\nHost: localhost\r\n", b"X-A: b\r\n"),
    "a body of known length": (START + b"Content-Length: 1000\r\n\r\n{", b" "),
    "a body in chunks": (START + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "a body that it is to be asked for": (START + b"Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n", b" "),
    "a body that nobody wants": (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n", b"x"),
    "a file": (
        b"POST /v1/files?name=a HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\nContent-Length: 1000\r\n\r\n",
        b"x",
    ),
    "the body of a second request": (LIVE + START + b"Content-Length: 1000\r\n\r\n", b" "),
}


async def drip(server, begins, piece, every_s):
    """Send a piece now and then until the server has had enough; return what it said."""
    reader, writer = await server.connect()
    saying = asyncio.ensure_future(reader.read())
    with contextlib.suppress(ConnectionError):
        writer.write(begins)
        while not saying.done():
            await writer.drain()
            await asyncio.wait([saying], timeout=every_s)
            writer.write(piece)
    writer.close()
    with contextlib.suppress(ConnectionError):
        return await saying
    return b""


def statuses(said):
    return [part.split()[0] for part in said.split(b"HTTP/1.1 ")[1:]]


def limits(monkeypatch, seconds):
    monkeypatch.setattr(module, "HEAD_SECONDS", seconds)
    monkeypatch.setattr(module, "BODY_SECONDS", seconds)


@pytest.mark.parametrize("what", DRIPS)
async def test_what_drips_and_never_ends_is_cut_off_in_time(what, monkeypatch):
    limits(monkeypatch, TOO_SOON_S)
    async with serving() as server:
        async with asyncio.timeout(10 * TOO_SOON_S):
            said = await drip(server, *DRIPS[what], TOO_SOON_S / 10)
        assert b" 202 " not in said
        assert (await server.request("GET", "/v1/runs"))[1].startswith(b'{"data":[]'), "what was not whole was done"


async def test_a_body_that_gets_on_is_taken_however_long_it_takes(monkeypatch):
    limits(monkeypatch, 0.05)
    body = b'{"task":"backup"' + b" " * 500 + b"}"
    async with serving() as server:
        reader, writer = await server.connect()
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        writer.write(START + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
        for first in range(0, len(body), 20):
            writer.write(body[first : first + 20])
            await asyncio.sleep(0.01)
        answer = await reader.read()
        assert loop.time() - began_s > 4 * 0.05
        assert answer.startswith(b"HTTP/1.1 202"), answer
        writer.close()


async def test_a_crowd_that_drips_keeps_nobody_waiting_and_is_gone_in_time(monkeypatch):
    """Seven hundred clients that never come to an end, and one that starts runs: all of its starts are taken at once."""
    limits(monkeypatch, 2.0)
    async with serving() as server:
        loop = asyncio.get_running_loop()
        crowd = [asyncio.ensure_future(drip(server, *DRIPS[what], 0.5)) for what in DRIPS for _ in range(100)]
        took_s = []
        async with asyncio.timeout(60):
            while not all(client.done() for client in crowd):
                began_s = loop.time()
                status, body = await server.request("POST", "/v1/runs", b'{"task":"backup"}')
                took_s.append(loop.time() - began_s)
                assert status == 202, body
                await asyncio.wait(crowd, timeout=0.02)
        assert max(took_s) < 2.0, "somebody had to wait until they were cut off"
        assert sorted(took_s)[len(took_s) // 2] < 0.25
        shown = json.loads((await server.request("GET", "/v1/runs?page_size=1"))[1])
        assert shown["data"], "the server goes on"
        assert not server.api.waiting


async def test_a_flood_of_pipelined_requests_is_cut_off_and_those_before_it_are_answered_in_order():
    """What is asked before anything is answered is held in memory: no more of it than there is room for."""
    async with serving() as server:
        reader, writer = await server.connect()
        asked = b"".join(
            b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: n%d\r\n\r\n" % n for n in range(20_000)
        )
        writer.write(asked)
        said = b""
        with contextlib.suppress(ConnectionError):  # what was sent and is not read any more makes it an abrupt end
            while chunk := await reader.read(65536):
                said += chunk
        names = [line for line in said.split(b"\r\n") if line.startswith(b"x-request-id: ")]
        assert names == [b"x-request-id: n%d" % n for n in range(len(names))]
        assert 0 < len(names) <= module.PIPELINED_MAX + 1
        writer.close()
        assert (await server.request("GET", "/livez"))[0] == 200


@pytest.mark.parametrize("garbage", [b"\x00\xff\r\n\r\n", b"GARBAGE\r\n\r\n", b"GET /livez HTTP/1.1\r\nHost\r\n\r\n"])
async def test_garbage_after_a_request_is_refused_after_its_answer(garbage):
    """A 400 in the place of the answer would say that nothing was done, and it was."""
    body = b'{"task":"backup"}'
    async with serving() as server:
        said = await server.raw(START + b"Content-Length: %d\r\n\r\n" % len(body) + body + garbage)
        assert statuses(said) == [b"202", b"400"]
        said = await server.raw(LIVE * 3 + garbage + LIVE)
        assert statuses(said) == [b"200"] * 3 + [b"400"]


async def test_a_body_that_breaks_off_in_garbage_is_refused_after_those_before_it():
    broken = START + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\nzz\r\n"
    async with serving() as server:
        said = await server.raw(LIVE + LIVE + broken)
        assert statuses(said) == [b"200", b"200", b"400"]
        assert (await server.raw(broken)).startswith(b"HTTP/1.1 400")
        assert (await server.request("GET", "/v1/runs"))[1].startswith(b'{"data":[]')


async def test_a_head_that_is_too_large_is_refused_after_the_answer_to_what_came_before():
    async with serving() as server:
        run = json.loads((await server.request("POST", "/v1/runs", b'{"task":"backup"}'))[1])
        reader, writer = await server.connect()
        writer.write(f"GET {run['url']} HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=30\r\n\r\n".encode())
        while not server.api.waiting:  # noqa: ASYNC110 - it has to be on the server before the rest comes
            await asyncio.sleep(0)
        writer.write(b"GET /livez HTTP/1.1\r\nX-A: " + b"y" * module.HEAD_BYTES_MAX)
        await writer.drain()
        for _ in range(3):
            assert (await server.request("GET", "/livez"))[0] == 200
        server.api.drain()
        assert statuses(await reader.read()) == [b"200", b"431"]
        writer.close()


async def test_a_head_is_not_too_large_because_a_large_body_came_before_it():
    body = b'{"task":"backup"' + b" " * 100_000 + b"}"
    last = b"GET /nope HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(START + b"Content-Length: %d\r\n\r\n" % len(body) + body + last[:20])
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 202")
        writer.write(last[20:])
        assert statuses(b"HTTP/1.1 202 " + await reader.read()) == [b"202", b"404"]
        writer.close()
