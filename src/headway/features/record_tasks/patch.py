"""Patches: transactions that give the same values to many records of a table, with a constant number of statements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from headway.features.record_tasks.checkpoint import RecordCheckpoint
from headway.features.record_tasks.rules import check_against, patch_of
from headway.features.tables import store as table_storage
from headway.features.tables.changes import set_values
from headway.features.tables.model import Table
from headway.kernel.run import Run
from headway.runs.checkpoints import leased_run
from headway.store.command import Command
from headway.store.unit_of_work import UnitOfWork

PATCH_SIZE: Final = 2_000
"""Number of records that one transaction changes."""
PATCH_SIZE_FIRST: Final = 250
"""Number of records of the first transaction, which measures their size."""
PATCH_SIZE_MAX: Final = 32_000
"""Number of records that one transaction looks at if few of them match the filter."""
PATCH_BYTES: Final = 8 * 1024 * 1024
"""Size of the changed records above which the next transaction takes half as many."""


@dataclass
class PatchRecords(Command[tuple[RecordCheckpoint, int] | None]):
    """The same values for the next `limit` records, with the checkpoint; the result is that and the next limit.

    None, with nothing changed: the records have to be changed one by one, since some may be refused.
    """

    run: Run
    table: Table
    checkpoint: RecordCheckpoint
    matches: table_storage.Matches | None
    """Matching records within the limit; None: all match."""
    limit: int

    def __post_init__(self) -> None:
        """Load the run beforehand."""
        self.run_ids = (self.run.id,)
        self.weight = self.limit

    def apply(self, uow: UnitOfWork) -> tuple[RecordCheckpoint, int] | None:
        """Change the records; raise LeaseLost, or Conflict if the task does not fit its table any more."""
        leased_run(uow, self.run)
        before, matches, limit = self.checkpoint, self.matches, self.limit
        table = table_storage.lock_table(uow, self.run.organisation, self.table.id)
        if table.version != self.table.version:
            check_against(before.task, table)
        patch = patch_of(before.task, table)
        if patch is None:
            return None
        versions = None if matches is None else matches.versions
        if versions is not None and table_storage.lock_records(uow, table, versions) != versions:
            return before, max(1, limit // 2)  # some have changed since they were read: they are read again
        upto = before.upto if matches is None else matches.edge
        span = table_storage.find_span(uow, table, before.after, upto, limit)
        count, size = 0, 0
        if span is not None:
            given = set_values(uow, table, span, patch, versions)
            if given is None:
                return None
            count, size = given
        edge = upto if span is None or span.count < limit else span.edge
        after = replace(before, after=edge, number=before.number + 1, done=before.done + count)
        after.save(uow, self.run)
        if size > PATCH_BYTES:
            return after, max(1, limit // 2)
        return after, min(limit * 2, PATCH_SIZE if count * 4 > limit else PATCH_SIZE_MAX)
