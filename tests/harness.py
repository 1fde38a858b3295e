"""A service on a store, a clock that is turned by hand, and short words for what the tests do with them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from tests.commands import FunctionCommand
from tests.rows import verify, verify_postgres

from headway.clock import ManualClock
from headway.config import Settings
from headway.features.access.audit import note
from headway.features.schedules.loop import SchedulerLoop
from headway.features.schedules.service import Schedules
from headway.features.tables.definitions import Tables
from headway.features.tables.files import Files
from headway.features.tables.records import Records
from headway.ids import Signer
from headway.kernel.authority import Origin
from headway.kernel.organisation import Organisation
from headway.kernel.run import Run
from headway.notify.events import CommitEvent
from headway.protocol import workers as wire
from headway.protocol.runs import StartBatch, StartRun, Terminate
from headway.runs.idempotency import RequestKey, request_key
from headway.runs.loops.pruner import Pruner
from headway.runs.loops.rescuer import Rescuer
from headway.runs.loops.stager import Stager
from headway.runs.service import Service
from headway.server import FEATURES
from headway.store.postgres.open import open_postgres
from headway.store.sqlite.open import open_file, open_memory
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

START = 1_800_000_000_000
COUNTERS = "SELECT task, queue, state, CAST(sum(count) AS bigint) FROM counters GROUP BY task, queue, state"


def raw(value: Any) -> msgspec.Raw:
    """Return JSON as requests carry it."""
    return msgspec.Raw(json.dumps(value).encode())


def spec(task: str = "t", given: Any = None, **fields: Any) -> StartRun:
    """Return a start, read as from a request."""
    body = {"task": task, **fields} | ({} if given is None else {"input": given})
    return msgspec.json.decode(json.dumps(body), type=StartRun)


def declare(name: str = "t", **fields: Any) -> wire.TaskDeclaration:
    """Return a declaration, read as from a request."""
    return msgspec.json.decode(json.dumps({"name": name, **fields}), type=wire.TaskDeclaration)


def key(name: str, body: bytes = b"{}") -> RequestKey:
    """Return an idempotency key of a start."""
    return request_key(name, "POST", "/v1/runs", body, 86_400_000)


class Harness:
    """Everything that a server has, without its process."""

    organisation = 1

    def __init__(
        self,
        store: Store,
        clock: ManualClock,
        settings: Settings,
        path: Path | str | None = None,
        *,
        threaded: bool = True,
    ) -> None:
        """`path` is the file, or the URL of the database; `threaded` is how it is opened again."""
        self.store, self.clock, self.settings, self.path, self.threaded = store, clock, settings, path, threaded
        self.postgres = isinstance(path, str)
        self._side: Any = None
        self._up()

    def _up(self) -> None:
        self.store.start()
        self.service = Service(self.store, Signer(b"x" * 32), self.settings, features=FEATURES)
        self._bind()
        self.stager, self.rescuer, self.pruner = Stager(self.service), Rescuer(self.service), Pruner(self.service)
        self.scheduler = SchedulerLoop(self.service)
        self.waits: int | None = None

    def _bind(self) -> None:
        services = self.services = self.service.of(self.organisation)
        self.runs, self.workers, self.history = services.runs, services.workers, services.history
        self.tasks, self.queues, self.sessions = services.tasks, services.queues, self.service.sessions
        self.schedules = services.get(Schedules)
        self.tables, self.records, self.files = services.get(Tables), services.get(Records), services.get(Files)

    async def act_for(self, organisation: int) -> None:
        """From now on everything is done for another organisation, which is made if it is not there."""
        await self.store.write(FunctionCommand(lambda uow: make_organisation(uow, organisation)))
        self.organisation = organisation
        self._bind()

    async def restart(self) -> None:
        """Close the store and open it again, as another process would."""
        await self.service.servers.leave()
        await self.service.gateway.close()
        await self.store.close()
        self.store = opened(self.path, self.clock, threaded=self.threaded)
        self._up()
        await self.service.leases.restore()
        await self.service.servers.join()

    def announced(self, kind: type[CommitEvent]) -> list[Any]:
        """Return a list that gets the after-commit events of this type."""
        found: list[Any] = []
        self.store.events.subscribe(kind, found.append)
        return found

    async def worker(self, *tasks: wire.TaskDeclaration, **fields: Any) -> str:
        """Register a worker (of the task `t`, if none is named); return its id."""
        asked = wire.RegisterWorker(tasks=list(tasks or (declare(),)), **fields)
        return (await self.workers.register(asked)).id

    async def start(self, task: str = "t", given: Any = None, **fields: Any) -> Run:
        """Start a run."""
        return (await self.runs.start(spec(task, given, **fields))).run

    async def start_many(self, *specs: StartRun, atomic: bool = False, request: RequestKey | None = None) -> list[Any]:
        """Start a batch."""
        return await self.runs.start_batch(StartBatch(runs=list(specs), atomic=atomic), request)

    async def claim(self, worker: str, most: int = 100, wait: str = "0s", number: int = 0) -> list[wire.Lease]:
        """Claim for a worker."""
        return await self.workers.claim(wire.ClaimRuns(worker_id=worker, max=most, wait=wait, number=number))

    async def one(self, worker: str) -> wire.Lease:
        """Claim one run, which must be there."""
        (lease,) = await self.claim(worker, 1)
        return lease

    async def report(self, worker: str, *reports: wire.AnyReport, held: Any = None, **beat: Any) -> wire.ReportAnswer:
        """Report for a worker."""
        return await self.workers.report(wire.ReportRuns(worker_id=worker, reports=list(reports), held=held, **beat))

    async def tell(self, worker: str, lease: wire.Lease, kind: type[wire.Report], **fields: Any) -> wire.ReportAnswer:
        """Report one thing about a lease; it must be taken."""
        answer = await self.report(worker, kind(run_id=lease.run_id, epoch=lease.epoch, **fields))
        assert not answer.rejected, answer.rejected
        return answer

    async def refused(self, worker: str, lease: wire.Lease, kind: type[wire.Report], **fields: Any) -> tuple[int, str]:
        """Report one thing about a lease; return how it was refused."""
        answer = await self.report(worker, kind(run_id=lease.run_id, epoch=lease.epoch, **fields))
        (rejected,) = answer.rejected
        return rejected.status, rejected.code

    async def succeed(self, worker: str, lease: wire.Lease, output: Any = None) -> None:
        """Report success."""
        await self.tell(worker, lease, wire.SucceededReport, output=raw(output))

    async def fail(self, worker: str, lease: wire.Lease, **error: Any) -> None:
        """Report failure."""
        await self.tell(worker, lease, wire.ErroredReport, error=wire.FunctionError(**error))

    async def finished(self, worker: str, output: Any = None, **fields: Any) -> Run:
        """Start a run, execute it, and return it as it is then."""
        run = await self.start(**fields)
        await self.succeed(worker, await self.one(worker), output)
        return await self.runs.get(run.id)

    async def stop(self, run_id: str, **how: Any) -> Run:
        """Terminate."""
        return await self.runs.terminate(run_id, Terminate(**how))

    async def state(self, run_id: str) -> str:
        """Return the state, as the store has it."""
        return str((await self.runs.get(run_id)).state)

    async def states(self, *runs: Run) -> list[str]:
        """Return the states of runs."""
        return [await self.state(run.id) for run in runs]

    async def causes(self, run_id: str) -> list[str]:
        """Return the causes of the run's state events, in order."""
        events = await self.history.events(run_id, 0, 10_000, "run.state")
        return [json.loads(event.data)["cause"] for event in events]

    async def why(self, run_id: str) -> list[str]:
        """Return the codes of what stands in the run's way."""
        _, causes, _ = await self.history.waiting(run_id)
        return [cause.code for cause in causes]

    async def tick(self) -> None:
        """Let every loop do what is due."""
        await self.scheduler.tick()
        await self.stager.tick()
        self.waits = await self.rescuer.tick()
        await self.pruner.tick()

    async def advance(self, ms: int, *alive: str) -> None:
        """Turn the clock; the workers named are heard from; then every loop does what is due."""
        self.clock.advance(ms)
        for worker in alive:
            self.sessions.heard(self.sessions.get(worker))
        await self.tick()

    def connection(self) -> Any:
        """Return a connection to look with: of a file the reading one, of PostgreSQL one of its own."""
        if not self.postgres:
            return self.store.read.near.connection
        if self._side is None:
            self._side = psycopg.connect(self.path, autocommit=True)
        return self._side

    def sql(self, statement: str, *binds: Any) -> list[tuple[Any, ...]]:
        """Ask the database itself."""
        if not self.postgres:
            return self.connection().execute(statement, binds).fetchall()
        cursor = self.connection().execute(statement.replace("%", "%%").replace("?", "%s"), binds)
        return cursor.fetchall() if cursor.description else []

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return every row of every table."""
        named = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
        if self.postgres:
            named = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
        return {name: sorted(map(repr, self.sql(f"SELECT * FROM {name}"))) for (name,) in self.sql(named)}

    def wrong(self) -> list[Any]:
        """Return what `doctor --verify` would say that does not depend on the store's secret."""
        return self.wrong_with()

    def wrong_with(self, *signers: Any) -> list[Any]:
        """Return what `doctor --verify` would say that knows these secrets."""
        return (verify_postgres if self.postgres else verify)(self.connection(), signers)

    async def close(self) -> None:
        """Hold every row against every other, and the definition cache against the rows; then let go."""
        try:
            assert [] == self.wrong()
            kept = {(t, q, s): n for t, q, s, n in self.sql(COUNTERS) if n}
            counters = self.store.counters
            assert kept == {place: n for place, n in counters.counts.items() if n}
            assert counters.lanes_with_work == {
                (q, t) for (t, q, s), n in counters.counts.items() if n > 0 and s == "queued"
            }
        finally:
            if self._side is not None:
                self._side.close()
        await self.service.gateway.close()
        await self.store.close()

    async def let_go(self) -> None:
        """Close, of a store that may be out of order."""
        if self._side is not None:
            self._side.close()
        await self.store.close()


def make_organisation(uow: UnitOfWork, number: int) -> None:
    """Make an organisation of this number, if it is not there, with its line in the log of who did what."""
    made = Organisation(number, f"public-{number}", f"number {number}", "UTC", uow.now_ms)
    uow.save_organisation(made)
    note(uow, Origin(actor="test"), "organisation.create", made.public_id)


def in_memory(**settings: Any) -> Harness:
    """Return a harness without a disk; everything happens on the caller's thread."""
    clock = ManualClock(START)
    return Harness(open_memory(clock), clock, Settings(**settings))


def on_disk(path: Path, **settings: Any) -> Harness:
    """Return a harness on a file, with the writer on its thread."""
    clock = ManualClock(START)
    return Harness(opened(path, clock), clock, Settings(**settings), path)


def on_postgres(url: str, *, threaded: bool = False, **settings: Any) -> Harness:
    """Return a harness on PostgreSQL: on the caller's thread, or with threads that write, read and listen."""
    clock = ManualClock(START)
    return Harness(opened(url, clock, threaded=threaded), clock, Settings(**settings), url, threaded=threaded)


def opened(place: Path | str, clock: ManualClock, *, threaded: bool = True) -> Store:
    """Open the store at a path or a URL, as a server of its own."""
    if isinstance(place, Path):
        return open_file(place, clock, reserve_bytes=0)
    server_id = f"server-{next(_numbers)}"
    return open_postgres(place, clock, threaded=threaded, server_id=server_id, host="h", pid=1, version="0")


_numbers = itertools.count(1)
