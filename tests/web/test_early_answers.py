"""Answers to clients that are still sending: each can be read, also by those that send all before they read."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket

import pytest
from tests.web.sockets import serving

from headway.web import connection as module

MB = 1_000_000
JSON = {"Content-Type": "application/json"}
HEAD = b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def ask(port, path="/v1/runs", *, chunked=False, size=9 * MB, **headers):
    """Send all of a body as most clients do, then look at the answer; return it with what it says of the connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    body = (b"x" * 50_000 for _ in range(size // 50_000)) if chunked else b"x" * size
    sent = {**JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
    try:
        connection.request("POST", path, body, sent, encode_chunked=chunked)
        answer = connection.getresponse()
        assert b'"code":' in answer.read()
        return answer.status, answer.getheader("connection")
    finally:
        connection.close()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("close", [{}, {"connection": "close"}])
async def test_a_body_that_is_too_large_gets_its_answer_however_it_is_sent(chunked, close):
    async with serving(upload_max=4 * MB) as server:
        for size in (9 * MB, 30 * MB):
            for path in ("/v1/runs", "/v1/files?name=a"):
                found = await asyncio.to_thread(ask, server.port, path, chunked=chunked, size=size, **close)
                assert found == (413, "close"), path


@pytest.mark.parametrize("close", [{}, {"connection": "close"}])
async def test_whoever_is_refused_before_the_body_is_read_gets_that_answer(close):
    async with serving() as server:
        asked = [
            (404, "/v1/nothing", {}), (421, "/v1/runs", {"host": "evil.example"}), (403, "/v1/runs", {"origin": "http://evil.example"}),
            (400, "/v1/runs?x=y", {}), (401, "/v1/runs", {"authorization": "Bearer hw_x"}),
        ]  # fmt: skip
        for status, path, headers in asked:
            for chunked in (False, True):
                found = await asyncio.to_thread(ask, server.port, path, chunked=chunked, **headers, **close)
                assert found == (status, close.get("connection")), path
        await server.request("GET", "/v1/runs")  # the door refuses those alone that were let in before
        crowd = server.api.limiter
        crowd.limit, crowd.pressed = 0, True
        assert await asyncio.to_thread(ask, server.port, **close) == (503, close.get("connection"))


def late(port, head, piece, more):
    """Send a head, wait until the server has said its last word, send pieces all the same, and only then read."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head)
        assert connection.recv(1, socket.MSG_PEEK)
        for _ in range(more):
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    ("status", "head"),
    [
        (b"413", HEAD + b"Content-Length: 9000000\r\n\r\n"), (b"431", HEAD + b"X: " + b"x" * 70_000),
        (b"400", b"\0\0\0\0"), (b"404", b"POST /x HTTP/1.0\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n"),
    ],
)  # fmt: skip
async def test_what_is_sent_after_the_last_answer_takes_that_from_nobody(status, head):
    async with serving() as server:
        said = await asyncio.to_thread(late, server.port, head, b"x" * 100_000, 50)
        assert said.split()[1] == status
        assert said.count(b"HTTP/1.1") == 1


async def cut_off(server, head):
    """Send without an end until the connection breaks; return how much went."""
    _, writer = await server.connect()
    sent = 0
    with contextlib.suppress(ConnectionError):
        writer.write(head)
        while True:
            writer.write(b"x" * 50_000)
            await writer.drain()
            sent += 50_000
            await asyncio.sleep(0)
    writer.transport.abort()
    return sent


@pytest.mark.parametrize("connection", [b"", b"Connection: close\r\n"])
@pytest.mark.parametrize("path", [b"/v1/runs", b"/v1/nothing"])
async def test_nobody_sends_without_an_end(connection, path, monkeypatch):
    monkeypatch.setattr(module, "REST_BYTES_MAX", 2 * MB)
    async with serving() as server:
        head = HEAD.replace(b"/v1/runs", path) + connection + b"Content-Length: 10000000000\r\n\r\n"
        async with asyncio.timeout(20):
            sent = await cut_off(server, head)
        assert 2 * MB <= sent < 40 * MB, "what is beyond lies in the buffers of the kernel"
        assert (await server.request("GET", "/livez"))[0] == 200


async def test_who_says_nothing_more_after_the_last_answer_is_not_kept(monkeypatch):
    monkeypatch.setattr(module, "REST_SECONDS", 0.2)
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(HEAD + b"Content-Length: 9000000\r\n\r\n{")
        async with asyncio.timeout(20):
            assert b"413" in await reader.read()
            with contextlib.suppress(ConnectionError):
                while True:  # the server has closed its half; that it has closed the other one too is seen by writing
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.01)
        writer.transport.abort()


async def test_what_follows_a_refused_body_on_the_same_connection_is_answered():
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(HEAD.replace(b"/v1/runs", b"/v1/nothing") + b"Content-Length: 3000000\r\n\r\n" + b"x" * 3 * MB)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(20):
            said = await reader.read()
        writer.close()
        assert [part.split()[0] for part in said.split(b"HTTP/1.1 ")[1:]] == [b"404", b"200"]


async def test_a_server_that_goes_does_not_wait_for_what_is_thrown_away():
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(HEAD + b"Content-Length: 9000000\r\n\r\n{")
        assert b"413" in await reader.read()
        server.stop.set()
        async with asyncio.timeout(20):
            await server.task
        writer.transport.abort()
