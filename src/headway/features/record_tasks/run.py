"""Run of a record task under one lease: its checkpoint, its next records, and the transactions that change them.

A record is processed when its transaction has committed, which also saves the checkpoint: a run that is killed continues
with the first record that was not processed, and changes none twice. A mail or a call cannot be undone; if the server dies
between it and the commit, it is sent again under the same message id.

A job is computed from records as they were read. If one of them has changed when it is written, it is computed again,
unless something was sent for it: then its changes are applied to the record as it is now.

Rows of an external table are changed by a transaction of their own database, before that of the checkpoint: each of them
at least once, and twice if the server dies in between.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from headway.errors import Conflict, InvalidInput, NotFound, RecordTaskNotFound
from headway.features.record_tasks import store as storage
from headway.features.record_tasks.batch import JobRefused, WriteJobs
from headway.features.record_tasks.checkpoint import RecordCheckpoint, SaveCheckpoint
from headway.features.record_tasks.job import Job, RecordKey
from headway.features.record_tasks.patch import PatchRecords
from headway.features.record_tasks.rules import check_against, named_records, patch_of, unreadable
from headway.features.tables import store as table_storage
from headway.features.tables.condition_sql import ListOrder
from headway.features.tables.definitions import Tables
from headway.features.tables.model import Field, Invalid, Record, Table
from headway.features.tables.records import Records
from headway.features.tables.rules.conditions import EVERY, BadCondition, Condition, Moment, read
from headway.ids import canonical_id
from headway.kernel.run import Run
from headway.protocol.record_tasks import RunOver
from headway.protocol.tables import BATCH_MAX, RecordPatch
from headway.runs.checkpoints import last_checkpoint
from headway.runs.service import OrganisationServices
from headway.store.store import Store


class RecordRun:
    """One run, under one lease."""

    def __init__(
        self,
        store: Store,
        services: OrganisationServices,
        run: Run,
        checkpoint: RecordCheckpoint,
        table: Table,
        condition: Condition,
        over: RunOver,
    ) -> None:
        self._store = store
        self.services = services
        self.run = run
        self.checkpoint = checkpoint
        self.table = table
        self._condition = condition
        self._over = over
        self.exhausted = False
        """Whether no records are left."""

    @classmethod
    async def begin(cls, store: Store, services: OrganisationServices, run: Run) -> RecordRun:
        """Return the run at the checkpoint of earlier attempts; a new run counts its records first.

        Raises Conflict if the task does not fit its table now, RecordTaskNotFound if it was deleted, or LeaseLost.
        """
        over = msgspec.json.decode(run.input, type=RunOver)
        checkpoint = await last_checkpoint(store, run, RecordCheckpoint)
        if checkpoint is not None:
            table = await services.get(Tables).get(checkpoint.task.table_id)
            return cls(store, services, run, checkpoint, table, _condition(services, checkpoint, table), over)
        task = await store.read.ask(lambda database, _: storage.find(database, run.task))
        if task is None:
            raise RecordTaskNotFound("the record task was deleted")
        table = await services.get(Tables).get(task.table_id)
        check_against(task, table)
        checkpoint = RecordCheckpoint(task, await _origin(store, run, over), store.clock.now_ms(), "", 0)
        made = cls(store, services, run, checkpoint, table, _condition(services, checkpoint, table), over)
        upto = await made._last() if table.external is None else ""
        made.checkpoint = replace(checkpoint, upto=upto, total=await made._count())
        await store.write(SaveCheckpoint(run, made.checkpoint))
        return made

    # -- reads ---------------------------------------------------------------------------------------------------------

    @property
    def uniform(self) -> bool:
        """Whether all records get the same values, so that `patch` may change many at once."""
        every = self._over == RunOver() and self.table.external is None
        return every and patch_of(self.checkpoint.task, self.table) is not None

    async def page(self, limit: int) -> list[Job]:
        """Return jobs for the next records, in order of their ids, and note whether more records are left."""
        jobs: list[Job] = []
        while not jobs and not self.exhausted:
            found, after = await self._next_records(limit)
            external = self.table.external is not None  # its rows have no time and no order of creation
            jobs = [Job(self.table, record) for record in found if external or record.id <= self.checkpoint.upto]
            self.exhausted = not after or len(jobs) < len(found)
            for job in jobs:
                if job.record.damaged:
                    job.fail(0, "damaged", "it was damaged on the server's disk, and cannot be read")
                if job.record.invalid is not None:
                    self._look_at_invalid(job, job.record.invalid)
            if not jobs and after:
                self.checkpoint = replace(self.checkpoint, after=after)
        return jobs

    def _look_at_invalid(self, job: Job, invalid: dict[str, Invalid]) -> None:
        """Fail a job that would read a cell without a value of its field's type."""
        if unreadable(self.checkpoint.task, job.record):
            named = [f"{field.name} {invalid[field.id].message}" for field in job.table.fields if field.id in invalid]
            job.fail(0, "invalid_cell", f"the row {job.record.id[:80]}: {'; '.join(named)}")

    async def _next_records(self, limit: int) -> tuple[list[Record], str]:
        """Return records, and the id after which the next ones come ("": the end)."""
        after, table = self.checkpoint.after, self.table
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
        """Return the records of these ids that match the filter."""
        if self.table.external is not None:
            return await self.services.get(Records).external_rows(self.table, ids, self._condition)
        return await self._store.read.ask(
            lambda database, dialect: table_storage.read_matching(database, dialect, self.table, self._condition, ids),
            slow=True,
        )

    async def connected(self, jobs: Iterable[Job], fields: Sequence[Field]) -> dict[RecordKey, tuple[Table, Record]]:
        """Return the records that jobs name in these connections; each job notes the records that it used."""
        found: dict[RecordKey, tuple[Table, Record]] = {}
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
            before = None if earlier is None else await last_checkpoint(self._store, earlier, RecordCheckpoint)
            return 0 if before is None else before.failed
        return await self.services.get(Records).count(self.table, self._condition)

    # -- writes --------------------------------------------------------------------------------------------------------

    async def patch(self, limit: int) -> int | None:
        """Give the task's values to the matching ones of the next `limit` records; return the next limit.

        None, with nothing changed: the rest has to be changed job by job, since some may be refused. Raises LeaseLost,
        or Conflict if the task does not fit its table any more.
        """
        matches = await self._matches(limit)
        done = await self._store.write(PatchRecords(self.run, self.table, self.checkpoint, matches, limit))
        if done is None:
            return None
        self.checkpoint, limit = done
        self.exhausted = self.checkpoint.after >= self.checkpoint.upto
        return limit

    async def _matches(self, limit: int) -> table_storage.Matches | None:
        """Return the next records that match the filter; None if all do."""
        if self._condition == EVERY:
            return None
        checkpoint = self.checkpoint
        found = await self._store.read.ask(
            lambda database, dialect: table_storage.read_matches(
                database, dialect, self.table, self._condition, checkpoint.after, checkpoint.upto, limit
            ),
            slow=True,
        )
        return found or table_storage.Matches(checkpoint.upto, {})

    async def commit(self, jobs: Sequence[Job]) -> int:
        """Write the changes of jobs with the checkpoint; return the number of jobs that were taken, from the first.

        The others have to be computed again, from records that have changed; see `WriteJobs`. Raises LeaseLost with
        nothing written, and Conflict if a table that the task writes to was deleted.
        """
        if self.table.external is not None:
            await self._change_external([job for job in jobs if job.error is None and job.given])
        zone = self.services.get(Records).zone
        while True:
            try:
                self.checkpoint, taken = await self._store.write(
                    WriteJobs(self.run, self.table, self.checkpoint, jobs, zone)
                )
            except JobRefused:
                continue
            return taken

    async def _change_external(self, jobs: Sequence[Job]) -> None:
        """Change rows of an external table in batches; if one is refused, one by one, so that it fails alone."""
        try:
            await self._update_external(jobs)
        except (InvalidInput, NotFound):
            for job in jobs:
                try:
                    await self._update_external([job])
                except (InvalidInput, NotFound) as error:
                    job.fail(0, error.code, error.detail)

    async def _update_external(self, jobs: Sequence[Job]) -> None:
        for at in range(0, len(jobs), BATCH_MAX):
            some = jobs[at : at + BATCH_MAX]
            patches = [RecordPatch(id=job.record.id, values=job.given) for job in some]
            await self.services.get(Records).update(self.table.id, patches)


def _condition(services: OrganisationServices, checkpoint: RecordCheckpoint, table: Table) -> Condition:
    try:
        return read(table, checkpoint.task.filter, Moment(checkpoint.began_at, services.get(Records).zone))
    except BadCondition as error:
        raise Conflict(f"the task's filter does not fit its table any more: {error.message}") from None


async def _origin(store: Store, run: Run, over: RunOver) -> str:
    """Return the id of the first of the runs that repeat each other, of which this is the last."""
    earlier_id = over.failed_of or run.previous_id
    if earlier_id is None:
        return run.id
    earlier = await store.read.run(canonical_id(earlier_id) or earlier_id)
    if earlier is None or earlier.organisation != run.organisation or earlier.task != run.task:
        raise Conflict(f"{earlier_id[:80]!r} is not a run of this task")
    checkpoint = await last_checkpoint(store, earlier, RecordCheckpoint)
    return earlier.id if checkpoint is None else checkpoint.origin
