"""Tables and records in the database: what a unit writes, and what is read on a reading connection.

Nothing is decided here. What belongs to a record in the index is written with it, and the count of its table as well; a
command that writes has to hold the table's definition first (`lock_table`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

import msgspec

from headway.features.tables import condition_sql as statements
from headway.features.tables.condition_sql import BLANKS, ListOrder, place
from headway.features.tables.model import External, Field, Record, RecordChange, Table, Values
from headway.features.tables.rules.conditions import EVERY, Condition
from headway.features.tables.rules.keys import entries, keys
from headway.store.database import Database, Reading
from headway.store.statements import Dialect
from headway.store.unit_of_work import UnitOfWork, as_rows

PAGE_BYTES: Final = 4 * 1024 * 1024
WINDOW: Final = 5_000
"""How many records a page looks at, at most, if not each of them fits: some milliseconds' worth."""
WINDOWS: Final = 4
"""How often it looks on, as long as it has found none."""

SIDE_BY_SIDE: Final = 8
"""From so many on, entries of one value are removed by where they are, not by name."""

Valued = tuple[str, Values]
"""A record's id, and its values."""

_encode: Final = msgspec.json.Encoder().encode
_values: Final = msgspec.json.Decoder(dict[str, Any]).decode


class Span(msgspec.Struct, frozen=True):
    """The records after one, up to another."""

    after: str
    edge: str
    count: int
    """How many there are, whatever they are like."""


class Fitting(msgspec.Struct, frozen=True):
    """The records after one, up to another, of which a condition was true when they were read, by id with their version.

    A condition is what a user has put together, and may take long: it is carried out while nobody waits for the writer.
    """

    edge: str
    versions: dict[str, int]


class Definition(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a table as a document."""

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
    """Return the record of a row; without values, if they cannot be read."""
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


def lock_table(uow: UnitOfWork, number: int) -> Table | None:
    """Return the table as it is now, and let nobody change it until this transaction is over."""
    rows = uow.database.rows("lock_table", number=number)
    return make_table(rows[0]) if rows else None


def next_number(uow: UnitOfWork) -> int:
    """Return a number that no table has; of two servers that take the same one, one decides again."""
    return int(uow.database.rows("next_table_number")[0][0])


def insert_table(uow: UnitOfWork, table: Table) -> None:
    """Add a table."""
    uow.changes += 1
    uow.database.run(
        "insert_table", number=table.number, id=table.id, organisation=table.organisation, name=table.name,
        definition=_document(table), count=table.count, version=table.version, created_at=table.created_at,
        updated_at=table.updated_at,
    )  # fmt: skip


def save_table(uow: UnitOfWork, table: Table, was: int) -> None:
    """Keep the definition as it is now; `was` is the version that it was made from."""
    uow.changes += 1
    uow.database.must(
        1, "save_table", number=table.number, name=table.name, definition=_document(table), version=table.version,
        updated_at=table.updated_at, was=was,
    )  # fmt: skip


def delete_table(uow: UnitOfWork, table: Table) -> None:
    """Remove the definition; `sweep` removes the rows, which nobody sees any more."""
    uow.changes += 1
    uow.database.must(1, "delete_table", number=table.number, was=table.version)
    if table.external is None:
        uow.database.run("leave_remains", table_number=table.number, field="")


def leave_field(uow: UnitOfWork, table: Table, field: Field) -> None:
    """Let what the index has of a field be removed by and by."""
    uow.changes += 1
    uow.database.run("leave_remains", table_number=table.number, field=field.id)


def clear_index(uow: UnitOfWork, table: Table, field: Field) -> None:
    """Remove what the index has of a field, at once."""
    uow.changes += 1
    uow.database.run("delete_values_of_field", table_number=table.number, field=field.id)


def sweep(uow: UnitOfWork, limit: int) -> bool:
    """Remove some of what is left of deleted tables and fields; tell whether there may be more."""
    for number, field in uow.database.rows("read_remains"):
        uow.changes += 1
        if field:
            left = uow.database.rows("sweep_values_of_field", table_number=number, field=field, limit=limit)
        else:
            left = uow.database.rows("sweep_values", table_number=number, limit=limit)
            left = left or uow.database.rows("sweep_records", table_number=number, limit=limit)
        if not left:
            uow.database.run("forget_remains", table_number=number, field=field)
        return True
    return False


def _document(table: Table) -> str:
    kept = Definition(table.fields, table.next_field, table.description, table.external)
    return _encode(kept).decode()


# -- records -----------------------------------------------------------------------------------------------------------


def load_records(uow: UnitOfWork, table: Table, ids: Collection[str]) -> dict[str, Record]:
    """Return the records of these ids as they are now, and let nobody change them until this transaction is over."""
    if not ids:
        return {}
    rows = uow.database.rows("load_records", table_number=table.number, ids=as_rows(list(ids)))
    return {row[0]: make_record(row) for row in rows}


def lock_records(uow: UnitOfWork, table: Table, ids: Collection[str]) -> dict[str, int]:
    """Return at which version the records of these ids are now, and let nobody change them until this transaction is over."""
    if not ids:
        return {}
    return dict(uow.database.rows("lock_records", table_number=table.number, ids=as_rows(list(ids))))


def span_of_records(uow: UnitOfWork, table: Table, after: str, upto: str, limit: int) -> Span | None:
    """Return the next records after one, up to another, so many at the most: what a chunk is; None if there are none."""
    binds = {"table_number": table.number, "after": after, "upto": upto, "limit": limit}
    ((edge, count),) = uow.database.rows("edge_of_records", **binds)
    return Span(after, edge, count) if count else None


def load_span(
    uow: UnitOfWork, table: Table, span: Span, ids: Collection[str] | None = None
) -> tuple[list[Valued], int]:
    """Return id and values of the records of a span, or of these in it, as `load_records` does; and their size."""
    binds = {"table_number": table.number}
    if ids is None:
        rows = uow.database.rows("load_span", after=span.after, edge=span.edge, **binds)
    else:
        rows = uow.database.rows("load_records", ids=as_rows(list(ids)), **binds)
    return [(row[0], _values(row[2])) for row in rows], sum([len(row[2]) for row in rows])


def holders(
    database: Database, table: Table, wanted: Iterable[tuple[str, str]], limit: int = 1_000_000
) -> list[tuple[str, str, str]]:
    """Return (field, key, record id) of the records that the index has under these fields and keys."""
    rows = [(table.number, field, text) for field, text in wanted]
    if not rows:
        return []
    found = database.rows("find_record_values", rows=as_rows(rows), limit=limit)
    return [(field, text, record_id) for field, text, record_id in found]


def write_records(
    uow: UnitOfWork, table: Table, inserted: Sequence[tuple[str, Values]], changed: Sequence[RecordChange]
) -> None:
    """Add records, and change others, which must have been loaded in this transaction; the index and the count follow."""
    uow.changes += len(inserted) + len(changed)
    old: list[tuple[int, str, str, str]] = []
    new: list[tuple[str, str, str, int]] = []
    if any(field.kept for field in table.fields):
        for record_id, values in inserted:
            new += [(field, value, record_id, unique) for field, value, unique in entries(table.fields, values)]
        for change in changed:
            record_id = change.before.id
            was, now = entries(table.fields, change.before.values), entries(table.fields, change.values)
            old += [(table.number, field, value, record_id) for field, value, _ in was - now]
            new += [(field, value, record_id, unique) for field, value, unique in now - was]
        _forget(uow, table, [change.before for change in changed])
    if inserted:
        rows: list[Any] = [(record_id, _encode(values).decode()) for record_id, values in inserted]
        uow.database.run("insert_records", table_number=table.number, rows=as_rows(rows), now_ms=uow.now_ms)
        uow.database.run("add_to_table", number=table.number, delta=len(inserted))
    if changed:
        rows = [(table.number, each.before.id, _encode(each.values).decode(), each.before.version) for each in changed]
        uow.database.must(len(rows), "save_records", rows=as_rows(rows), now_ms=uow.now_ms)
    _index(uow, table, old, new)


def remove_records(uow: UnitOfWork, table: Table, found: Sequence[Record]) -> None:
    """Remove records, which must have been loaded in this transaction."""
    if not found:
        return
    uow.changes += len(found)
    old = [
        (table.number, field, value, record.id)
        for record in found
        for field, value, _ in entries(table.fields, record.values)
    ]
    _forget(uow, table, found)
    ids = [record.id for record in found]
    uow.database.must(len(ids), "delete_records", table_number=table.number, ids=as_rows(ids))
    uow.database.run("add_to_table", number=table.number, delta=-len(ids))
    _index(uow, table, old, [])


def _forget(uow: UnitOfWork, table: Table, found: Iterable[Record]) -> None:
    """Remove damaged records from the index; their old values are not known any more."""
    damaged = [record.id for record in found if record.damaged]
    if damaged:
        uow.database.run("forget_values", table_number=table.number, ids=as_rows(damaged))


def _index(
    uow: UnitOfWork, table: Table, old: list[tuple[int, str, str, str]], new: list[tuple[str, str, str, int]]
) -> None:
    if old:
        uow.database.run("delete_record_values", rows=as_rows(old))
    if new:
        uow.database.run("insert_record_values", table_number=table.number, rows=as_rows(new))


def index_field(uow: UnitOfWork, table: Table, field: Field, found: Iterable[Record]) -> None:
    """Put into the index what records have in a field that was not in it."""
    rows = [
        (name, value, record.id, unique) for record in found for name, value, unique in entries([field], record.values)
    ]
    _index(uow, table, [], rows)


def patch_records(uow: UnitOfWork, table: Table, span: Span, found: Sequence[Valued], patch: Values) -> None:
    """Give the same values (None: a blank) to records of a span, loaded in this transaction; the index follows.

    A constant number of statements, carried out by the database itself. If they are all that there are in the span, which is
    the rule, their places in the index lie side by side, and need not be named one by one.
    """
    if not found:
        return
    uow.changes += len(found)
    whole = len(found) == span.count
    binds = _patching(uow, table, patch)
    if whole:
        uow.database.must(len(found), "patch_span", after=span.after, edge=span.edge, **binds)
    else:
        uow.database.must(len(found), "patch_records", ids=as_rows([record_id for record_id, _ in found]), **binds)
    old: list[tuple[int, str, str, str]] = []
    new: list[tuple[str, str, str, int]] = []
    for field in table.fields:
        if not field.kept or field.id not in patch:
            continue
        lost, gained = _moved(field, found, patch[field.id])
        of: dict[str, Any] = {"table_number": table.number, "field": field.id, "after": span.after, "edge": span.edge}
        for value, ids in lost.items():
            if whole and len(ids) >= SIDE_BY_SIDE:
                uow.database.run("delete_values_of_span", value=value, **of)
            else:
                old += [(table.number, field.id, value, record_id) for record_id in ids]
        unique = int(field.unique)
        for value, ids in gained.items():
            if len(ids) == span.count:
                uow.database.run("insert_values_of_span", value=value, is_unique=unique, **of)
            else:
                new += [(field.id, value, record_id, unique) for record_id in ids]
    _index(uow, table, old, new)


def patch_span(uow: UnitOfWork, table: Table, span: Span, patch: Values) -> None:
    """Give the same values to all records of a span, unread, save those that have them; none of the fields is in the index."""
    assert not any(field.kept for field in table.fields if field.id in patch), "the index would not follow"
    uow.changes += span.count
    uow.database.run("patch_what_lacks", after=span.after, edge=span.edge, **_patching(uow, table, patch))


def _patching(uow: UnitOfWork, table: Table, patch: Values) -> dict[str, Any]:
    return {"table_number": table.number, "patch": _encode(patch).decode(), "now_ms": uow.now_ms}


def _moved(field: Field, found: Sequence[Valued], given: Any) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return which records lose which keys of a field, and which gain which, if all of them are given a value."""
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


def read_chosen(
    database: Database, dialect: Dialect, table: Table, condition: Condition, ids: Collection[str]
) -> list[Record]:
    """Return those of these ids of which a condition is true, in order of id."""
    sql, binds = statements.chosen(dialect, table, condition)
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
    walk: ListOrder = ListOrder(),  # noqa: B008 - frozen
    window: int = WINDOW,
) -> tuple[list[Record], str]:
    """Return records after a place, and the place after which it goes on: "" if there are no more.

    A page may be shorter than its limit, even empty, although there is more: it looks at so many records only.
    """
    found: list[Record] = []
    for _ in range(WINDOWS):
        edge, valued, left = "", bool(walk.field) and not after.startswith(BLANKS), limit - len(found)
        if condition != EVERY or after.startswith(BLANKS):
            edge = _edge(database, dialect, table, condition, walk, after, window)
        sql, binds = statements.page(dialect, table, condition, walk, after, left + 1, edge)
        rows, cut = database.select_within(PAGE_BYTES, sql, binds)
        found += [make_record(row) for row in rows[:left]]
        if len(rows) > left or cut:
            last = rows[min(left, len(rows)) - 1] if left else None
            return found, after if last is None else place(walk, last[0], last[5] if valued else None)
        after = edge or (BLANKS if valued else "")
        if not after or (found and edge):
            break
    return found, after


def _edge(
    database: Database, dialect: Dialect, table: Table, condition: Condition, walk: ListOrder, after: str, window: int
) -> str:
    sql, binds = statements.edge(dialect, table, condition, walk, after, window)
    for row in database.select(sql, binds):
        return place(walk, row[0], row[1] if len(row) > 1 else None)
    return ""


def read_fitting(
    database: Database, dialect: Dialect, table: Table, condition: Condition, after: str, upto: str, limit: int
) -> Fitting | None:
    """Return the matches among the next records of a span, up to a number of records; None at its end."""
    binds = {"table_number": table.number, "after": after, "upto": upto, "limit": limit}
    ((edge, count),) = database.rows("edge_of_records", **binds)
    if not count:
        return None
    sql, binds = statements.fitting(dialect, table, condition, after, edge)
    return Fitting(edge, dict(database.select(sql, binds)))


def read_at(
    database: Database, dialect: Dialect, table: Table, condition: Condition, offset: int, limit: int
) -> list[Record]:
    """Return a page by its number, in order of id."""
    sql, binds = statements.at_offset(dialect, table, condition, offset, limit)
    return [make_record(row) for row in database.select(sql, binds)]


def count_records(database: Database, dialect: Dialect, table: Table, condition: Condition) -> int:
    """Return of how many records the condition is true; of all it is known."""
    if condition == EVERY:
        return table.count
    sql, binds = statements.count(dialect, table, condition)
    return int(database.select(sql, binds)[0][0])
