"""Runs of record tasks: what is to be done, how far it is, and the transactions in which records and cursor change together.

A record is done when its transaction has committed, and its transaction is the cursor's: killed at any moment, a run goes on
with the first record that was not done, and changes none twice. What an action has sent cannot be taken back; a record that
was sent and not committed is sent again, under the same message id.

A job is made from a record as it was read. If anything that it was made from has changed when it is committed, it is made
anew from what is there then, unless something was sent for it: then its changes are made as they were meant.

Rows of an external table are changed by a transaction of their own database, before the one with the cursor: each of them at
least once, and by a server that dies in between twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from headway.errors import Conflict, InvalidInput, NotFound, RecordTaskNotFound
from headway.features.record_tasks import store as storage
from headway.features.record_tasks.model import (
    Constant,
    FieldCopy,
    Insert,
    RecordError,
    RecordTask,
    Sources,
    Start,
    Update,
    UpdateConnected,
)
from headway.features.record_tasks.rules import connections, named_records, patch_of, unreadable
from headway.features.tables import store as table_storage
from headway.features.tables.changes import (
    ConstraintError,
    initial_values,
    save,
    set_values,
    updated_values,
    without_required,
)
from headway.features.tables.condition_sql import ListOrder
from headway.features.tables.definitions import Tables
from headway.features.tables.model import Field, Invalid, Record, RecordChange, Table, Values
from headway.features.tables.records import Records
from headway.features.tables.rules.conditions import EVERY, BadCondition, Condition, Moment, read
from headway.features.tables.rules.values import BadValue, normal
from headway.ids import canonical_id
from headway.kernel.run import Run
from headway.protocol.record_tasks import RunOver
from headway.protocol.tables import BATCH_MAX, RecordPatch
from headway.runs.checkpoints import last_checkpoint, leased_run, save_checkpoint
from headway.runs.services import OrganisationServices
from headway.runs.starting import NewRun, insert
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

PATCHED: Final = 2_000
"""Records that are given the same values in one transaction."""
PATCHED_FIRST: Final = 250
"""In the first one, which finds out how large they are."""
PATCHED_MAX: Final = 32_000
"""So many are looked at if few of them fit."""
PATCHED_BYTES: Final = 8 * 1024 * 1024
"""If there is more in them, it is fewer records."""

Place = tuple[str, str]
"""A table's id and a record's."""


class Reached(msgspec.Struct, frozen=True):
    """How far a run is, and what it began with: later changes of the task are for later runs."""

    task: RecordTask
    origin: str
    """The first of the runs that repeat each other: what messages are named by."""
    began_at: int
    """What "now" and "today" are in its conditions."""
    upto: str
    """The last record that there was; those that come later are for later runs."""
    total: int
    after: str = ""
    number: int = 0
    done: int = 0
    """Records that came to their end: changed, found in order, or failed."""
    failed: int = 0


class Job:
    """What is to be done for one record."""

    def __init__(self, table: Table, record: Record) -> None:
        self.table = table if table.external is None else without_required(table)
        self.record = record
        self.values: Values = record.values
        """As the actions so far have left them."""
        self.given: dict[str, Any] = {}
        """What the actions so far give to the record itself."""
        self.others: list[tuple[Place, dict[str, Any]]] = []
        """What they give to records that it is connected to."""
        self.inserts: list[tuple[Place, dict[str, Any]]] = []
        self.starts: list[NewRun] = []
        self.reads: dict[Place, int] = {(table.id, record.id): record.version}
        """What it was made from, at which version."""
        self.sent = False
        """Whether something has left the store that cannot be taken back."""
        self.error: RecordError | None = None

    def fail(self, action: int, code: str, message: str) -> None:
        """Note why the record fails; nothing of it is written."""
        self.error = RecordError(self.record.id, action, code, message[:2_000], 0)


class _Undone(Conflict):
    """A part of a job was refused after others were written: the transaction is made again without it."""


class RecordRun:
    """One run, under one lease."""

    def __init__(
        self,
        store: Store,
        services: OrganisationServices,
        run: Run,
        reached: Reached,
        table: Table,
        condition: Condition,
        over: RunOver,
    ) -> None:
        self._store = store
        self.services = services
        self.run = run
        self.reached = reached
        self.table = table
        self._condition = condition
        self._over = over
        self.dry = False
        """Whether there is nothing more to do."""

    @classmethod
    async def begin(cls, store: Store, services: OrganisationServices, run: Run) -> RecordRun:
        """Return the run where earlier attempts have left it; a new one counts what there is to do.

        Raises Conflict if the task does not fit its table any more, RecordTaskNotFound if it was deleted.
        """
        over = msgspec.json.decode(run.input, type=RunOver)
        reached = await last_checkpoint(store, run, Reached)
        if reached is not None:
            table = await services.get(Tables).get(reached.task.table_id)
            return cls(store, services, run, reached, table, _condition(services, reached, table), over)
        task = await store.read.ask(lambda database, _: storage.find(database, run.task))
        if task is None:
            raise RecordTaskNotFound("the record task was deleted")
        table = await services.get(Tables).get(task.table_id)
        _check_fit(task, table)
        reached = Reached(task, await _origin(store, run, over), store.clock.now_ms(), "", 0)
        made = cls(store, services, run, reached, table, _condition(services, reached, table), over)
        upto = await made._last() if table.external is None else ""
        made.reached = replace(reached, upto=upto, total=await made._count())
        await made._announce()
        return made

    async def _announce(self) -> None:
        """Keep what it is about before anything is done: who watches learns at once how much there is to do."""

        def work(uow: UnitOfWork) -> None:
            leased_run(uow, self.run)
            self._keep(uow, self.reached)

        await self._store.write(work, run_ids=[self.run.id])

    # -- what is next --------------------------------------------------------------------------------------------------

    @property
    def alike(self) -> bool:
        """Whether all records may be given the same values, many at once."""
        every = self._over == RunOver() and self.table.external is None
        return every and patch_of(self.reached.task, self.table) is not None

    async def page(self, limit: int) -> list[Job]:
        """Return the next records, to be done in this order. `dry` says when there are no more."""
        jobs: list[Job] = []
        while not jobs and not self.dry:
            found, after = await self._found(limit)
            far = self.table.external is not None  # whose rows say neither when they came nor in which order
            jobs = [Job(self.table, record) for record in found if far or record.id <= self.reached.upto]
            self.dry = not after or len(jobs) < len(found)
            for job in jobs:
                if job.record.damaged:
                    job.fail(0, "damaged", "it was damaged on the server's disk, and cannot be read")
                if job.record.invalid is not None:
                    self._look_at_invalid(job, job.record.invalid)
            if not jobs and after:
                self.reached = replace(self.reached, after=after)
        return jobs

    def _look_at_invalid(self, job: Job, invalid: dict[str, Invalid]) -> None:
        """Fail a job that would use a cell which holds no value of its field."""
        if unreadable(self.reached.task, job.record):
            named = [f"{field.name} {invalid[field.id].message}" for field in job.table.fields if field.id in invalid]
            job.fail(0, "invalid_cell", f"the row {job.record.id[:80]}: {'; '.join(named)}")

    async def _found(self, limit: int) -> tuple[list[Record], str]:
        """Return records, and the place after which it goes on."""
        after, table = self.reached.after, self.table
        ask = self._store.read.ask
        if self._over.failed_of is not None:
            failed = self._over.failed_of
            errors = await ask(lambda database, _: storage.read_errors(database, failed, after, limit))
            ids = [error.record_id for error in errors]
            there = await self._read(table, ids)
            return there, ids[-1] if len(ids) == limit else ""
        if self._over.records is not None:
            ids = sorted(each for each in {canonical_id(each) or each for each in self._over.records} if each > after)
            fit = await self._chosen(ids[:limit])
            return fit, ids[limit - 1] if len(ids) > limit else ""
        if table.external is not None:
            return await self.services.get(Records).page(table, self._condition, after, limit)
        return await ask(
            lambda database, dialect: table_storage.read_page(database, dialect, table, self._condition, after, limit),
            slow=True,
        )

    async def _chosen(self, ids: list[str]) -> list[Record]:
        """Return those of these records that fit."""
        if self.table.external is not None:
            return await self.services.get(Records).external_rows(self.table, ids, self._condition)
        return await self._store.read.ask(
            lambda database, dialect: table_storage.read_matching(database, dialect, self.table, self._condition, ids),
            slow=True,
        )

    async def connected(self, jobs: Iterable[Job], fields: Sequence[Field]) -> dict[Place, tuple[Table, Record]]:
        """Return the records that these name in connections; what is made from them has to be told of (`reads`)."""
        found: dict[Place, tuple[Table, Record]] = {}
        by_table: dict[str, set[str]] = defaultdict(set)
        for job in jobs:
            for field in fields:
                by_table[field.table_id or ""].update(named_records(field, job.values))
        for table_id, ids in by_table.items():
            if ids:
                table = await self.services.get(Tables).get(table_id)
                for record in await self._read(table, ids):
                    found[table_id, record.id] = (table, record)
        return found

    async def _read(self, table: Table, ids: Iterable[str]) -> list[Record]:
        wanted = sorted(ids)
        if table.external is not None:
            return await self.services.get(Records).external_rows(table, wanted)
        return await self._store.read.ask(lambda database, _: table_storage.read_records(database, table, wanted))

    async def _last(self) -> str:
        newest = ListOrder(down=True)
        found, _ = await self._store.read.ask(
            lambda database, dialect: table_storage.read_page(database, dialect, self.table, limit=1, order=newest)
        )
        return found[0].id if found else ""

    async def _count(self) -> int:
        if self._over.records is not None:
            return len(set(self._over.records))
        if self._over.failed_of is not None:
            earlier = await self._store.read.run(self._over.failed_of)
            before = None if earlier is None else await last_checkpoint(self._store, earlier, Reached)
            return 0 if before is None else before.failed
        return await self.services.get(Records).count(self.table, self._condition)

    # -- what is done --------------------------------------------------------------------------------------------------

    async def patch_more(self, limit: int) -> int | None:
        """Give the values to the next `limit` records, as far as they fit, with the cursor; return how many to look at next.

        None, with nothing changed: from here on each has to be looked at for itself, since some may be refused.
        """
        before = self.reached
        fitting = await self._fitting(limit)

        def work(uow: UnitOfWork) -> tuple[Reached, int] | None:
            leased_run(uow, self.run)
            table = self._hold(uow)
            if table.version != self.table.version:
                _check_fit(before.task, table)
            patch = patch_of(before.task, table)
            if patch is None:
                return None
            if fitting is not None and table_storage.lock_records(uow, table, fitting.versions) != fitting.versions:
                return before, max(
                    1, limit // 2
                )  # some were changed since they were looked at: they are looked at again
            upto = before.upto if fitting is None else fitting.edge
            span = table_storage.find_span(uow, table, before.after, upto, limit)
            fit, size = 0, 0
            if span is not None:
                given = set_values(uow, table, span, patch, None if fitting is None else fitting.versions)
                if given is None:
                    return None
                fit, size = given
            edge = upto if span is None or span.count < limit else span.edge
            after = replace(before, after=edge, number=before.number + 1, done=before.done + fit)
            self._keep(uow, after)
            if size > PATCHED_BYTES:
                return after, max(1, limit // 2)
            return after, min(limit * 2, PATCHED if fit * 4 > limit else PATCHED_MAX)

        done = await self._store.write(work, run_ids=[self.run.id], weight=limit)
        if done is None:
            return None
        self.reached, more = done
        self.dry = self.reached.after >= self.reached.upto
        return more

    async def _fitting(self, limit: int) -> table_storage.Matches | None:
        """Return which of the next records fit; None if all do."""
        if self._condition == EVERY:
            return None
        reached = self.reached
        found = await self._store.read.ask(
            lambda database, dialect: table_storage.read_matches(
                database, dialect, self.table, self._condition, reached.after, reached.upto, limit
            ),
            slow=True,
        )
        return found or table_storage.Matches(reached.upto, {})

    async def commit(self, jobs: Sequence[Job]) -> int:
        """Write what the jobs have come to, together with the cursor; return how many of them, from the first on.

        The rest has to be made anew: what they were made from has changed. With `on_error: stop` it ends with the first
        that fails. Raises LeaseLost, with nothing written, if the run is not under this lease any more.
        """
        if self.table.external is not None:
            await self._change_far([job for job in jobs if job.error is None and job.given])
        while True:
            batch = _Batch(self, jobs)
            try:
                self.reached, taken = await self._store.write(
                    batch.write, run_ids=[self.run.id], weight=len(jobs), grows=batch.grows
                )
            except _Undone:
                continue
            return taken

    async def _change_far(self, jobs: Sequence[Job]) -> None:
        """Change rows of an external table, all at once; if one is refused, each for itself, so that it fails alone."""
        try:
            await self._update_far(jobs)
        except (InvalidInput, NotFound):
            for job in jobs:
                try:
                    await self._update_far([job])
                except (InvalidInput, NotFound) as error:
                    job.fail(0, error.code, error.detail)

    async def _update_far(self, jobs: Sequence[Job]) -> None:
        for at in range(0, len(jobs), BATCH_MAX):
            some = jobs[at : at + BATCH_MAX]
            patches = [RecordPatch(id=job.record.id, values=job.given) for job in some]
            await self.services.get(Records).update(self.table.id, patches)

    def _hold(self, uow: UnitOfWork) -> Table:
        return table_storage.lock_table(uow, self.run.organisation, self.table.id)

    def _keep(self, uow: UnitOfWork, reached: Reached) -> None:
        message = f"{reached.failed} failed" if reached.failed else ""
        save_checkpoint(uow, self.run, reached.number, reached, reached.done, max(reached.total, reached.done), message)


class _Batch:
    """One transaction's work."""

    def __init__(self, run: RecordRun, jobs: Sequence[Job]) -> None:
        self._run = run
        self._jobs = jobs
        self._tables: dict[str, Table] = {}
        self._stage: dict[Place, tuple[Record | None, Values]] = {}
        """Records as they shall be, and as they are."""
        self._whose: dict[Place, Job] = {}
        """The last job that has changed it."""
        self.grows = any(job.inserts or job.starts for job in jobs)

    def write(self, uow: UnitOfWork) -> tuple[Reached, int]:
        run = leased_run(uow, self._run.run)
        self._stage.clear()
        self._whose.clear()
        self._load(uow)
        taken: list[Job] = []
        for job in self._jobs:
            if not self._take(job):
                break
            taken.append(job)
            if job.error is not None and self._run.reached.task.on_error == "stop":
                break
        self._save(uow, taken)
        errors = [replace(job.error, created_at=uow.now_ms) for job in taken if job.error is not None]
        storage.add_errors(uow, run.id, errors)
        for job in taken:
            if job.error is None:
                for draft in job.starts:
                    insert(uow, draft)
        before = self._run.reached
        after = replace(
            before,
            after=taken[-1].record.id if taken else before.after,
            number=before.number + 1,
            done=before.done + len(taken),
            failed=before.failed + len(errors),
        )
        self._run._keep(uow, after)  # noqa: SLF001 - it is a part of it
        return after, len(taken)

    def _load(self, uow: UnitOfWork) -> None:
        """Hold every table and record that the jobs are about, in one order, so that two servers do not wait for each other."""
        far = self._run.table.external is not None
        wanted: dict[str, set[str]] = {} if far else {self._run.table.id: set()}
        for job in self._jobs:
            if job.sent and not far:
                wanted[job.table.id].add(job.record.id)
            for table_id, record_id in (*job.reads, *(place for place, _ in job.others)):
                if record_id != job.record.id:
                    wanted.setdefault(table_id, set()).add(record_id)
            for (table_id, _), _ in job.inserts:
                wanted.setdefault(table_id, set())
        organisation = self._run.run.organisation
        found = sorted((table_storage.find_table(uow.database, organisation, each) for each in wanted), key=_number)
        for table in found:
            if table is None:
                raise Conflict("a table that the task writes to was deleted")
            self._tables[table.id] = table_storage.lock_table(uow, organisation, table.id)
            if table.id == self._run.table.id:
                self._stage_unchanged(uow, table)
            for record in table_storage.load_records(uow, table, sorted(wanted[table.id])).values():
                self._stage[table.id, record.id] = (record, record.values)

    def _stage_unchanged(self, uow: UnitOfWork, table: Table) -> None:
        """Stage the jobs' records as they were read, if they still are like that; those that are not are made anew."""
        versions = table_storage.lock_records(uow, table, [job.record.id for job in self._jobs if not job.sent])
        for job in self._jobs:
            version = None if job.sent else versions.get(job.record.id)
            if version is not None:
                before = job.record if version == job.record.version else replace(job.record, version=version)
                self._stage[table.id, job.record.id] = (before, before.values)

    def _take(self, job: Job) -> bool:
        """Add what the job changes to what is staged; False if it has to be made anew first."""
        own = (job.table.id, job.record.id)
        if job.error is not None:
            return True
        if (
            self._run.table.external is None
            and not job.sent
            and not all(self._unchanged(place, version) for place, version in job.reads.items())
        ):
            return own not in self._stage  # one that was deleted is passed over
        mine: dict[Place, tuple[Record | None, Values]] = {}
        try:
            if own in self._stage and job.given:  # as it was read, unless something was sent for it
                before, _ = self._stage[own]
                mine[own] = self._filled(own, job.given, mine) if job.sent else (before, job.values)
            for place, given in job.others:
                if place in self._stage:
                    mine[place] = self._filled(place, given, mine)
            for place, given in job.inserts:
                mine[place] = (None, initial_values(self._tables[place[0]], given, self._zone))
        except ConstraintError as error:
            job.fail(0, "value", str(error))
            return True
        self._stage |= mine
        self._whose |= dict.fromkeys(mine, job)
        return True

    def _unchanged(self, place: Place, version: int) -> bool:
        before, _ = self._stage.get(place, (None, {}))
        return before is not None and before.version == version and place not in self._whose

    def _filled(
        self, place: Place, given: dict[str, Any], mine: dict[Place, tuple[Record | None, Values]]
    ) -> tuple[Record | None, Values]:
        before, values = mine.get(place) or self._stage[place]
        return before, updated_values(self._tables[place[0]], given, values, self._zone)

    @property
    def _zone(self) -> Any:
        return self._run.services.get(Records).zone

    def _save(self, uow: UnitOfWork, taken: Sequence[Job]) -> None:
        refused: dict[Place, tuple[Job, str]] = {}
        for table in self._tables.values():
            drafts = [
                RecordChange(record_id, values, before)
                for (table_id, record_id), (before, values) in self._stage.items()
                if table_id == table.id
                and (table_id, record_id) in self._whose
                and (before is None or before.values != values)
            ]
            for record_id, why in save(uow, table, drafts).items():
                job = self._whose[table.id, record_id]
                refused[table.id, record_id] = (job, "; ".join(map(str, why)))
        for job, message in refused.values():
            job.fail(0, "value", message)
        alone = all(not job.others and not job.inserts and not job.starts for job in taken)
        if refused and not (alone and self._run.reached.task.on_error == "continue"):
            raise _Undone("made again without what was refused")


def _number(table: Table | None) -> int:
    return -1 if table is None else table.number


def _condition(services: OrganisationServices, reached: Reached, table: Table) -> Condition:
    try:
        return read(table, reached.task.filter, Moment(reached.began_at, services.get(Records).zone))
    except BadCondition as error:
        raise Conflict(f"the task's filter does not fit its table any more: {error.message}") from None


async def _origin(store: Store, run: Run, over: RunOver) -> str:
    """Return the first of the runs that repeat each other, of which this is the last."""
    earlier_id = over.failed_of or run.previous_id
    if earlier_id is None:
        return run.id
    earlier = await store.read.run(canonical_id(earlier_id) or earlier_id)
    if earlier is None or earlier.organisation != run.organisation or earlier.task != run.task:
        raise Conflict(f"{earlier_id[:80]!r} is no run of this task")
    reached = await last_checkpoint(store, earlier, Reached)
    return earlier.id if reached is None else reached.origin


def _check_fit(task: RecordTask, table: Table) -> None:
    """Raise Conflict if the table is not any more what the task was made for."""
    for action in task.actions:
        match action:
            case Update():
                _check_sources(action.values, table, table)
            case UpdateConnected():
                if action.connection not in {field.id for field in connections(table)}:
                    raise Conflict(f"{table.name!r} does not have the connection {action.connection} any more")
                _check_sources(action.values, table, None)
            case Insert():
                _check_sources(action.values, table, None)
            case Start():
                _check_sources(action.input, table, None)


def _check_sources(sources: Sources, table: Table, target: Table | None) -> None:
    for name, source in sources.items():
        if isinstance(source, FieldCopy) and table.find(source.field) is None:
            raise Conflict(f"{table.name!r} does not have the field {source.field} any more")
        if target is not None:
            field = target.find(name)
            if field is None:
                raise Conflict(f"{target.name!r} does not have the field {name} any more")
            if isinstance(source, Constant):
                try:
                    fits = normal(field, source.value) == source.value and not (source.value is None and field.required)
                except BadValue:
                    fits = False
                if not fits:
                    raise Conflict(f"{field.name!r} of {target.name!r} does not take {source.value!r} any more")
