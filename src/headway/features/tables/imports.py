"""Imports: rows of a file become records, in transactions that each store the position in the file.

An import that is killed goes on after the last row that is a record: each row is imported once. A row that is refused is
kept with its violations in the run's results, and the import goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from headway.errors import BadImport
from headway.features.tables import store as storage
from headway.features.tables.changes import ConstraintError, Violation, initial_values, save, updated_values
from headway.features.tables.definitions import Tables
from headway.features.tables.files import Files
from headway.features.tables.import_columns import (
    ImportCheckpoint,
    codec,
    default_delimiter,
    fields_of,
    read_header,
    skip_beginning,
)
from headway.features.tables.model import Record, RecordChange, StoredFile, Table
from headway.features.tables.record_commands import find_by_keys, unique_field, unique_keys
from headway.features.tables.rules.formats import UNNAMED, BadFile, Format, Row, cells_by_field, rows
from headway.ids import IdSource
from headway.kernel.run import Run
from headway.protocol.tables import ImportFile
from headway.runs.checkpoints import last_checkpoint, leased_run, save_checkpoint
from headway.runs.transitions import change
from headway.store.command import Command
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

ROWS: Final = 500
"""Rows of one transaction."""
PARTS: Final = (4, 32)
"""Chunks of the file that are read at once: usually, and if those hold no whole row."""
RESULT: Final = "refused_row"
_ENDINGS: Final[Mapping[str, Format]] = {
    "csv": "csv", "txt": "csv", "tsv": "csv", "json": "json", "jsonl": "jsonl", "ndjson": "jsonl",
}  # fmt: skip
_encode: Final = msgspec.json.Encoder().encode


@dataclass
class ImportRows(Command[ImportCheckpoint]):
    """Import of rows under the lease of a run; the result is the checkpoint after them."""

    run: Run
    spec: ImportFile
    checkpoint: ImportCheckpoint
    """Position before the rows."""
    rows: list[Row]
    ids: list[str]
    """Ids for new records, in the order of the rows."""
    file_bytes: int
    zone: tzinfo

    grows = True

    def __post_init__(self) -> None:
        """Limit the transaction by the number of rows."""
        self.run_ids = [self.run.id]
        self.weight = len(self.rows)

    def apply(self, uow: UnitOfWork) -> ImportCheckpoint:
        """Write the records, the violations of refused rows, and the checkpoint; raise LeaseLost or TableNotFound."""
        leased_run(uow, self.run)
        before, found = self.checkpoint, self.rows
        table = storage.lock_table(uow, self.run.organisation, self.spec.table)
        batch = _RowBatch(uow, table, self.spec, self.zone, before.columns)
        batch.write([row.cells for row in found], self.ids)
        after = replace(
            before, at=before.at + found[-1].end, lines=before.lines + found[-1].lines, rows=before.rows + len(found),
            created=before.created + batch.created, updated=before.updated + batch.updated,
            refused=before.refused + len(batch.refused),
        )  # fmt: skip
        for index, violations in sorted(batch.refused.items()):
            line = found[index].line
            self._add_result(uow, before.rows + index + 1, before.lines + line if line else None, violations)
        save_checkpoint(uow, self.run, after.rows, after, after.at, self.file_bytes, f"{after.rows:,} rows")
        return after

    def _add_result(self, uow: UnitOfWork, row: int, line: int | None, violations: Sequence[Violation]) -> None:
        """Add a result with the violations of a row, and the line of the file at which it begins."""
        where = {"row": row} if line is None else {"row": row, "line": line}
        errors = [{"field": each.field, "code": each.code, "message": str(each)} for each in violations]
        value = _encode({**where, "errors": errors}).decode()
        number = uow.add_result(self.run.id, RESULT, value)
        event = _encode({"number": number, "name": RESULT, "value": msgspec.Raw(value.encode())}).decode()
        current = leased_run(uow, self.run)
        change(uow, current, current, "run.result", event)


class Imports:
    """Imports into an organisation's tables, as runs of the built-in worker."""

    def __init__(
        self,
        store: Store,
        tables: Tables,
        files: Files,
        ids: IdSource,
        zone: Callable[[], tzinfo] = lambda: UTC,
    ) -> None:
        self._store = store
        self._tables = tables
        self._files = files
        self._ids = ids
        self._zone = zone

    async def begin(self, run: Run, spec: ImportFile) -> ImportCheckpoint:
        """Return the checkpoint of earlier attempts, or a new one; raise TableNotFound, InvalidInput or BadImport."""
        checkpoint = await last_checkpoint(self._store, run, ImportCheckpoint)
        table = await self._tables.get(spec.table)
        if table.external is not None:
            raise BadImport("records are not imported into external tables")
        if spec.upsert_by:
            unique_field(table, spec.upsert_by)
        return checkpoint or ImportCheckpoint()

    async def chunk(self, run: Run, spec: ImportFile, checkpoint: ImportCheckpoint) -> ImportCheckpoint | None:
        """Import the next rows, and store the checkpoint in the same transaction; return None at the end of the file.

        Raises LeaseLost, StoredFileNotFound, TableNotFound, or BadImport for an unreadable file or too many refused rows.
        """
        if checkpoint.refused > spec.errors_max:
            raise BadImport(
                f"{checkpoint.refused:,} of {checkpoint.rows:,} rows are refused; errors_max is {spec.errors_max:,}"
            )
        file = await self._files.get(spec.file)
        if file.sha256 is None:
            raise BadImport("the upload of the file is incomplete")
        table = await self._tables.get(spec.table)
        try:
            found, checkpoint = await self._rows(file, table, spec, checkpoint)
        except BadFile as error:
            raise BadImport(f"after row {checkpoint.rows:,}: {error}") from None
        if not found:
            return None
        new_ids = [self._ids.new(self._store.clock.now_ms()) for _ in found]
        return await self._store.write(ImportRows(run, spec, checkpoint, found, new_ids, file.bytes, self._zone()))

    async def _rows(
        self, file: StoredFile, table: Table, spec: ImportFile, checkpoint: ImportCheckpoint
    ) -> tuple[list[Row], ImportCheckpoint]:
        """Return the next rows, and the checkpoint before them; raise BadFile."""
        form = spec.format or _ENDINGS.get(file.name.rpartition(".")[2].lower())
        if form is None:
            raise BadImport(
                f"the name {file.name!r} does not show the format of the file: give the format (csv, json or jsonl)"
            )
        chunks = PARTS[0]
        while True:
            part = await self._files.read(file, checkpoint.at, chunks)
            if checkpoint.at == 0:
                checkpoint, part = skip_beginning(checkpoint, part, form, spec, file)
            ended = checkpoint.at + len(part) >= file.bytes
            try:
                read = rows(
                    part,
                    form,
                    last=ended,
                    limit=ROWS + 1,
                    encoding=codec(spec),
                    delimiter=checkpoint.delimiter or default_delimiter(spec, file),
                )
                header = next((row for row in read if not row.blank), None)
                if form == "csv" and checkpoint.columns is None and header is not None:
                    checkpoint = read_header(checkpoint, part, header, table, spec)
                    continue
            except BadFile as error:
                raise _in_file(error, checkpoint) from None
            found = [row for row in read if not row.blank][:ROWS]
            if found:
                return found, checkpoint
            if read:  # only empty rows: the next ones may be invalid, and are read again
                checkpoint = replace(
                    checkpoint, at=checkpoint.at + read[-1].end, lines=checkpoint.lines + read[-1].lines
                )
                chunks = PARTS[0]
            elif ended:
                return [], checkpoint
            else:
                chunks = PARTS[1]


def _in_file(error: BadFile, checkpoint: ImportCheckpoint) -> BadFile:
    """Return the error with the line of the file instead of that of the part."""
    return error if error.line is None else BadFile(f"line {checkpoint.lines + error.line:,}: {error}")


class _RowBatch:
    """The rows of one transaction: conversion into records, and their counts by outcome."""

    def __init__(
        self, uow: UnitOfWork, table: Table, spec: ImportFile, zone: tzinfo, columns: Sequence[str | None] | None
    ) -> None:
        self._uow = uow
        self._table = table
        self._spec = spec
        self._zone = zone
        self._columns = columns
        self.created = self.updated = 0
        self.refused: dict[int, tuple[Violation, ...]] = {}

    def write(self, found: Sequence[list[str] | dict[str, Any]], new_ids: Sequence[str]) -> None:
        """Write the rows as records, or note their violations in `refused`."""
        given: dict[int, Mapping[str, Any]] = {}
        for index, cells in enumerate(found):
            try:
                given[index] = self._by_field(cells)
            except BadFile as error:
                self.refused[index] = (Violation("", "row", str(error)),)
        self._save(self._changes(given, new_ids))

    def _changes(
        self, given: Mapping[int, Mapping[str, Any]], new_ids: Sequence[str]
    ) -> dict[str, tuple[RecordChange, list[int]]]:
        """Return the change of each record with its rows: of several rows with the same key the later ones win."""
        table, zone = self._table, self._zone
        keys, existing = self._existing(given)
        changes: dict[str, tuple[RecordChange, list[int]]] = {}
        ids: dict[str, str] = {}
        for index, values in given.items():
            before = existing.get(index)
            key = keys.get(index, "")
            record_id = ids.get(key, new_ids[index] if before is None else before.id)
            try:
                if record_id in changes:
                    earlier, lines = changes[record_id]
                    merged = replace(earlier, values=updated_values(table, values, earlier.values, zone))
                    changes[record_id] = merged, [*lines, index]
                elif before is None:
                    changes[record_id] = RecordChange(record_id, initial_values(table, values, zone)), [index]
                else:
                    after = updated_values(table, values, before.values, zone)
                    changes[record_id] = RecordChange(record_id, after, before), [index]
            except ConstraintError as error:
                self.refused[index] = error.violations
                continue
            if key:
                ids[key] = record_id
        return changes

    def _existing(self, given: Mapping[int, Mapping[str, Any]]) -> tuple[dict[int, str], dict[int, Record]]:
        """Return the key of each row, and the existing record with it."""
        if not self._spec.upsert_by:
            return {}, {}
        by = unique_field(self._table, self._spec.upsert_by)
        indexes = list(given)
        found = unique_keys(by, given.values(), self._zone)
        keys = {indexes[place]: key for place, key in found.items()}
        return keys, find_by_keys(self._uow, self._table, by, keys)

    def _save(self, changes: Mapping[str, tuple[RecordChange, list[int]]]) -> None:
        violations = save(self._uow, self._table, [each for each, _ in changes.values()])
        for record_id, (each, lines) in changes.items():
            if record_id in violations:
                self.refused |= dict.fromkeys(lines, violations[record_id])
            else:
                self.created += each.before is None
                self.updated += len(lines) - (each.before is None)

    def _by_field(self, cells: list[str] | dict[str, Any]) -> Mapping[str, Any]:
        """Return the cells of a row by id of the field; raise BadFile."""
        if isinstance(cells, list):
            return cells_by_field(cells, self._columns or (), safe=self._spec.spreadsheet_safe)
        fields = fields_of(list(cells), self._table, self._spec)
        if UNNAMED in fields:
            raise BadFile("has a member without a name")
        return {field: value for field, value in zip(fields, cells.values(), strict=True) if field}
