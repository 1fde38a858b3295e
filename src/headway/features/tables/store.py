"""Tables and records in the database: statements of a transaction, and reads on a reading connection.

Index entries of a record and the count of its table are written together with the record. A command that writes records
locks the table's definition first (`lock_table`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

import msgspec

from headway.errors import TableNotFound
from headway.features.tables import condition_sql as statements
from headway.features.tables.condition_sql import BLANKS, ListOrder, position
from headway.features.tables.model import External, Field, Record, RecordChange, Table, Values
from headway.features.tables.rules.conditions import EVERY, Condition
from headway.features.tables.rules.keys import entries, keys
from headway.store.database import Database, Reading
from headway.store.statements import Dialect
from headway.store.unit_of_work import UnitOfWork, as_rows

PAGE_BYTES: Final = 4 * 1024 * 1024
WINDOW: Final = 5_000
"""Records that a page with a condition looks at, at most: some milliseconds' worth."""
WINDOWS: Final = 4
"""Windows that a page looks at while it has found no record."""

RANGE_DELETE_MIN: Final = 8
"""Entries of one value that are deleted by their range; fewer are deleted one by one."""

RecordValues = tuple[str, Values]
"""Id and values of a record."""
Entry = tuple[str, str, str]
"""Index entry: field, key, record id."""

_encode: Final = msgspec.json.Encoder().encode
_values: Final = msgspec.json.Decoder(dict[str, Any]).decode


class Span(msgspec.Struct, frozen=True):
    """The records with ids greater than `after`, up to `edge`."""

    after: str
    edge: str
    count: int
    """Number of the records."""


class Matches(msgspec.Struct, frozen=True):
    """The records of a span of which a condition was true when they were read: their versions by id.

    Users write conditions, which may take long: they are evaluated by readers, and not by the writer.
    """

    edge: str
    versions: dict[str, int]


class Definition(msgspec.Struct, frozen=True, omit_defaults=True):
    """Part of a table that is stored as a JSON document."""

    fields: tuple[Field, ...] = ()
    next_field: int = 1
    description: str = ""
    external: External | None = None


_definition: Final = msgspec.json.Decoder(Definition).decode


def make_table(row: tuple[Any, ...]) -> Table:
    """Return the table of a row."""
    number, table_id, organisation, name, text, count, version, created_at, updated_at = row
    kept = _definition(text)
    return Table(
        number=number, id=table_id, organisation=organisation, name=name, description=kept.description, fields=kept.fields,
        next_field=kept.next_field, external=kept.external, count=count, version=version, created_at=created_at,
        updated_at=updated_at,
    )  # fmt: skip


def make_record(row: tuple[Any, ...]) -> Record:
    """Return the record of a row; unreadable values make it `damaged`."""
    try:
        return Record(row[0], row[1], _values(row[2]), row[3], row[4])
    except msgspec.DecodeError:
        return Record(row[0], row[1], {}, row[3], row[4], damaged=True)


# -- definitions -------------------------------------------------------------------------------------------------------


def find_table(database: Database, organisation: int, name: str) -> Table | None:
    """Return the organisation's table of that id or name."""
    rows = database.rows("find_table", organisation=organisation, name=name)
    return make_table(rows[0]) if rows else None


def read_tables(database: Database, organisation: int) -> list[Table]:
    """Return the organisation's tables, by name."""
    return [make_table(row) for row in database.rows("read_tables", organisation=organisation)]


def lock_table(uow: UnitOfWork, organisation: int, name: str) -> Table:
    """Return the organisation's table of that id or name, locked until the end of the transaction; raise TableNotFound."""
    found = find_table(uow.database, organisation, name)
    rows = [] if found is None else uow.database.rows("lock_table", number=found.number)
    if not rows:
        raise TableNotFound(f"there is no table {name[:80]!r}", table=name[:80])
    return make_table(rows[0])


def next_number(uow: UnitOfWork) -> int:
    """Return an unused number; if two servers take the same one, one of them repeats its transaction."""
    return int(uow.database.rows("next_table_number")[0][0])


def insert_table(uow: UnitOfWork, table: Table) -> None:
    """Add a table."""
    uow.execute(
        "insert_table", number=table.number, id=table.id, organisation=table.organisation, name=table.name,
        definition=_document(table), count=table.count, version=table.version, created_at=table.created_at,
        updated_at=table.updated_at,
    )  # fmt: skip


def save_table(uow: UnitOfWork, table: Table, was: int) -> None:
    """Update the definition; `was` is the version that it was made from."""
    uow.execute(
        "save_table", expect=1, number=table.number, name=table.name, definition=_document(table),
        version=table.version, updated_at=table.updated_at, was=was,
    )  # fmt: skip


def delete_table(uow: UnitOfWork, table: Table) -> None:
    """Delete the definition; `sweep` deletes the rows, which are not shown any more."""
    uow.execute("delete_table", expect=1, number=table.number, was=table.version)
    if table.external is None:
        uow.execute("leave_remains", table_number=table.number, field="")


def leave_field(uow: UnitOfWork, table: Table, field: Field) -> None:
    """Leave the index entries of a deleted field to `sweep`."""
    uow.execute("leave_remains", table_number=table.number, field=field.id)


def clear_index(uow: UnitOfWork, table: Table, field: Field) -> None:
    """Delete the index entries of a field."""
    uow.execute("delete_values_of_field", table_number=table.number, field=field.id)


def sweep(uow: UnitOfWork, limit: int) -> bool:
    """Delete some rows of deleted tables and fields; return whether there may be more."""
    for number, field in uow.database.rows("read_remains"):
        if field:
            left = uow.delete_rows("sweep_values_of_field", table_number=number, field=field, limit=limit)
        else:
            left = uow.delete_rows("sweep_values", table_number=number, limit=limit)
            left = left or uow.delete_rows("sweep_records", table_number=number, limit=limit)
        if not left:
            uow.execute("forget_remains", table_number=number, field=field)
        return True
    return False


def _document(table: Table) -> str:
    kept = Definition(table.fields, table.next_field, table.description, table.external)
    return _encode(kept).decode()


# -- records -----------------------------------------------------------------------------------------------------------


def load_records(uow: UnitOfWork, table: Table, ids: Collection[str]) -> dict[str, Record]:
    """Return the records of these ids, by id, locked until the end of the transaction."""
    if not ids:
        return {}
    rows = uow.database.rows("load_records", table_number=table.number, ids=as_rows(list(ids)))
    return {row[0]: make_record(row) for row in rows}


def lock_records(uow: UnitOfWork, table: Table, ids: Collection[str]) -> dict[str, int]:
    """Return the versions of the records of these ids, which are locked until the end of the transaction."""
    if not ids:
        return {}
    return dict(uow.database.rows("lock_records", table_number=table.number, ids=as_rows(list(ids))))


def find_span(uow: UnitOfWork, table: Table, after: str, upto: str, limit: int) -> Span | None:
    """Return the span of the next records, `limit` at most, for one chunk; None if there are none."""
    binds = {"table_number": table.number, "after": after, "upto": upto, "limit": limit}
    ((edge, count),) = uow.database.rows("edge_of_records", **binds)
    return Span(after, edge, count) if count else None


def load_span(
    uow: UnitOfWork, table: Table, span: Span, ids: Collection[str] | None = None
) -> tuple[list[RecordValues], int]:
    """Return ids and values of the records of a span, or of those with these ids, locked; and their size in characters."""
    binds = {"table_number": table.number}
    if ids is None:
        rows = uow.database.rows("load_span", after=span.after, edge=span.edge, **binds)
    else:
        rows = uow.database.rows("load_records", ids=as_rows(list(ids)), **binds)
    return [(row[0], _values(row[2])) for row in rows], sum([len(row[2]) for row in rows])


def find_entries(
    database: Database, table: Table, wanted: Iterable[tuple[str, str]], limit: int = 1_000_000
) -> list[Entry]:
    """Return the index entries with these fields and keys."""
    rows = [(table.number, field, key) for field, key in wanted]
    if not rows:
        return []
    found = database.rows("find_record_values", rows=as_rows(rows), limit=limit)
    return [(field, key, record_id) for field, key, record_id in found]


def write_records(uow: UnitOfWork, table: Table, changes: Sequence[RecordChange]) -> None:
    """Insert and update records, with their index entries and the table's count."""
    inserted: list[tuple[str, str]] = []
    updated: list[tuple[int, str, str, int]] = []
    old: list[tuple[int, str, str, str]] = []
    new: list[tuple[str, str, str, int]] = []
    indexed = any(field.has_index for field in table.fields)
    for change in changes:
        before, text = change.before, _encode(change.values).decode()
        if before is None:
            inserted.append((change.id, text))
        else:
            updated.append((table.number, change.id, text, before.version))
        if indexed:
            was = entries(table.fields, before.values) if before is not None else set()
            now = entries(table.fields, change.values)
            old += [(table.number, field, key, change.id) for field, key, _ in was - now]
            new += [(field, key, change.id, unique) for field, key, unique in now - was]
    if indexed:
        _clear_damaged(uow, table, [change.before for change in changes if change.before is not None])
    if inserted:
        uow.execute("insert_records", table_number=table.number, rows=as_rows(inserted), now_ms=uow.now_ms)
        uow.execute("add_to_table", number=table.number, delta=len(inserted))
    if updated:
        uow.execute("save_records", expect=len(updated), rows=as_rows(updated), now_ms=uow.now_ms)
    _index(uow, table, old, new)


def delete_records(uow: UnitOfWork, table: Table, found: Sequence[Record]) -> None:
    """Delete records that were loaded in this transaction, with their index entries."""
    if not found:
        return
    old = [
        (table.number, field, value, record.id)
        for record in found
        for field, value, _ in entries(table.fields, record.values)
    ]
    _clear_damaged(uow, table, found)
    ids = [record.id for record in found]
    uow.execute("delete_records", expect=len(ids), table_number=table.number, ids=as_rows(ids))
    uow.execute("add_to_table", number=table.number, delta=-len(ids))
    _index(uow, table, old, [])


def _clear_damaged(uow: UnitOfWork, table: Table, found: Iterable[Record]) -> None:
    """Delete the index entries of damaged records by record, since their values are unknown."""
    damaged = [record.id for record in found if record.damaged]
    if damaged:
        uow.execute("forget_values", table_number=table.number, ids=as_rows(damaged))


def _index(
    uow: UnitOfWork, table: Table, old: list[tuple[int, str, str, str]], new: list[tuple[str, str, str, int]]
) -> None:
    if old:
        uow.execute("delete_record_values", rows=as_rows(old))
    if new:
        uow.execute("insert_record_values", table_number=table.number, rows=as_rows(new))


def index_field(uow: UnitOfWork, table: Table, field: Field, found: Iterable[Record]) -> None:
    """Add the index entries of a field that was not indexed."""
    rows = [
        (name, value, record.id, unique) for record in found for name, value, unique in entries([field], record.values)
    ]
    _index(uow, table, [], rows)


def patch_records(uow: UnitOfWork, table: Table, span: Span, found: Sequence[RecordValues], patch: Values) -> None:
    """Set the same values (None: a blank) in records of a span that were loaded in this transaction, with the index.

    The number of statements is constant. If the records are all of the span, as usual, their index entries are one range,
    which is deleted and inserted as a whole.
    """
    if not found:
        return
    whole = len(found) == span.count
    binds = _patching(uow, table, patch)
    if whole:
        uow.execute("patch_span", expect=len(found), after=span.after, edge=span.edge, **binds)
    else:
        uow.execute("patch_records", expect=len(found), ids=as_rows([record_id for record_id, _ in found]), **binds)
    old: list[tuple[int, str, str, str]] = []
    new: list[tuple[str, str, str, int]] = []
    for field in table.fields:
        if not field.has_index or field.id not in patch:
            continue
        lost, gained = _index_changes(field, found, patch[field.id])
        of: dict[str, Any] = {"table_number": table.number, "field": field.id, "after": span.after, "edge": span.edge}
        for value, ids in lost.items():
            if whole and len(ids) >= RANGE_DELETE_MIN:
                uow.execute("delete_values_of_span", value=value, **of)
            else:
                old += [(table.number, field.id, value, record_id) for record_id in ids]
        unique = int(field.unique)
        for value, ids in gained.items():
            if len(ids) == span.count:
                uow.execute("insert_values_of_span", value=value, is_unique=unique, **of)
            else:
                new += [(field.id, value, record_id, unique) for record_id in ids]
    _index(uow, table, old, new)


def patch_span(uow: UnitOfWork, table: Table, span: Span, patch: Values) -> None:
    """Set the same values of fields without index in all records of a span, without reading the records."""
    assert not any(field.has_index for field in table.fields if field.id in patch), "the index would not follow"
    uow.execute("patch_what_lacks", after=span.after, edge=span.edge, **_patching(uow, table, patch))


def _patching(uow: UnitOfWork, table: Table, patch: Values) -> dict[str, Any]:
    return {"table_number": table.number, "patch": _encode(patch).decode(), "now_ms": uow.now_ms}


def _index_changes(
    field: Field, found: Sequence[RecordValues], given: Any
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the ids of records by the key that they lose, and by the key that they gain, when all get one value."""
    having: dict[Any, list[str]] = defaultdict(list)
    for record_id, values in found:
        value = values.get(field.id)
        having[tuple(value) if value.__class__ is list else value].append(record_id)
    now = dict.fromkeys(keys(field, given))
    lost: dict[str, list[str]] = defaultdict(list)
    gained: dict[str, list[str]] = defaultdict(list)
    for value, ids in having.items():
        was = dict.fromkeys(keys(field, value))
        for key in was:
            if key not in now:
                lost[key] += ids
        for key in now:
            if key not in was:
                gained[key] += ids
    return lost, gained


# -- reading -----------------------------------------------------------------------------------------------------------


def read_records(database: Database, table: Table, ids: Collection[str]) -> list[Record]:
    """Return the records of these ids, in order of id."""
    return [
        make_record(row) for row in database.rows("read_records", table_number=table.number, ids=as_rows(list(ids)))
    ]


def read_matching(
    database: Database, dialect: Dialect, table: Table, condition: Condition, ids: Collection[str]
) -> list[Record]:
    """Return the records of these ids of which a condition is true, in order of id."""
    sql, binds = statements.matching(dialect, table, condition)
    return [make_record(row) for row in database.select(sql, binds | {"ids": as_rows(list(ids))})]


def read_span(database: Database, table: Table, after: str, limit: int) -> list[Record]:
    """Return the next records after one, in order of id."""
    rows = database.rows("read_all_records", table_number=table.number, after=after, limit=limit)
    return [make_record(row) for row in rows]


def read_page(
    database: Reading,
    dialect: Dialect,
    table: Table,
    condition: Condition = EVERY,
    after: str = "",
    limit: int = 100,
    order: ListOrder = ListOrder(),  # noqa: B008 - frozen
    window: int = WINDOW,
) -> tuple[list[Record], str]:
    """Return the records after a position, and the position of the next page: "" if there are no more.

    A page looks at a limited number of records: it may be short, even empty, although there are more.
    """
    found: list[Record] = []
    for _ in range(WINDOWS):
        edge, valued, left = "", bool(order.field) and not after.startswith(BLANKS), limit - len(found)
        if condition != EVERY or after.startswith(BLANKS):
            edge = _window_end(database, dialect, table, condition, order, after, window)
        sql, binds = statements.page(dialect, table, condition, order, after, left + 1, edge)
        rows, cut = database.select_within(PAGE_BYTES, sql, binds)
        found += [make_record(row) for row in rows[:left]]
        if len(rows) > left or cut:
            last = rows[min(left, len(rows)) - 1] if left else None
            return found, after if last is None else position(order, last[0], last[5] if valued else None)
        after = edge or (BLANKS if valued else "")
        if not after or (found and edge):
            break
    return found, after


def _window_end(
    database: Database, dialect: Dialect, table: Table, condition: Condition, order: ListOrder, after: str, window: int
) -> str:
    sql, binds = statements.window_end(dialect, table, condition, order, after, window)
    for row in database.select(sql, binds):
        return position(order, row[0], row[1] if len(row) > 1 else None)
    return ""


def read_matches(
    database: Database, dialect: Dialect, table: Table, condition: Condition, after: str, upto: str, limit: int
) -> Matches | None:
    """Return the matches among the next `limit` records up to `upto`; None if there are no more records."""
    binds = {"table_number": table.number, "after": after, "upto": upto, "limit": limit}
    ((edge, count),) = database.rows("edge_of_records", **binds)
    if not count:
        return None
    sql, binds = statements.versions(dialect, table, condition, after, edge)
    return Matches(edge, dict(database.select(sql, binds)))


def read_at(
    database: Database, dialect: Dialect, table: Table, condition: Condition, offset: int, limit: int
) -> list[Record]:
    """Return the records from an offset on, in order of id."""
    sql, binds = statements.at_offset(dialect, table, condition, offset, limit)
    return [make_record(row) for row in database.select(sql, binds)]


def count_records(database: Database, dialect: Dialect, table: Table, condition: Condition) -> int:
    """Return the number of records of which the condition is true; of all records it is the table's count."""
    if condition == EVERY:
        return table.count
    sql, binds = statements.count(dialect, table, condition)
    return int(database.select(sql, binds)[0][0])
