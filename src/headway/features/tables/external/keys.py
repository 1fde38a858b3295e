"""Keys of external rows, and their encoding as ids of records.

The id of a row is its primary key as text: the value of a single column, or a JSON list of several. A single value is also
a list if it is ambiguous: an empty text, a text that looks like a list, or, in SQLite, a value of another type than its
column's. In a list texts, numbers, booleans and null are JSON; `{"bytes": "00ff"}` are bytes, and `{"text": "63e9"}` is a
text that is no UTF-8.

Keys are compared without conversion of the driver's values, so that each row is found by its id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from headway.features.tables.external.cells import of_text
from headway.features.tables.external.columns import is_bytes, is_number

if TYPE_CHECKING:
    from sqlalchemy import Column, ColumnElement

_NUMBER: Final = re.compile(r"-?\d{1,400}(\.\d*)?([eE][+-]?\d{1,3})?", re.ASCII)
_DISTANT_DATE: Final = re.compile(r"-?infinity|\d{4,6}-\d\d-\d\d[ \d:.+-]{0,30}( BC)?", re.ASCII)
"""Dates outside of Python's range."""
_INTEGER_MAX: Final = 2**63


def id_of(columns: Sequence[Column[Any]], key: Sequence[Any]) -> str:
    """Return the id of the row with this key."""
    parts = [_part(column, value) for column, value in zip(columns, key, strict=True)]
    if len(parts) == 1 and isinstance(parts[0], str) and parts[0] and _listed(parts[0]) is None:
        return parts[0]
    return json.dumps(parts, ensure_ascii=False)


def _part(column: Column[Any], value: Any) -> Any:
    if isinstance(value, str):
        octets = value.encode("utf-8", "surrogateescape")
        return value if octets.decode("utf-8", "replace") == value else {"text": octets.hex()}
    if isinstance(value, bytes):
        return value.hex() if is_bytes(column.type) else {"bytes": value.hex()}
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)) and not is_number(column.type):
        return value
    return value.isoformat() if isinstance(value, date) else str(value)


def key_of(columns: Sequence[Column[Any]], record_id: str, dialect: str) -> list[Any]:
    """Return the key of an id, in the driver's types; raise ValueError for an invalid id."""
    parts = _listed(record_id)
    if parts is None and len(columns) == 1:
        parts = [record_id]
    if parts is None or len(parts) != len(columns):
        raise ValueError(record_id)
    return [_value(column, part, dialect) for column, part in zip(columns, parts, strict=True)]


def _listed(text: str) -> list[Any] | None:
    """Return the parts of an id that is a list; None for another id."""
    if not text.startswith("["):
        return None
    try:
        return json.loads(text)  # type: ignore[no-any-return]
    except (ValueError, RecursionError):
        return None


def _value(column: Column[Any], part: Any, dialect: str) -> Any:
    match part:
        case {"bytes": str(digits)} if len(part) == 1:
            return bytes.fromhex(digits)
        case {"text": str(digits)} if len(part) == 1 and dialect == "sqlite":
            return bytes.fromhex(digits).decode("utf-8", "surrogateescape")
        case str():
            return _of_text(column.type, part, dialect)
        case None | bool() | int() | float():
            return part
    raise ValueError(part)


def _of_text(kind: Any, text: str, dialect: str) -> Any:
    """Return the driver's value for this text."""
    if dialect == "sqlite":  # which has numbers, texts and bytes only, and any of them in any column
        if is_bytes(kind):
            return bytes.fromhex(text)
        if is_number(kind) and _NUMBER.fullmatch(text):
            whole = text.lstrip("-").isdigit() and abs(int(text)) < _INTEGER_MAX
            return int(text) if whole else float(text)
        return text
    if _DISTANT_DATE.fullmatch(text) and hasattr(kind, "timezone"):
        try:
            return of_text(kind, text)
        except ValueError:
            return text
    found = of_text(kind, text)
    return str(found) if dialect == "mysql" and type(found).__name__ == "UUID" else found


def matches(columns: Sequence[Column[Any]], key: Sequence[Any]) -> ColumnElement[bool]:
    """Return the condition that a row has this key."""
    from sqlalchemy import and_  # noqa: PLC0415

    return and_(*(_is(column, value) for column, value in zip(columns, key, strict=True)))


def follows(columns: Sequence[Column[Any]], key: Sequence[Any]) -> ColumnElement[bool]:
    """Return the condition that a row comes after this key."""
    from sqlalchemy import and_, or_  # noqa: PLC0415

    return or_(
        *(
            and_(*(_is(columns[at], key[at]) for at in range(place)), _above(columns[place], key[place]))
            for place in range(len(columns))
        )
    )


def _is(column: Column[Any], value: Any) -> ColumnElement[bool]:
    return raw(column).is_(None) if value is None else raw(column) == _bound(value)


def _above(column: Column[Any], value: Any) -> ColumnElement[bool]:
    return raw(column).is_not(None) if value is None else raw(column) > _bound(value)  # blanks come first in SQLite


def raw(column: Column[Any]) -> ColumnElement[Any]:
    """Return the column as the driver has it, without the conversions of its type."""
    from sqlalchemy import type_coerce, types  # noqa: PLC0415

    return type_coerce(column, types.NullType())


def _bound(value: Any) -> ColumnElement[Any]:
    from sqlalchemy import Text, cast, literal, types  # noqa: PLC0415

    if isinstance(value, str) and not value.isascii():
        octets = value.encode("utf-8", "surrogateescape")
        if octets.decode("utf-8", "replace") != value:  # no UTF-8, which no driver takes as a text
            return cast(literal(octets, types.NullType()), Text())
    return literal(value, types.NullType())
