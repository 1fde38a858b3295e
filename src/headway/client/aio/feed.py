"""Event streams across connections: each resumes after the last event that was received."""

from __future__ import annotations

from collections.abc import AsyncIterator

from headway.client import encoding
from headway.client.aio.caller import AsyncCaller, AsyncOutage
from headway.client.events import PATIENCE_S, SILENCE_S, Event, Follower
from headway.errors import HeadwayError

RECONNECT_S = 0.1
"""Minimum pause between two connections, in case the server closes them at once."""


async def follow(caller: AsyncCaller, path: str, follower: Follower) -> AsyncIterator[Event]:
    """Yield new events, connection after connection, until the stream is complete."""
    outage = AsyncOutage(caller, PATIENCE_S)
    retry_ms = 0
    while not follower.ended:
        try:
            opened = await outage.server().stream(path, headers=follower.headers(), timeout_s=SILENCE_S)
            async with opened as stream:
                if stream.status == 204:  # noqa: PLR2004
                    return
                async for received in stream:
                    outage.over()
                    event = follower.take(received)
                    if event is not None:
                        yield event
                    if follower.ended or follower.leave:
                        break
                retry_ms = stream.parser.retry_ms or 0
        except HeadwayError as error:
            await outage.outlast(error)
        else:
            if not (follower.ended or outage.moved()):  # the server is going away or sheds load: come back spread out
                await caller.pace.pause(max(RECONNECT_S, retry_ms / 1000 * caller.pace.spread()))


async def run_events(caller: AsyncCaller, run_id: str, after: int) -> AsyncIterator[Event]:
    """Follow one run, from after event number `after` to its end."""
    async for event in follow(caller, encoding.path("runs", run_id, "events", after=after), Follower(after)):
        yield event
