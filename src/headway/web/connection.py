"""Server connection: uvicorn's httptools protocol with further limits, and answers in one write.

A head has to be complete within a time and a size, a body has to arrive at a minimum rate, and a client that does not
read its answers or pipelines too many requests is disconnected, so that it cannot hold memory. A malformed request is
answered after the requests before it. If a client is still sending its body when it is answered, the server reads and
discards the rest for a while before it closes: a reset would keep the client from reading the answer. A complete answer
is sent in one piece, and its headers are not checked, since all of them are the server's own. The rest is uvicorn's.
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
from headway.web.shedder import DELAYED_MAX, LoadShedder, Rejection

HEAD_BYTES_MAX: Final = 64 * 1024
HEAD_SECONDS: Final = 30.0
"""Seconds for a request's head, from the connection or from its first byte."""
BODY_SECONDS: Final = 30.0
"""Seconds between two checks of a body's rate."""
BODY_BYTES_S: Final = 500
"""Least rate of a body in bytes per second, over each `BODY_SECONDS`."""
PIPELINED_MAX: Final = 100
"""Requests of a connection that may wait for answers to earlier requests."""
STUCK_SECONDS: Final = 30.0
"""Seconds for which a client may leave a full buffer unread."""
REST_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes of a body that are discarded after the answer."""
REST_SECONDS: Final = 30.0
"""Seconds of discarding before a connection closes after that answer."""
LAST_HEAD_SECONDS: Final = 0.5
"""Seconds for which a stopping server keeps a connection that is new, has an incomplete head, or whose client is still
sending a body after its answer."""

_FRAMING: Final = frozenset({b"content-length", b"connection"})
_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 27\r\nconnection: close\r\n\r\nThe headers are too large.\n"
)
_NO_REQUEST: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 31\r\nconnection: close\r\n\r\nInvalid HTTP request received.\n"
)


class TooManyPipelined(Exception):
    """Ends the parsing of a connection's input."""


class ResponseCycle(RequestResponseCycle):
    """Request and answer, sent in one write if its length is known."""

    _head: list[bytes] | None = None
    """Head of an answer of known length, held until its body is there."""
    _begin: MutableMapping[str, Any]
    """Message of that head, for a body that comes in pieces after all."""
    last: Callable[[], None]
    """Callback that closes the connection after this answer."""

    async def send(self, message: MutableMapping[str, Any]) -> None:  # type: ignore[override]  # any mapping
        """Send a message of the answer."""
        if self._head is not None:
            if not message.get("more_body"):
                await self._send_whole(self._head, message)
                return
            self._head, begin = None, self._begin
            await super().send(begin)  # type: ignore[arg-type]
        if self.response_started or message["type"] != "http.response.start":
            if not (self.keep_alive or message.get("more_body")):
                self.last()
                self.keep_alive = True  # else uvicorn would close before the rest of the body has arrived
            await super().send(message)  # type: ignore[arg-type]
            return
        head = [STATUS_LINE[message["status"]]]
        whole = False
        for name, value in (*self.default_headers, *message["headers"]):
            if name in _FRAMING:
                if name == b"content-length":
                    whole = True
                else:  # the server's own answers only say `connection: close`
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
    """Cycle of a request that is refused by its head; its body is discarded."""

    __slots__ = ("disconnected", "keep_alive", "more_body", "response_complete")

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self.response_complete = self.disconnected = False

    @property
    def body(self) -> bytes:
        """Empty: the body is discarded."""
        return b""

    @body.setter
    def body(self, value: bytes) -> None:
        pass

    @property
    def message_event(self) -> RejectedCycle:
        """Event without waiters."""
        return self

    def set(self) -> None:
        """Do nothing, as no coroutine waits."""


class Connection(HttpToolsProtocol):
    """HTTP/1.1 connection of a client."""

    _retry_at_s = 0.0
    """Loop time of the Retry-After of the last refusal on this connection."""
    _shedder: LoadShedder | None
    _delayed: asyncio.TimerHandle | None = None
    """Timer of a refusal that is delayed, since its request came before that time."""

    _idle = False
    """Whether no request has arrived since the last check."""
    _idle_timer: asyncio.TimerHandle | None = None
    _head_bytes = -1
    """Bytes of an incomplete head; -1 between heads."""
    _head_timer: asyncio.TimerHandle | None = None
    _body_bytes = -1
    """Bytes of an incomplete body since the last check; -1 between bodies."""
    _body_timer: asyncio.TimerHandle | None = None
    _after_another = False
    """Whether the last data had the end of another request in it."""
    _refusal: bytes | None = None
    """Answer to malformed input after requests that are still unanswered; no further input is parsed."""
    _stuck_timer: asyncio.TimerHandle | None = None
    _last = False
    """Whether the connection closes after the current answer."""
    _rest: int | None = None
    """Bytes of a body that may still arrive after its answer."""
    _rest_timer: asyncio.TimerHandle | None = None
    """Timer that closes a connection after its last answer if the client goes on sending."""
    _keep_until_s: float | None = None
    """Loop time until which a stopping server keeps a connection on which a request is expected."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Start the timers of the head and of idleness."""
        super().connection_made(transport)
        self._shedder = self.app.shedder  # a `DrainableApp`
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._time_out)
        self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._check_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers, and the queries for answers that cannot be sent any more."""
        self._stop_head_timer()
        if self._delayed is not None:
            self._cancel_delayed()
        for timer in (self._stuck_timer, self._idle_timer, self._body_timer, self._rest_timer):
            if timer is not None:
                timer.cancel()
        scope = getattr(self.cycle, "scope", None)  # a refused request has none
        if scope is not None and REQUESTED in scope:
            scope[REQUESTED].leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse data; an incomplete head or body is counted and timed."""
        if self._rest is not None:
            self._rest -= len(data)
            if self._rest < 0:
                self.transport.close()
                return
        if self._rest_timer is not None or self._refusal is not None:
            return
        self._after_another = False
        super().data_received(data)
        if self._body_bytes >= 0:
            self._body_bytes += len(data)
            if self._body_timer is None:
                self._body_timer = self.loop.call_later(BODY_SECONDS, self._check_body)
        elif self._head_bytes >= 0 and self._refusal is None:
            if not self._after_another:  # or a part may belong to those
                self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
                self._end_with(_TOO_LARGE)
            elif self._head_timer is None:
                self._head_timer = self.loop.call_later(HEAD_SECONDS, self._time_out)

    def on_response_complete(self) -> None:
        """Continue with a pipelined request, or wait for the next; idleness is checked at intervals, not timed."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self._last:
            self._close(reads=self._body_bytes >= 0)
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refusal is not None:
            self._send_refusal()
            return
        elif self._body_bytes >= 0:
            self._rest = REST_BYTES_MAX
        if not self.pipeline:  # or as much again would arrive with each answer
            self.flow.resume_reading()

    def _check_idle(self) -> None:
        answered = self.cycle is None or self.cycle.response_complete
        if self._idle and answered and not self.transport.is_closing():
            self.transport.close()
            return
        self._idle = answered
        self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._check_idle)

    def on_message_begin(self) -> None:
        """Note the start of a head."""
        self._idle = False
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start the request of a complete head, or refuse it under overload."""
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
        cycle.last = self._close_after_answer
        if self.app.draining:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Note the end of a request."""
        self._body_bytes = -1
        self._rest = None
        self._after_another = True
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - it is always the same
        """Answer malformed input with 400."""
        self._end_with(_NO_REQUEST)

    def _end_with(self, refusal: bytes) -> None:
        """Refuse the present input, after the answers to the requests before it."""
        if self._rest_timer is not None:  # its last answer is sent
            return
        self._refusal = refusal
        if self._body_bytes >= 0:
            before = bool(self.pipeline)
            if before:  # it belongs to the last of them
                self.pipeline.popleft()
        else:
            before = bool(self.pipeline) or not (self.cycle is None or self.cycle.response_complete)
        if before:
            self.flow.pause_reading()
        else:
            self._send_refusal()

    def _send_refusal(self) -> None:
        assert self._refusal is not None
        if self.app.access_log:
            status = int(self._refusal.split(b" ", 2)[1])
            accesslog.note("-", "-", status, 0.0, self.client[0] if self.client else "", b"-")
        self.transport.write(self._refusal)
        self._close(reads=True)

    def _close_after_answer(self) -> None:
        self._last = True

    def _close(self, *, reads: bool) -> None:
        """Close after the written data; `reads`: once the client closes too, or has sent for too long or too much."""
        if not reads:
            self.transport.close()
            return
        self._rest = REST_BYTES_MAX
        self._rest_timer = self.loop.call_later(REST_SECONDS, self.transport.close)
        with contextlib.suppress(OSError):  # the client has closed it
            if self.transport.can_write_eof():  # TLS cannot close one direction
                self.transport.write_eof()
        self.flow.resume_reading()

    def _rejected(self, shedder: LoadShedder) -> bool:
        """Refuse the request if the load shedder does; return whether. Pipelined requests are not refused here."""
        if self.pipeline or self.flow.write_paused or not (self.cycle is None or self.cycle.response_complete):
            return False
        url = httptools.parse_url(self.url)
        scope: MutableMapping[str, Any] = self.scope  # type: ignore[assignment]  # it gets the key EXPECTED
        rejection = shedder.refuse(scope, self.parser.get_method().decode("ascii"), url.path, url.query or b"")
        if rejection is None:
            return False
        kept = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive() and not self.app.draining
        cycle = RejectedCycle(
            keep_alive=kept and not self.expect_100_continue
        )  # after 100-continue the client may not send its body
        self.cycle = cycle  # type: ignore[assignment]  # it has all members that uvicorn uses
        early_s = self._retry_at_s - self.loop.time()
        if early_s > 0 and shedder.delayed < DELAYED_MAX:
            shedder.delayed += 1
            self._delayed = self.loop.call_later(early_s, self._send_delayed, cycle, rejection)
        else:
            self._send_rejection(cycle, rejection)
        return True

    def _send_delayed(self, cycle: RejectedCycle, rejection: Rejection) -> None:
        self._cancel_delayed()
        if not self.transport.is_closing():
            self._send_rejection(cycle, rejection)

    def _cancel_delayed(self) -> None:
        assert self._delayed is not None
        assert self._shedder is not None
        self._delayed.cancel()
        self._delayed = None
        self._shedder.delayed -= 1

    def _send_rejection(self, cycle: RejectedCycle, rejection: Rejection) -> None:
        parts = [STATUS_LINE[rejection.status]]
        for name, value in (*self.server_state.default_headers, *rejection.headers):
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        parts.append(rejection.body)
        self._retry_at_s = self.loop.time() + rejection.retry_after_s
        cycle.response_complete = True
        self.transport.write(b"".join(parts))
        self._last = not cycle.keep_alive
        self.on_response_complete()

    def shutdown(self) -> None:
        """Close the connection if it is idle; else its present answer is the last.

        A new connection and one with an incomplete head are about to have a request, and are kept for a moment.
        """
        if self.cycle is None or self._head_bytes >= 0 or self._rest_timer is not None:
            if self._keep_until_s is None:
                self._keep_until_s = self.loop.time() + LAST_HEAD_SECONDS
            if self.loop.time() < self._keep_until_s:
                return
        super().shutdown()

    def _check_body(self) -> None:
        self._body_timer = None
        if self.transport.is_closing():
            return
        enough = self._body_bytes >= BODY_SECONDS * BODY_BYTES_S
        if not enough and not self.flow.read_paused:  # while the server does not read, no data arrives
            self.transport.close()
            return
        self._body_bytes = 0
        self._body_timer = self.loop.call_later(BODY_SECONDS, self._check_body)

    def pause_writing(self) -> None:
        """Start the timer of a client that does not read."""
        super().pause_writing()
        if self._stuck_timer is None:
            self._stuck_timer = self.loop.call_later(STUCK_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the timer of a client that reads again."""
        super().resume_writing()
        if self._stuck_timer is not None:
            self._stuck_timer.cancel()
            self._stuck_timer = None

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _time_out(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()
