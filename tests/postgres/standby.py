"""A primary and a standby that has on its disk whatever the primary has confirmed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from tests.faults.waiting import until
from tests.postgres.cluster import Cluster, Servers, Setting, primary_url
from tests.postgres.installation import Installation

STANDBYS = "synchronous_standby_names"
KEPT: Mapping[str, Setting] = {"wal_keep_size": "256MB", "wal_log_hints": True}
"""So that a standby that was away can catch up, and a primary that was killed can be brought back."""


class Standby(Cluster):
    """A server that begins as a copy of another and follows it."""

    def __init__(
        self, source: Cluster, settings: Mapping[str, Setting], installation: Installation | None, *, on_disk: bool
    ) -> None:
        """Nothing is made yet; the source has to run when this is started."""
        super().__init__(settings, installation, on_disk=on_disk)
        self._source = source

    def fill(self) -> None:
        """Copy the source's data folder, and be what follows it."""
        self.run(
            "pg_basebackup", "--pgdata", str(self.data), "--dbname", _connection(self._source), "--checkpoint=fast",
            "--wal-method=stream", "--no-sync",
        )  # fmt: skip
        follow(self, self._source)


class Pair(Servers):
    """Two servers, one of which is the primary and confirms no commit that the other has not on its disk.

    `primary` and `standby` are what the two are now: `promote` turns them round.
    """

    def __init__(
        self,
        settings: Mapping[str, Setting] | None = None,
        installation: Installation | None = None,
        *,
        on_disk: bool = False,
    ) -> None:
        """Nothing is made yet."""
        given: dict[str, Setting] = {**KEPT, **(settings or {})}
        self.primary: Cluster = Cluster(given, installation, on_disk=on_disk)
        self.standby: Cluster = Standby(self.primary, given, installation, on_disk=on_disk)
        self._both = (self.primary, self.standby)

    def start(self) -> Self:
        """Start the primary, then its standby, and wait until commits are held to it."""
        self.primary.start()
        self.standby.start()
        self.hold_commits()
        return self

    def hold_commits(self) -> None:
        """From now on the primary confirms only what the standby has on its disk."""
        self.primary.configure(**{STANDBYS: "*"})
        self.wait_until_sync()

    def wait_until_sync(self, within_s: float = 20) -> None:
        """Wait until the standby has caught up, and the primary waits for it at each commit."""
        asked = "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'sync'"
        until(lambda: self.primary.query(asked), within_s, f"the standby is synchronous{self.standby.logged()}")

    def kill_primary(self) -> None:
        """kill -9, of every process of the primary."""
        self.primary.kill()

    def promote(self) -> Cluster:
        """Make the standby the primary, and return it when it takes writes; it waits for no standby until one is back."""
        assert self.standby.query("SELECT pg_promote(true, 30)") == [(True,)], self.standby.logged()
        self.primary, self.standby = self.standby, self.primary
        return self.primary

    def rejoin(self) -> None:
        """Bring back the server that was the primary as the standby: what it alone had written is undone."""
        assert not self.standby.running, "it has to be down: two primaries do not become one"
        self.standby.settings.pop(STANDBYS, None)
        # The new primary's timeline is what the old one is held against, and is written with the next checkpoint only.
        self.primary.query("CHECKPOINT")
        self.standby.run(
            "pg_rewind", "--target-pgdata", str(self.standby.data), "--source-server", _connection(self.primary),
            "--no-sync",
        )  # fmt: skip
        follow(self.standby, self.primary)
        self.standby.start()
        self.hold_commits()

    def url(self, database: str = "postgres", *, user: str = "postgres") -> str:
        """Return a URL that names both and connects to whichever is the primary."""
        return primary_url((cluster.port for cluster in self._both), database, user=user)

    def close(self) -> None:
        """End both and remove everything of them."""
        for cluster in self._both:
            cluster.close()


def follow(standby: Cluster, source: Cluster) -> None:
    """Have a server that is down be the other's standby when it is started."""
    standby.settings["primary_conninfo"] = f"{_connection(source)} application_name=standby"
    standby.write("standby.signal", "")


def _connection(source: Cluster) -> str:
    return f"host=127.0.0.1 port={source.port} user=postgres dbname=postgres"
