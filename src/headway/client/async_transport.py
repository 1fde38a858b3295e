"""Transport of the async client, on aiohttp: the same methods and errors as the blocking one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from math import inf
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from headway.client.errors import ConnectionLost, UnexpectedAnswer
from headway.client.problem import to_error
from headway.client.sse import SseEvent, SseParser
from headway.client.transport import USER_AGENT, Address, Response
from headway.client.trust import Trust, tls_failure, trusted

CONNECTIONS_MAX = 1000
"""Maximum number of connections; each wait for a run holds one, and more waits take turns."""


class AsyncTransport:
    """HTTP connections to one server, for one event loop."""

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
        self._headers = {"Accept": "application/json", "User-Agent": user_agent}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._trust = trust or (trusted() if self.address.secure else None)
        assert self._trust is None or not self._trust.pinned, "aiohttp has the context alone"
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    @property
    def url(self) -> str:
        """URL of the server, without a slash at its end."""
        return self.address.url

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Response:
        """Return the server's answer, whatever its status; raise ConnectionLost if there is none."""
        try:
            answer = await self._send(method, path, body, headers, timeout_s)
            async with answer:
                return Response(answer.status, _lower(answer), await answer.read())
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise self._lost(error, timeout_s) from error

    async def stream(
        self, path: str, *, headers: Mapping[str, str] | None = None, timeout_s: float | None = None
    ) -> AsyncSseStream:
        """Open a stream of server-sent events; `timeout_s` bounds the silence between two bytes of it."""
        wanted = {"Accept": "text/event-stream", "Cache-Control": "no-store", **(headers or {})}
        try:
            answer = await self._send("GET", path, None, wanted, timeout_s)
            if answer.status not in {200, 204}:
                raise to_error(answer.status, _lower(answer), await answer.read())
        except (aiohttp.ClientError, OSError) as error:
            raise self._lost(error, timeout_s) from error
        if answer.status != 204 and answer.content_type != "text/event-stream":  # noqa: PLR2004
            answer.close()
            raise UnexpectedAnswer(f"{self.url} answered with {answer.content_type}, not a stream")
        return AsyncSseStream(self, answer, SseParser(wanted.get("Last-Event-ID", "")), timeout_s)

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None, timeout_s: float | None
    ) -> aiohttp.ClientResponse:
        if self._closed:
            raise ConnectionLost(f"the connection to {self.url} was closed", closed=True)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=CONNECTIONS_MAX, ttl_dns_cache=10, ssl=True if self._trust is None else self._trust.context
                ),
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
            )
        sent = dict(headers or {})
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        silence_s = timeout_s or self.timeout_s
        return await self._session.request(
            method,
            URL(self.url + path, encoded=True),
            data=body,
            headers=sent,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=min(silence_s, self._connect_s), sock_read=silence_s
            ),
        )

    def _lost(self, error: Exception, timeout_s: float | None) -> ConnectionLost:
        if self._closed:
            return ConnectionLost(f"the connection to {self.url} was closed", closed=True)
        if isinstance(error, asyncio.TimeoutError):
            waited_s = timeout_s or self.timeout_s
            if isinstance(error, aiohttp.ConnectionTimeoutError):
                waited_s = min(waited_s, self._connect_s)
            return ConnectionLost(f"{self.url} did not answer within {waited_s:g} s", timed_out=True)
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return ConnectionLost(tls_failure(error.certificate_error, self.url))
        if isinstance(error, aiohttp.ClientConnectorSSLError):
            return ConnectionLost(tls_failure(error.os_error, self.url))
        if isinstance(error, aiohttp.ClientConnectorError):
            return ConnectionLost(f"cannot reach {self.url}: is `headway serve` running? ({error.os_error})")
        return ConnectionLost(f"the connection to {self.url} broke before the answer was complete")


class AsyncSseStream:
    """An open stream to iterate. With status 204 there are no events, now or later."""

    def __init__(
        self, transport: AsyncTransport, answer: aiohttp.ClientResponse, parser: SseParser, timeout_s: float | None
    ) -> None:
        self.status = answer.status
        self.headers = _lower(answer)
        self.parser = parser
        """Parser with `last_event_id` and `retry_ms`."""
        self._transport, self._answer, self._timeout_s = transport, answer, timeout_s
        self._events: Iterator[SseEvent] = iter(())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SseEvent:
        """Wait for the next event; stop when the server has ended the stream."""
        while True:
            event = next(self._events, None)
            if event is not None:
                return event
            try:
                chunk = await self._answer.content.readany()
            except (aiohttp.ClientError, OSError) as error:
                raise self._transport._lost(error, self._timeout_s) from error  # noqa: SLF001 (one unit)
            if not chunk:
                raise StopAsyncIteration
            self._events = iter(self.parser.feed(chunk))

    async def close(self) -> None:
        self._answer.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()


def _lower(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}
