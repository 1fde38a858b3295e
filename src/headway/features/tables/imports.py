"""Imports: rows of a file become records, in transactions that each keep how far the file is read.

Killed at any moment, an import goes on after the last row that is a record: none is left out, none is there twice. A row that
is refused is kept with its reasons in the run's results, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, tzinfo
from typing import Any, Final, cast

import msgspec
from msgspec.structs import replace

from headway.errors import BadImport
from headway.features.tables.changes import Draft, Refusal, Refused, filled, fresh, hold, save
from headway.features.tables.definitions import Tables
from headway.features.tables.file import StoredFile
from headway.features.tables.files import Files
from headway.features.tables.model import Field, Record, Table
from headway.features.tables.records import known, unique_field, unique_keys
from headway.features.tables.rules.formats import (
    DELIMITERS,
    UNNAMED,
    BadFile,
    Format,
    Row,
    beginning,
    mapped,
    rows,
    separator,
    unquoted,
)
from headway.ids import IdSource
from headway.kernel.run import Run
from headway.protocol.tables import ImportFile
from headway.runs.checkpoints import last_checkpoint, leased_run, save_checkpoint
from headway.runs.transitions import change
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

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
    lines: int = 0
    """Lines before that byte; 0 if rows are no lines."""
    columns: tuple[str | None, ...] | None = None
    """Of a CSV file: the field of each column, None if it is passed over, `UNNAMED` if its header is empty."""
    delimiter: str = ""
    """Of a CSV file, as soon as it is known."""
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
        done = await last_checkpoint(self._store, run, ImportDone)
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
            found, done = await self._rows(file, table, spec, done)
        except BadFile as error:
            raise BadImport(f"after row {done.rows:,}: {error}") from None
        if not found:
            return None
        new_ids = [self._ids.new(self._store.clock.now_ms()) for _ in found]

        def work(uow: UnitOfWork) -> ImportDone:
            leased_run(uow, run)
            table = hold(uow, self._organisation, spec.table)
            rows = _Rows(uow, table, spec, self._zone(), done.columns)
            rows.take([row.cells for row in found], new_ids)
            after = replace(
                done, at=done.at + found[-1].end, lines=done.lines + found[-1].lines, rows=done.rows + len(found),
                created=done.created + rows.created, updated=done.updated + rows.updated,
                refused=done.refused + len(rows.refused),
            )  # fmt: skip
            for index, refusals in sorted(rows.refused.items()):
                line = found[index].line
                _tell(uow, run, done.rows + index + 1, done.lines + line if line else None, refusals)
            save_checkpoint(uow, run, after.rows, after, after.at, file.bytes, f"{after.rows:,} rows")
            return after

        return await self._store.write(work, run_ids=[run.id], grows=True, weight=len(found))

    async def _rows(
        self, file: StoredFile, table: Table, spec: ImportFile, done: ImportDone
    ) -> tuple[list[Row], ImportDone]:
        """Return the next rows, and how far the file was read before them; raise BadFile."""
        form = spec.format or _ENDINGS.get(file.name.rpartition(".")[2].lower())
        if form is None:
            raise BadImport(
                f"the name {file.name!r} does not say what the file is: say the format (csv, json or jsonl)"
            )
        chunks = PARTS[0]
        while True:
            part = await self._files.read(file, done.at, chunks)
            if done.at == 0:
                done, part = _begun(done, part, form, spec, file)
            ended = done.at + len(part) >= file.bytes
            try:
                read = rows(
                    part,
                    form,
                    last=ended,
                    limit=ROWS + 1,
                    encoding=_codec(spec),
                    delimiter=done.delimiter or _delimiter(spec, file),
                )
                header = next((row for row in read if not row.blank), None)
                if form == "csv" and done.columns is None and header is not None:
                    done = _headed(done, part, header, table, spec)
                    continue
            except BadFile as error:
                raise _placed(error, done) from None
            found = [row for row in read if not row.blank][:ROWS]
            if found:
                return found, done
            if read:  # nothing but empty rows: what comes after may be bad, and is looked at
                done, chunks = replace(done, at=done.at + read[-1].end, lines=done.lines + read[-1].lines), PARTS[0]
            elif ended:
                return [], done
            else:
                chunks = PARTS[1]


def _codec(spec: ImportFile) -> str:
    return {"windows-1252": "cp1252"}.get(spec.encoding, spec.encoding)


def _delimiter(spec: ImportFile, file: StoredFile) -> str:
    return "\t" if spec.delimiter == "," and file.name.lower().endswith(".tsv") else spec.delimiter


def _begun(done: ImportDone, part: bytes, form: Format, spec: ImportFile, file: StoredFile) -> tuple[ImportDone, bytes]:
    """Pass over what stands before the first row: a byte order mark, and a line that names the delimiter."""
    at = beginning(part, spec.encoding)
    delimiter, lines = _delimiter(spec, file), 0
    named = separator(part[at:]) if form == "csv" else None
    if named is not None:
        delimiter, lines = named[0], 1
        at += named[1]
    return replace(done, at=at, lines=lines, delimiter=delimiter), part[at:]


def _headed(done: ImportDone, part: bytes, header: Row, table: Table, spec: ImportFile) -> ImportDone:
    """Return how far an import is when its header is read; raise BadFile.

    A header that is one cell and no field is read with the other usual delimiters: spreadsheets write the one of their country.
    """
    cells = cast("list[str]", header.cells)
    try:
        columns = _columns(cells, table, spec)
    except BadFile:
        for delimiter in DELIMITERS if len(cells) == 1 else "":
            again = _split(part, delimiter, table, spec) if delimiter in cells[0] else None
            if again is not None:
                columns, done = again, replace(done, delimiter=delimiter)
                break
        else:
            raise
    return replace(done, at=done.at + header.end, lines=done.lines + header.lines, columns=columns)


def _split(part: bytes, delimiter: str, table: Table, spec: ImportFile) -> tuple[str | None, ...] | None:
    """Return the columns of a header with this delimiter; None if they are not those of the table."""
    try:
        read = rows(part, "csv", last=True, limit=ROWS, encoding=_codec(spec), delimiter=delimiter)
        header = next(row for row in read if not row.blank)
        return _columns(cast("list[str]", header.cells), table, spec)
    except BadFile:
        return None


def _placed(error: BadFile, done: ImportDone) -> BadFile:
    """Return the error with the line of the file at which it is."""
    return error if error.line is None else BadFile(f"line {done.lines + error.line:,}: {error}")


def _columns(header: Sequence[str], table: Table, spec: ImportFile) -> tuple[str | None, ...]:
    """Return the field of each column; raise BadFile for a column that is none, or a field that has two."""
    if len(header) > COLUMNS_MAX:
        raise BadFile(f"there are {len(header):,} columns; there may be up to {COLUMNS_MAX:,}")
    names = [unquoted(name) for name in header] if spec.spreadsheet_safe else header
    found = _fields_of([name.strip() for name in names], table, spec)
    if not any(found):
        raise BadFile("no column is a field of the table")
    return tuple(found)


def _fields_of(names: Sequence[str], table: Table, spec: ImportFile) -> list[str | None]:
    """Return the field of each column or member: None for one that is passed over, `UNNAMED` for one without a name.

    Raises BadFile for one that is no field, and for two of the same field. Names may differ from the field's in case and
    blanks, unless another one is spelt as the field.
    """
    exact = [table.find(spec.columns.get(name, name)) for name in names]
    spelt = {field.id for field in exact if field is not None}
    whose: dict[str, str] = {}
    found: list[str | None] = []
    for name, same in zip(names, exact, strict=True):
        field = same or _alike(table, spec.columns.get(name, name), spelt)
        if field is None:
            found.append(_no_field(name, table, spec))
            continue
        if field.id in whose:
            other = whose[field.id]
            both = (
                f"{other[:80]!r} is there twice"
                if other == name
                else f"{other[:80]!r} and {name[:80]!r} are both {field.name!r}"
            )
            raise BadFile(f"two columns are of one field: {both}")
        whose[field.id] = name
        found.append(field.id)
    return found


def _alike(table: Table, name: str, but: Collection[str]) -> Field | None:
    """Return the one field whose name differs from this in case and blanks only."""
    folded = " ".join(name.split()).casefold()
    found = [each for each in table.fields if " ".join(each.name.split()).casefold() == folded and each.id not in but]
    return found[0] if len(found) == 1 else None


def _no_field(name: str, table: Table, spec: ImportFile) -> str | None:
    """Return what stands for a column that is no field; raise BadFile if there may be none."""
    if spec.ignore_unknown:
        return None
    if not name:
        return UNNAMED
    known = ", ".join(repr(each.name) for each in table.fields[:20])
    raise BadFile(f"the column {name[:80]!r} is no field of {table.name!r}; it has {known}")


def _tell(uow: UnitOfWork, run: Run, row: int, line: int | None, refusals: Sequence[Refusal]) -> None:
    """Keep why a row was refused, and the line of the file at which it begins."""
    place = {"row": row} if line is None else {"row": row, "line": line}
    errors = [{"field": r.field, "code": r.code, "message": str(r)} for r in refusals]
    value = _encode({**place, "errors": errors}).decode()
    number = uow.add_result(run.id, RESULT, value)
    event = _encode({"number": number, "name": RESULT, "value": msgspec.Raw(value.encode())}).decode()
    current = leased_run(uow, run)
    change(uow, current, current, "run.result", event)


class _Rows:
    """The rows of one transaction on their way to being records."""

    def __init__(
        self, uow: UnitOfWork, table: Table, spec: ImportFile, zone: tzinfo, columns: Sequence[str | None] | None
    ) -> None:
        self._unit = uow
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
        fields = _fields_of(list(cells), self._table, self._spec)
        if UNNAMED in fields:
            raise BadFile("has a member without a name")
        return {field: value for field, value in zip(fields, cells.values(), strict=True) if field}
