"""Blocking HTTP over kept-alive connections, thread-safe.

The worker and the blocking client share it. It repeats no request, with one exception: a pooled connection that
proves dead before the first byte of the answer is replaced, since the server closes idle ones at any time. A request
that must not happen twice carries an Idempotency-Key.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from math import inf
from types import TracebackType
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

from headway.client.connection import Answer, BadAnswer, Connection, host_header, request_bytes
from headway.client.errors import ConnectionLost, UnexpectedAnswer
from headway.client.problem import to_error
from headway.client.sse import SseEvent, SseParser
from headway.client.trust import Trust, tls_failure, trusted
from headway.errors import BadParameter

USER_AGENT: Final = "headway-python"
IDLE_MAX: Final = 16
"""Maximum number of idle connections that are kept; further threads open and close their own."""


class Response(NamedTuple):
    """A complete answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Address(NamedTuple):
    """Address of a server."""

    url: str
    secure: bool
    host: str
    port: int
    prefix: str
    """Path that a proxy needs before every path; usually empty."""

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read an http or https URL; raise BadParameter for other texts."""
        url = url.strip()
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port, host = parts.port, parts.hostname or ""
            host.encode("idna")  # a name that cannot be looked up
            parts.path.encode("ascii")
            fits = parts.scheme in {"http", "https"} and host and not parts.query and not parts.fragment
        except ValueError:  # of which UnicodeError is one
            fits = False
        if not fits or not url.isprintable() or " " in url:
            raise BadParameter(f"{url[:200]!r} is not the URL of a server; write http://127.0.0.1:8006")
        secure = parts.scheme == "https"
        return cls(parts.geturl().rstrip("/"), secure, host, port or (443 if secure else 80), parts.path.rstrip("/"))


class Transport:
    """HTTP connections to one server, shared by any number of threads."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout_s: float = 30.0,
        connect_s: float | None = None,
        user_agent: str = USER_AGENT,
        trust: Trust | None = None,
    ) -> None:
        """Keep the settings; connect at the first request. Raises BadParameter for unreadable certificates.

        `timeout_s` bounds each wait for bytes, not the whole exchange; `connect_s`, if it is shorter, the wait for a
        connection.
        """
        self.address = Address.parse(url)
        self.timeout_s = timeout_s
        self._connect_s = connect_s or inf
        self._headers = {
            "Host": host_header(self.address.host, self.address.port, 443 if self.address.secure else 80),
            "Accept-Encoding": "identity",
            "Accept": "application/json",
            "User-Agent": user_agent,
        }
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._trust = trust or (trusted() if self.address.secure else None)
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._closed = False
        self._hung_up = 0
        """Count of calls of `hang_up`; a request that began before is not sent again on a new connection."""
        self._pid = os.getpid()

    @property
    def url(self) -> str:
        """URL of the server, without a slash at its end."""
        return self.address.url

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Response:
        """Return the server's answer, whatever its status; raise ConnectionLost if there is none."""
        connection, answer = self._begin(method, path, body, headers, timeout_s or self.timeout_s)
        try:
            while not answer.complete:
                connection.receive(answer)
        except (OSError, BadAnswer) as error:
            self._discard(connection)
            raise self._lost(error, timeout_s) from error
        except BaseException:
            self._discard(connection)  # interrupted: the rest of the answer must not be taken for the next one
            raise
        if answer.reusable:
            self._give_back(connection)
        else:
            self._discard(connection)
        return Response(answer.status, answer.headers, answer.take())

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        """Return the body of a successful answer; raise the error of any other."""
        response = self.request(method, path, body, headers=headers, timeout_s=timeout_s)
        if 200 <= response.status < 300:  # noqa: PLR2004
            return response.body
        raise to_error(*response)

    def stream(
        self, path: str, *, headers: Mapping[str, str] | None = None, timeout_s: float | None = None
    ) -> SseStream:
        """Open a stream of server-sent events; `timeout_s` bounds the silence between two bytes of it.

            with transport.stream("/v1/events") as stream:
                for event in stream:
                    print(event.event, event.data)

        Raises as `call` does when the server refuses, ConnectionLost when the stream breaks off.
        """
        wanted = {"Accept": "text/event-stream", "Cache-Control": "no-store", **(headers or {})}
        connection, answer = self._begin("GET", path, None, wanted, timeout_s or self.timeout_s)
        try:
            return self._open_stream(connection, answer, wanted)
        except (OSError, BadAnswer) as error:
            self._discard(connection)
            raise self._lost(error, timeout_s) from error
        except BaseException:
            self._discard(connection)
            raise

    def close(self) -> None:
        """Close all connections; requests in progress in other threads get ConnectionLost at once."""
        self._closed = True
        self.hang_up()

    def hang_up(self) -> None:
        """Abort requests in progress with ConnectionLost; later requests open new connections."""
        with self._lock:
            self._hung_up += 1
            idle, self._idle = self._idle, []
            busy = list(self._busy)
        for connection in idle:
            connection.close()
        for connection in busy:
            _shut(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _begin(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None, timeout_s: float
    ) -> tuple[Connection, Answer]:
        """Send a request and wait for the head of the answer."""
        sent = {**self._headers, **(headers or {})}
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        request = request_bytes(method, self.address.prefix + path, sent, body)
        began = self._hung_up
        while True:
            connection = self._take()
            reused, answer = connection is not None, Answer()
            waited_s = timeout_s if reused else min(timeout_s, self._connect_s)
            try:
                if connection is None:
                    connection = self._open(waited_s, began)
                    waited_s = timeout_s
                connection.socket.settimeout(timeout_s)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    # A server may refuse a large body before it has read it; its answer is there all the same.
                    connection.socket.sendall(request)
                while not answer.status:
                    connection.receive(answer)
            except (OSError, BadAnswer) as error:
                self._discard(connection)
                dead = isinstance(error, ConnectionError) and not answer.began
                if not (reused and dead and self._hung_up == began):
                    raise self._lost(error, waited_s) from error
            except BaseException:
                self._discard(connection)
                raise
            else:
                return connection, answer

    def _open_stream(self, connection: Connection, answer: Answer, sent: Mapping[str, str]) -> SseStream:
        kind = answer.headers.get("content-type", "text/plain").partition(";")[0].strip().lower()
        if answer.status not in {200, 204}:
            while not answer.complete:
                connection.receive(answer)
            raise to_error(answer.status, answer.headers, answer.take())
        if answer.status == 200 and kind != "text/event-stream":  # noqa: PLR2004
            raise UnexpectedAnswer(f"{self.url} answered with {kind}, not a stream")
        return SseStream(
            answer.status,
            answer.headers,
            SseParser(sent.get("Last-Event-ID", "")),
            read=lambda: self._read_some(connection, answer),
            shut=lambda: _shut(connection),
            discard=lambda: self._discard(connection),
        )

    def _read_some(self, connection: Connection, answer: Answer) -> bytes:
        """Wait for more of the body; return nothing at its end."""
        try:
            while not ((body := answer.take()) or answer.complete):
                connection.receive(answer)
        except (OSError, BadAnswer, ValueError) as error:  # ValueError: a TLS connection that was closed meanwhile
            raise self._lost(error, None) from error
        return body

    def _take(self) -> Connection | None:
        """Return an idle connection, if there is one."""
        with self._lock:
            if self._closed:
                raise ConnectionLost(f"the connection to {self.url} was closed", closed=True)
            if self._pid != os.getpid():  # forked: these sockets are the parent's
                self._pid, self._idle, self._busy = os.getpid(), [], set()
            while self._idle:
                connection = self._idle.pop()
                if connection.quiet:
                    self._busy.add(connection)
                    return connection
                connection.close()
        return None

    def _open(self, timeout_s: float, began: int) -> Connection:
        connection = Connection.open(self.address.host, self.address.port, timeout_s)
        try:
            if self._trust is not None and self.address.secure:
                connection.socket = self._trust.secured(connection.socket, self.address.host)
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if self._hung_up == began:
                self._busy.add(connection)
                return connection
        connection.close()
        raise ConnectionAbortedError

    def _give_back(self, connection: Connection) -> None:
        with self._lock:
            self._busy.discard(connection)
            if not self._closed and len(self._idle) < IDLE_MAX:
                self._idle.append(connection)
                return
        connection.close()

    def _discard(self, connection: Connection | None) -> None:
        if connection is not None:
            with self._lock:
                self._busy.discard(connection)
            connection.close()

    def _lost(self, error: Exception, timeout_s: float | None) -> ConnectionLost:
        if self._closed:
            return ConnectionLost(f"the connection to {self.url} was closed", closed=True)
        if isinstance(error, TimeoutError):
            return ConnectionLost(f"{self.url} did not answer within {timeout_s or self.timeout_s:g} s", timed_out=True)
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            return ConnectionLost(tls_failure(error, self.url))
        if isinstance(error, ConnectionRefusedError | socket.gaierror) or (
            isinstance(error, OSError) and not isinstance(error, ConnectionError)
        ):
            return ConnectionLost(f"cannot reach {self.url}: is `headway serve` running? ({error})")
        return ConnectionLost(f"the connection to {self.url} broke before the answer was complete")


class SseStream:
    """An open stream: iterate it, and close it from any thread. With status 204 there are no events, now or later."""

    def __init__(
        self,
        status: int,
        headers: dict[str, str],
        parser: SseParser,
        *,
        read: Callable[[], bytes],
        shut: Callable[[], None],
        discard: Callable[[], None],
    ) -> None:
        self.status = status
        self.headers = headers
        self.parser = parser
        """Parser with `last_event_id` and `retry_ms`."""
        self._read, self._shut, self._discard = read, shut, discard
        self._events: Iterator[SseEvent] = iter(())
        self._closed = threading.Event()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> SseEvent:
        """Wait for the next event; stop when the server has ended the stream or `close` was called."""
        while not self._closed.is_set():
            event = next(self._events, None)
            if event is not None:
                return event
            if self.status == 204:  # noqa: PLR2004
                break
            try:
                chunk = self._read()
            except ConnectionLost:
                if self._closed.is_set():
                    break
                self.close()
                raise
            if not chunk:
                break
            self._events = iter(self.parser.feed(chunk))
        self._discard()
        raise StopIteration

    def close(self) -> None:
        """Close the stream; a thread that waits for the next event stops waiting."""
        self._closed.set()
        self._shut()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
        self._discard()


def _shut(connection: Connection) -> None:
    with contextlib.suppress(OSError):
        connection.socket.shutdown(socket.SHUT_RDWR)
