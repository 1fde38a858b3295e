"""Workers: register, claim, report, listen, drain; and what becomes of the leases of one that is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import msgspec
from msgspec.structs import replace

from headway.config import Settings
from headway.durations import parse_ms
from headway.errors import Draining, Forbidden, InvalidInput, Unavailable, WorkerNotFound
from headway.ids import IdSource
from headway.kernel.authority import EVERYBODY, RESERVED, Principal
from headway.kernel.lifecycle import Crashed, Released
from headway.kernel.permissions import declares_beyond
from headway.kernel.query import FIRST
from headway.kernel.run import State
from headway.kernel.space import Space
from headway.kernel.task import Limit, Retention, RetryPolicy, Task
from headway.kernel.worker import LoopBlock, Worker, WorkerHealth
from headway.protocol import workers as wire
from headway.protocol.values import duration, invalid, timestamp
from headway.runs.claiming import Claim, claim, takes, unpark
from headway.runs.inputs import canonical
from headway.runs.reporting import CheckedReport, ReportProcessor
from headway.runs.schemas import Schemas
from headway.runs.sessions import Session, Sessions
from headway.runs.transitions import move
from headway.store.command import Command
from headway.store.definition_cache import DefinitionCache
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

_encode: Final = msgspec.json.Encoder().encode
_decode_names: Final = msgspec.json.Decoder(list[str]).decode

log = logging.getLogger("headway.workers")

NOTED_EVERY_MS: Final = 60_000
"""How often the store is told that a worker is alive; only people read that."""


class RegisteredWorker(msgspec.Struct, frozen=True):
    """A registered worker: its row, and the queues and tasks that it claims from."""

    worker: Worker
    queues: frozenset[str]
    tasks: Container[str]
    notices: tuple[str, ...] = ()
    """What of its schedules did not count when it registered, and why."""


class Declared(Protocol):
    """One feature's part of a registration, read and checked."""

    def keep(self, uow: UnitOfWork, tasks: Sequence[str], by: Principal) -> list[str]:
        """Keep it within the registration's transaction, for these tasks of the worker; return notices for the worker."""
        ...

    async def committed(self) -> None:
        """Do the work that follows the commit."""
        ...


class Declarations(Protocol):
    """One feature's reading of registrations."""

    async def read(
        self, asked: wire.RegisterWorker, tasks: Mapping[str, Task], space: Space, started_at: int
    ) -> Declared:
        """Read and check a registration; `tasks` has its declared tasks by the names that the worker uses."""
        ...


class OfExecutor:
    """The names of all tasks that have an executor, also of those that are made later."""

    def __init__(self, definitions: DefinitionCache, executor: str) -> None:
        self._catalog = definitions
        self._executor = executor

    def __contains__(self, name: object) -> bool:
        """Tell whether it is the name of such a task."""
        return isinstance(name, str) and self._catalog.task(name).executor == self._executor


@dataclass(eq=False)
class ClaimCommand(Command[list[wire.Lease]]):
    """Claim runs for a worker, unless its session ends or drains by then."""

    workers: Workers
    session: Session
    wanted: Claim
    number: int
    """The claim's number; see `Claims`."""

    def __post_init__(self) -> None:
        self.lanes = self.wanted.wants

    def apply(self, uow: UnitOfWork) -> list[wire.Lease]:
        """Return the leases."""
        session = self.session
        if session.draining or session.over or self.workers.draining:
            return []
        taken = claim(uow, self.wanted)
        if taken:
            session.claims.ended(self.number)
        return taken


@dataclass(eq=False)
class ReportCommand(Command[tuple[list[wire.Rejection], list[wire.Reply]]]):
    """Apply the reports of one request."""

    processor: ReportProcessor
    worker_id: str
    reports: list[CheckedReport]
    run_ids: set[str]
    weight: int
    trusts = True

    def apply(self, uow: UnitOfWork) -> tuple[list[wire.Rejection], list[wire.Reply]]:
        """Return the rejected reports and the replies."""
        return self.processor.apply(uow, self.worker_id, self.reports)


class Workers:
    """Every verb of the worker protocol."""

    def __init__(
        self,
        store: Store,
        sessions: Sessions,
        reports: ReportProcessor,
        schemas: Schemas,
        ids: IdSource,
        settings: Settings,
        declarations: Sequence[Declarations] = (),
    ) -> None:
        """`declarations` read what features let workers declare beside tasks."""
        self._store = store
        self._sessions = sessions
        self._reports = reports
        self._schemas = schemas
        self._declarations = declarations
        self._ids = ids
        self._settings = settings
        self._known: dict[str, RegisteredWorker] = {}
        self.draining = False
        """Set when the server goes: nothing is claimed any more."""
        self.leases_expired = 0
        """Leases taken from workers that went unheard, since this server began."""

    # -- sessions ------------------------------------------------------------------------------------------------------

    async def register(
        self,
        asked: wire.RegisterWorker,
        organisation: int = FIRST,
        by: Principal = EVERYBODY,
        *,
        built_in: bool = False,
        executor: str = "",
    ) -> Worker:
        """Open a session and declare its tasks. The newest declaration of a task counts for runs that start from now on.

        The names of built-in tasks are the server's own: others that declare one raise InvalidInput, and so does who
        wants to share a task from another organisation than the first.
        A key that is bound to queues (`by`) changes no task, and no schedule, of another queue: Forbidden says which it would.
        Features, such as schedules, keep what they read of the registration in the same transaction.
        With an `executor` the worker takes whatever tasks have that one.
        """
        if not built_in:
            _refuse_reserved(asked.tasks)
        now_ms = self._store.clock.now_ms()
        space = Space(organisation)
        tasks = [await self._declared(declaration, space, now_ms) for declaration in asked.tasks]
        started_at = now_ms if asked.started_at is None else min(now_ms, timestamp(asked.started_at, "/started_at"))
        by_name = {space.outside(task.name): task for task in tasks}
        declared = [await reader.read(asked, by_name, space, started_at) for reader in self._declarations]
        queues = list(map(space.inside, asked.queues))
        worker = Worker(
            id=self._ids.new(now_ms),
            name=asked.name or f"{asked.host}:{asked.pid}",
            host=asked.host,
            pid=asked.pid,
            version=asked.version,
            queues=_encode(queues).decode(),
            tasks=_encode([task.name for task in tasks]).decode(),
            capacity=asked.capacity,
            state="active",
            created_at=now_ms,
            heard_at=now_ms,
            server_id=self._server_id,
            organisation=organisation,
        )

        def work(uow: UnitOfWork) -> list[str]:
            own = _define(uow, tasks, space, by)
            for queue in queues:
                uow.queue(queue)
            uow.save_worker(worker)
            return [notice for each in declared for notice in each.keep(uow, own, by)] if tasks else []

        notices = await self._store.write(work)
        for each in declared:
            await each.committed()
        known = self._known[worker.id] = replace(self._remember(worker), notices=tuple(notices))
        if executor:
            self._known[worker.id] = replace(known, tasks=OfExecutor(self._store.definitions, executor))
        self._sessions.open(worker.id)
        return worker

    async def _declared(self, said: wire.TaskDeclaration, space: Space, now_ms: int) -> Task:
        retry, keep = said.retry, said.retention
        where = f"/tasks/{said.name}"
        if said.shared and space.organisation != FIRST:
            raise invalid(f"{where}/shared", "only tasks of the first organisation can be shared with all others")

        def json(raw: msgspec.Raw, field: str) -> str:
            limits = self._settings
            return canonical(raw, bytes_max=limits.input_max, depth_max=limits.depth_max, pointer=f"{where}/{field}")[0]

        schema = json(said.input_schema, "input_schema")
        await self._schemas.declare(schema, space.organisation, f"{where}/input_schema")
        await self._schemas.rest()

        def ms(text: str | None, field: str) -> int | None:
            return None if text is None else duration(text, f"{where}/{field}")

        def limit(rate: wire.RateSpec | None) -> Limit | None:
            return (
                None
                if rate is None
                else Limit(count=rate.limit, period_ms=max(1, duration(rate.period, f"{where}/rate")))
            )

        return Task(
            name=space.inside(said.name),
            title=said.title,
            version=said.version,
            description=said.description,
            executor=said.executor,
            queue=space.inside(said.queue),
            priority=said.priority,
            input_schema=schema,
            output_schema=None if said.output_schema is None else json(said.output_schema, "output_schema"),
            retry=RetryPolicy(
                max_attempts=retry.max_attempts,
                first_ms=duration(retry.backoff, f"{where}/retry/backoff"),
                factor=retry.factor,
                longest_ms=duration(retry.max_backoff, f"{where}/retry/max_backoff"),
                jitter=retry.jitter,
                do_not_retry=tuple(retry.do_not_retry),
            ),
            max_crashes=said.max_crashes,
            timeout_ms=ms(said.timeout, "timeout"),
            heartbeat_timeout_ms=ms(said.heartbeat_timeout, "heartbeat_timeout"),
            grace_ms=duration(said.grace, f"{where}/grace"),
            concurrency=said.concurrency,
            concurrency_per_key=said.concurrency_per_key,
            rate=limit(said.rate),
            rate_per_key=limit(said.rate_per_key),
            key=said.key,
            retention=Retention(
                succeeded_ms=ms(keep.succeeded, "retention/succeeded"),
                failed_ms=ms(keep.failed, "retention/failed"),
                terminated_ms=ms(keep.terminated, "retention/terminated"),
            ),
            resources=said.resources,
            shared=said.shared,
            created_at=now_ms,
            updated_at=now_ms,
        )

    def _remember(self, worker: Worker) -> RegisteredWorker:
        known = RegisteredWorker(
            worker, frozenset(_decode_names(worker.queues)), frozenset(_decode_names(worker.tasks))
        )
        self._known[worker.id] = known
        return known

    async def organisation_of(self, worker_id: str) -> int:
        """Return whose worker it is; raise WorkerNotFound."""
        known = self._known.get(worker_id)
        worker = await self._store.read.worker(worker_id) if known is None else known.worker
        if worker is None:
            raise WorkerNotFound(f"no worker is registered as {worker_id}")
        return worker.organisation

    async def _session(self, worker_id: str) -> tuple[RegisteredWorker, Session]:
        """Return a worker that is alive; one that another process of this server knew is found in the store."""
        known = self._known.get(worker_id)
        if known is None:
            worker = await self._store.read.worker(worker_id)
            if worker is None or worker.state == "gone":
                raise WorkerNotFound(f"no worker is registered as {worker_id}")
            known = self._remember(worker)
        session = self._sessions.get(worker_id)
        if session is None:
            session = self._open(known.worker)
            await self._hear(worker_id)
        return known, session

    async def queues_of(self, worker_id: str) -> frozenset[str]:
        """Return from which queues a worker claims; none: from all. Raises WorkerNotFound."""
        known = self._known.get(worker_id)
        return known.queues if known is not None else frozenset(_decode_names((await self.get(worker_id)).queues))

    def notices_of(self, worker_id: str) -> list[str]:
        """Return what a worker is to be told that has just registered."""
        known = self._known.get(worker_id)
        return [] if known is None else list(known.notices)

    @property
    def _server_id(self) -> str | None:
        return None if self._store.peers is None else self._store.peers.server_id

    async def _hear(self, worker_id: str) -> None:
        """Let the other servers know that it is this one that hears the worker now."""
        if self._store.peers is not None:
            await self._store.write(lambda uow: uow.later("hear_worker", id=worker_id, server_id=self._server_id))

    async def restore(self) -> None:
        """After a restart: give every worker that may still hold leases a full lease to be heard from.

        Where servers share a database, `Servers` does so for the workers that no other server hears.
        """
        if self._store.peers is not None:
            return
        for worker in await self._store.read.workers():
            if worker.state != "gone":
                self._remember(worker)
                self._open(worker)
        for worker_id in await self._store.read.leased_workers():
            self._sessions.open(worker_id)  # also one that is not known: its leases have to lapse

    def _open(self, worker: Worker) -> Session:
        session = self._sessions.open(worker.id)
        session.draining = worker.state == "draining"
        return session

    async def lapse(self, session: Session, *, given_up: str = "", though_heard: bool = False) -> int | None:
        """End a session: its runs go back to their queues, or fail as poison. Return how many it held.

        They have not crashed if it is known why its worker has `given_up` its runs. None is returned, and the worker keeps
        its leases, if it was heard from before this could be done, unless it is to end `though_heard`, or if it may have
        spoken while the database stood still.
        """
        event = Released() if given_up else Crashed("its worker was not heard from any more")
        detail = {"note": given_up} if given_up else {}
        session.over = True  # its claims get nothing from here on, also those queued at the writer
        session.settled.clear()
        listening, clock = self._sessions.listening, self._store.clock
        heard_ms, since_ms, asked_ms = session.heard_ms, listening.since_ms, clock.monotonic_ms()

        def work(uow: UnitOfWork) -> int | None:
            # The database or this server may have been paused meanwhile: heartbeats received by now count.
            waited = clock.monotonic_ms() - asked_ms >= listening.beat_ms
            if not though_heard and (waited or (session.heard_ms, listening.since_ms) != (heard_ms, since_ms)):
                return None
            lost = 0
            if self._store.peers is not None:
                for heard_by, state in uow.database.rows("who_hears", id=session.worker_id):
                    if heard_by not in (None, self._server_id) and state != "gone":
                        return 0  # another server hears it now
            while found := uow.find("find_leased", worker_id=session.worker_id, limit=1000):
                for run in found:
                    move(uow, run, event, worker_id=session.worker_id, **detail)
                lost += len(found)
            uow.later("end_worker", id=session.worker_id, heard_at=uow.now_ms)
            return lost

        try:
            lost = await self._store.write(work)
        except Unavailable:  # it may be heard from again before this can be done
            session.over = False
            raise
        finally:
            session.settled.set()
        if lost is None:
            session.over = False
            if session.heard_ms == heard_ms:
                self._sessions.excuse()
            return None
        self.leases_expired += lost
        self._sessions.close(session)
        self._known.pop(session.worker_id, None)
        return lost

    # -- the protocol ------------------------------------------------------------------------------------------------

    async def claim(self, asked: wire.ClaimRuns) -> list[wire.Lease]:
        """Let the worker have up to `max` runs, waiting up to `wait` for the first; raise Draining if this server goes.

        If the caller goes away while this waits, what was claimed for it is handed back.
        """
        if self.draining:
            raise Draining
        known, session = await self._session(asked.worker_id)
        self._sessions.heard(session)
        if session.over:  # writing its end may take long, if the database hangs
            await session.settled.wait()
            known, session = await self._session(asked.worker_id)

        if session.draining or session.over or self.draining:
            return []
        try:
            wait_ms = min(parse_ms(asked.wait), self._settings.wait_max_ms)
        except ValueError as error:
            raise InvalidInput(f"wait: {error}") from None
        # By the newest declarations; a worker of another version queues for its own slots what does not fit.
        tasks: Container[str] = known.tasks
        rooms: dict[str, int] = {executor: room for executor, room in asked.rooms.items()}  # noqa: C416 - for its type
        if rooms:
            find = self._store.definitions.task
            tasks = frozenset(
                name for name in _decode_names(known.worker.tasks) if rooms.get(find(name).executor, asked.max) > 0
            )
        wanted = Claim(asked.worker_id, partial(takes, tasks, known.queues), asked.max, rooms)

        async def undelivered(leases: list[wire.Lease]) -> None:
            await self.hand_back(asked.worker_id, leases)

        session.claims.began(asked.number)
        try:
            with session.waiting(partial=0 in rooms.values()) as enough:
                command = ClaimCommand(self, session, wanted, asked.number)
                return await self._store.write_patiently(command, wait_ms / 1000, undelivered, enough)
        finally:
            session.claims.ended(asked.number)

    async def leases(self, worker_id: str) -> int:
        """Return the number of runs that a worker holds."""
        return len(await self._store.read.leases(worker_id))

    async def hand_back(self, worker_id: str, leases: list[wire.Lease]) -> None:
        """Release runs whose lease never reached the worker; the attempt does not count."""
        if not leases:
            return

        def work(uow: UnitOfWork) -> None:
            for lease in leases:
                run = uow.run(lease.run_id)
                if run is not None and run.epoch == lease.epoch and run.worker_id == worker_id:
                    move(uow, run, Released(), note="never delivered")

        await self._store.write(work, run_ids=[lease.run_id for lease in leases])

    async def report(self, asked: wire.ReportRuns, by: Principal = EVERYBODY) -> wire.ReportAnswer:
        """Apply the reports; what is not rejected is on disk. `held` is answered with what was lost and what is to stop.

        `by` is whose key the worker shows: a child that it may not start is rejected.
        """
        known, session = await self._session(asked.worker_id)
        self._sessions.heard(session)
        if asked.claiming is not None and self._sessions.misses_answers(session, asked.heard):
            held = await self.lapse(
                session, given_up="the answers of the server did not arrive at its worker", though_heard=True
            )
            log.warning(
                "worker.deaf worker_id=%s runs=%s: no answer has reached it for a lease", session.worker_id, held
            )
            raise WorkerNotFound(f"{asked.worker_id} has heard no answer for a lease, and is not known any more")
        organisation = known.worker.organisation
        rejected: list[wire.Rejection] = []
        replies: list[wire.Reply] = []
        if asked.reports:
            if self._store.definitions.shared:
                children = [report.run.task for report in asked.reports if isinstance(report, wire.ChildReport)]
                await self._store.know(Space(organisation), children)
            ready = [
                await self._reports.check_child(report, organisation, by)
                if isinstance(report, wire.ChildReport)
                else self._reports.check(report, organisation, by)
                for report in asked.reports
            ]
            ids = set()
            for item in ready:
                ids.add(item.report.run_id)
                if item.draft is not None and item.draft.run.parent_id:
                    ids.add(item.draft.run.parent_id)
            command = ReportCommand(self._reports, asked.worker_id, ready, ids, len(ready))
            rejected, replies = await self._store.write(command)
            if session.partial_claims and any(item.event is not None or item.refusal is not None for item in ready):
                session.make_room()
        lost: list[tuple[str, int]] = []
        stop: list[wire.StopSignal] = []
        beat = 0
        if asked.held is not None:
            session.blocked = asked.blocked
            lost, stop, beat = await self._heartbeat(session, asked.held, asked.claiming, asked.heard)
        return wire.ReportAnswer(
            rejected=rejected, replies=replies, lost=lost, stop=stop, drain=session.draining, beat=beat
        )

    async def _heartbeat(
        self, session: Session, held: list[tuple[str, int]], claiming: list[int] | None, heard: int
    ) -> tuple[list[tuple[str, int]], list[wire.StopSignal], int]:
        leases = {
            (run_id, epoch): (state, task)
            for run_id, epoch, state, task in await self._store.read.leases(session.worker_id)
        }
        mine = {(run_id, epoch) for run_id, epoch in held}
        lost = [lease for lease in held if tuple(lease) not in leases]
        stop = [
            wire.StopSignal(run_id=run_id, epoch=epoch, grace_ms=self._store.definitions.task(task).grace_ms)
            for (run_id, epoch), (state, task) in leases.items()
            if state == State.STOPPING and (run_id, epoch) in mine
        ]
        undelivered, beat = session.claims.never_arrived(
            leases.keys() - mine, claiming, heard, self._store.clock.monotonic_ms(), self._settings.lease_ms
        )
        if undelivered:
            await self.hand_back(
                session.worker_id,
                [
                    wire.Lease(
                        run_id=run_id, task="", epoch=epoch, attempt=0, max_attempts=0, input=msgspec.Raw(b"null")
                    )
                    for run_id, epoch in undelivered
                ],
            )
        self._note(session)
        if self._store.peers is not None:
            await self._as_others_see_it(session)
        self._sessions.answers(session, beat)  # only now, since the database may have delayed the answer
        return lost, stop, beat

    async def _as_others_see_it(self, session: Session) -> None:
        """The worker may have gone to another server and come back, or been told to drain there."""
        worker = await self._store.read.worker(session.worker_id)
        if worker is not None and worker.state == "gone":
            # Another server has taken it over and ended it, while this one was paused.
            await self.lapse(session, given_up="another server had taken its worker for gone", though_heard=True)
            raise WorkerNotFound(f"{session.worker_id} was taken for gone by another server")
        if worker is not None:
            if worker.server_id != self._server_id:
                await self._hear(session.worker_id)
            if worker.state == "draining" and not session.draining:
                self._sessions.drain(session.worker_id)

    def _note(self, session: Session) -> None:
        """Tell the store now and then that the worker is alive, for people to see: no heartbeat waits for that."""
        now_ms = self._store.clock.monotonic_ms()
        known = self._known.get(session.worker_id)
        if known is not None and (session.noted_ms is None or now_ms - session.noted_ms >= NOTED_EVERY_MS):
            session.noted_ms = now_ms
            worker = replace(known.worker, heard_at=self._store.clock.now_ms())
            self._store.write(lambda uow: uow.save_worker(worker)).add_done_callback(_whatever_came_of_it)

    async def signals(self, worker_id: str) -> AsyncIterator[wire.StopSignal | str | None]:
        """Yield what the worker is told: a StopSignal, "drain", or None when `keepalive` is due.

        While this is open the worker is alive; when it breaks, the worker has `disconnect_ms` to come back.
        """
        _, session = await self._session(worker_id)
        self._sessions.connected(session)
        await self._hear(worker_id)
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
                    async with asyncio.timeout(5):
                        await session.wake.wait()
                except TimeoutError:
                    yield None
        finally:
            self._sessions.disconnected(session)

    # -- people ------------------------------------------------------------------------------------------------------

    async def list(self) -> list[Worker]:
        """Return the workers that are remembered, of all organisations, oldest first."""
        return [self._as_heard(worker) for worker in await self._store.read.workers()]

    def _as_heard(self, worker: Worker) -> Worker:
        """Return the worker with when it was heard: the store is told only now and then."""
        session = self._sessions.get(worker.id)
        if session is None or worker.state == "gone":
            return worker
        heard_at = self._store.clock.now_ms() - self._sessions.silent_ms(session)
        return replace(worker, heard_at=max(worker.heard_at, heard_at))

    def is_blocked(self, worker_id: str) -> bool:
        """Tell whether a task blocks the worker's event loop, as far as this server hears it."""
        session = self._sessions.get(worker_id)
        return session is not None and session.blocked is not None

    async def standing(self, worker_id: str, organisation: int) -> WorkerHealth | None:
        """Return how a worker stands; None if this server does not hear it. It names no run of another organisation."""
        session = self._sessions.get(worker_id)
        if session is None:
            return None
        silent_ms = self._sessions.silent_ms(session)
        heard_at = self._store.clock.now_ms() - silent_ms
        lapses_at = heard_at + self._settings.lease_ms
        held = session.blocked
        if held is None:
            return WorkerHealth(heard_at, lapses_at)
        run = await self._store.read.run(held.run_id) if held.run_id else None
        run_id = held.run_id if run is not None and run.organisation == organisation else ""
        blocked = LoopBlock(heard_at - held.for_ms, held.task, run_id, held.where, held.stack)
        return WorkerHealth(heard_at, lapses_at, blocked)

    async def get(self, worker_id: str) -> Worker:
        """Return a worker; raise WorkerNotFound."""
        worker = await self._store.read.worker(worker_id)
        if worker is None:
            raise WorkerNotFound(f"no worker is registered as {worker_id}")
        return self._as_heard(worker)

    async def drain(self, worker_id: str) -> Worker:
        """Tell a worker to finish what it has, claim nothing more, and go."""
        worker = await self.get(worker_id)
        if worker.state == "gone":
            return worker
        worker = replace(worker, state="draining")
        await self._store.write(lambda uow: uow.save_worker(worker))
        self._remember(worker)
        self._sessions.drain(worker_id)
        return worker


def _whatever_came_of_it(done: asyncio.Future[None]) -> None:
    """Take note of a failure, which would be logged as forgotten otherwise: it is tried again in a minute."""
    if not done.cancelled():
        done.exception()


def _refuse_reserved(declarations: Iterable[wire.TaskDeclaration]) -> None:
    for index, declaration in enumerate(declarations):
        if declaration.name.startswith(RESERVED):
            message = f"names that begin with {RESERVED!r} are the server's own"
            raise invalid(f"/tasks/{index}/name", message, "reserved")


def _define(uow: UnitOfWork, tasks: Iterable[Task], space: Space, by: Principal) -> list[str]:
    """Save the declarations that change a task; return the names of all that are in queues of the worker's key.

    Raises Forbidden with every task that the key may not change.
    """
    own, errors = [], []
    for index, task in enumerate(tasks):
        known = _meant(uow, space, task.name)
        beyond, changed = declares_beyond(by, task, known), _changed(task, known)
        if not beyond:
            own.append(space.outside(task.name))
            if changed is not None:
                _save(uow, changed)
        elif changed is not None:
            queue = task.queue if known is None else known.queue
            message = f"{space.outside(task.name)} (queue {space.outside(queue)})"
            errors.append({"pointer": f"/tasks/{index}", "code": "queue", "message": message})
    if errors:
        names = ", ".join(error["message"] for error in errors)
        raise Forbidden(
            f"the key is for the queues {', '.join(by.queues or ())} and does not declare {names[:1000]}: give it their "
            "queues too, or let a worker declare them first whose key has these; as they are then, they may be named",
            errors=errors,
        )
    return own


def _meant(uow: UnitOfWork, space: Space, stored: str) -> Task | None:
    """Return the task that the name has meant until now: the organisation's own, or one shared with it."""
    found = map(uow.task_now, space.tasks(space.outside(stored)))
    return next((task for task in found if task is not None and space.may_start(task)), None)


def _changed(task: Task, known: Task | None) -> Task | None:
    """Return what a declaration makes of a task, or None if it says nothing new; `active` is not the worker's to say."""
    if known is None or known.name != task.name:
        return task
    if known.executor not in wire.EXECUTORS:
        raise InvalidInput(f"{Space.outside(task.name)!r} is a task that the server executes itself")
    task = replace(task, active=known.active, created_at=known.created_at)
    return None if replace(task, updated_at=known.updated_at) == known else task


def _save(uow: UnitOfWork, task: Task) -> None:
    uow.define(task)
    uow.queue(task.queue)
    # Limits may have been lifted: whatever is parked competes again.
    while parked := uow.find("find_parked_of_task", task=task.name, limit=1_000):
        for run in parked:
            unpark(uow, run)
