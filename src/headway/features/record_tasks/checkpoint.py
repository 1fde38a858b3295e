"""Checkpoint of a run of a record task: its position in the table, its counts, and the task as it was at the start."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from headway.features.record_tasks.model import RecordTask
from headway.kernel.run import Run
from headway.runs.checkpoints import leased_run, save_checkpoint
from headway.store.command import Command
from headway.store.unit_of_work import UnitOfWork


class RecordCheckpoint(msgspec.Struct, frozen=True):
    """Position and counts of a run. It keeps the task of its start, so that later changes are for later runs."""

    task: RecordTask
    origin: str
    """Id of the first of the runs that repeat each other; ids of messages are made from it."""
    began_at: int
    """The time, in milliseconds, of "now" and "today" in conditions and templates."""
    upto: str
    """Id of the last record at the start; later records are for later runs."""
    total: int
    """Number of records at the start."""
    after: str = ""
    """Id of the last processed record."""
    number: int = 0
    """Number of the transaction."""
    done: int = 0
    """Number of processed records: changed, unchanged or failed."""
    failed: int = 0

    def save(self, uow: UnitOfWork, run: Run) -> None:
        """Save the checkpoint as a step of the run, and the run's progress; raise LeaseLost."""
        message = f"{self.failed} failed" if self.failed else ""
        save_checkpoint(uow, run, self.number, self, self.done, max(self.total, self.done), message)


@dataclass
class SaveCheckpoint(Command[None]):
    """The first checkpoint of a run, saved before any change, so that its total is shown at once."""

    run: Run
    checkpoint: RecordCheckpoint

    def __post_init__(self) -> None:
        """Load the run beforehand."""
        self.run_ids = (self.run.id,)

    def apply(self, uow: UnitOfWork) -> None:
        """Save the checkpoint; raise LeaseLost."""
        leased_run(uow, self.run)
        self.checkpoint.save(uow, self.run)
