"""The client: one attribute per noun, all over the same connections."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Any, Final, Self

from headway.client import encoding
from headway.client.aio.caller import AsyncCaller, decode
from headway.client.aio.feed import follow
from headway.client.aio.pace import AsyncPace
from headway.client.aio.queues import AsyncQueues
from headway.client.aio.runs import AsyncRuns
from headway.client.aio.tasks import AsyncTasks
from headway.client.aio.workers import AsyncWorkers
from headway.client.async_transport import AsyncTransport
from headway.client.events import Event, Follower
from headway.wire.workers import ServerOut

DEFAULT_URL: Final = "http://127.0.0.1:8006"


class AsyncClient:
    """A client of one server.

        async with headway.AsyncClient() as client:
            run = await client.runs.start("backup", folder="/srv")
            print(await run.result())

    `url` and `token` default to HEADWAY_URL and HEADWAY_TOKEN. A request that fails because of the connection or because
    the server has too much to do is tried `retries` times again; nothing happens twice, since each carries a key.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        timeout: float = 30.0,
        retries: int = 5,
        pace: AsyncPace | None = None,
    ) -> None:
        """Connect to nothing yet. `timeout` bounds, in seconds, how long the server may be silent."""
        self.transport = AsyncTransport(
            url or os.environ.get("HEADWAY_URL") or DEFAULT_URL,
            token=token or os.environ.get("HEADWAY_TOKEN") or None,
            timeout_s=timeout,
        )
        caller = self._caller = AsyncCaller(self.transport, retries=retries, pace=pace or AsyncPace())
        self.runs = AsyncRuns(caller)
        self.tasks = AsyncTasks(caller)
        self.queues = AsyncQueues(caller)
        self.workers = AsyncWorkers(caller)

    @property
    def url(self) -> str:
        """The server's URL."""
        return self.transport.url

    def events(self, *, after: int | None = None, run_id: str | Iterable[str] | None = None) -> AsyncIterator[Event]:
        """Follow what happens to all runs, or to some, from now on or from after a position; it does not end by itself."""
        path = encoding.path("events", after=after, run_id=run_id)
        return follow(self._caller, path, Follower(after, feed=True))

    async def complete_token(self, token: str, value: Any = None) -> dict[str, Any]:
        """Complete what a suspended run waits for; whoever has the token may, once. Return the run's id and state."""
        body = {"value": encoding.raw(value)}
        return await self._caller.post(encoding.path("tokens", token, verb="complete"), body, dict[str, Any])

    async def health(self) -> ServerOut:
        """Return how the server is, ready or not; raise ConnectionLost if it is not there."""
        return decode(await self.transport.request("GET", "/readyz"), ServerOut)

    async def close(self) -> None:
        """Close all connections."""
        await self.transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()
