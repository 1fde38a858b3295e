"""Imports: rows of a file become records, in transactions that each keep how far the file is read.

Killed at any moment, an import goes on after the last row that is a record: none is left out, none is there twice. A row that
is refused is kept with its reasons in the run's results, and the others go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, tzinfo
from typing import Any, Final, cast

import msgspec
from msgspec.structs import replace

from headway.engine.tables.portable import BadFile, Format, Row, beginning, mapped, rows, unquoted
from headway.errors import BadImport
from headway.ids import IdSource
from headway.model.file import StoredFile
from headway.model.run import Run
from headway.model.table import Record, Table
from headway.service.cursor import held, keep, last
from headway.service.tables.changing import Draft, Refusal, Refused, filled, fresh, hold, save
from headway.service.tables.definitions import Tables
from headway.service.tables.files import Files
from headway.service.tables.records import known, unique_field, unique_keys
from headway.service.transitions import change
from headway.storage.store import Store
from headway.storage.unit import Unit
from headway.wire.tables import ImportFile

ROWS: Final = 500
"""Rows of one transaction."""
PARTS: Final = (4, 32)
"""Chunks of the file that are read at once; the most of them if there is no whole row in fewer."""
COLUMNS_MAX: Final = 10_000
RESULT: Final = "refused_row"
_ENDINGS: Final[Mapping[str, Format]] = {
    "csv": "csv", "txt": "csv", "tsv": "csv", "json": "json", "jsonl": "jsonl", "ndjson": "jsonl",
}  # fmt: skip
_encode: Final = msgspec.json.Encoder().encode


class ImportDone(msgspec.Struct, frozen=True):
    """How far an import is."""

    at: int = 0
    """The byte after the last row."""
    rows: int = 0
    columns: tuple[str | None, ...] | None = None
    """Of a CSV file: the field of each column."""
    created: int = 0
    updated: int = 0
    refused: int = 0


class Imports:
    """Carries out imports, for the built-in worker."""

    def __init__(
        self,
        store: Store,
        tables: Tables,
        files: Files,
        ids: IdSource,
        organisation: int = 1,
        zone: Callable[[], tzinfo] = lambda: UTC,
    ) -> None:
        self._store = store
        self._tables = tables
        self._files = files
        self._ids = ids
        self._organisation = organisation
        self._zone = zone

    async def begin(self, run: Run, spec: ImportFile) -> ImportDone:
        """Return how far earlier attempts have come; raise what stands in the way of a new one."""
        done = await last(self._store, run, ImportDone)
        table = await self._tables.get(spec.table)
        if table.external is not None:
            raise BadImport("records are not imported into external tables")
        if spec.upsert_by:
            unique_field(table, spec.upsert_by)
        return done or ImportDone()

    async def chunk(self, run: Run, spec: ImportFile, done: ImportDone) -> ImportDone | None:
        """Import the next rows, with the cursor in the same transaction; None when all is done.

        Raises LeaseLost if the run is not under this lease any more, BadImport for what cannot be imported.
        """
        if done.refused > spec.errors_max:
            raise BadImport(f"{done.refused:,} of {done.rows:,} rows are refused; errors_max is {spec.errors_max:,}")
        file = await self._files.get(spec.file)
        if file.sha256 is None:
            raise BadImport("the file has not come whole")
        table = await self._tables.get(spec.table)
        try:
            found, columns, at = await self._rows(file, table, spec, done)
        except BadFile as error:
            raise BadImport(f"after row {done.rows:,}: {error}") from None
        if not found:
            return None
        new_ids = [self._ids.new(self._store.clock.now_ms()) for _ in found]

        def work(unit: Unit) -> ImportDone:
            held(unit, run)
            table = hold(unit, self._organisation, spec.table)
            rows = _Rows(unit, table, spec, self._zone(), columns)
            rows.take([row.cells for row in found], new_ids)
            after = ImportDone(
                at, done.rows + len(found), columns, done.created + rows.created, done.updated + rows.updated,
                done.refused + len(rows.refused),
            )  # fmt: skip
            for index, refusals in sorted(rows.refused.items()):
                _tell(unit, run, done.rows + index + 1, refusals)
            keep(unit, run, after.rows, after, after.at, file.bytes, f"{after.rows:,} rows")
            return after

        return await self._store.write(work, run_ids=[run.id], grows=True, weight=len(found))

    async def _rows(
        self, file: StoredFile, table: Table, spec: ImportFile, done: ImportDone
    ) -> tuple[list[Row], tuple[str | None, ...] | None, int]:
        """Return the next rows, the fields of the columns, and where in the file the last of them ends."""
        form = spec.format or _ENDINGS.get(file.name.rpartition(".")[2].lower())
        if form is None:
            raise BadImport(
                f"the name {file.name!r} does not say what the file is: say the format (csv, json or jsonl)"
            )
        at, columns, chunks = done.at, done.columns, PARTS[0]
        while True:
            part = await self._files.read(file, at, chunks)
            skipped = beginning(part) if at == 0 else 0
            part, start = part[skipped:], at + skipped
            ended = start + len(part) >= file.bytes
            read = rows(part, form, last=ended, limit=ROWS + 1, encoding=_codec(spec), delimiter=_delimiter(spec, file))
            rest = read
            if form == "csv" and columns is None and read:
                columns, rest = _columns(cast("list[str]", read[0].cells), table, spec), read[1:]
            found = [row for row in rest if row.cells][:ROWS]
            if found:
                return found, columns, start + found[-1].end
            if read:  # nothing but the header or empty lines: what comes after may be bad, and is looked at
                at, chunks = start + read[-1].end, PARTS[0]
            elif ended:
                return [], columns, file.bytes
            else:
                chunks = PARTS[1]


def _codec(spec: ImportFile) -> str:
    return {"windows-1252": "cp1252"}.get(spec.encoding, spec.encoding)


def _delimiter(spec: ImportFile, file: StoredFile) -> str:
    return "\t" if spec.delimiter == "," and file.name.lower().endswith(".tsv") else spec.delimiter


def _columns(header: Sequence[str], table: Table, spec: ImportFile) -> tuple[str | None, ...]:
    """Return the field of each column; raise BadFile for a column that is none, or a field that has two."""
    if len(header) > COLUMNS_MAX:
        raise BadFile(f"there are {len(header):,} columns; there may be up to {COLUMNS_MAX:,}")
    names = [unquoted(name) for name in header] if spec.spreadsheet_safe else header
    found = [_member(name.strip(), table, spec) for name in names]
    named = [name for name in found if name is not None]
    twice = [name for name, times in Counter(named).items() if times > 1]
    if twice:
        raise BadFile(f"two columns are of the field {twice[0]!r}")
    if not named:
        raise BadFile("no column is a field of the table")
    return tuple(found)


def _member(name: str, table: Table, spec: ImportFile) -> str | None:
    field = table.find(spec.columns.get(name, name))
    if field is not None:
        return field.id
    if spec.ignore_unknown:
        return None
    known = ", ".join(repr(each.name) for each in table.fields[:20])
    raise BadFile(f"the column {name[:80]!r} is no field of {table.name!r}; it has {known}")


def _tell(unit: Unit, run: Run, row: int, refusals: Sequence[Refusal]) -> None:
    """Keep why a row was refused."""
    value = _encode(
        {"row": row, "errors": [{"field": r.field, "code": r.code, "message": str(r)} for r in refusals]}
    ).decode()
    number = unit.add_result(run.id, RESULT, value)
    line = _encode({"number": number, "name": RESULT, "value": msgspec.Raw(value.encode())}).decode()
    current = held(unit, run)
    change(unit, current, current, "run.result", line)


class _Rows:
    """The rows of one transaction on their way to being records."""

    def __init__(
        self, unit: Unit, table: Table, spec: ImportFile, zone: tzinfo, columns: Sequence[str | None] | None
    ) -> None:
        self._unit = unit
        self._table = table
        self._spec = spec
        self._zone = zone
        self._columns = columns
        self.created = self.updated = 0
        self.refused: dict[int, tuple[Refusal, ...]] = {}

    def take(self, found: Sequence[list[str] | dict[str, Any]], new_ids: Sequence[str]) -> None:
        """Make records of the rows, or refuse them."""
        given: dict[int, Mapping[str, Any]] = {}
        for index, cells in enumerate(found):
            try:
                given[index] = self._given(cells)
            except BadFile as error:
                self.refused[index] = (Refusal("", "row", str(error)),)
        self._save(self._drafts(given, new_ids))

    def _drafts(
        self, given: Mapping[int, Mapping[str, Any]], new_ids: Sequence[str]
    ) -> dict[str, tuple[Draft, list[int]]]:
        """Return the records that rows become, each with its rows: of several of the same key the later count."""
        table, zone = self._table, self._zone
        texts, there = self._known(given)
        drafts: dict[str, tuple[Draft, list[int]]] = {}
        mine: dict[str, str] = {}
        for index, values in given.items():
            before = there.get(index)
            text = texts.get(index, "")
            record_id = mine.get(text, new_ids[index] if before is None else before.id)
            try:
                if record_id in drafts:
                    was, lines = drafts[record_id]
                    drafts[record_id] = replace(was, values=filled(table, values, was.values, zone)), [*lines, index]
                elif before is None:
                    drafts[record_id] = Draft(record_id, fresh(table, values, zone)), [index]
                else:
                    drafts[record_id] = Draft(record_id, filled(table, values, before.values, zone), before), [index]
            except Refused as refused:
                self.refused[index] = refused.refusals
                continue
            if text:
                mine[text] = record_id
        return drafts

    def _known(self, given: Mapping[int, Mapping[str, Any]]) -> tuple[dict[int, str], dict[int, Record]]:
        """Return the key of each row, and the record that has it already."""
        if not self._spec.upsert_by:
            return {}, {}
        by = unique_field(self._table, self._spec.upsert_by)
        places = list(given)
        texts = {places[place]: text for place, text in unique_keys(by, list(given.values()), self._zone).items()}
        return texts, known(self._unit, self._table, by, texts)

    def _save(self, drafts: Mapping[str, tuple[Draft, list[int]]]) -> None:
        refused = save(self._unit, self._table, [draft for draft, _ in drafts.values()])
        for record_id, (draft, lines) in drafts.items():
            if record_id in refused:
                self.refused |= dict.fromkeys(lines, refused[record_id])
            else:
                self.created += draft.before is None
                self.updated += len(lines) - (draft.before is None)

    def _given(self, cells: list[str] | dict[str, Any]) -> Mapping[str, Any]:
        """Return what a row gives, by id of the field."""
        if isinstance(cells, list):
            return mapped(cells, self._columns or (), safe=self._spec.spreadsheet_safe)
        members = {_member(name, self._table, self._spec): value for name, value in cells.items()}
        return {name: value for name, value in members.items() if name is not None}
