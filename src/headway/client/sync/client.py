# Generated from client/aio/client.py by tools/unasync.py: change that, not this.
"""The client: one attribute per noun, all over the same connections."""

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
from headway.wire.access import Whoami
from headway.wire.workers import PeerList, PeerOut, ServerOut


class Client:
    """A client of a server, or of several on one store.

        with headway.Client() as client:
            run = client.runs.start("backup", folder="/srv")
            print(run.result())

    `url` and `key` default to HEADWAY_URL (or HEADWAY_SERVER) and HEADWAY_KEY (or what is in HEADWAY_KEY_FILE). A request that fails because of the
    connection or because the server has too much to do is tried `retries` times again; nothing happens twice, since each
    carries a key.

    Several servers are a list of URLs, or one text with commas between. One is asked as long as it answers; then the next,
    at once. Streams and waits go on there.
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
        """Connect to nothing yet; raise ValueError for a timeout or a number of retries that is out of range.

        `ca` is a file with the certificates of authorities that are trusted, HEADWAY_CA or the system's if absent.
        `timeout` bounds, in seconds, how long the server may be silent.
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
        """The server's URL; of several, that of the one that is asked now."""
        return self._caller.servers.current.url

    def events(self, *, after: int | None = None, run_id: str | Iterable[str] | None = None) -> Iterator[Event]:
        """Follow what happens to all runs, or to some, from now on or from after a position; it does not end by itself."""
        path = encoding.path("events", after=after, run_id=run_id)
        return follow(self._caller, path, Follower(after, feed=True))

    def complete_token(self, token: str, value: Any = None) -> dict[str, Any]:
        """Complete what a suspended run waits for; whoever has the token may, once. Return the run's id and state."""
        body = {"value": encoding.raw(value)}
        return self._caller.post(encoding.path("tokens", token, verb="complete"), body, dict[str, Any])

    def servers(self) -> list[PeerOut]:
        """Return the servers that share the store, the oldest first."""
        return (self._caller.get("/v1/servers", PeerList)).data

    def whoami(self) -> Whoami:
        """Return as whom the server knows this client, and what it may."""
        return self._caller.get("/v1/whoami", Whoami)

    def health(self) -> ServerOut:
        """Return how the server is, ready or not; raise ConnectionLost if it is not there, nor any other."""
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
