"""Workers of one organisation: the worker protocol (register, claim, report, signals), and what people see and do of them."""

from __future__ import annotations

import asyncio
import builtins
import logging
from collections.abc import AsyncIterator, Container
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec
from msgspec.structs import replace

from headway.config import Settings
from headway.durations import parse_ms
from headway.errors import Draining, InvalidInput, WorkerNotFound
from headway.kernel.authority import EVERYBODY, Principal
from headway.kernel.namespace import Namespace
from headway.kernel.run import State
from headway.kernel.worker import Worker, WorkerHealth
from headway.protocol import workers as wire
from headway.runs.claiming import Claim, takes
from headway.runs.leases import Leases
from headway.runs.registration import Registrar
from headway.runs.reporting import ReportProcessor
from headway.runs.sessions import Session, Sessions
from headway.store.command import Command
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

_decode_names: Final = msgspec.json.Decoder(list[str]).decode

log = logging.getLogger("headway.workers")

NOTED_EVERY_MS: Final = 60_000
"""Interval at which heartbeats are stored; only people read that."""
SIGNALS_S: Final = 5
"""Longest silence of a signals stream, in seconds."""


@dataclass(eq=False)
class SaveWorker(Command[None]):
    """Storage of a worker's row."""

    worker: Worker

    def apply(self, uow: UnitOfWork) -> None:
        uow.save_worker(self.worker)


class Workers:
    """Verbs on the workers of one organisation; a worker of another organisation is answered with WorkerNotFound."""

    def __init__(
        self,
        store: Store,
        sessions: Sessions,
        leases: Leases,
        registrar: Registrar,
        reports: ReportProcessor,
        settings: Settings,
        namespace: Namespace,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._leases = leases
        self._registrar = registrar
        self._reports = reports
        self._settings = settings
        self._namespace = namespace
        self._organisation = namespace.organisation

    # -- sessions ------------------------------------------------------------------------------------------------------

    async def register(
        self, asked: wire.RegisterWorker, by: Principal = EVERYBODY, *, built_in: bool = False, executor: str = ""
    ) -> Worker:
        """Open a session and store the worker's definitions of tasks, which count for runs that start from now on.

        With an `executor` the worker claims all tasks of that executor. Features, such as schedules, store their part of
        the registration in the same transaction.

        Raises InvalidInput for a name of built-in tasks, unless the worker is `built_in`, for a task that another
        organisation than the first would share, and for a schema that cannot be used; SchemaTooCostly; and Forbidden,
        with every task and schedule in other queues than those of the worker's key (`by`) that would be changed.
        """
        registration = await self._registrar.register(
            asked, self._namespace, self._leases.server_id, by, built_in=built_in, executor=executor
        )
        self._sessions.open(registration.worker.id).registration = registration
        return self._namespace.worker(registration.worker)

    def notices_of(self, worker_id: str) -> builtins.list[str]:
        """Return the notices for a worker that has just registered, such as why a declared schedule does not count."""
        session = self._sessions.get(worker_id)
        return [] if session is None or session.registration is None else list(session.registration.notices)

    async def _own(self, worker_id: str) -> Worker:
        """Return a worker of the organisation as it registered, or as it is stored; raise WorkerNotFound."""
        session = self._sessions.get(worker_id)
        if session is not None and session.registration is not None:
            worker: Worker | None = session.registration.worker
        else:
            worker = await self._store.read.worker(worker_id)
        if worker is None or worker.organisation != self._organisation:
            raise _not_found(worker_id)
        return worker

    async def _session(self, worker_id: str) -> Session:
        """Return the session of a worker, opened if another server or process had it; raise WorkerNotFound."""
        session = self._sessions.get(worker_id)
        if session is None or session.registration is None:
            worker = await self._own(worker_id)
            if worker.state == "gone":
                raise _not_found(worker_id)
            elsewhere = session is None
            session = self._sessions.admit(worker)
            if elsewhere:
                await self._leases.hear(worker_id)
        elif session.registration.worker.organisation != self._organisation:
            raise _not_found(worker_id)
        return session

    async def queues_of(self, worker_id: str) -> frozenset[str]:
        """Return the queues from which a worker claims; empty: all queues. Raises WorkerNotFound."""
        return frozenset(map(self._namespace.unqualify, _decode_names((await self._own(worker_id)).queues)))

    # -- the protocol --------------------------------------------------------------------------------------------------

    async def claim(self, asked: wire.ClaimRuns) -> builtins.list[wire.Lease]:
        """Return leases of up to `max` runs, waiting up to `wait` for the first; empty if none came.

        If the caller goes away while this waits, claimed runs are handed back. Raises WorkerNotFound, InvalidInput for a
        `wait` that is no duration, and Draining while this server drains.
        """
        if self._sessions.draining:
            raise Draining
        session = await self._session(asked.worker_id)
        self._sessions.heard(session)
        if session.over:  # writing its end may take long, if the database hangs
            await session.settled.wait()
            session = await self._session(asked.worker_id)
        if not self._sessions.may_claim(session):
            return []
        try:
            wait_ms = min(parse_ms(asked.wait), self._settings.wait_max_ms)
        except ValueError as error:
            raise InvalidInput(f"wait: {error}") from None
        registration = session.registration
        assert registration is not None, "a session of a worker that claims"
        # By the newest declarations; a worker of another version queues for its own capacity what does not fit.
        tasks: Container[str] = registration.tasks
        capacity: dict[str, int] = dict(asked.rooms.items())
        if capacity:
            find = self._store.definitions.task
            tasks = frozenset(
                name
                for name in _decode_names(registration.worker.tasks)
                if capacity.get(find(name).executor, asked.max) > 0
            )
        lanes = partial(takes, tasks, registration.queues)
        command = Claim(
            worker_id=asked.worker_id,
            lanes=lanes,
            max=asked.max,
            capacity=capacity,
            sessions=self._sessions,
            session=session,
            number=asked.number,
        )

        async def undelivered(leases: builtins.list[wire.Lease]) -> None:
            await self._leases.hand_back(asked.worker_id, [(lease.run_id, lease.epoch) for lease in leases])

        session.claims.began(asked.number)
        try:
            with session.waiting(partial=0 in capacity.values()) as enough:
                return await self._store.write_when_ready(command, wait_ms / 1000, undelivered, enough)
        finally:
            session.claims.ended(asked.number)

    async def report(self, asked: wire.ReportRuns, by: Principal = EVERYBODY) -> wire.ReportAnswer:
        """Apply reports and answer a heartbeat (`held`); reports that are not among `rejected` are on disk.

        A child run that the worker's key (`by`) may not start is rejected. The answer to `held` names lost leases and
        runs to stop. Raises WorkerNotFound, also for a worker that has received no answer for a whole lease.
        """
        session = await self._session(asked.worker_id)
        self._sessions.heard(session)
        if asked.claiming is not None and self._sessions.misses_answers(session, asked.heard):
            held = await self._leases.lapse(
                session, given_up="the answers of the server did not arrive at its worker", though_heard=True
            )
            log.warning(
                "worker.deaf worker_id=%s runs=%s: no answer has reached it for a lease", session.worker_id, held
            )
            raise WorkerNotFound(
                f"the session of {asked.worker_id} expired, since no answer reached it for the time of a lease"
            )
        rejected: builtins.list[wire.Rejection] = []
        replies: builtins.list[wire.Reply] = []
        if asked.reports:
            if self._store.definitions.shared:
                children = [report.run.task for report in asked.reports if isinstance(report, wire.ChildReport)]
                await self._store.know(self._namespace, children)
            command = await self._reports.prepare(asked.worker_id, asked.reports, self._organisation, by)
            rejected, replies = await self._store.write(command)
            if session.partial_claims and command.ends_attempts:
                session.free_capacity()
        lost: builtins.list[tuple[str, int]] = []
        stop: builtins.list[wire.StopSignal] = []
        beat = 0
        if asked.held is not None:
            session.blocked = asked.blocked
            lost, stop, beat = await self._heartbeat(session, asked.held, asked.claiming, asked.heard)
        return wire.ReportAnswer(
            rejected=rejected, replies=replies, lost=lost, stop=stop, drain=session.draining, beat=beat
        )

    async def _heartbeat(
        self, session: Session, held: builtins.list[tuple[str, int]], claiming: builtins.list[int] | None, heard: int
    ) -> tuple[builtins.list[tuple[str, int]], builtins.list[wire.StopSignal], int]:
        leases = {
            (run_id, epoch): (state, task)
            for run_id, epoch, state, task in await self._store.read.leases(session.worker_id)
        }
        named = {(run_id, epoch) for run_id, epoch in held}
        lost = [lease for lease in held if tuple(lease) not in leases]
        stop = [
            wire.StopSignal(run_id=run_id, epoch=epoch, grace_ms=self._store.definitions.task(task).grace_ms)
            for (run_id, epoch), (state, task) in leases.items()
            if state == State.STOPPING and (run_id, epoch) in named
        ]
        undelivered, beat = session.claims.never_arrived(
            leases.keys() - named, claiming, heard, self._store.clock.monotonic_ms(), self._settings.lease_ms
        )
        await self._leases.hand_back(session.worker_id, undelivered)
        self._note(session)
        if self._store.peers is not None:
            await self._follow_peers(session)
        self._sessions.answers(session, beat)  # only now, since the database may have delayed the answer
        return lost, stop, beat

    async def _follow_peers(self, session: Session) -> None:
        """Take over the worker again from another server, or a drain or an end that was recorded there."""
        worker = await self._store.read.worker(session.worker_id)
        if worker is not None and worker.state == "gone":
            # Another server has taken it over and ended it, while this one was paused.
            await self._leases.lapse(
                session, given_up="another server had taken its worker for gone", though_heard=True
            )
            raise WorkerNotFound(
                f"the session of {session.worker_id} was ended by another server, which took the worker for dead"
            )
        if worker is not None:
            if worker.server_id != self._leases.server_id:
                await self._leases.hear(session.worker_id)
            if worker.state == "draining" and not session.draining:
                self._sessions.drain(session.worker_id)

    def _note(self, session: Session) -> None:
        """Store a heartbeat now and then, for people to see; no answer waits for that."""
        now_ms = self._store.clock.monotonic_ms()
        registration = session.registration
        if registration is not None and (session.noted_ms is None or now_ms - session.noted_ms >= NOTED_EVERY_MS):
            session.noted_ms = now_ms
            worker = replace(registration.worker, heard_at=self._store.clock.now_ms())
            self._store.write(SaveWorker(worker)).add_done_callback(_ignore_failure)

    async def signals(self, worker_id: str) -> AsyncIterator[wire.StopSignal | str | None]:
        """Yield messages for the worker: a StopSignal, "drain", or None after 5 s without a message.

        While this is open the worker is alive; when it breaks, the worker has `disconnect_ms` to come back. Raises
        WorkerNotFound.
        """
        session = await self._session(worker_id)
        self._sessions.connected(session)
        await self._leases.hear(worker_id)
        told_to_drain = False
        try:
            while self._sessions.get(worker_id) is session:
                session.wake.clear()  # before looking: what comes while the consumer is busy wakes us
                if session.draining and not told_to_drain:
                    told_to_drain = True
                    yield "drain"
                while session.messages:
                    yield session.messages.popleft()
                try:
                    async with asyncio.timeout(SIGNALS_S):
                        await session.wake.wait()
                except TimeoutError:
                    yield None
        finally:
            self._sessions.disconnected(session)

    # -- people --------------------------------------------------------------------------------------------------------

    async def list(self) -> builtins.list[Worker]:
        """Return the stored workers, oldest first."""
        found = [worker for worker in await self._store.read.workers() if worker.organisation == self._organisation]
        return [self._namespace.worker(self._heard(worker)) for worker in found]

    def _heard(self, worker: Worker) -> Worker:
        """Return the worker with its last heartbeat, which is stored only now and then."""
        session = self._sessions.get(worker.id)
        if session is None or worker.state == "gone":
            return worker
        heard_at = self._store.clock.now_ms() - self._sessions.silent_ms(session)
        return replace(worker, heard_at=max(worker.heard_at, heard_at))

    async def get(self, worker_id: str) -> Worker:
        """Return a worker; raise WorkerNotFound."""
        return self._namespace.worker(await self._stored(worker_id))

    async def _stored(self, worker_id: str) -> Worker:
        worker = await self._store.read.worker(worker_id)
        if worker is None or worker.organisation != self._organisation:
            raise _not_found(worker_id)
        return self._heard(worker)

    async def leases(self, worker_id: str) -> int:
        """Return the number of runs that a worker holds; raise WorkerNotFound."""
        await self._own(worker_id)
        return len(await self._store.read.leases(worker_id))

    async def health(self, worker_id: str) -> WorkerHealth | None:
        """Return the health of a worker, or None if another server receives its heartbeats; raise WorkerNotFound."""
        await self._own(worker_id)
        return await self._leases.health(worker_id, self._organisation)

    async def drain(self, worker_id: str) -> Worker:
        """Tell a worker to claim nothing more and to end when its runs have ended; raise WorkerNotFound."""
        worker = await self._stored(worker_id)
        if worker.state != "gone":
            worker = replace(worker, state="draining")
            await self._store.write(SaveWorker(worker))
            session = self._sessions.get(worker_id)
            if session is not None and session.registration is not None:
                session.registration = replace(session.registration, worker=worker)
            self._sessions.drain(worker_id)
        return self._namespace.worker(worker)


def _not_found(worker_id: str) -> WorkerNotFound:
    return WorkerNotFound(f"no worker is registered as {worker_id}")


def _ignore_failure(done: asyncio.Future[None]) -> None:
    """Retrieve the exception of a heartbeat's storage, which would be logged otherwise: it is repeated in a minute."""
    if not done.cancelled():
        done.exception()
