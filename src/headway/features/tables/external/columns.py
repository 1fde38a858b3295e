"""Columns of an external table: the field of each, or the reason why it is left out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from headway.errors import ExternalRefused
from headway.features.tables.model import External, Field, FieldId, FieldType
from headway.features.tables.rules.fields import FIELDS_MAX, NAME

if TYPE_CHECKING:
    from sqlalchemy import Table as Relation
    from sqlalchemy.engine import Connection

ANY: Final = "headway_any"
"""The mark of a SQLite column that may hold values of any type."""
_DECLARED: Final = re.compile(r"[\w ]+")
_AFFINE: Final = ("INT", "CHAR", "CLOB", "TEXT", "BLOB", "REAL", "FLOA", "DOUB")
"""Parts of declared types that SQLite knows, in any context."""
_NUMBERS: Final = ("NUM", "DEC", "MONEY", "CURRENCY", "FIXED")
"""Parts of declared types of numbers in other databases."""


class Reflection(msgspec.Struct, frozen=True):
    """Fields, key and columns of an external table."""

    fields: tuple[Field, ...]
    key: tuple[str, ...]
    columns: dict[FieldId, str]
    left_out: dict[str, str]
    """Reasons by column without a field."""


def reflect(connection: Connection, name: str, namespace: str | None) -> Reflection:
    """Return fields and key of a table; raise ExternalRefused for an unknown one, or one without a readable primary key."""
    from sqlalchemy import inspect  # noqa: PLC0415 - an extra, and slow to import
    from sqlalchemy.exc import NoSuchTableError  # noqa: PLC0415

    looked = inspect(connection)
    try:
        columns = looked.get_columns(name, namespace)
        key = tuple(looked.get_pk_constraint(name, namespace)["constrained_columns"])
    except NoSuchTableError:
        columns, key = [], ()
    if not columns:
        known = ", ".join(repr(each) for each in sorted(looked.get_table_names(namespace))[:20]) or "none"
        raise ExternalRefused(f"the database has no table {name[:80]!r}; it has {known}")
    if not key:
        raise ExternalRefused(f"{name[:80]!r} has no primary key, so its rows have no id")
    untyped = _untyped(connection, name)
    fields: list[Field] = []
    of: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for column in columns:
        kind = FieldType.TEXT if column["name"] in untyped else _type_of(column["type"], connection.dialect.name)
        if kind is None:
            left_out[column["name"]] = f"no field takes values of the type {_named(column['type'])}"
        elif NAME.fullmatch(column["name"]) is None:
            left_out[column["name"]] = "its name cannot be a field's"
        elif len(fields) == FIELDS_MAX:
            left_out[column["name"]] = f"a table has up to {FIELDS_MAX} fields"
        else:
            needed = not column["nullable"] and column.get("default") is None and not _is_generated(column, key)
            field = Field(id=f"field_{len(fields) + 1}", name=column["name"], type=kind, required=needed)
            fields.append(field)
            of[field.id] = column["name"]
    for column_name in key:
        if column_name in left_out:
            raise ExternalRefused(
                f"the primary key of {name[:80]!r} cannot be read: {column_name[:80]}: {left_out[column_name]}"
            )
    return Reflection(tuple(fields), key, of, left_out)


def relation(connection: Connection, location: External) -> Relation:
    """Return the table with the present types of its columns; raise ExternalRefused for a missing table or column."""
    from sqlalchemy import MetaData, types  # noqa: PLC0415
    from sqlalchemy import Table as Relation  # noqa: PLC0415
    from sqlalchemy.exc import NoSuchTableError  # noqa: PLC0415

    try:
        found = Relation(
            location.relation, MetaData(), schema=location.namespace, autoload_with=connection, resolve_fks=False
        )
    except NoSuchTableError:
        raise ExternalRefused(f"the database has no table {location.relation!r} any more") from None
    for name in (*location.columns.values(), *location.key):
        if name not in found.columns:
            raise ExternalRefused(f"{location.relation!r} has no column {name!r} any more")
        found.columns[name].type = _plain(found.columns[name].type, connection.dialect.name)
    for name in _untyped(connection, location.relation):
        if name in found.columns:
            found.columns[name].type = types.Text()
            found.columns[name].info[ANY] = True
    return found


def is_bytes(kind: Any) -> bool:
    """Return whether a column of this type holds bytes."""
    try:
        return kind.python_type is bytes
    except NotImplementedError:
        return False


def is_number(kind: Any) -> bool:
    """Return whether a column of this type holds numbers."""
    from sqlalchemy import types  # noqa: PLC0415

    return isinstance(kind, (types.Integer, types.Numeric, types.Float))


def _plain(kind: Any, dialect: str) -> Any:
    """Return the generic type of a column's type."""
    from sqlalchemy import types  # noqa: PLC0415

    while hasattr(kind, "data_type"):  # a domain of PostgreSQL, which restricts another type
        kind = kind.data_type
    if dialect != "mysql":
        return kind
    match _named(kind):
        case "TINYINT" if kind.display_width == 1:  # what MySQL makes of BOOLEAN
            return types.Boolean()
        case "BIT" if kind.length in (None, 1):
            return types.Boolean()
        case "YEAR":
            return types.Integer()
    return kind


def _type_of(kind: Any, dialect: str) -> FieldType | None:
    from sqlalchemy import types  # noqa: PLC0415

    kind = _plain(kind, dialect)
    if is_bytes(kind):
        return FieldType.TEXT
    for found, of in (
        (types.Boolean, FieldType.BOOLEAN),
        (types.DateTime, FieldType.DATE_TIME),
        (types.Date, FieldType.DATE),
        (types.Numeric, FieldType.NUMBER),
        (types.Float, FieldType.NUMBER),  # no Numeric from SQLAlchemy 2.1 on
        (types.Integer, FieldType.NUMBER),
        (types.Uuid, FieldType.TEXT),
        (types.String, FieldType.TEXT),
    ):
        if isinstance(kind, found):
            return of
    return None


def _named(kind: Any) -> str:
    name = type(kind).__name__
    return "of an unknown name" if name == "NullType" else name.upper()


def _is_generated(column: Mapping[str, Any], key: tuple[str, ...]) -> bool:
    """Return whether the database generates the value."""
    from sqlalchemy import types  # noqa: PLC0415

    rising = key == (column["name"],) and isinstance(column["type"], types.Integer)
    return rising or bool(column.get("autoincrement") is True or column.get("identity") or column.get("computed"))


def _untyped(connection: Connection, name: str) -> frozenset[str]:
    """Return the columns of a SQLite table without a declared type, or with an unknown one."""
    if connection.dialect.name != "sqlite":
        return frozenset()
    known: Any = getattr(connection.dialect, "ischema_names", {})
    rows = connection.exec_driver_sql("SELECT name, type FROM pragma_table_xinfo(?)", (name,))
    return frozenset(column for column, declared in rows if _unknown(declared.upper(), known))


def _unknown(declared: str, known: Mapping[str, Any]) -> bool:
    found = _DECLARED.match(declared)
    word = "" if found is None else found[0]
    return word not in known and not any(part in word for part in (*_AFFINE, *_NUMBERS))
