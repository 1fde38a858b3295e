"""Several servers on one database: each takes a place, gives signs of life, and takes over the workers of one that is gone."""

from __future__ import annotations

import logging
import os
import socket
from typing import Final

from headway import __version__
from headway.clock import Clock
from headway.errors import Unavailable
from headway.kernel.run import PARKED
from headway.notify.events import DeadlineSet, PeersChecked, RunDue
from headway.runs.sessions import Sessions
from headway.store.peers import Peers, Server
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork, as_rows

SERVER_HEARTBEAT_MS: Final = 2_000
"""How often a server gives a sign of life, and looks at what it may not have been told."""
GONE_MS: Final = 7_000
"""A server of which nothing is heard for so long is gone: three signs of life did not come."""
LOOK_MAX_MS: Final = 3_000
"""Milliseconds counted at most between two looks: a server that looks late was paused itself, or its database was."""
SILENT_MS: Final = 15_000
"""A server that could give no sign of life for so long says that it is not ready: it stands still, or its database does."""
DEFINED_EVERY: Final = 5
"""Signs of life after which tasks and queues are read again, in case a message about them was lost."""
TOLD_MAX: Final = 10_000
"""Runs that are looked at for those who may not have been woken."""

log = logging.getLogger("headway.servers")


class Servers:
    """The place of this server among the others. Of a store that is not shared it does nothing."""

    def __init__(self, store: Store, sessions: Sessions) -> None:
        self._store = store
        self._sessions = sessions
        self._seen: dict[str, tuple[int, int]] = {}
        """Server → its last beat, and when that was first seen, in milliseconds of `_looked_ms`."""
        self._looked_ms = 0
        self._look_ms = store.clock.monotonic_ms()
        """`_looked_ms`: the counted milliseconds. `_look_ms`: the time of the last look, by the monotonic clock."""
        self._beat = 0
        self._pulsed_ms = store.clock.monotonic_ms()
        self._position: int | None = None
        self._since = store.clock.now_ms()

    @property
    def _clock(self) -> Clock:
        return self._store.clock

    @property
    def silent_ms(self) -> int:
        """For how long this server has given no sign of life. Of a store that is not shared none is expected."""
        return self._clock.monotonic_ms() - self._pulsed_ms if self._store.peers is not None else 0

    async def join(self) -> None:
        """Take a place, and the workers that no living server hears."""
        peers = self._store.peers
        if peers is not None:
            await self._say_alive(peers)

    async def pulse(self) -> None:
        """Give a sign of life; catch up with what was not heard; take over from servers that are gone."""
        peers = self._store.peers
        if peers is None:
            return
        try:
            await self._say_alive(peers)
        except Unavailable:
            self._seen.clear()  # a beat that cannot be read does not stand still
            raise
        await self._wake()
        await self._tell_the_time()

    async def leave(self) -> None:
        """Give the place up, so that others need not wait to see that."""
        peers = self._store.peers
        if peers is not None:
            await self._store.write(lambda uow: uow.later("delete_servers", ids=as_rows([peers.server_id])))

    async def _say_alive(self, peers: Peers) -> None:
        heard = self._sessions.heard_lately()  # read here, since sessions change on this thread
        workers, still = await self._store.write(lambda uow: self._pulse(uow, peers, heard))
        self._open(workers, still)
        self._pulsed_ms = self._clock.monotonic_ms()

    def _pulse(self, uow: UnitOfWork, peers: Peers, heard: list[str]) -> tuple[list[tuple[str, str]], set[str]]:
        """Return this server's workers with their states; `heard` are those heard lately.

        Also return those of them that were taken over from paused servers, and may know no other server.
        """
        found = [Server(*row) for row in uow.database.rows("read_servers")]
        mine = next((server for server in found if server.id == peers.server_id), None)
        gone = self._gone([server for server in found if server is not mine])
        ownerless: list[str] = []
        still: set[str] = set()
        if mine is None or gone:
            still = self._who_stands_still(uow, gone)
            ownerless = self._take_place(uow, peers, gone, heard)
        else:
            self._say(uow, peers, mine.shard)
        if self._beat % DEFINED_EVERY:
            uow.counters.reload(uow.database)
        else:
            uow.definitions.load(uow.database)
        uow.expect(uow.counters.lanes_with_work)
        known = uow.database.rows("workers_of", server_id=peers.server_id)
        return [
            *((worker_id, state) for worker_id, state in known),
            *((worker_id, "") for worker_id in ownerless),
        ], still

    @staticmethod
    def _who_stands_still(uow: UnitOfWork, gone: list[str]) -> set[str]:
        """Return the workers of those servers whose process still exists."""
        rows = uow.database.rows
        held = [server_id for server_id in gone if any(is_held for (is_held,) in rows("place_is_held", id=server_id))]
        return {worker_id for server_id in held for worker_id, _ in rows("workers_of", server_id=server_id)}

    def _gone(self, others: list[Server]) -> list[str]:
        """Return the servers whose beat has stood still. If one of them only slept, it takes its place again."""
        before_ms, self._look_ms = self._look_ms, self._clock.monotonic_ms()
        now_ms = self._looked_ms = self._looked_ms + min(self._look_ms - before_ms, LOOK_MAX_MS)
        self._seen = {
            server.id: seen if (seen := self._seen.get(server.id)) and seen[0] == server.beat else (server.beat, now_ms)
            for server in others
        }
        return [server_id for server_id, (_, since_ms) in self._seen.items() if since_ms + GONE_MS <= now_ms]

    def _take_place(self, uow: UnitOfWork, peers: Peers, gone: list[str], heard: list[str]) -> list[str]:
        """One server at a time: remove those that are gone, find a place, and hear the workers that nobody hears.

        Return holders of leases that no row of a worker stands for.
        """
        uow.database.rows("lock_fact", name="servers")
        if gone:
            log.warning("servers.gone ids=%s", ",".join(gone))
            uow.database.run("delete_servers", ids=as_rows(gone))
        found = [Server(*row) for row in uow.database.rows("read_servers")]
        mine = next((server for server in found if server.id == peers.server_id), None)
        taken = {server.shard for server in found}
        shard = mine.shard if mine is not None else next(n for n in range(1, len(taken) + 2) if n not in taken)
        self._say(uow, peers, shard)
        uow.flush()
        # If the others took this server for gone, those that it still hears are its own again.
        for worker_id in heard if mine is None else ():
            uow.database.run("hear_worker", id=worker_id, server_id=peers.server_id)
        uow.database.run("adopt_workers", server_id=peers.server_id)
        return [worker_id for (worker_id,) in uow.database.rows("find_ownerless")]

    def _say(self, uow: UnitOfWork, peers: Peers, shard: int) -> None:
        self._beat += 1
        uow.counters.shard = shard
        uow.later(
            "save_server", id=peers.server_id, shard=shard, host=peers.host, pid=peers.pid, version=peers.version,
            beat=self._beat, created_at=uow.now_ms, heard_at=uow.now_ms,
        )  # fmt: skip

    def _open(self, workers: list[tuple[str, str]], still: set[str]) -> None:
        """Give each worker that this server has to hear a full lease to be heard from."""
        for worker_id, state in workers:
            if self._sessions.get(worker_id) is None:
                session = self._sessions.open(worker_id)
                session.draining = state == "draining"
                session.kept_silent = worker_id in still

    async def _tell_the_time(self) -> None:
        """Let the loops know of moments that other servers have set: those may be gone when they come."""
        run_at, deadline_at, parked_until, _ = await self._store.read.next_due()
        for at_ms in (run_at, parked_until):
            if at_ms is not None and at_ms != PARKED:
                self._store.events.publish(RunDue(at_ms))
        if deadline_at is not None:
            self._store.events.publish(DeadlineSet(deadline_at))
        self._store.events.publish(PeersChecked())

    async def _wake(self) -> None:
        """Wake who watches runs of which this server may not have been told, because a message was lost."""
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
        """Return the servers that share the database, oldest first; of a store that is not shared there is only this one."""
        if self._store.peers is not None:
            return await self._store.read.servers()
        return [self._alone(self._clock.now_ms())]

    def _alone(self, now: int) -> Server:
        return Server(
            id="", shard=0, host=socket.gethostname(), pid=os.getpid(), version=__version__, beat=0,
            created_at=self._since, heard_at=now,
        )  # fmt: skip
