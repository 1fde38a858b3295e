"""The load shedder refuses requests as cheaply as can be, with the answer that the pipeline would give."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager

import pytest
from tests.web.access_kit import bearer, first_key, key_of
from tests.web.kit import Server

from headway.features.access.access import Access
from headway.protocol import keytext
from headway.web import shedder as module
from headway.web.listening import listen
from headway.web.server import serve_http
from headway.web.shedder import RETRY_AFTER_S

STARTS = (
    ("POST", "/v1/runs"),
    ("POST", "/v1/runs:batch"),
    ("POST", "/v1/runs/0199f2a4-7c3e-7000-9b1a-5d0c2e4f6a81:run-failed-records"),
    ("POST", "/api/v1/tasks/run/backup"),
    ("POST", "/api/v1/tasks/run/%C3%BCber"),
    ("POST", "/api/v1/backup?n=1"),
    ("PUT", "/api/v1/fix"),
)


class SocketAnswer:
    """An answer off a socket."""

    def __init__(self, head, body):
        lines = head.decode().split("\r\n")
        self.status, self.body = int(lines[0].split()[1]), body
        self.headers = dict(line.split(": ", 1) for line in lines[1:] if line)


class LimitedServer(Server):
    """A server on a socket whose limit of concurrent starts the test sets."""

    shedder = None

    def __init__(self, **settings):
        super().__init__(**settings)

    def let_in(self, most, *, by_the_shedder=True):
        self.api.limiter.limit, self.api.limiter.pressed = most, True
        self.shedder = self.shedder or self.api.shedder
        self.api.shedder = self.shedder if by_the_shedder else None

    async def connect(self):
        return await asyncio.open_connection("127.0.0.1", self.port)


def request(method, target, body=b"{}", **headers):
    named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{named}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def said(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length"))
    return SocketAnswer(head, await reader.readexactly(int(length.split()[1])))


@asynccontextmanager
async def overloaded(**settings):
    server = LimitedServer(**settings)
    await server.service.part(Access).load()
    await server.declare("backup")
    await server.get("/v1/whoami")  # the shedder refuses callers that were authorized before
    (opened,) = listen("127.0.0.1", 0)
    server.port = opened.getsockname()[1]
    stop = asyncio.Event()
    serving = asyncio.ensure_future(serve_http(server.api, server.service.settings, [opened], None, stop))
    try:
        yield server
    finally:
        stop.set()
        await serving
        await server.store.close()


@pytest.mark.parametrize(("method", "target"), STARTS)
async def test_every_start_is_refused_in_the_words_in_which_it_would_be_refused_further_in(method, target, monkeypatch):
    async with overloaded() as server:
        answers, requests = [], []
        answer = server.api._answer
        monkeypatch.setattr(server.api, "_answer", lambda call, scope: requests.append(call) or answer(call, scope))
        for by_the_shedder in (False, True):
            server.let_in(0, by_the_shedder=by_the_shedder)
            reader, writer = await server.connect()
            writer.write(request(method, target, x_request_id="mine"))
            answers.append(await said(reader))
            writer.close()
        assert len(requests) == 1, "of the one that is refused by its head no request is made"
        further_in, by_the_shedder = answers
        assert further_in.status == 503
        assert (by_the_shedder.status, by_the_shedder.body) == (503, further_in.body)
        for answer in answers:
            answer.headers.pop("date")
        assert by_the_shedder.headers == further_in.headers
        assert by_the_shedder.headers["retry-after"] == "1"


async def test_a_refusal_is_counted_and_its_connection_goes_on():
    async with overloaded() as server:
        reader, writer = await server.connect()
        server.let_in(0)
        writer.write(request("POST", "/v1/runs", b"{" * 100_000))
        refused = await said(reader)
        assert (refused.status, json.loads(refused.body)["code"]) == (503, "overloaded")
        writer.write(request("GET", "/v1/tasks/backup", b""))
        assert (await said(reader)).status == 200, "reads are let in whatever the load"
        writer.write(request("GET", "/v1/runs", b""))
        assert (await said(reader)).status == 503, "lists are not, as long as starts are refused"
        server.let_in(1)
        writer.write(request("POST", "/v1/runs", b'{"task":"backup"}'))
        assert (await said(reader)).status == 202
        assert server.api.limiter.expected == server.api.limiter.in_flight == 0
        metrics = (await server.get("/metrics")).body.decode()
        assert 'headway_http_requests_total{route="POST /v1/runs",status="503"} 1.0' in metrics
        writer.close()


async def test_no_more_are_let_in_than_there_is_room_for_though_they_come_in_one_turn():
    async with overloaded() as server:
        server.let_in(5)
        connections = [await server.connect() for _ in range(20)]
        for _, writer in connections:
            writer.write(request("POST", "/v1/runs", b'{"task":"backup"}'))
        answers = [await said(reader) for reader, _ in connections]
        assert {answer.status for answer in answers} <= {202, 503}
        assert sum(answer.status == 202 for answer in answers) >= 5
        assert server.api.limiter.expected == server.api.limiter.in_flight == 0
        for _, writer in connections:
            writer.close()


async def test_starts_that_the_shedder_admits_are_expected_by_the_limiter():
    async with overloaded() as server:
        server.let_in(3)
        scopes = [{"headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1)} for _ in range(5)]
        refused = [server.api.shedder.refuse(scope, "POST", b"/v1/runs", b"") for scope in scopes]
        assert [found is None for found in refused] == [True, True, True, False, False]
        assert server.api.limiter.expected == 3


async def test_the_shedder_checks_keys_as_the_authorizer_does_and_counts_no_request():
    async with overloaded() as server:
        party = await first_key(server)
        key = await key_of(server, party, scopes=["run:start", "run:read"], per_minute=10)
        reading = await key_of(server, party, scopes=["run:read"])
        for known in (key, reading):
            await server.get("/v1/runs", **bearer(known["key"]))
        shown = keytext.read(key["key"])
        three = {"X_Tadabase_App_id": party.id, "X_Tadabase_App_Key": shown.id, "X_Tadabase_App_Secret": shown.secret}
        await server.get("/api/v1/tasks", **{name.lower(): value for name, value in three.items()})
        server.let_in(0)
        left = set()
        for headers, status in (
            ({}, 401), ({"Authorization": "Bearer hw_nobodys_key"}, 401),
            ({"Authorization": f"Bearer {reading['key']}"}, 403), ({"Authorization": f"Bearer {key['key']}"}, 503), (three, 503),
        ):  # fmt: skip
            reader, writer = await server.connect()
            target = "/api/v1/tasks/run/backup" if headers is three else "/v1/runs"
            writer.write(request("POST", target, **headers))
            answer = await said(reader)
            assert answer.status == status, (headers, answer.body)
            if status == 503:
                left.add(answer.headers["x-ratelimit-remaining"])
            writer.close()
        assert left == {"9"}, "one was let in"
        await server.post(f"/v1/keys/{key['id']}:revoke", **party.headers)
        reader, writer = await server.connect()
        writer.write(request("POST", "/v1/runs", Authorization=f"Bearer {key['key']}"))
        assert (await said(reader)).status == 401, "who is not let in any more is told nothing of the load"
        writer.close()


async def test_who_asks_again_before_it_is_time_is_told_when_it_is_and_nobody_else_waits():
    async with overloaded() as server:
        server.let_in(0)
        reader, writer = await server.connect()
        writer.write(request("POST", "/v1/runs"))
        assert (await said(reader)).status == 503
        told_s = time.monotonic()
        writer.write(request("POST", "/v1/runs") + request("GET", "/v1/tasks/backup", b""))
        other, others = await server.connect()
        others.write(request("POST", "/v1/runs"))
        assert (await said(other)).status == 503
        others.write(request("GET", "/v1/tasks/backup", b""))
        assert (await said(other)).status == 200
        assert time.monotonic() - told_s < RETRY_AFTER_S[0] / 2
        assert [(await said(reader)).status, (await said(reader)).status] == [503, 200], "in the order of the questions"
        assert time.monotonic() - told_s > RETRY_AFTER_S[0] * 0.9
        for each in (writer, others):
            each.close()


async def test_who_goes_while_they_are_kept_waiting_is_forgotten():
    async with overloaded() as server:
        server.let_in(0)
        reader, writer = await server.connect()
        writer.write(request("POST", "/v1/runs"))
        await said(reader)
        writer.write(request("POST", "/v1/runs"))
        while not server.api.shedder.delayed:  # noqa: ASYNC110 - it is the other end that knows
            await asyncio.sleep(0)
        writer.transport.abort()
        while server.api.shedder.delayed:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)


@pytest.mark.parametrize("said_so", [{"Connection": "close"}, {"Expect": "100-continue"}])
async def test_a_connection_whose_next_request_could_not_be_found_is_closed(said_so):
    async with overloaded() as server:
        server.let_in(0)
        reader, writer = await server.connect()
        writer.write(request("POST", "/v1/runs", **said_so))
        answer = await said(reader)
        assert (answer.status, answer.headers["connection"]) == (503, "close")
        assert await reader.read() == b""
        writer.close()


async def test_if_refusals_take_too_much_of_the_servers_time_everybody_has_to_wait_longer_and_then_no_more(monkeypatch):
    now = {"clock": 100.0, "worked": 50.0}
    monkeypatch.setattr(module, "monotonic", lambda: now["clock"])
    monkeypatch.setattr(module, "process_time", lambda: now["worked"])
    monkeypatch.setattr(module, "REFUSED_MAX", 25)
    async with overloaded() as server:
        server.let_in(0)

        def second(refusals):
            for _ in range(refusals):
                scope = {"headers": [(b"host", b"localhost")], "client": None}
                answer = server.api.shedder.refuse(scope, "POST", b"/v1/runs", b"")
            now["clock"] += 1.0
            now["worked"] += 1.0
            return dict(answer.headers)[b"retry-after"]

        assert second(1) == b"1"
        second(50)
        assert second(10) == b"2", "there were twice as many as there are to be"
        for _ in range(3):
            second(500)
        assert second(10) == b"%d" % RETRY_AFTER_S[1]
        assert second(1) == b"%d" % RETRY_AFTER_S[1], "nobody who waits can have come back yet"
        assert [second(1) for _ in range(10)][-1] == b"1"
