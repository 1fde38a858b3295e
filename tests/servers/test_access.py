"""Keys over several servers: what one learns the others know within seconds, limits hold over all, the log has one chain."""

import asyncio

import pytest
from tests.servers.waiting import soon
from tests.web.access_kit import ALL, bearer
from tests.web.kit import exchange

from headway.errors import Unauthenticated
from headway.features.access.access import Access
from headway.features.access.keys import Keys
from headway.kernel.authority import EVERYBODY, Origin
from headway.protocol import keytext
from headway.protocol.access import CreateKey, PatchKey
from headway.server import NATIVE_SURFACE
from headway.web.asgi import Api
from headway.web.ratelimits import DAY_MS, MINUTE_MS

WITHIN_S = 5


async def known(pair, **fields):
    """A key that both servers know; its id and text."""
    for harness in (pair.a, pair.b):
        await harness.service.part(Access).load()
    asked = CreateKey(name="k", scopes=ALL, **fields)
    issued = await pair.a.service.of(1).get(Keys).create(asked, EVERYBODY, Origin())
    text = str(issued.text)
    await soon(lambda: lets_in(pair.b, text), WITHIN_S)
    return issued.entry.key.id, text


async def lets_in(harness, text):
    try:
        return harness.service.part(Access).authenticate(keytext.read(text)).key_id
    except Unauthenticated:
        return False


async def shuts_out(harness, text):
    return not await lets_in(harness, text)


async def test_a_key_that_one_server_has_made_is_taken_at_the_other(pair):
    key_id, text = await known(pair)
    assert await lets_in(pair.b, text) == key_id
    assert pair.b.service.part(Access).directory.locked


@pytest.mark.parametrize("told", [True, False])
async def test_a_key_that_is_revoked_at_one_server_is_refused_at_the_other_and_its_streams_end(pair, told):
    key_id, text = await known(pair)
    api = Api(pair.b.service, (NATIVE_SURFACE,))
    streaming = asyncio.ensure_future(exchange(api, "GET", "/v1/events", headers={
        **bearer(text), "accept": "text/event-stream",
    }))  # fmt: skip
    await soon(lambda: _true(api.waiting))
    if not told:
        pair.a.store.peers.messages = lambda announced: []
        pair.a.store.writer._messages = lambda announced: []
    await pair.a.service.of(1).get(Keys).revoke(key_id, EVERYBODY, Origin())
    if not told:  # the message was lost: the next look finds it
        await pair.b.service.part(Access).tick()
    async with asyncio.timeout(WITHIN_S):
        answer = await streaming
    assert answer.body.endswith(b"event: reconnect\ndata: {}\n\n")
    assert await shuts_out(pair.b, text)


async def test_what_is_used_at_one_server_is_not_left_at_the_other(pair):
    _, text = await known(pair, per_minute=10, per_day=10)
    mine = [harness.service.part(Access).authenticate(keytext.read(text)).rates.windows for harness in (pair.a, pair.b)]
    now_ms = pair.a.clock.now_ms()
    for window in mine[0][:2]:
        window.left(now_ms)
        window.mine += 4
    for _ in range(2):
        for harness in (pair.a, pair.b):
            await harness.service.part(Access).tick()
    assert [window.left(pair.b.clock.now_ms()) for window in mine[1][:2]] == [6, 6]
    assert [window.period for window in mine[1][:2]] == [MINUTE_MS, DAY_MS]


async def test_two_servers_that_write_at_once_make_one_chain(pair):
    await known(pair)
    audits = [harness.service.part(Access).audit for harness in (pair.a, pair.b)]
    await asyncio.gather(
        *(audit.append(Origin(), "run.terminate", str(n), "done") for n in range(40) for audit in audits)
    )
    found, more = await audits[0].page(0, 0, 1000)
    assert [event.number for event in found] == list(range(1, 82))
    assert not more


async def test_two_servers_that_change_keys_at_once_lose_neither_change(pair):
    key_id, _ = await known(pair)
    keys = [harness.service.of(1).get(Keys) for harness in (pair.a, pair.b)]
    for turn in range(10):
        changes = (PatchKey(name=f"n{turn}"), PatchKey(per_day=turn + 1))
        await asyncio.gather(
            *(mine.patch(key_id, change, EVERYBODY, Origin()) for mine, change in zip(keys, changes, strict=True))
        )
        for harness in (pair.a, pair.b):
            await harness.service.part(Access).refresh()
        for mine in keys:
            key = mine.get(key_id).key
            assert (key.name, key.per_day) == (f"n{turn}", turn + 1)


async def _true(value):
    return bool(value)
