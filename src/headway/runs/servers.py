"""Several servers on one database: their places and heartbeats, and the takeover of workers of servers that are gone."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from headway import __version__
from headway.clock import Clock
from headway.errors import Unavailable
from headway.kernel.run import PARKED
from headway.notify.events import DeadlineSet, PeersChecked, RunDue
from headway.runs.sessions import Sessions
from headway.store.command import Command, Statement
from headway.store.peers import Peers, Server
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork, as_rows

SERVER_HEARTBEAT_MS: Final = 2_000
"""Interval of the heartbeats of servers."""
GONE_MS: Final = 7_000
"""Silence after which a server is gone: three heartbeats did not come."""
LOOK_MAX_MS: Final = 3_000
"""Milliseconds counted at most between two looks: a server that looks late was paused itself, or its database was."""
SILENT_MS: Final = 15_000
"""Time without a successful heartbeat after which this server is not ready."""
DEFINED_EVERY: Final = 5
"""Heartbeats after which tasks and queues are read again, in case that a message about them was lost."""
TOLD_MAX: Final = 10_000
"""Most changed runs whose watchers are woken one by one; with more, all watchers are."""

log = logging.getLogger("headway.servers")


class FailureDetector:
    """Detects servers that are gone, by heartbeat counters that have not changed for GONE_MS."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[int, int]] = {}
        """Server → number of the last heartbeat, and the time of its first observation, in milliseconds of `_looked_ms`."""
        self._looked_ms = 0
        """Counted milliseconds, at most LOOK_MAX_MS for each look."""
        self._look_ms = clock.monotonic_ms()
        """Time of the last look, by the monotonic clock."""

    def gone(self, others: Iterable[Server]) -> list[str]:
        """Return the ids of the servers that are gone. A server that only slept takes its place again."""
        before_ms, self._look_ms = self._look_ms, self._clock.monotonic_ms()
        now_ms = self._looked_ms = self._looked_ms + min(self._look_ms - before_ms, LOOK_MAX_MS)
        self._seen = {
            server.id: seen if (seen := self._seen.get(server.id)) and seen[0] == server.beat else (server.beat, now_ms)
            for server in others
        }
        return [server_id for server_id, (_, since_ms) in self._seen.items() if since_ms + GONE_MS <= now_ms]

    def reset(self) -> None:
        """Forget all observations: while the database cannot be read, heartbeat counters do not change."""
        self._seen.clear()


class WorkersToHear(NamedTuple):
    """Workers whose heartbeats this server has to receive."""

    states: list[tuple[str, str]]
    """Ids and states; a holder of leases without a row has the state ""."""
    of_paused: set[str]
    """Ids of workers that were taken over from paused servers, and may know no other server."""


@dataclass
class ServerBeat(Command[WorkersToHear]):
    """Heartbeat of this server, which takes a place among the others and the workers of servers that are gone."""

    peers: Peers
    detector: FailureDetector
    beat: int
    heard: list[str]
    """Ids of workers heard lately."""

    def apply(self, uow: UnitOfWork) -> WorkersToHear:
        found = [Server(*row) for row in uow.database.rows("read_servers")]
        mine = next((server for server in found if server.id == self.peers.server_id), None)
        gone = self.detector.gone(server for server in found if server is not mine)
        ownerless: list[str] = []
        of_paused: set[str] = set()
        if mine is None or gone:
            of_paused = _workers_of_paused(uow, gone)
            ownerless = self._take_place(uow, gone)
        else:
            self._save(uow, mine.shard)
        if self.beat % DEFINED_EVERY:
            uow.counters.reload(uow.database)
        else:
            uow.definitions.load(uow.database)
        uow.expect(uow.counters.lanes_with_work)
        own = uow.database.rows("workers_of", server_id=self.peers.server_id)
        states = [(worker_id, state) for worker_id, state in own]
        return WorkersToHear([*states, *((worker_id, "") for worker_id in ownerless)], of_paused)

    def _take_place(self, uow: UnitOfWork, gone: list[str]) -> list[str]:
        """Remove servers that are gone, take a place, and adopt workers without a server, one server at a time.

        Return holders of leases that have no row of a worker.
        """
        server_id = self.peers.server_id
        uow.database.rows("lock_fact", name="servers")
        if gone:
            log.warning("servers.gone ids=%s", ",".join(gone))
            uow.execute("delete_servers", ids=as_rows(gone))
        found = [Server(*row) for row in uow.database.rows("read_servers")]
        mine = next((server for server in found if server.id == server_id), None)
        taken = {server.shard for server in found}
        shard = mine.shard if mine is not None else next(n for n in range(1, len(taken) + 2) if n not in taken)
        self._save(uow, shard)
        uow.flush()
        # If the others took this server for gone, the workers that it still hears become its own again.
        for worker_id in self.heard if mine is None else ():
            uow.execute("hear_worker", id=worker_id, server_id=server_id)
        uow.execute("adopt_workers", server_id=server_id)
        return [worker_id for (worker_id,) in uow.database.rows("find_ownerless")]

    def _save(self, uow: UnitOfWork, shard: int) -> None:
        peers = self.peers
        uow.counters.shard = shard
        uow.later(
            "save_server", id=peers.server_id, shard=shard, host=peers.host, pid=peers.pid, version=peers.version,
            beat=self.beat, created_at=uow.now_ms, heard_at=uow.now_ms,
        )  # fmt: skip


def _workers_of_paused(uow: UnitOfWork, gone: list[str]) -> set[str]:
    """Return the workers of those servers whose process still exists."""
    rows = uow.database.rows
    held = [server_id for server_id in gone if any(is_held for (is_held,) in rows("place_is_held", id=server_id))]
    return {worker_id for server_id in held for worker_id, _ in rows("workers_of", server_id=server_id)}


class Servers:
    """Place of this server among the servers of a shared store; without effect for a store that is not shared."""

    def __init__(self, store: Store, sessions: Sessions) -> None:
        self._store = store
        self._sessions = sessions
        self._detector = FailureDetector(store.clock)
        self._beat = 0
        self._beat_ms = store.clock.monotonic_ms()
        """Time of the last heartbeat of this server, by the monotonic clock."""
        self._position: int | None = None
        self._since = store.clock.now_ms()

    @property
    def _clock(self) -> Clock:
        return self._store.clock

    @property
    def silent_ms(self) -> int:
        """Milliseconds since this server's last heartbeat; 0 for a store that is not shared."""
        return self._clock.monotonic_ms() - self._beat_ms if self._store.peers is not None else 0

    async def join(self) -> None:
        """Take a place, and the workers that no living server hears."""
        peers = self._store.peers
        if peers is not None:
            await self._send_beat(peers)

    async def pulse(self) -> None:
        """Send a heartbeat, take over from servers that are gone, and read what messages may have failed to tell."""
        peers = self._store.peers
        if peers is None:
            return
        try:
            await self._send_beat(peers)
        except Unavailable:
            self._detector.reset()
            raise
        await self._wake_watchers()
        await self._announce_times()

    async def leave(self) -> None:
        """Give the place up, so that the other servers need not detect the end of this one."""
        peers = self._store.peers
        if peers is not None:
            await self._store.write(Statement("delete_servers", ids=as_rows([peers.server_id])))

    async def _send_beat(self, peers: Peers) -> None:
        self._beat += 1
        # The workers are read here, since sessions change on this thread.
        found = await self._store.write(ServerBeat(peers, self._detector, self._beat, self._sessions.heard_lately()))
        for worker_id, state in found.states:
            if self._sessions.get(worker_id) is None:
                session = self._sessions.open(worker_id)
                session.draining = state == "draining"
                session.kept_silent = worker_id in found.of_paused
        self._beat_ms = self._clock.monotonic_ms()

    async def _announce_times(self) -> None:
        """Publish times that other servers have set, since these may be gone by then."""
        run_at, deadline_at, parked_until, _ = await self._store.read.next_due()
        for at_ms in (run_at, parked_until):
            if at_ms is not None and at_ms != PARKED:
                self._store.events.publish(RunDue(at_ms))
        if deadline_at is not None:
            self._store.events.publish(DeadlineSet(deadline_at))
        self._store.events.publish(PeersChecked())

    async def _wake_watchers(self) -> None:
        """Wake the watchers of runs that other servers have changed, in case that a message about them was lost."""
        store = self._store
        last = await store.read.last_position()
        if store.notifier.count and self._position is not None and last > self._position:
            store.generation += 1
            run_ids = await store.read.changed_since(self._position, TOLD_MAX)
            if len(run_ids) < TOLD_MAX:
                store.notifier.publish(run_ids)
            else:
                store.notifier.publish_all()
        self._position = last

    async def list(self) -> list[Server]:
        """Return the servers that share the database, oldest first; this one alone if the store is not shared."""
        if self._store.peers is not None:
            return await self._store.read.servers()
        return [self._alone(self._clock.now_ms())]

    def _alone(self, now: int) -> Server:
        return Server(
            id="", shard=0, host=socket.gethostname(), pid=os.getpid(), version=__version__, beat=0,
            created_at=self._since, heard_at=now,
        )  # fmt: skip
