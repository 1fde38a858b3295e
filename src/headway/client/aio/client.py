"""Client of the API: one attribute per noun, over shared connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Any, Self

from headway.client import credential, encoding, servers
from headway.client.aio.access import AsyncAudit, AsyncKeys, AsyncOrganisations, AsyncUsers
from headway.client.aio.caller import AsyncCaller, decode
from headway.client.aio.feed import follow
from headway.client.aio.mail_server import AsyncMailServer
from headway.client.aio.pace import AsyncPace
from headway.client.aio.queues import AsyncQueues
from headway.client.aio.record_tasks import AsyncRecordTasks
from headway.client.aio.runs import AsyncRuns
from headway.client.aio.schedules import AsyncSchedules
from headway.client.aio.tables import AsyncTables
from headway.client.aio.tasks import AsyncTasks
from headway.client.aio.workers import AsyncWorkers
from headway.client.async_transport import AsyncTransport
from headway.client.errors import ConnectionLost
from headway.client.events import Event, Follower
from headway.client.transport import Address
from headway.client.trust import trusted
from headway.config import RETRIES, ClientSettings
from headway.protocol.access import Whoami
from headway.protocol.workers import PeerList, PeerOut, ServerOut


class AsyncClient:
    """A client of a server, or of several on one store.

        async with headway.AsyncClient() as client:
            run = await client.runs.start("backup", folder="/srv")
            print(await run.result())

    `url` and `key` default to HEADWAY_URL (or HEADWAY_SERVER) and HEADWAY_KEY (or the content of HEADWAY_KEY_FILE). A
    request that fails because of the connection or because the server is overloaded is tried `retries` times again;
    each carries an idempotency key, so nothing happens twice.

    Several servers are a list of URLs, or one text with commas between. The first is asked as long as it answers;
    then the next, at once. Streams and waits go on there.

    Errors are subclasses of `headway.errors.HeadwayError` with a stable `code`. Every request can raise
    `connection_lost`, `unauthenticated`, `forbidden`, `too_many_requests`, `unavailable` (with `storage_failed` and
    its other subclasses), `internal_error`, and `unexpected_answer` if something other than Headway answers. Wrong
    arguments raise `invalid_input`, `bad_parameter`, `unknown_field`, `malformed_json`, `payload_too_large`,
    `headers_too_large` or `uri_too_long`; a wrong host or proxy raises `bad_host` or `unsupported_media_type`; an
    `idempotency_key` of another request raises `idempotency_key_reused`. Each method names its further codes.
    """

    def __init__(
        self,
        url: str | Iterable[str] | None = None,
        *,
        key: str | None = None,
        ca: str | None = None,
        timeout: float = 30.0,
        retries: int = RETRIES,
        pace: AsyncPace | None = None,
    ) -> None:
        """Keep the settings and connect at the first request; raise ValueError for a timeout or retries out of range.

        `ca` is a file with the certificates of trusted authorities; default: HEADWAY_CA, else the system's. `timeout`
        bounds, in seconds, how long the server may be silent; `retries` the tries after the first.
        """
        ClientSettings(timeout=timeout, retries=retries)
        key = credential.key(key)
        known = servers.urls(url)
        trust = trusted(ca) if any(Address.parse(one).secure for one in known) else None
        connect_s = servers.CONNECT_S if len(known) > 1 else None
        each = [AsyncTransport(one, key=key, timeout_s=timeout, connect_s=connect_s, trust=trust) for one in known]
        caller = self._caller = AsyncCaller(servers.Servers(each), retries=retries, pace=pace or AsyncPace())
        self.runs = AsyncRuns(caller)
        self.tasks = AsyncTasks(caller)
        self.queues = AsyncQueues(caller)
        self.tables = AsyncTables(caller)
        self.workers = AsyncWorkers(caller)
        self.schedules = AsyncSchedules(caller)
        self.record_tasks = AsyncRecordTasks(caller)
        self.mail_server = AsyncMailServer(caller)
        self.keys = AsyncKeys(caller)
        self.users = AsyncUsers(caller)
        self.organisations = AsyncOrganisations(caller)
        self.audit = AsyncAudit(caller)

    @property
    def url(self) -> str:
        """URL of the server in use."""
        return self._caller.servers.current.url

    def events(self, *, after: int | None = None, run_id: str | Iterable[str] | None = None) -> AsyncIterator[Event]:
        """Follow the events of all runs, or of the runs in `run_id`, from now on or from after a position.

        The stream does not end by itself.

        Raises `bad_cursor` or `overloaded`.
        """
        path = encoding.path("events", after=after, run_id=run_id)
        return follow(self._caller, path, Follower(after, feed=True))

    async def complete_token(self, token: str, value: Any = None) -> dict[str, Any]:
        """Complete the wait of a suspended run by its token, once; return the run's id and state.

        The token needs no key. Raises TypeError for a value that cannot be written as JSON, and by code `not_found`
        for an unknown token, `already_completed` for one that was used, `run_not_found`, `run_purged` or
        `invalid_state`.
        """
        body = {"value": encoding.raw(value)}
        return await self._caller.post(encoding.path("tokens", token, verb="complete"), body, dict[str, Any])

    async def servers(self) -> list[PeerOut]:
        """Return the servers that share the store, oldest first."""
        return (await self._caller.get("/v1/servers", PeerList)).data

    async def whoami(self) -> Whoami:
        """Return the identity and scopes of this client's key."""
        return await self._caller.get("/v1/whoami", Whoami)

    async def health(self) -> ServerOut:
        """Return the server's health, ready or not; raise `connection_lost` if no server answers."""
        tries = self._caller.servers.round()
        while True:
            try:
                return decode(await tries.server().request("GET", "/readyz"), ServerOut)
            except ConnectionLost as error:
                if not tries.failed(error):
                    raise

    async def close(self) -> None:
        """Close all connections."""
        for server in self._caller.servers:
            await server.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()
