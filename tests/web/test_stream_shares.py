"""The server's streams are shared: whoever opens many leaves room for other keys, other organisations, and workers."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from tests.web.access_kit import ALL, OURS, first_key
from tests.web.kit import serving
from tests.web.sockets import serving as listening

from headway.errors import Overloaded, TooManyRequests
from headway.kernel.authority import EVERYBODY, Principal
from headway.web.streams import Streams

MAX = 80


def holder(organisation=1, key="a"):
    return Principal(
        organisation=organisation, key_id=key, secret=1, user_id=None, scopes=frozenset(), queues=None, actor=key
    )


def fill(streams, principal, *, worker=False, shared=True):
    """Open as many as are let in; return how many, and why no more."""
    opened = 0
    try:
        while True:
            streams.enter(principal, worker=worker, shared=shared)
            opened += 1
    except (Overloaded, TooManyRequests) as error:
        return opened, type(error)


def test_a_key_has_a_third_and_an_organisation_two_thirds_and_whoever_comes_next_finds_room():
    streams = Streams(MAX)
    assert fill(streams, holder(1, "a")) == (24, TooManyRequests)
    assert fill(streams, holder(1, "b")) == (16, TooManyRequests)
    for number in range(20):
        fill(streams, holder(1, f"k{number}"))
    assert streams.open == 47
    for organisation in range(2, 7):
        assert fill(streams, holder(organisation, f"o{organisation}"))[0] > 0


def test_a_key_that_has_its_share_keeps_no_other_of_its_organisation_out_when_more_come():
    streams = Streams(MAX)
    for organisation in (1, 2, 3):
        fill(streams, holder(organisation, f"o{organisation}"))
    for organisation in (1, 2, 3):
        assert fill(streams, holder(organisation, f"another{organisation}"))[0] > 0


def test_workers_find_room_whatever_is_watched():
    streams = Streams(MAX)
    for number in range(100):
        fill(streams, holder(number % 9, f"k{number}"))
    assert streams.open <= 70
    opened, why = fill(streams, holder(1, "worker"), worker=True)
    assert (opened > 2, why) == (True, TooManyRequests)
    assert fill(streams, holder(2, "another"), worker=True)[0] > 0


def test_as_long_as_there_are_no_keys_nobody_is_told_apart():
    streams = Streams(MAX)
    assert fill(streams, EVERYBODY, shared=False) == (70, Overloaded)
    assert fill(streams, EVERYBODY, worker=True, shared=False) == (10, Overloaded)


def test_who_leaves_makes_room():
    streams = Streams(MAX)
    opened, _ = fill(streams, holder())
    for _ in range(opened):
        streams.leave(holder(), worker=False)
    assert (streams.open, streams._held.total()) == (0, 0)
    assert fill(streams, holder())[0] == opened
    assert fill(Streams(1), holder()) == (1, Overloaded)


async def test_many_that_come_at_once_are_not_let_in_beyond_the_limit():
    async with serving(streams_max=8) as server:
        asked = [server.listen("/v1/events") for _ in range(30)]
        statuses = [(await stream.begun()).status for stream in asked]
        assert (statuses.count(200), statuses.count(503)) == (7, 23)
        for stream in asked:
            await stream.leave()
        assert server.api.streams.open == 0


class KeyHolder:
    """Somebody with a key, and the streams they have open at a server on a socket."""

    def __init__(self, server, made):
        self.server, self.organisation, self.key = server, made["organisation"], made["key"]
        self.shown = f"Authorization: Bearer {self.key}\r\n"
        self.open = []

    async def post(self, path, body):
        status, said = await self.server.request("POST", path, json.dumps(body).encode(), self.shown)
        assert status in (200, 201), said
        return json.loads(said)

    async def stream(self, path="/v1/events"):
        """Open a stream; return the status and, of a refusal, what is said."""
        reader, writer = await self.server.connect()
        self.open.append(writer)
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{self.shown}\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split()[1])
        if status == 200:
            return status, ""
        length = int(next(line for line in head.split(b"\r\n") if line.startswith(b"content-length")).split()[1])
        assert b"retry-after: 5" in head
        return status, json.loads(await reader.readexactly(length))["detail"]

    async def fill(self):
        """Open as many as are let in; return how many, and what is said then."""
        while (answer := await self.stream())[0] == 200:
            pass
        return len(self.open) - 1, answer


@asynccontextmanager
async def parties(**settings):
    """The operator, a reader with a key of the same organisation, another organisation's owner."""
    async with listening(**settings) as server:
        asked = json.dumps({"name": "operator", "scopes": ALL}).encode()
        operator = KeyHolder(server, json.loads((await server.request("POST", "/v1/keys", asked))[1]))
        reader = KeyHolder(server, await operator.post("/v1/keys", {"name": "r", "scopes": ["run:read"]}))
        shop = await operator.post("/v1/organisations", {"name": "Shop"})
        owner = {"name": "owner", "scopes": OURS, "organisation": shop["id"]}
        other = KeyHolder(server, await operator.post("/v1/keys", owner))
        try:
            yield operator, reader, other
        finally:
            for party in (operator, reader, other):
                for writer in party.open:
                    writer.transport.abort()


async def test_a_key_that_only_reads_keeps_nobody_else_out():
    async with parties(streams_max=MAX) as (operator, reader, other), asyncio.timeout(25):
        assert await reader.fill() == (24, (429, "the key has 24 event streams open, and may have no more at present"))
        assert (await other.fill())[0] > 10
        assert (await operator.stream())[0] == 200, "another key of the same organisation"
        for party in (operator, other):
            worker = await party.post("/v1/workers", {"name": "w", "tasks": [{"name": "t"}]})
            assert (await party.stream(f"/v1/workers/{worker['id']}/signals"))[0] == 200


@pytest.mark.parametrize("locked", [False, True])
async def test_the_limit_is_told_without_how_many_others_have(locked):
    async with serving(streams_max=1) as server:
        headers = (await first_key(server)).headers if locked else {}
        first = await server.listen("/v1/events", **headers).begun()
        refused = await server.listen("/v1/events", **headers).begun()
        assert (refused.status, any(sign.isdigit() for sign in json.loads(refused.text)["detail"])) == (503, False)
        await first.leave()
