# Generated from client/aio/client.py by tools/unasync.py: change that, not this.
"""Client of the API: one attribute per noun, over shared connections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from headway.client import credential, encoding, servers
from headway.client.errors import ConnectionLost
from headway.client.events import Event, Follower
from headway.client.sync.access import Audit, Keys, Organisations, Users
from headway.client.sync.caller import Caller, decode
from headway.client.sync.feed import follow
from headway.client.sync.mail_server import MailServer
from headway.client.sync.pace import Pace
from headway.client.sync.queues import Queues
from headway.client.sync.record_tasks import RecordTasks
from headway.client.sync.runs import Runs
from headway.client.sync.schedules import Schedules
from headway.client.sync.tables import Tables
from headway.client.sync.tasks import Tasks
from headway.client.sync.workers import Workers
from headway.client.transport import Address, Transport
from headway.client.trust import trusted
from headway.config import RETRIES, ClientSettings
from headway.protocol.access import Whoami
from headway.protocol.workers import PeerList, PeerOut, ServerOut


class Client:
    """A client of a server, or of several on one store.

        with headway.Client() as client:
            run = client.runs.start("backup", folder="/srv")
            print(run.result())

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
        pace: Pace | None = None,
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
        each = [Transport(one, key=key, timeout_s=timeout, connect_s=connect_s, trust=trust) for one in known]
        caller = self._caller = Caller(servers.Servers(each), retries=retries, pace=pace or Pace())
        self.runs = Runs(caller)
        self.tasks = Tasks(caller)
        self.queues = Queues(caller)
        self.tables = Tables(caller)
        self.workers = Workers(caller)
        self.schedules = Schedules(caller)
        self.record_tasks = RecordTasks(caller)
        self.mail_server = MailServer(caller)
        self.keys = Keys(caller)
        self.users = Users(caller)
        self.organisations = Organisations(caller)
        self.audit = Audit(caller)

    @property
    def url(self) -> str:
        """URL of the server in use."""
        return self._caller.servers.current.url

    def events(self, *, after: int | None = None, run_id: str | Iterable[str] | None = None) -> Iterator[Event]:
        """Follow the events of all runs, or of the runs in `run_id`, from now on or from after a position.

        The stream does not end by itself.

        Raises `bad_cursor` or `overloaded`.
        """
        path = encoding.path("events", after=after, run_id=run_id)
        return follow(self._caller, path, Follower(after, feed=True))

    def complete_token(self, token: str, value: Any = None) -> dict[str, Any]:
        """Complete the wait of a suspended run by its token, once; return the run's id and state.

        The token needs no key. Raises TypeError for a value that cannot be written as JSON, and by code `not_found`
        for an unknown token, `already_completed` for one that was used, `run_not_found`, `run_purged` or
        `invalid_state`.
        """
        body = {"value": encoding.raw(value)}
        return self._caller.post(encoding.path("tokens", token, verb="complete"), body, dict[str, Any])

    def servers(self) -> list[PeerOut]:
        """Return the servers that share the store, oldest first."""
        return (self._caller.get("/v1/servers", PeerList)).data

    def whoami(self) -> Whoami:
        """Return the identity and scopes of this client's key."""
        return self._caller.get("/v1/whoami", Whoami)

    def health(self) -> ServerOut:
        """Return the server's health, ready or not; raise `connection_lost` if no server answers."""
        tries = self._caller.servers.round()
        while True:
            try:
                return decode(tries.server().request("GET", "/readyz"), ServerOut)
            except ConnectionLost as error:
                if not tries.failed(error):
                    raise

    def close(self) -> None:
        """Close all connections."""
        for server in self._caller.servers:
            server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
