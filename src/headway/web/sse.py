"""Server-sent events (WHATWG HTML, section 9.2) of histories, of the feed and of workers' signals.

A stream costs one coroutine, one small task that notices the client's disconnect, and the memory of a connection. An
event is encoded once for all streams. A slow reader's coroutine waits while the transport's buffer is full, and the
connection of a client that does not read at all is closed (see `protocol`); it resumes from the last id that it has.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from typing import Final, TypeVar, cast

import msgspec

from headway.errors import BadCursor, Unauthenticated, Unavailable
from headway.kernel.event import Event
from headway.kernel.run import FINAL, Run
from headway.protocol.times import to_text
from headway.protocol.workers import StopSignal
from headway.runs.history import ProgressChange, Snapshot, WatchEnd, WatchItem
from headway.web import present
from headway.web.call import Call, number
from headway.web.disconnect import CancelOnDisconnect
from headway.web.frames import Frames
from headway.web.queries import Feed, RunEvents
from headway.web.reply import ALWAYS, NO_CONTENT, Reply

T = TypeVar("T")

KEEPALIVE: Final = b": keepalive\n\n"
RECONNECT: Final = b"event: reconnect\ndata: {}\n\n"
DRAIN: Final = b"event: drain\ndata: {}\n\n"
RETRY_MS: Final = 2000

_STREAM_HEADERS: Final = [
    *ALWAYS,
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),
]
_encode: Final = msgspec.json.Encoder().encode


class Stream:
    """An open event stream, which the quotas of the server count."""

    __slots__ = ("_call", "_lasting", "_wait")

    def __init__(self, call: Call, *, lasting: bool = False) -> None:
        """`lasting`: a worker's stream, which stays open while the server drains."""
        server = call.server
        self._call = call
        self._lasting = lasting
        self._wait = CancelOnDisconnect(server.signals if lasting else server.waiting, call.receive, call.stands)

    async def _begin(self, first: bytes) -> None:
        """Send the head and the first bytes."""
        call = self._call
        call.status = 200
        headers = [*_STREAM_HEADERS, (b"x-request-id", call.request_id), *call.limits, *call.cors]
        await call.send({"type": "http.response.start", "status": 200, "headers": headers})
        retry = RETRY_MS + random.randrange(-500, 501)  # noqa: S311 - so that clients do not come back together
        await self.write(b"retry: %d\n\n%b" % (retry, first))

    async def write(self, frame: bytes) -> None:
        """Send bytes; waits as long as the client has too much unread."""
        await self._call.send({"type": "http.response.body", "body": frame, "more_body": True})

    async def follow(self, source: AsyncIterator[T], frame: Callable[[T], bytes], first: bytes = b"") -> None:
        """Send `first`, then the items of the source until its end, the client's disconnect or a drain; then close.

        Raises Overloaded or TooManyRequests, with nothing sent, where there is no room for another stream.

        An unavailable source ends the stream with `reconnect`, as the head is sent already. So does the end of the
        caller's key; the answer to the next request names the reason.
        """
        server, wait = self._call.server, self._wait
        come_back = False
        principal = self._call.principal
        server.streams.enter(principal, worker=self._lasting, shared=server.access.locked)
        try:
            await self._begin(first)
            async with aclosing(cast(AsyncGenerator[T, None], source)):
                with wait:
                    if server.closing or (server.draining and not self._lasting):
                        wait.end("draining")
                    async for item in source:
                        await self.write(frame(item))
        except (Unavailable, Unauthenticated):
            come_back = True
        finally:
            server.streams.leave(principal, worker=self._lasting)
        if wait.over == "gone":
            return
        if come_back or wait.over == "draining":
            await self.write(RECONNECT)
        await self._call.send({"type": "http.response.body", "body": b"", "more_body": False})


async def run_events(call: Call, run_id: str, asked: RunEvents) -> Reply | None:
    """Stream a run: a snapshot, the events after the client's last id, new events, and the end."""
    call.refuse_if_draining()
    run = await call.services.runs.get(run_id)
    known = _known(call, asked.after)
    if known is not None:
        if known > run.seq:
            raise BadCursor(f"the run has {run.seq} events; {known} is not one of them", seq=run.seq)
        if run.state in FINAL and known == run.seq:
            return NO_CONTENT  # the standard's answer that ends reconnecting
    after = known if known is not None else None if asked.start == "now" else 0
    source = call.services.history.watch(run_id, after, _never)
    await Stream(call).follow(source, partial(_run_frame, call.server.frames, after))
    return None


def _run_frame(frames: Frames, after: int | None, item: WatchItem | None) -> bytes:
    match item:
        case Event():
            return b"id: %d\n%b" % (item.seq, frames.line(item))
        case ProgressChange():
            return _progress(item.run)
        case Snapshot():
            # A client resumes after the last id that it has, so this one must not skip events that are still to be sent.
            return _snapshot(item.run, frames, item.run.seq if after is None else after)
        case WatchEnd():
            return _end(item.run)
        case None:
            return KEEPALIVE


def _snapshot(run: Run, frames: Frames, resume_after: int) -> bytes:
    return b'id: %d\nevent: snapshot\ndata: {"seq":%d,"run":%b}\n\n' % (resume_after, run.seq, frames.run(run))


def _progress(run: Run) -> bytes:
    data = {
        "seq": run.seq,
        "type": "run.progress",
        "time": to_text(run.progress_at or run.updated_at),
        "run_id": run.id,
        "data": present.progress_out(run),
    }
    return b"event: run.progress\ndata: %b\n\n" % _encode(data)


def _end(run: Run) -> bytes:
    data = {
        "seq": run.seq,
        "type": "end",
        "time": to_text(run.updated_at),
        "run_id": run.id,
        "data": {"state": run.state},
    }
    return b"event: end\ndata: %b\n\n" % _encode(data)


async def feed(call: Call, run_ids: tuple[str, ...], asked: Feed) -> Reply | None:
    """Stream the events of all runs, or of some."""
    call.refuse_if_draining()
    last = await call.services.history.last_position()
    known = _known(call, asked.after)
    if known is not None and known > last:
        raise BadCursor(f"the feed ends at {last}; {known} does not exist yet", position=last)
    after = known if known is not None else 0 if asked.start == "start" else last
    source = call.services.history.feed(after, run_ids, _never)
    first = b"id: %d\nevent: begin\ndata: {}\n\n" % after
    await Stream(call).follow(source, partial(_feed_frame, call.server.frames), first)
    return None


def _feed_frame(frames: Frames, event: Event | None) -> bytes:
    return KEEPALIVE if event is None else b"id: %d\n%b" % (event.position, frames.line(event))


async def signals(call: Call, worker_id: str) -> Reply | None:
    """Stream signals to a worker: stops and drains. An open stream keeps the worker's session alive."""
    await call.services.workers.get(worker_id)
    if call.method == "HEAD":
        return NO_CONTENT
    await Stream(call, lasting=True).follow(call.services.workers.signals(worker_id), _signal_frame)
    return None


def _signal_frame(message: StopSignal | str | None) -> bytes:
    match message:
        case StopSignal():
            return b"event: stop\ndata: %b\n\n" % _encode(message)
        case "drain":
            return DRAIN
        case _:
            return KEEPALIVE


def _never() -> bool:
    """Return False, since `CancelOnDisconnect` ends watches."""
    return False


def _known(call: Call, after: str | None) -> int | None:
    """Return the client's last number, or None: a reconnect's `Last-Event-ID` takes precedence over `after`."""
    last = call.header(b"last-event-id")
    if last is not None and last != "":
        return number(last, "Last-Event-ID")
    return None if after is None else number(after, "after")
