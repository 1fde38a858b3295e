"""Check of the stored tables, records and files, for `headway doctor`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import msgspec

from headway.features.tables.model import Field
from headway.features.tables.rules.keys import entries
from headway.features.tables.store import make_table
from headway.store.verify import Finding, Read


def findings(read: Read) -> Iterator[Finding]:
    """Yield wrong record counts, rows without their table or file, and differences between records and index."""
    for name, kept, found in read("verify_table_counts"):
        yield Finding(name, f"the table says that it has {kept} records, there are {found}")
    for what, row_id in read("verify_record_orphans"):
        yield Finding(row_id, f"a {what} of nothing is left")
    fields = {table.number: table.fields for table in map(make_table, read("verify_tables"))}
    yield from _records(fields, read("verify_records"), read("verify_record_values"))


def _records(fields: dict[int, tuple[Field, ...]], records: Iterable[Any], values: Iterable[Any]) -> Iterator[Finding]:
    """Walk records and their index side by side; both come in order of table and record."""
    index = groupby(values, key=lambda row: (row[0], row[1]))
    at, rows = next(index, (None, iter(())))
    for number, record_id, data in records:
        while at is not None and at < (number, record_id):
            yield Finding(at[1], "the index has it, but it is not there")
            at, rows = next(index, (None, iter(())))
        kept: set[tuple[str, str, int]] = set()
        if at == (number, record_id):
            kept = {(field, value, unique) for _, _, field, value, unique in rows}
            at, rows = next(index, (None, iter(())))
        if kept != entries(fields[number], msgspec.json.decode(data)):
            yield Finding(record_id, "the index does not say of it what it says itself")
    while at is not None:
        yield Finding(at[1], "the index has it, but it is not there")
        at, rows = next(index, (None, iter(())))
