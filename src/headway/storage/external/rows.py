"""Rows of an external table as records: read by the columns' types, found by the same conditions, changed by their key.

Conditions are carried out by the database in its own way: MySQL and SQLite may compare texts without regard to case.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from headway.engine.tables.conditions import EVERY, NEGATIVE, Condition, Group, Term
from headway.engine.tables.fields import FIELDS_MAX, NAME
from headway.engine.tables.values import TEXT_MAX, BadValue, moment_text, number
from headway.errors import ExternalRefused, RecordNotFound
from headway.model.table import External, Field, FieldType, Record, Table, Values

if TYPE_CHECKING:
    from sqlalchemy import Column, ColumnElement
    from sqlalchemy import Table as Relation
    from sqlalchemy.engine import Connection

_SIGNS: Final = {
    "is": "__eq__", "is_not": "__ne__", "greater": "__gt__", "at_least": "__ge__", "less": "__lt__", "at_most": "__le__",
}  # fmt: skip


def reflected(
    connection: Connection, relation: str, namespace: str | None
) -> tuple[tuple[Field, ...], tuple[str, ...], dict[str, str]]:
    """Return fields, key columns, and the column of each field; raise ExternalRefused for what has no key.

    Columns of types that no field has (bytes, JSON, arrays) are left out, and so are those that a name cannot be.
    """
    from sqlalchemy import inspect  # noqa: PLC0415 - an extra, and slow to import
    from sqlalchemy.exc import NoSuchTableError  # noqa: PLC0415

    looked = inspect(connection)
    try:
        columns = looked.get_columns(relation, namespace)
        key = tuple(looked.get_pk_constraint(relation, namespace)["constrained_columns"])
    except NoSuchTableError:
        columns, key = [], ()
    if not columns:
        known = ", ".join(repr(name) for name in sorted(looked.get_table_names(namespace))[:20]) or "none"
        raise ExternalRefused(f"the database has no table {relation[:80]!r}; it has {known}")
    if not key:
        raise ExternalRefused(f"{relation[:80]!r} has no primary key, so its rows could not be told apart")
    fields: list[Field] = []
    of: dict[str, str] = {}
    for column in columns:
        kind = _type_of(column["type"])
        if kind is None or NAME.fullmatch(column["name"]) is None or len(fields) == FIELDS_MAX:
            continue
        needed = not column["nullable"] and column.get("default") is None and not _by_itself(column, key)
        field = Field(id=f"field_{len(fields) + 1}", name=column["name"], type=kind, required=needed)
        fields.append(field)
        of[field.id] = column["name"]
    if not set(key) <= set(of.values()):
        raise ExternalRefused(f"the primary key of {relation[:80]!r} is of a type that cannot be written down")
    return tuple(fields), key, of


def _by_itself(column: Mapping[str, Any], key: tuple[str, ...]) -> bool:
    """Whether the database gives the value."""
    from sqlalchemy import types  # noqa: PLC0415

    rising = key == (column["name"],) and isinstance(column["type"], types.Integer)
    return rising or bool(column.get("autoincrement") is True or column.get("identity") or column.get("computed"))


def _type_of(kind: Any) -> FieldType | None:
    from sqlalchemy import types  # noqa: PLC0415

    if getattr(kind, "display_width", None) == 1:  # what MySQL makes of BOOLEAN: TINYINT(1)
        return FieldType.BOOLEAN
    for found, of in (
        (types.Boolean, FieldType.BOOLEAN),
        (types.DateTime, FieldType.DATE_TIME),
        (types.Date, FieldType.DATE),
        (types.Numeric, FieldType.NUMBER),
        (types.Integer, FieldType.NUMBER),
        (types.Uuid, FieldType.TEXT),
        (types.String, FieldType.TEXT),
    ):
        if isinstance(kind, found):
            return of
    return None


class Rows:
    """The rows of one table, on a connection."""

    def __init__(self, table: Table, zone: tzinfo = UTC) -> None:
        """`zone` is that of times which the database keeps without one."""
        assert table.external is not None
        self._table = table
        self._far: External = table.external
        self._zone = zone

    def _relation(self, connection: Connection) -> Relation:
        """Return the table with the types that its columns have now: what was deleted since is said plainly."""
        from sqlalchemy import MetaData  # noqa: PLC0415
        from sqlalchemy import Table as Relation  # noqa: PLC0415
        from sqlalchemy.exc import NoSuchTableError  # noqa: PLC0415

        try:
            found = Relation(
                self._far.relation, MetaData(), schema=self._far.namespace, autoload_with=connection, resolve_fks=False
            )
        except NoSuchTableError:
            raise ExternalRefused(f"the database has no table {self._far.relation!r} any more") from None
        for name in (*self._far.columns.values(), *self._far.key):
            if name not in found.columns:
                raise ExternalRefused(f"{self._far.relation!r} has no column {name!r} any more")
        return found

    # -- reading ---------------------------------------------------------------------------------------------------------

    def page(self, connection: Connection, condition: Condition, after: str, limit: int) -> tuple[list[Record], str]:
        """Return rows after one, in order of the key, and where it goes on ("" at the end)."""
        relation = self._relation(connection)
        query = self._select(relation).order_by(*self._key(relation)).limit(limit + 1)
        if condition != EVERY:
            query = query.where(self._term(relation, condition))
        if after:
            query = query.where(self._after(relation, self._parsed(relation, after)))
        found = [self._record(row) for row in connection.execute(query).mappings()]
        return found[:limit], found[limit - 1].id if len(found) > limit else ""

    def at(self, connection: Connection, condition: Condition, offset: int, limit: int) -> list[Record]:
        """Return a page by its number."""
        relation = self._relation(connection)
        query = self._select(relation).where(self._term(relation, condition)).order_by(*self._key(relation))
        return [self._record(row) for row in connection.execute(query.limit(limit).offset(offset)).mappings()]

    def count(self, connection: Connection, condition: Condition) -> int:
        """Return of how many rows the condition is true."""
        from sqlalchemy import func, select  # noqa: PLC0415

        relation = self._relation(connection)
        query = select(func.count()).select_from(relation).where(self._term(relation, condition))
        return int(connection.execute(query).scalar_one())

    def get(self, connection: Connection, record_id: str) -> Record:
        """Return one row; raise RecordNotFound."""
        return self._one(connection, self._relation(connection), record_id)

    def _one(self, connection: Connection, relation: Relation, record_id: str) -> Record:
        query = self._select(relation).where(self._is(relation, record_id))
        row = connection.execute(query).mappings().first()
        if row is None:
            raise RecordNotFound(f"the table {self._table.name!r} has no record {record_id[:80]!r}")
        return self._record(row)

    # -- changing --------------------------------------------------------------------------------------------------------

    def insert(self, connection: Connection, given: Sequence[Values]) -> list[Record]:
        """Add rows, all or none."""
        relation = self._relation(connection)
        made = []
        for values in given:
            done = connection.execute(relation.insert().values(self._cells(relation, values)))
            key = done.inserted_primary_key
            assert key is not None
            made.append(self._one(connection, relation, self._id(key)))
        return made

    def update(self, connection: Connection, changes: Sequence[tuple[str, Values]]) -> list[Record]:
        """Change rows, all or none; raise RecordNotFound. A value of None makes a blank."""
        relation = self._relation(connection)
        after = []
        for record_id, values in changes:
            before = self._one(connection, relation, record_id)
            if values:
                connection.execute(
                    relation.update().where(self._is(relation, record_id)).values(self._cells(relation, values))
                )
            key = [
                values.get(field, before.values.get(field))
                for name in self._far.key
                for field in [self._field_of(name)]
            ]
            after.append(self._one(connection, relation, self._id(key)))
        return after

    def delete(self, connection: Connection, ids: Sequence[str]) -> int:
        """Delete rows, all or none; raise RecordNotFound."""
        relation = self._relation(connection)
        for record_id in ids:
            self._one(connection, relation, record_id)
            connection.execute(relation.delete().where(self._is(relation, record_id)))
        return len(ids)

    # -- keys ------------------------------------------------------------------------------------------------------------

    def _key(self, relation: Relation) -> list[Column[Any]]:
        return [relation.columns[name] for name in self._far.key]

    def _field_of(self, column: str) -> str:
        return next(field for field, name in self._far.columns.items() if name == column)

    def _id(self, key: Sequence[Any]) -> str:
        """Return a key as text: of one column its value, of several a list."""
        texts = [_as_text(value) for value in key]
        return texts[0] if len(texts) == 1 else json.dumps(texts, ensure_ascii=False)

    def _parsed(self, relation: Relation, record_id: str) -> list[Any]:
        texts: Any = [record_id]
        if len(self._far.key) > 1:
            try:
                texts = json.loads(record_id)
            except ValueError:
                texts = []
        if not isinstance(texts, list) or len(texts) != len(self._far.key):
            raise RecordNotFound(f"{record_id[:80]!r} is no key of {self._table.name!r}")
        try:
            return [
                _of_text(relation.columns[name].type, str(text))
                for name, text in zip(self._far.key, texts, strict=True)
            ]
        except ValueError:
            raise RecordNotFound(f"{record_id[:80]!r} is no key of {self._table.name!r}") from None

    def _is(self, relation: Relation, record_id: str) -> ColumnElement[bool]:
        from sqlalchemy import and_  # noqa: PLC0415

        pairs = zip(self._key(relation), self._parsed(relation, record_id), strict=True)
        return and_(*(column == value for column, value in pairs))

    def _after(self, relation: Relation, key: Sequence[Any]) -> ColumnElement[bool]:
        from sqlalchemy import and_, or_  # noqa: PLC0415

        columns = self._key(relation)
        return or_(
            *(
                and_(*(columns[index] == key[index] for index in range(place)), columns[place] > key[place])
                for place in range(len(columns))
            )
        )

    # -- values ----------------------------------------------------------------------------------------------------------

    def _select(self, relation: Relation) -> Any:
        from sqlalchemy import select  # noqa: PLC0415

        return select(*(relation.columns[name] for name in self._far.columns.values()))

    def _record(self, row: Mapping[Any, Any]) -> Record:
        columns = self._far.columns
        values = {field.id: self._normal(field, row[columns[field.id]]) for field in self._table.fields}
        key = [row[name] for name in self._far.key]
        return Record(
            self._id(key), 1, {field: value for field, value in values.items() if value is not None}, None, None
        )

    def _normal(self, field: Field, value: Any) -> Any:
        if field.type is FieldType.BOOLEAN and value is not None:
            return bool(value)
        match value:
            case None | "" | bool():
                return None if value == "" else value
            case int() | float() | Decimal():
                try:
                    return number(value)
                except BadValue:  # a key of eighteen digits is a name, not an amount
                    return str(value)
            case datetime():
                return moment_text(value if value.tzinfo else value.replace(tzinfo=self._zone))
            case date():
                return value.isoformat()
        return str(value)[:TEXT_MAX]

    def _cells(self, relation: Relation, values: Values) -> dict[str, Any]:
        return {
            (name := self._far.columns[field]): None
            if value is None
            else self._cell(relation.columns[name], field, value)
            for field, value in values.items()
        }

    def _cell(self, column: Column[Any], field_id: str, value: Any) -> Any:
        """Return a value in normal form as its column takes it."""
        from sqlalchemy import types  # noqa: PLC0415

        field = self._table.find(field_id)
        match None if field is None else field.type:
            case FieldType.DATE:
                return date.fromisoformat(value)
            case FieldType.DATE_TIME:
                moment = datetime.fromisoformat(value).astimezone(self._zone)
                return moment if getattr(column.type, "timezone", False) else moment.replace(tzinfo=None)
            case FieldType.NUMBER:
                if isinstance(column.type, types.Integer) and isinstance(value, float):
                    raise ExternalRefused(f"{column.name} takes whole numbers, not {value}")
                return value if isinstance(value, int) or isinstance(column.type, types.Float) else Decimal(repr(value))
        return _of_text(column.type, value) if isinstance(value, str) else value

    # -- conditions ------------------------------------------------------------------------------------------------------

    def _term(self, relation: Relation, condition: Condition) -> ColumnElement[bool]:
        from sqlalchemy import and_, false, or_, true  # noqa: PLC0415

        if isinstance(condition, Group):
            terms = [self._term(relation, item) for item in condition.items]
            return and_(true(), *terms) if condition.all else or_(false(), *terms)
        column = relation.columns[self._far.columns[condition.field]]
        blank: ColumnElement[bool] = column.is_(None)
        if condition.type is FieldType.TEXT and _is_text(column.type):
            blank = or_(blank, column == "")
        if condition.operator == "is_blank":
            return blank
        if condition.operator == "is_not_blank":
            return ~blank
        found = self._comparison(column, condition)
        return or_(blank, found) if condition.operator in NEGATIVE else and_(~blank, found)

    def _comparison(self, column: Column[Any], term: Term) -> ColumnElement[bool]:
        values = [self._cell(column, term.field, value) for value in term.values]
        match term.operator:
            case "any_of":
                return column.in_(values)
            case "none_of":
                return column.not_in(values)
            case "between":
                return column.between(values[0], values[1])
            case "contains":
                return column.contains(values[0], autoescape=True)
            case "not_contains":
                return ~column.contains(values[0], autoescape=True)
            case "starts_with":
                return column.startswith(values[0], autoescape=True)
            case "ends_with":
                return column.endswith(values[0], autoescape=True)
        found: ColumnElement[bool] = getattr(column, _SIGNS[term.operator])(values[0])
        return found


def _is_text(kind: Any) -> bool:
    from sqlalchemy import types  # noqa: PLC0415

    return isinstance(kind, types.String) and not isinstance(kind, types.Enum)


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


def _of_text(kind: Any, text: str) -> Any:
    """Return a text as the value that a column of this type has; raise ValueError."""
    from uuid import UUID  # noqa: PLC0415

    from sqlalchemy import types  # noqa: PLC0415

    if isinstance(kind, types.Integer):
        return int(text)
    if isinstance(kind, types.Numeric):
        try:
            return Decimal(text)
        except ArithmeticError:
            raise ValueError(text) from None
    if isinstance(kind, types.DateTime):
        return datetime.fromisoformat(text)
    if isinstance(kind, types.Date):
        return date.fromisoformat(text)
    if isinstance(kind, types.Uuid):
        return UUID(text)
    return text
