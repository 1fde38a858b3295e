"""Columns of imported files: the start of a file, its header, and the field of each column."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, cast

import msgspec
from msgspec.structs import replace

from headway.features.tables.model import Field, StoredFile, Table
from headway.features.tables.rules.formats import (
    DELIMITERS,
    UNNAMED,
    BadFile,
    Format,
    Row,
    beginning,
    rows,
    separator,
    unquoted,
)
from headway.protocol.tables import ImportFile

COLUMNS_MAX: Final = 10_000
HEADER_ROWS: Final = 500
"""Rows that are read to find the header below blank ones."""


class ImportCheckpoint(msgspec.Struct, frozen=True):
    """Progress of an import, stored with the records of each transaction."""

    at: int = 0
    """Offset of the byte after the last row."""
    rows: int = 0
    lines: int = 0
    """Number of lines before that byte; 0 if rows are no lines."""
    columns: tuple[str | None, ...] | None = None
    """Field of each column of a CSV file: None for an ignored one, `UNNAMED` for an empty header."""
    delimiter: str = ""
    """Delimiter of a CSV file, once it is known."""
    created: int = 0
    updated: int = 0
    refused: int = 0


def codec(spec: ImportFile) -> str:
    """Return Python's name of the encoding."""
    return {"windows-1252": "cp1252"}.get(spec.encoding, spec.encoding)


def default_delimiter(spec: ImportFile, file: StoredFile) -> str:
    """Return the requested delimiter, or a tab for the default in a .tsv file."""
    return "\t" if spec.delimiter == "," and file.name.lower().endswith(".tsv") else spec.delimiter


def skip_beginning(
    checkpoint: ImportCheckpoint, part: bytes, form: Format, spec: ImportFile, file: StoredFile
) -> tuple[ImportCheckpoint, bytes]:
    """Skip a byte order mark and a line that names the delimiter; raise BadFile for another encoding."""
    at = beginning(part, spec.encoding)
    delimiter, lines = default_delimiter(spec, file), 0
    named = separator(part[at:]) if form == "csv" else None
    if named is not None:
        delimiter, lines = named[0], 1
        at += named[1]
    return replace(checkpoint, at=at, lines=lines, delimiter=delimiter), part[at:]


def read_header(
    checkpoint: ImportCheckpoint, part: bytes, header: Row, table: Table, spec: ImportFile
) -> ImportCheckpoint:
    """Return the checkpoint after the header; raise BadFile.

    A header of a single cell that is no field is read with the other usual delimiters: spreadsheets write that of their country.
    """
    cells = cast("list[str]", header.cells)
    try:
        columns = columns_of(cells, table, spec)
    except BadFile:
        for delimiter in DELIMITERS if len(cells) == 1 else "":
            again = _split(part, delimiter, table, spec) if delimiter in cells[0] else None
            if again is not None:
                columns, checkpoint = again, replace(checkpoint, delimiter=delimiter)
                break
        else:
            raise
    return replace(checkpoint, at=checkpoint.at + header.end, lines=checkpoint.lines + header.lines, columns=columns)


def _split(part: bytes, delimiter: str, table: Table, spec: ImportFile) -> tuple[str | None, ...] | None:
    """Return the columns of a header with this delimiter; None if they are not those of the table."""
    try:
        read = rows(part, "csv", last=True, limit=HEADER_ROWS, encoding=codec(spec), delimiter=delimiter)
        header = next(row for row in read if not row.blank)
        return columns_of(cast("list[str]", header.cells), table, spec)
    except BadFile:
        return None


def columns_of(header: Sequence[str], table: Table, spec: ImportFile) -> tuple[str | None, ...]:
    """Return the field of each column; raise BadFile for a column without a field, or a field with two columns."""
    if len(header) > COLUMNS_MAX:
        raise BadFile(f"there are {len(header):,} columns; there may be up to {COLUMNS_MAX:,}")
    names = [unquoted(name) for name in header] if spec.spreadsheet_safe else header
    found = fields_of([name.strip() for name in names], table, spec)
    if not any(found):
        raise BadFile("no column is a field of the table")
    return tuple(found)


def fields_of(names: Sequence[str], table: Table, spec: ImportFile) -> list[str | None]:
    """Return the field of each column or member: None for an ignored one, `UNNAMED` for an empty name.

    Raises BadFile for a name without a field, and for two of the same field. Names may differ from the field's in case and
    blanks, unless another one is spelt as the field.
    """
    exact = [table.find(spec.columns.get(name, name)) for name in names]
    spelt = {field.id for field in exact if field is not None}
    name_of: dict[str, str] = {}
    found: list[str | None] = []
    for name, same in zip(names, exact, strict=True):
        field = same or _alike(table, spec.columns.get(name, name), spelt)
        if field is None:
            found.append(_unknown(name, table, spec))
            continue
        if field.id in name_of:
            other = name_of[field.id]
            both = (
                f"{other[:80]!r} is there twice"
                if other == name
                else f"{other[:80]!r} and {name[:80]!r} are both {field.name!r}"
            )
            raise BadFile(f"two columns are of one field: {both}")
        name_of[field.id] = name
        found.append(field.id)
    return found


def _alike(table: Table, name: str, but: Collection[str]) -> Field | None:
    """Return the one field whose name differs from this in case and blanks only."""
    folded = " ".join(name.split()).casefold()
    found = [each for each in table.fields if " ".join(each.name.split()).casefold() == folded and each.id not in but]
    return found[0] if len(found) == 1 else None


def _unknown(name: str, table: Table, spec: ImportFile) -> str | None:
    """Return None or `UNNAMED` for a column without a field; raise BadFile unless it may be ignored."""
    if spec.ignore_unknown:
        return None
    if not name:
        return UNNAMED
    known = ", ".join(repr(each.name) for each in table.fields[:20])
    raise BadFile(f"the column {name[:80]!r} is no field of {table.name!r}; it has {known}")
