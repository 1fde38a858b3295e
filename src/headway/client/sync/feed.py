# Generated from client/aio/feed.py by tools/unasync.py: change that, not this.
"""Event streams across connections: each resumes after the last event that was received."""

from __future__ import annotations

from collections.abc import Iterator

from headway.client import encoding
from headway.client.events import PATIENCE_S, SILENCE_S, Event, Follower
from headway.client.sync.caller import Caller, Outage
from headway.errors import HeadwayError

RECONNECT_S = 0.1
"""Minimum pause between two connections, in case the server closes them at once."""


def follow(caller: Caller, path: str, follower: Follower) -> Iterator[Event]:
    """Yield new events, connection after connection, until the stream is complete."""
    outage = Outage(caller, PATIENCE_S)
    retry_ms = 0
    while not follower.ended:
        try:
            opened = outage.server().stream(path, headers=follower.headers(), timeout_s=SILENCE_S)
            with opened as stream:
                if stream.status == 204:  # noqa: PLR2004
                    return
                for received in stream:
                    outage.over()
                    event = follower.take(received)
                    if event is not None:
                        yield event
                    if follower.ended or follower.leave:
                        break
                retry_ms = stream.parser.retry_ms or 0
        except HeadwayError as error:
            outage.outlast(error)
        else:
            if not (follower.ended or outage.moved()):  # the server is going away or sheds load: come back spread out
                caller.pace.pause(max(RECONNECT_S, retry_ms / 1000 * caller.pace.spread()))


def run_events(caller: Caller, run_id: str, after: int) -> Iterator[Event]:
    """Follow one run, from after event number `after` to its end."""
    yield from follow(caller, encoding.path("runs", run_id, "events", after=after), Follower(after))
