"""Batch: the transaction that writes the changes of jobs together with the run's checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any

from msgspec.structs import replace

from headway.errors import Conflict
from headway.features.record_tasks import store as storage
from headway.features.record_tasks.checkpoint import RecordCheckpoint
from headway.features.record_tasks.job import Job, RecordKey
from headway.features.tables import store as table_storage
from headway.features.tables.changes import ConstraintError, initial_values, save, updated_values
from headway.features.tables.model import Record, RecordChange, Table, Values
from headway.kernel.run import Run
from headway.runs.checkpoints import leased_run
from headway.runs.starting import insert
from headway.store.command import Command
from headway.store.unit_of_work import UnitOfWork

Staged = dict[RecordKey, tuple[Record | None, Values]]
"""Records as they are (None: new ones) and their values after the transaction."""


class JobRefused(Conflict):
    """A job was refused after others were written: the transaction is rolled back, and repeated without it."""


@dataclass
class WriteJobs(Command[tuple[RecordCheckpoint, int]]):
    """The changes of jobs, with the checkpoint; the result is that and the number of jobs that were taken, from the first.

    A job is not taken, and ends the batch, if a record that its changes were computed from has changed since: then they
    have to be computed again. With `on_error: stop` the first failed job is the last one.
    """

    run: Run
    table: Table
    checkpoint: RecordCheckpoint
    jobs: Sequence[Job]
    zone: tzinfo
    _tables: dict[str, Table] = field(default_factory=dict, init=False)
    _staged: Staged = field(default_factory=dict, init=False)
    _changed_by: dict[RecordKey, Job] = field(default_factory=dict, init=False)
    """The last job that has changed a record."""

    def __post_init__(self) -> None:
        """Load the run beforehand, and grow the store by inserts and starts alone."""
        self.run_ids = (self.run.id,)
        self.weight = len(self.jobs)
        self.grows = any(job.inserts or job.starts for job in self.jobs)

    def apply(self, uow: UnitOfWork) -> tuple[RecordCheckpoint, int]:
        """Write the jobs; raise LeaseLost with nothing written, or JobRefused after marking jobs as failed."""
        run = leased_run(uow, self.run)
        self._tables.clear()
        self._staged.clear()
        self._changed_by.clear()
        self._load(uow)
        taken: list[Job] = []
        for job in self.jobs:
            if not self._take(job):
                break
            taken.append(job)
            if job.error is not None and self.checkpoint.task.on_error == "stop":
                break
        self._save(uow, taken)
        errors = [replace(job.error, created_at=uow.now_ms) for job in taken if job.error is not None]
        storage.add_errors(uow, run.id, errors)
        for job in taken:
            if job.error is None:
                for draft in job.starts:
                    insert(uow, draft)
        before = self.checkpoint
        after = replace(
            before,
            after=taken[-1].record.id if taken else before.after,
            number=before.number + 1,
            done=before.done + len(taken),
            failed=before.failed + len(errors),
        )
        after.save(uow, run)
        return after, len(taken)

    def _load(self, uow: UnitOfWork) -> None:
        """Lock all tables and records of the jobs in one order, so that two servers do not wait for each other."""
        external = self.table.external is not None
        wanted: dict[str, set[str]] = {} if external else {self.table.id: set()}
        for job in self.jobs:
            if job.sent and not external:
                wanted[job.table.id].add(job.record.id)
            for table_id, record_id in (*job.reads, *(key for key, _ in job.others)):
                if record_id != job.record.id:
                    wanted.setdefault(table_id, set()).add(record_id)
            for (table_id, _), _ in job.inserts:
                wanted.setdefault(table_id, set())
        organisation = self.run.organisation
        found = sorted((table_storage.find_table(uow.database, organisation, each) for each in wanted), key=_number)
        for table in found:
            if table is None:
                raise Conflict("a table that the task writes to was deleted")
            self._tables[table.id] = table_storage.lock_table(uow, organisation, table.id)
            if table.id == self.table.id:
                self._stage_unchanged(uow, table)
            for record in table_storage.load_records(uow, table, sorted(wanted[table.id])).values():
                self._staged[table.id, record.id] = (record, record.values)

    def _stage_unchanged(self, uow: UnitOfWork, table: Table) -> None:
        """Stage the jobs' own records as they were read; the versions show later which of them have changed since."""
        versions = table_storage.lock_records(uow, table, [job.record.id for job in self.jobs if not job.sent])
        for job in self.jobs:
            version = None if job.sent else versions.get(job.record.id)
            if version is not None:
                before = job.record if version == job.record.version else replace(job.record, version=version)
                self._staged[table.id, job.record.id] = (before, before.values)

    def _take(self, job: Job) -> bool:
        """Stage the changes of the job; return False if they have to be computed again first."""
        own = (job.table.id, job.record.id)
        if job.error is not None:
            return True
        if (
            self.table.external is None
            and not job.sent
            and not all(self._unchanged(key, version) for key, version in job.reads.items())
        ):
            return own not in self._staged  # a deleted record is passed over
        mine: Staged = {}
        try:
            if own in self._staged and job.given:  # as it was read, unless something was sent for it
                before, _ = self._staged[own]
                mine[own] = self._filled(own, job.given, mine) if job.sent else (before, job.values)
            for key, given in job.others:
                if key in self._staged:
                    mine[key] = self._filled(key, given, mine)
            for key, given in job.inserts:
                mine[key] = (None, initial_values(self._tables[key[0]], given, self.zone))
        except ConstraintError as error:
            job.fail(0, "value", str(error))
            return True
        self._staged |= mine
        self._changed_by |= dict.fromkeys(mine, job)
        return True

    def _unchanged(self, key: RecordKey, version: int) -> bool:
        before, _ = self._staged.get(key, (None, {}))
        return before is not None and before.version == version and key not in self._changed_by

    def _filled(self, key: RecordKey, given: dict[str, Any], mine: Staged) -> tuple[Record | None, Values]:
        before, values = mine.get(key) or self._staged[key]
        return before, updated_values(self._tables[key[0]], given, values, self.zone)

    def _save(self, uow: UnitOfWork, taken: Sequence[Job]) -> None:
        refused: dict[RecordKey, tuple[Job, str]] = {}
        for table in self._tables.values():
            changes = [
                RecordChange(record_id, values, before)
                for (table_id, record_id), (before, values) in self._staged.items()
                if table_id == table.id
                and (table_id, record_id) in self._changed_by
                and (before is None or before.values != values)
            ]
            for record_id, why in save(uow, table, changes).items():
                job = self._changed_by[table.id, record_id]
                refused[table.id, record_id] = (job, "; ".join(map(str, why)))
        for job, message in refused.values():
            job.fail(0, "value", message)
        alone = all(not job.others and not job.inserts and not job.starts for job in taken)
        if refused and not (alone and self.checkpoint.task.on_error == "continue"):
            raise JobRefused("repeated without the refused jobs")


def _number(table: Table | None) -> int:
    return -1 if table is None else table.number
