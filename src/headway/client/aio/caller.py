"""One call of the API: encode, send, try again where that is safe, decode or raise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from headway.client import backoff, encoding
from headway.client.aio.pace import AsyncPace
from headway.client.async_transport import AsyncTransport
from headway.client.errors import ConnectionLost, UnexpectedAnswer
from headway.client.problem import to_error
from headway.client.servers import Servers
from headway.client.transport import Response
from headway.errors import Gone, HeadwayError, NotFound

T = TypeVar("T")


class AsyncCaller:
    """Servers and retry policy that all parts of a client share."""

    def __init__(self, servers: Servers[AsyncTransport], *, retries: int, pace: AsyncPace) -> None:
        """`retries` counts the tries after the first; in each, every server is asked until one answers."""
        self.servers = servers
        self.retries = retries
        self.pace = pace

    async def get(self, path: str, kind: type[T]) -> T:
        """Send a GET and decode the answer."""
        return decode(await self.send("GET", path), kind)

    async def post(self, path: str, body: object, kind: type[T], *, idempotency_key: str | None = None) -> T:
        """Send a POST and decode the answer. All tries carry the same idempotency key, so the effect happens once."""
        return decode(await self.post_raw(path, body, idempotency_key=idempotency_key), kind)

    async def post_raw(
        self, path: str, body: object, *, idempotency_key: str | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send a POST as `post` does, and return the answer undecoded."""
        sent = {"Idempotency-Key": idempotency_key or encoding.new_key(), **(headers or {})}
        return await self.send("POST", path, encoding.to_json(body), headers=sent)

    async def patch(self, path: str, body: object, kind: type[T], *, headers: Mapping[str, str] | None = None) -> T:
        """Send a PATCH and decode the answer. All tries carry the same idempotency key."""
        sent = {"Idempotency-Key": encoding.new_key(), **(headers or {})}
        return decode(await self.send("PATCH", path, encoding.to_json(body), headers=sent), kind)

    async def put(self, path: str, body: object, kind: type[T]) -> T:
        """Send a PUT and decode the answer."""
        return decode(await self.send("PUT", path, encoding.to_json(body)), kind)

    async def delete(self, path: str) -> None:
        """Send a DELETE."""
        await self.send("DELETE", path)

    async def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Response:
        """Return a successful answer; raise the error of any other once no further try makes sense."""
        attempt, again, tries = 0, False, self.servers.round()
        while True:
            try:
                return await self.ask(tries.server(), method, path, body, headers=headers, timeout_s=timeout_s)
            except (Gone, NotFound):
                if method == "DELETE" and again:
                    return Response(204, {}, b"")  # the first try did it; only its answer was lost
                raise
            except HeadwayError as error:
                again = True
                if tries.failed(error):
                    continue
                delay_s = backoff.delay_s(error, attempt, self.pace.spread()) if attempt < self.retries else None
                if delay_s is None:
                    raise
            attempt += 1
            await self.pace.pause(delay_s)

    async def ask(
        self,
        server: AsyncTransport,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Response:
        """Send one request to one server; return a successful answer, raise the error of any other."""
        response = await server.request(method, path, body, headers=headers, timeout_s=timeout_s)
        if 200 <= response.status < 300:  # noqa: PLR2004
            return response
        raise to_error(*response)


class AsyncOutage:
    """Consecutive failures of a wait or a stream, which go on until a server is back."""

    def __init__(self, caller: AsyncCaller, patience_s: float) -> None:
        """Give up `patience_s` after the last sign of life."""
        self._pace, self._patience_s = caller.pace, patience_s
        self._tries = caller.servers.round()
        self._attempt, self._since_s = 0, self._pace.now_s()

    def server(self) -> AsyncTransport:
        """Return the server to ask now."""
        return self._tries.server()

    def moved(self) -> bool:
        """Record that a stream ended early; return whether the next server is asked at once."""
        return self._tries.failed()

    def over(self) -> None:
        """Record a sign of life."""
        self._attempt, self._since_s = 0, self._pace.now_s()

    async def outlast(self, error: HeadwayError, *, deadline_s: float | None = None) -> None:
        """Wait before the next try, unless another server has not been asked yet.

        Raises the error if it is not worth a try, or has lasted too long.
        """
        if self._tries.failed(error):
            return
        delay_s = backoff.delay_s(error, self._attempt, self._pace.spread())
        if isinstance(error, ConnectionLost) and not self._attempt:
            delay_s = 0.05  # a stream that broke off: most often the server is there
        now_s = self._pace.now_s()
        if delay_s is None or (deadline_s is None and now_s - self._since_s > self._patience_s):
            raise error
        self._attempt += 1
        await self._pace.pause(delay_s if deadline_s is None else max(0.0, min(delay_s, deadline_s - now_s)))


def decode(response: Response, kind: type[T]) -> T:
    """Decode an answer, ignoring unknown fields; raise `unexpected_answer` if it does not fit."""
    try:
        return msgspec.json.decode(response.body, type=kind)
    except msgspec.MsgspecError as error:
        found = _in_brief(response.body, kind)
        if found is None:
            raise UnexpectedAnswer(f"the answer cannot be read: {error}", body=_beginning(response.body)) from error
        return found


def _in_brief(body: bytes, kind: type[T]) -> T | None:
    from headway.client.brief import whole  # noqa: PLC0415 - most keys may read what they change

    try:
        return whole(body, kind)
    except msgspec.MsgspecError:
        return None


def _beginning(body: bytes) -> Any:
    return body[:200].decode("utf-8", "replace")
