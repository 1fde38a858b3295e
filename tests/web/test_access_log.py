"""The access log: each request once, whatever became of it, and no query."""

import asyncio
import logging

import pytest
from tests.web.sockets import serving

from headway.web.unavailable import UnavailableApi


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "headway.access")
    return lambda: [record.fields for record in caplog.records if record.name == "headway.access"]


async def until(happened):
    async with asyncio.timeout(20):
        while not happened():  # noqa: ASYNC110 - a log, which wakes nobody
            await asyncio.sleep(0.01)


async def test_every_request_is_logged_once_whatever_became_of_it(lines):
    async with serving(access_log=True) as server:
        await server.request("GET", "/livez")
        await server.request("GET", "/v1/runs?key=secret")
        await server.request("POST", "/v1/runs", b'{"task": "backup"}')
        await server.request("POST", "/v1/runs", b"{nonsense")
        await server.request("GET", "/v1/nothing")
        await server.request("POST", "/v1/tokens/secret:complete", b"{}")
        await server.raw(b"GET /docs HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        await server.raw(b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n")
        await server.raw(b"nonsense\r\n\r\n")
        reader, writer = await server.connect()
        writer.write(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
        await reader.readuntil(b"200 OK")
        writer.close()
        await until(lambda: len(lines()) == 10)
    found = [(line["method"], line["path"], line["status"]) for line in lines()]
    assert found == [
        ("GET", "/livez", 200), ("GET", "/v1/runs", 200), ("POST", "/v1/runs", 202), ("POST", "/v1/runs", 400),
        ("GET", "/v1/nothing", 404), ("POST", "/v1/tokens/{token}:complete", 404), ("GET", "/docs", 421), ("GET", "/livez", 400), ("-", "-", 400),
        ("GET", "/v1/events", 200),
    ]  # fmt: skip
    assert all(line["client"] == "127.0.0.1" and line["ms"] >= 0 for line in lines())
    assert "secret" not in str(lines())
    assert all(line["request_id"].startswith("req_") for line in lines() if line["method"] != "-")


async def test_requests_that_the_load_shedder_refuses_are_logged_too(lines):
    async with serving(access_log=True) as server:
        server.api.limiter.pressed = True
        server.api.limiter.has_room = lambda scope, gives_way: False
        assert (await server.request("POST", "/v1/runs", b'{"task": "backup"}'))[0] == 503
    assert [(line["method"], line["path"], line["status"]) for line in lines()] == [("POST", "/v1/runs", 503)]


async def test_a_server_that_waits_for_its_database_logs_too(lines):
    async def send(message):
        pass

    await UnavailableApi(access_log=True)({"type": "http", "method": "GET", "path": "/readyz"}, None, send)
    assert [(line["path"], line["status"]) for line in lines()] == [("/readyz", 503)]


async def test_nothing_is_logged_unless_the_settings_ask_for_it(lines):
    async with serving() as server:
        await server.request("GET", "/livez")
    assert lines() == []
