"""Rows of an external table as records: queries by conditions, and changes by primary key.

The database evaluates conditions by its own rules: MySQL and SQLite may ignore the case of texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, tzinfo
from typing import TYPE_CHECKING, Any, Final

from headway.errors import ExternalRefused, RecordNotFound
from headway.features.tables.external import keys
from headway.features.tables.external.cells import BYTES_MAX, as_cell, cells
from headway.features.tables.external.columns import ANY, is_bytes, relation
from headway.features.tables.external.keys import raw
from headway.features.tables.model import External, FieldType, Record, Table, Values
from headway.features.tables.rules.conditions import EVERY, NEGATIVE, Condition, Group, Term

if TYPE_CHECKING:
    from sqlalchemy import Column, ColumnElement
    from sqlalchemy import Table as Relation
    from sqlalchemy.engine import Connection

_SIGNS: Final = {
    "is": "__eq__", "is_not": "__ne__", "greater": "__gt__", "at_least": "__ge__", "less": "__lt__", "at_most": "__le__",
}  # fmt: skip
_PARTS: Final = frozenset({"contains", "not_contains", "starts_with", "ends_with"})


class Rows:
    """The rows of one table, on a connection."""

    def __init__(self, connection: Connection, table: Table, zone: tzinfo = UTC) -> None:
        """`zone` is that of the database's times without a zone."""
        assert table.external is not None
        self._connection = connection
        self._dialect = connection.dialect.name
        self._table = table
        self._location: External = table.external
        self._zone = zone
        self._relation: Relation = relation(connection, table.external)
        self._key = [self._relation.columns[name] for name in self._location.key]
        self._columns = [self._column(field.id) for field in table.fields]
        self._octets = [is_bytes(column.type) for column in self._columns]

    def _column(self, field_id: str) -> Column[Any]:
        return self._relation.columns[self._location.columns[field_id]]

    # -- reading ---------------------------------------------------------------------------------------------------------

    def page(self, condition: Condition, after: str, limit: int) -> tuple[list[Record], str]:
        """Return the rows after an id, in order of the key, and the id after which the next page begins ("" at the end)."""
        query = self._select(condition).limit(limit + 1)
        if after:
            query = query.where(keys.follows(self._key, self._parsed(after)))
        found = [self._record(row) for row in self._connection.execute(query)]
        return found[:limit], found[limit - 1].id if len(found) > limit else ""

    def at(self, condition: Condition, offset: int, limit: int) -> list[Record]:
        """Return the rows from an offset on."""
        query = self._select(condition).limit(limit).offset(offset)
        return [self._record(row) for row in self._connection.execute(query)]

    def count(self, condition: Condition) -> int:
        """Return the number of rows of which the condition is true."""
        from sqlalchemy import func, select  # noqa: PLC0415

        query = select(func.count()).select_from(self._relation).where(self._term(condition))
        return int(self._connection.execute(query).scalar_one())

    def get(self, record_id: str) -> Record:
        """Return one row; raise RecordNotFound."""
        return self._record(self._one(self._parsed(record_id), record_id))

    def some(self, condition: Condition, ids: Sequence[str]) -> list[Record]:
        """Return the existing rows with these ids of which the condition is true, in the order of the ids."""
        found = []
        for record_id in ids:
            with suppress(RecordNotFound):
                same = keys.matches(self._key, self._parsed(record_id))
                row = self._connection.execute(self._select(condition).where(same)).first()
                found += [] if row is None else [self._record(row)]
        return found

    def _select(self, condition: Condition) -> Any:
        """Return the query for fields and key of rows, in order of the key, as the driver gives them."""
        from sqlalchemy import func, select  # noqa: PLC0415

        # Bytes may be many: only those that are shown are read.
        shown = [
            func.substr(column, 1, BYTES_MAX + 1) if octets else raw(column)
            for column, octets in zip(self._columns, self._octets, strict=True)
        ]
        query = select(*shown, *map(raw, self._key)).order_by(*self._key)
        return query if condition == EVERY else query.where(self._term(condition))

    def _one(self, key: Sequence[Any], shown: str) -> Sequence[Any]:
        """Return the row that has the key, as the driver gives it."""
        found: Sequence[Any] | None = self._connection.execute(
            self._select(EVERY).where(keys.matches(self._key, key))
        ).first()
        if found is None:
            raise RecordNotFound(f"the table {self._table.name!r} has no record {shown[:80]!r}")
        return found

    def _record(self, row: Sequence[Any]) -> Record:
        values, invalid = cells(self._table.fields, self._octets, row, self._zone)
        return Record(keys.id_of(self._key, row[len(self._columns) :]), 1, values, None, None, invalid=invalid)

    def _parsed(self, record_id: str) -> list[Any]:
        try:
            return keys.key_of(self._key, record_id, self._dialect)
        except ValueError:
            raise RecordNotFound(f"{record_id[:80]!r} is not a key of {self._table.name!r}") from None

    # -- changing --------------------------------------------------------------------------------------------------------

    def insert(self, given: Sequence[Values]) -> list[Record]:
        """Add rows, all or none."""
        made = []
        for values in given:
            done = self._connection.execute(self._relation.insert().values(self._cells(values)))
            key = done.inserted_primary_key
            assert key is not None
            made.append(self._select_by_key(key))
        return made

    def update(self, changes: Sequence[tuple[str, Values]]) -> list[Record]:
        """Change rows, all or none; raise RecordNotFound. A value of None makes a blank."""
        after = []
        for record_id, values in changes:
            key = self._existing_key(record_id)
            if not values:
                after.append(self.get(record_id))
                continue
            given = self._cells(values)
            self._connection.execute(self._relation.update().where(keys.matches(self._key, key)).values(given))
            if given.keys().isdisjoint(self._location.key):
                after.append(self.get(record_id))
            else:
                after.append(
                    self._select_by_key(
                        [given.get(name, old) for name, old in zip(self._location.key, key, strict=True)]
                    )
                )
        return after

    def delete(self, ids: Sequence[str]) -> int:
        """Delete rows, all or none; raise RecordNotFound."""
        for record_id in ids:
            key = self._existing_key(record_id)
            self._connection.execute(self._relation.delete().where(keys.matches(self._key, key)))
        return len(ids)

    def _existing_key(self, record_id: str) -> list[Any]:
        """Return the key of an existing row; raise RecordNotFound, or ExternalRefused for a key with NULL."""
        key = self._parsed(record_id)
        if None in key:
            raise ExternalRefused(f"the row {record_id[:80]} has no key, so it has no id")
        self._one(key, record_id)
        return key

    def _select_by_key(self, key: Sequence[Any]) -> Record:
        """Return the row with a key in the columns' own types, after a change."""
        from sqlalchemy import and_  # noqa: PLC0415

        same = and_(*(column == value for column, value in zip(self._key, key, strict=True)))
        row = self._connection.execute(self._select(EVERY).where(same)).first()
        if row is None:
            raise ExternalRefused("the database does not return the key of the row")
        return self._record(row)

    def _cells(self, values: Values) -> dict[str, Any]:
        return {
            self._location.columns[field]: None if value is None else self._cell(field, value)
            for field, value in values.items()
        }

    def _cell(self, field_id: str, value: Any) -> Any:
        return as_cell(self._table.find(field_id), self._column(field_id), value, self._zone)

    # -- conditions ------------------------------------------------------------------------------------------------------

    def _term(self, condition: Condition) -> ColumnElement[bool]:
        from sqlalchemy import and_, false, or_, true  # noqa: PLC0415

        if isinstance(condition, Group):
            terms = [self._term(item) for item in condition.items]
            return and_(true(), *terms) if condition.all else or_(false(), *terms)
        column = self._column(condition.field)
        blank: ColumnElement[bool] = column.is_(None)
        if self._dialect == "sqlite" or _is_text(column.type):
            blank = or_(blank, raw(column) == "")
        if condition.operator == "is_blank":
            return blank
        if condition.operator == "is_not_blank":
            return ~blank
        if is_bytes(column.type) and condition.operator in _PARTS:
            raise ExternalRefused(f"{column.name} holds bytes, which can only be compared whole")
        compared, values = self._compared(column, condition)
        valid = self._valid(column, condition.type)
        found = and_(valid, _comparison(compared, condition.operator, values))
        if condition.operator in NEGATIVE:
            return or_(blank, ~valid, found)
        return and_(~blank, found)

    def _compared(self, column: Column[Any], term: Term) -> tuple[Any, list[Any]]:
        """Return both sides of the comparison; dates of SQLite are texts of several formats."""
        from sqlalchemy import Text, cast, func  # noqa: PLC0415

        if self._dialect == "sqlite" and term.type is FieldType.DATE:
            return func.date(raw(column)), list(term.values)
        if self._dialect == "sqlite" and term.type is FieldType.DATE_TIME:
            moments = [datetime.fromisoformat(value).astimezone(self._zone) for value in term.values]
            texts = [each.replace(tzinfo=None).isoformat(" ", "milliseconds") for each in moments]
            return func.strftime("%Y-%m-%d %H:%M:%f", raw(column)), texts
        compared = cast(column, Text()) if ANY in column.info and term.type is FieldType.TEXT else column
        return compared, [self._cell(term.field, value) for value in term.values]

    def _valid(self, column: Column[Any], kind: FieldType) -> ColumnElement[bool]:
        """Return the condition that a cell holds a value of its field; other cells compare with none."""
        from sqlalchemy import func, literal, true, types  # noqa: PLC0415

        moments = kind in (FieldType.DATE, FieldType.DATE_TIME)
        match self._dialect:
            case "sqlite" if kind is FieldType.NUMBER:
                return func.typeof(column).in_(["integer", "real"])
            case "sqlite" if moments:
                return func.typeof(column) == "text"
            case "mysql" if moments:
                first = date(1, 1, 1)
                return column >= (first if kind is FieldType.DATE else datetime(1, 1, 1))  # noqa: DTZ001 - as MySQL has it
            case "postgresql" if isinstance(column.type, (types.Numeric, types.Float)):
                return raw(column) != literal("NaN", types.NullType())
        return true()


def _comparison(column: Any, operator: str, values: Sequence[Any]) -> ColumnElement[bool]:
    found: ColumnElement[bool]
    match operator:
        case "any_of":
            found = column.in_(values)
        case "none_of":
            found = column.not_in(values)
        case "between":
            found = column.between(values[0], values[1])
        case "contains":
            found = column.contains(values[0], autoescape=True)
        case "not_contains":
            found = ~column.contains(values[0], autoescape=True)
        case "starts_with":
            found = column.startswith(values[0], autoescape=True)
        case "ends_with":
            found = column.endswith(values[0], autoescape=True)
        case _:
            found = getattr(column, _SIGNS[operator])(values[0])
    return found


def _is_text(kind: Any) -> bool:
    from sqlalchemy import types  # noqa: PLC0415

    return isinstance(kind, types.String) and not isinstance(kind, types.Enum)
