"""The server's side of a connection: uvicorn's httptools protocol, with the limits that it lacks, and a shorter way out.

Heads have to be whole within a time and a size, bodies have to get on, and a client that does not read what it asked
for is cut off instead of holding memory for ever. So is one that asks for much more before it is answered; what cannot
be read after other requests is answered after them. If a client is still sending its body when it is answered, the
server goes on reading and discards it for a while before it closes: else the connection would be reset, and the client
could not read the answer. An answer that is whole leaves in one piece, and its headers, which are all our own, are not
searched for what must not be in headers. Everything else is uvicorn's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, MutableMapping
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from headway.web import accesslog
from headway.web.call import REQUESTED
from headway.web.shedder import HELD_MAX, LoadShedder, Rejection

HEAD_BYTES_MAX: Final = 64 * 1024
HEAD_SECONDS: Final = 30.0
"""How long a request's head may take, from connecting or from its first byte."""
BODY_SECONDS: Final = 30.0
"""How long the rest of a body may take, unless it gets on."""
BODY_BYTES_S: Final = 500
"""Of a body that gets on at least so many bytes come in a second, over each `BODY_SECONDS`."""
PIPELINED_MAX: Final = 100
"""How many requests may wait for answers to those before them, on one connection."""
STUCK_SECONDS: Final = 30.0
"""How long a client may leave a full buffer unread."""
REST_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes of a body that are read and discarded after the answer."""
REST_SECONDS: Final = 30.0
"""Seconds for which they are, if the connection closes after that answer."""
LAST_HEAD_SECONDS: Final = 0.5
"""Seconds for which a stopping server keeps a connection that is new, on which a head has begun, or whose client is
still sending a body that is answered."""

_MEANT_FOR_US: Final = frozenset({b"content-length", b"connection"})
_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 27\r\nconnection: close\r\n\r\nThe headers are too large.\n"
)
_NO_REQUEST: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 31\r\nconnection: close\r\n\r\nInvalid HTTP request received.\n"
)


class TooManyPipelined(Exception):
    """Ends the parsing of what a connection is sent."""


class ResponseCycle(RequestResponseCycle):
    """One request and its answer."""

    _head: list[bytes] | None = None
    """The head of an answer of known length, kept back until its body is there."""
    _begin: MutableMapping[str, Any]
    """The message of that head, for a body that comes in pieces all the same."""
    last: Callable[[], None]
    """Tells the connection that it closes after this answer."""

    async def send(self, message: MutableMapping[str, Any]) -> None:  # type: ignore[override]  # any mapping
        """Send a part of the answer."""
        if self._head is not None:
            if not message.get("more_body"):
                await self._send_whole(self._head, message)
                return
            self._head, begin = None, self._begin
            await super().send(begin)  # type: ignore[arg-type]
        if self.response_started or message["type"] != "http.response.start":
            if not (self.keep_alive or message.get("more_body")):
                self.last()
                self.keep_alive = True  # else uvicorn would close it before the rest of the body has come
            await super().send(message)  # type: ignore[arg-type]
            return
        head = [STATUS_LINE[message["status"]]]
        whole = False
        for name, value in (*self.default_headers, *message["headers"]):
            if name in _MEANT_FOR_US:
                if name == b"content-length":
                    whole = True
                else:  # of a connection ours say close, and nothing else
                    self.keep_alive = False
                    continue
            head += (name, b": ", value, b"\r\n")
        if not whole and message["status"] not in (204, 304):
            await super().send(message)  # type: ignore[arg-type]
            return
        self._head, self._begin = head, message

    async def _send_whole(self, head: list[bytes], message: MutableMapping[str, Any]) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.keep_alive:
            head.append(b"connection: close\r\n")
        head.append(b"\r\n")
        head.append(message["body"])
        self._head = None
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self.transport.write(b"".join(head))
        self.message_event.set()
        if not self.keep_alive:
            self.last()
        self.on_response()


class RejectedCycle:
    """Stands for a request that gets no further than its head: what comes of its body goes nowhere."""

    __slots__ = ("disconnected", "keep_alive", "more_body", "response_complete")

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self.response_complete = self.disconnected = False

    @property
    def body(self) -> bytes:
        """Nothing is kept."""
        return b""

    @body.setter
    def body(self, value: bytes) -> None:
        pass

    @property
    def message_event(self) -> RejectedCycle:
        """Nobody waits for the body."""
        return self

    def set(self) -> None:
        """Wake nobody."""


class Connection(HttpToolsProtocol):
    """One connection."""

    _again_s = 0.0
    """Before that, somebody who was refused here was told not to ask again."""
    _shedder: LoadShedder | None
    _held: asyncio.TimerHandle | None = None
    """Will tell somebody who has asked too soon."""

    _idle = False
    """Whether nothing has come since the last look."""
    _idle_timer: asyncio.TimerHandle | None = None
    _head_bytes = -1
    """How much of an unfinished head has come; -1 between heads."""
    _head_timer: asyncio.TimerHandle | None = None
    _body_bytes = -1
    """How much of an unfinished body has come since it was last looked at; -1 between bodies."""
    _body_timer: asyncio.TimerHandle | None = None
    _others_before = False
    """Whether what came last had the end of another request in it."""
    _last_words: bytes | None = None
    """What is to be said to what came after the requests that are still to be answered: nothing more is read."""
    _stuck_timer: asyncio.TimerHandle | None = None
    _last = False
    """Whether the connection closes after the current answer."""
    _rest: int | None = None
    """Bytes that may still come of a body that is answered already."""
    _rest_timer: asyncio.TimerHandle | None = None
    """Closes a connection after its last answer if the client goes on sending."""
    _kept_until_s: float | None = None
    """When the server goes: until when a connection is kept on which a request is to be expected."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._shedder = self.app.shedder  # what is served is ours
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._too_slow)
        self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers, and the queries for answers that cannot be sent any more."""
        self._stop_head_timer()
        if self._held is not None:
            self._let_go()
        for timer in (self._stuck_timer, self._idle_timer, self._body_timer, self._rest_timer):
            if timer is not None:
                timer.cancel()
        scope = getattr(self.cycle, "scope", None)  # a refused request has none
        if scope is not None and REQUESTED in scope:
            scope[REQUESTED].leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; a head or body that is not whole after this is counted and timed."""
        if self._rest is not None:
            self._rest -= len(data)
            if self._rest < 0:
                self.transport.close()
                return
        if self._rest_timer is not None or self._last_words is not None:
            return
        self._others_before = False
        super().data_received(data)
        if self._body_bytes >= 0:
            self._body_bytes += len(data)
            if self._body_timer is None:
                self._body_timer = self.loop.call_later(BODY_SECONDS, self._look_at_body)
        elif self._head_bytes >= 0 and self._last_words is None:
            if not self._others_before:  # or much of it may be theirs
                self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
                self._end_with(_TOO_LARGE)
            elif self._head_timer is None:
                self._head_timer = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def on_response_complete(self) -> None:
        """Go on with what was pipelined, or wait for the next request; idleness is looked at now and then, not timed."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self._last:
            self._close(reads=self._body_bytes >= 0)
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._last_words is not None:
            self._say_last_words()
            return
        elif self._body_bytes >= 0:
            self._rest = REST_BYTES_MAX
        if not self.pipeline:  # or as much again would come in with each answer
            self.flow.resume_reading()

    def _look(self) -> None:
        answered = self.cycle is None or self.cycle.response_complete
        if self._idle and answered and not self.transport.is_closing():
            self.transport.close()
            return
        self._idle = answered
        self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._look)

    def on_message_begin(self) -> None:
        """A head begins."""
        self._idle = False
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is whole."""
        if len(self.pipeline) >= PIPELINED_MAX or self._last:
            raise TooManyPipelined
        self._head_bytes = -1
        self._body_bytes = 0
        if self._head_timer is not None:
            self._stop_head_timer()
        shedder = self._shedder
        if shedder is not None and shedder.limiter.pressed and self._rejected(shedder):
            return
        super().on_headers_complete()
        cycle: Any = self.cycle
        cycle.__class__ = ResponseCycle  # uvicorn makes it by name, and has not begun to run it
        cycle.last = self._last_of_all
        if self.app.draining:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """A body is whole, or there is none."""
        self._body_bytes = -1
        self._rest = None
        self._others_before = True
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - it is always the same
        """Say that this is no request."""
        self._end_with(_NO_REQUEST)

    def _end_with(self, last_words: bytes) -> None:
        """Refuse what comes now; if others came before it, after they are answered, as whoever asked them counts."""
        if self._rest_timer is not None:  # it has had its last answer
            return
        self._last_words = last_words
        if self._body_bytes >= 0:
            before = bool(self.pipeline)
            if before:  # it is the last of them
                self.pipeline.popleft()
        else:
            before = bool(self.pipeline) or not (self.cycle is None or self.cycle.response_complete)
        if before:
            self.flow.pause_reading()
        else:
            self._say_last_words()

    def _say_last_words(self) -> None:
        assert self._last_words is not None
        if self.app.access_log:
            status = int(self._last_words.split(b" ", 2)[1])
            accesslog.note("-", "-", status, 0.0, self.client[0] if self.client else "", b"-")
        self.transport.write(self._last_words)
        self._close(reads=True)

    def _last_of_all(self) -> None:
        self._last = True

    def _close(self, *, reads: bool) -> None:
        """Close after what was written; `reads`: when the client has closed too, or has sent for too long or too much."""
        if not reads:
            self.transport.close()
            return
        self._rest = REST_BYTES_MAX
        self._rest_timer = self.loop.call_later(REST_SECONDS, self.transport.close)
        with contextlib.suppress(OSError):  # it is closed already
            if self.transport.can_write_eof():  # TLS has no half of a connection to close
                self.transport.write_eof()
        self.flow.resume_reading()

    def _rejected(self, shedder: LoadShedder) -> bool:
        """Answer the request here, if there is no room for it and it is its turn to be answered."""
        if self.pipeline or self.flow.write_paused or not (self.cycle is None or self.cycle.response_complete):
            return False
        url = httptools.parse_url(self.url)
        scope: MutableMapping[str, Any] = self.scope  # type: ignore[assignment]  # it gets a key of ours
        rejection = shedder.refuse(scope, self.parser.get_method().decode("ascii"), url.path, url.query or b"")
        if rejection is None:
            return False
        kept = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive() and not self.app.draining
        cycle = RejectedCycle(
            keep_alive=kept and not self.expect_100_continue
        )  # whose body does not come is not in step
        self.cycle = cycle  # type: ignore[assignment]  # it has all that is looked at
        too_soon_s = self._again_s - self.loop.time()
        if too_soon_s > 0 and shedder.held < HELD_MAX:
            shedder.held += 1
            self._held = self.loop.call_later(too_soon_s, self._tell_late, cycle, rejection)
        else:
            self._tell(cycle, rejection)
        return True

    def _tell_late(self, cycle: RejectedCycle, rejection: Rejection) -> None:
        self._let_go()
        if not self.transport.is_closing():
            self._tell(cycle, rejection)

    def _let_go(self) -> None:
        assert self._held is not None
        assert self._shedder is not None
        self._held.cancel()
        self._held = None
        self._shedder.held -= 1

    def _tell(self, cycle: RejectedCycle, rejection: Rejection) -> None:
        parts = [STATUS_LINE[rejection.status]]
        for name, value in (*self.server_state.default_headers, *rejection.headers):
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        parts.append(rejection.body)
        self._again_s = self.loop.time() + rejection.again_s
        cycle.response_complete = True
        self.transport.write(b"".join(parts))
        self._last = not cycle.keep_alive
        self.on_response_complete()

    def shutdown(self) -> None:
        """Close it, if nothing is being answered here or about to be asked; else that will be its last answer.

        Somebody who has connected has something to ask, unless it was asked before; and a head that has begun will end.
        """
        if self.cycle is None or self._head_bytes >= 0 or self._rest_timer is not None:
            if self._kept_until_s is None:
                self._kept_until_s = self.loop.time() + LAST_HEAD_SECONDS
            if self.loop.time() < self._kept_until_s:
                return
        super().shutdown()

    def _look_at_body(self) -> None:
        self._body_timer = None
        if self.transport.is_closing():
            return
        enough = self._body_bytes >= BODY_SECONDS * BODY_BYTES_S
        if not enough and not self.flow.read_paused:  # if it is we who do not read, nothing can come
            self.transport.close()
            return
        self._body_bytes = 0
        self._body_timer = self.loop.call_later(BODY_SECONDS, self._look_at_body)

    def pause_writing(self) -> None:
        """The client does not read: give it a while."""
        super().pause_writing()
        if self._stuck_timer is None:
            self._stuck_timer = self.loop.call_later(STUCK_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        if self._stuck_timer is not None:
            self._stuck_timer.cancel()
            self._stuck_timer = None

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()
