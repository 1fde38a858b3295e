"""Exports: the records of a table become a file, in transactions that each store the position in the table.

An export is no snapshot: it has each record as it was when it was read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec.structs import replace

from headway.errors import Damaged
from headway.features.tables.definitions import Tables
from headway.features.tables.files import AddChunk, AddFile, Files, FinishFile, new_file
from headway.features.tables.model import Field, StoredFile, Table
from headway.features.tables.records import Records
from headway.features.tables.rules.formats import BOM, ending, format_rows
from headway.features.tables.table_commands import find_field
from headway.ids import IdSource
from headway.kernel.run import Run
from headway.protocol.tables import ExportTable
from headway.runs.checkpoints import last_checkpoint, leased_run, save_checkpoint
from headway.store.command import Command
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

RECORDS: Final = 1_000
"""Records of one transaction."""
KINDS: Final = {"csv": "text/csv; charset=utf-8", "json": "application/json", "jsonl": "application/x-ndjson"}


class ExportCheckpoint(msgspec.Struct, frozen=True):
    """Progress of an export, stored with the chunk of each transaction."""

    file: StoredFile
    after: str = ""
    """Position in the table."""
    records: int = 0
    steps: int = 0
    whole: bool = False


@dataclass
class BeginExport(Command[ExportCheckpoint]):
    """Creation of the file of an export under the lease of its run; the result is the first checkpoint."""

    run: Run
    file: StoredFile

    grows = True

    def __post_init__(self) -> None:
        """Load the run."""
        self.run_ids = [self.run.id]

    def apply(self, uow: UnitOfWork) -> ExportCheckpoint:
        """Add the file; raise LeaseLost."""
        leased_run(uow, self.run)
        AddFile(self.file).apply(uow)
        checkpoint = ExportCheckpoint(self.file)
        save_checkpoint(uow, self.run, 0, checkpoint, 0, None)
        return checkpoint


@dataclass
class ExportRecords(Command[ExportCheckpoint]):
    """Addition of records to the file of an export under the lease of its run; the result is the checkpoint after them."""

    run: Run
    checkpoint: ExportCheckpoint
    """Cursor before the records."""
    after: str
    """Position after the records; empty at the end of the table."""
    count: int
    content: bytes
    sha256: str
    """Digest of the whole file, at the end of the table."""
    total: int | None
    """Number of records of the export, if it is known."""

    grows = True

    def __post_init__(self) -> None:
        """Load the run, and limit the transaction by the number of records."""
        self.run_ids = [self.run.id]
        self.weight = max(1, self.count)

    def apply(self, uow: UnitOfWork) -> ExportCheckpoint:
        """Add the chunk, finish the file at the end of the table, and store the checkpoint; raise LeaseLost."""
        leased_run(uow, self.run)
        before = self.checkpoint
        file = AddChunk(before.file, self.content).apply(uow) if self.content else before.file
        if not self.after:
            FinishFile(file, self.sha256).apply(uow)
        checkpoint = replace(
            before, file=file, after=self.after, records=before.records + self.count, steps=before.steps + 1,
            whole=not self.after,
        )  # fmt: skip
        save_checkpoint(uow, self.run, checkpoint.steps, checkpoint, checkpoint.records, self.total)
        return checkpoint


class Exports:
    """Exports of an organisation's tables, as runs of the built-in worker."""

    def __init__(
        self, store: Store, tables: Tables, records: Records, files: Files, ids: IdSource, organisation: int = 1
    ) -> None:
        self._store = store
        self._tables = tables
        self._records = records
        self._files = files
        self._ids = ids
        self._organisation = organisation

    async def begin(self, run: Run, spec: ExportTable) -> ExportCheckpoint:
        """Return the checkpoint of earlier attempts, or begin a file.

        Raises LeaseLost, TableNotFound, FieldNotFound, or InvalidInput for the filter.
        """
        checkpoint = await last_checkpoint(self._store, run, ExportCheckpoint)
        if checkpoint is not None:
            return checkpoint
        table = await self._tables.get(spec.table)
        _fields(table, spec)
        self._records.condition(table, spec.filter)
        now_ms = self._store.clock.now_ms()
        name = f"{table.name}.{spec.format}"
        file = new_file(self._ids.new(now_ms), self._organisation, name, KINDS[spec.format], now_ms, run.id)
        return await self._store.write(BeginExport(run, file))

    async def chunk(self, run: Run, spec: ExportTable, checkpoint: ExportCheckpoint) -> ExportCheckpoint:
        """Write the next records into the file, and store the checkpoint in the same transaction; the last chunk ends the file.

        Raises LeaseLost, TableNotFound, FieldNotFound, InvalidInput, or Damaged for an unreadable record.
        """
        table = await self._tables.get(spec.table)
        fields = _fields(table, spec)
        condition = self._records.condition(table, spec.filter)
        found, after = await self._records.page(table, condition, checkpoint.after, RECORDS)
        for record in found:
            if record.damaged:
                raise Damaged(f"the record {record.id} cannot be read: delete it, or exclude it by a filter")
        text = format_rows(
            [[record.shown(field.id) for field in fields] for record in found],
            [field.name for field in fields],
            spec.format,
            first=checkpoint.records == 0 and checkpoint.file.bytes == 0,
            delimiter=spec.delimiter,
            safe=spec.spreadsheet_safe,
        )
        content = (BOM if spec.bom and not checkpoint.file.bytes else b"") + text.encode()
        content += b"" if after else ending(spec.format).encode()
        digest = "" if after else await self._digest(checkpoint.file, content)
        total = None if spec.filter or table.external else table.count
        return await self._store.write(ExportRecords(run, checkpoint, after, len(found), content, digest, total))

    async def _digest(self, file: StoredFile, rest: bytes) -> str:
        """Return the checksum of the whole file: of its stored bytes, which may be of an earlier attempt, and the rest."""
        digest = hashlib.sha256()
        async for piece in self._files.content(file):
            digest.update(piece)
        digest.update(rest)
        return digest.hexdigest()


def _fields(table: Table, spec: ExportTable) -> list[Field]:
    return [find_field(table, name) for name in spec.fields] if spec.fields else list(table.fields)
