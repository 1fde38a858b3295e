"""Leases of all workers of this server: their loss with a session, their return, and their state after a restart."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from headway.clock import Clock
from headway.errors import Unavailable
from headway.kernel.lifecycle import Crashed, Released
from headway.kernel.worker import LoopBlock, WorkerHealth
from headway.runs.sessions import Lease, Session, Sessions
from headway.runs.transitions import move
from headway.store.command import Command, Statement
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

CHUNK = 1_000
"""Runs that are read at once."""


@dataclass(eq=False)
class EndSession(Command[int | None]):
    """End of a session; the result is the number of runs that it held, or None if the worker was heard meanwhile."""

    session: Session
    sessions: Sessions
    clock: Clock
    server_id: str | None
    """Id of this server, where several share the database."""
    given_up: str
    """Reason for which the worker gave its runs up; empty: they have crashed."""
    though_heard: bool

    def __post_init__(self) -> None:
        self.began_ms = self.clock.monotonic_ms()
        self.before = self._heard()

    def _heard(self) -> tuple[int, int]:
        return self.session.heard_ms, self.sessions.clock.since_ms

    def apply(self, uow: UnitOfWork) -> int | None:
        """Release the session's runs, or apply a crash to them."""
        # The database or this server may have been paused meanwhile: heartbeats received by now count.
        waited = self.clock.monotonic_ms() - self.began_ms >= self.sessions.clock.beat_ms
        if not self.though_heard and (waited or self._heard() != self.before):
            return None
        worker_id, lost = self.session.worker_id, 0
        if self.server_id is not None:
            for heard_by, state in uow.database.rows("who_hears", id=worker_id):
                if heard_by not in (None, self.server_id) and state != "gone":
                    return 0  # another server hears it now
        event = Released() if self.given_up else Crashed("its worker was not heard from any more")
        detail = {"note": self.given_up} if self.given_up else {}
        while found := uow.find("find_leased", worker_id=worker_id, limit=CHUNK):
            for run in found:
                move(uow, run, event, worker_id=worker_id, **detail)
            lost += len(found)
        uow.later("end_worker", id=worker_id, heard_at=uow.now_ms)
        return lost


@dataclass(eq=False)
class ReturnLeases(Command[None]):
    """Release of runs whose leases never reached their worker; the attempts do not count."""

    worker_id: str
    leases: Collection[Lease]

    def __post_init__(self) -> None:
        self.run_ids = [run_id for run_id, _ in self.leases]

    def apply(self, uow: UnitOfWork) -> None:
        for run_id, epoch in self.leases:
            run = uow.run(run_id)
            if run is not None and run.epoch == epoch and run.worker_id == self.worker_id:
                move(uow, run, Released(), note="never delivered")


class Leases:
    """Leases of the workers of all organisations."""

    def __init__(self, store: Store, sessions: Sessions, lease_ms: int) -> None:
        self._store = store
        self._sessions = sessions
        self._lease_ms = lease_ms
        self.expired = 0
        """Leases taken from workers that went unheard, since this server started."""

    @property
    def server_id(self) -> str | None:
        """Id of this server, where several share the database."""
        return None if self._store.peers is None else self._store.peers.server_id

    async def restore(self) -> None:
        """Open sessions, after a restart, for all workers that may still hold leases.

        Where servers share a database, `Servers` does so for the workers that no other server hears.
        """
        if self._store.peers is not None:
            return
        for worker in await self._store.read.workers():
            if worker.state != "gone":
                self._sessions.admit(worker)
        for worker_id in await self._store.read.leased_workers():
            self._sessions.open(worker_id)  # also one without a row: its leases have to lapse

    async def hear(self, worker_id: str) -> None:
        """Tell the other servers that this one receives the worker's heartbeats now."""
        if self.server_id is not None:
            await self._store.write(Statement("hear_worker", id=worker_id, server_id=self.server_id))

    async def lapse(self, session: Session, *, given_up: str = "", though_heard: bool = False) -> int | None:
        """End a session and return the number of runs that it held; they return to their queues, or fail as poison.

        With `given_up`, the reason for which the worker gave them up, they have not crashed. Returns None and changes
        nothing if the worker was heard from before the transaction or may have been heard during a pause of the
        database, unless `though_heard`. Raises Unavailable; then the session goes on.
        """
        session.over = True  # its claims get nothing from here on, also those queued at the writer
        session.settled.clear()
        heard_ms = session.heard_ms
        command = EndSession(session, self._sessions, self._store.clock, self.server_id, given_up, though_heard)
        try:
            lost = await self._store.write(command)
        except Unavailable:  # it may be heard from again before this can be done
            session.over = False
            raise
        finally:
            session.settled.set()
        if lost is None:
            session.over = False
            if session.heard_ms == heard_ms:
                self._sessions.renew()
            return None
        self.expired += lost
        self._sessions.close(session)
        return lost

    async def hand_back(self, worker_id: str, leases: Collection[Lease]) -> None:
        """Release runs whose leases never reached the worker; the attempts do not count."""
        if leases:
            await self._store.write(ReturnLeases(worker_id, leases))

    async def health(self, worker_id: str, organisation: int) -> WorkerHealth | None:
        """Return the health of a worker, or None if this server does not hear it; no run of others than `organisation` is named."""
        session = self._sessions.get(worker_id)
        if session is None:
            return None
        heard_at = self._store.clock.now_ms() - self._sessions.silent_ms(session)
        lapses_at = heard_at + self._lease_ms
        block = session.blocked
        if block is None:
            return WorkerHealth(heard_at, lapses_at)
        run = await self._store.read.run(block.run_id) if block.run_id else None
        run_id = block.run_id if run is not None and run.organisation == organisation else ""
        blocked = LoopBlock(heard_at - block.for_ms, block.task, run_id, block.where, block.stack)
        return WorkerHealth(heard_at, lapses_at, blocked)
