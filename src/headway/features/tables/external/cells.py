"""Cells of external rows: conversion of the driver's values to the normal form of the field, and back.

A cell may have a content that is no value of its field: SQLite does not enforce types, MySQL has the date 0000-00-00,
PostgreSQL the number NaN. Such a cell is `Invalid`: it has no value and is shown as it is; the rest of its row is readable.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from headway.errors import ExternalRefused
from headway.features.tables.external.columns import is_bytes, is_number
from headway.features.tables.model import Field, FieldType, Invalid
from headway.features.tables.rules.values import TEXT_MAX, BadValue, has_surrogate, moment_text, number, one

if TYPE_CHECKING:
    from sqlalchemy import Column

BYTES_MAX: Final = TEXT_MAX // 2
"""Bytes of a cell that are read, at most; each becomes two hexadecimal digits."""
_SAFE_MAX: Final = 2**53


def normal(field: Field, raw: Any, *, octets: bool, zone: tzinfo = UTC) -> Any:
    """Return the value of a cell in normal form, None for a blank; raise BadValue for an invalid content.

    `octets`: the column holds bytes, which are shown as hexadecimal digits. `zone` is that of times without a zone.
    """
    if raw is None or (isinstance(raw, str) and not raw):
        return None
    if isinstance(raw, bytes):
        if field.type is FieldType.BOOLEAN and len(raw) == 1:  # BIT(1) of MySQL
            return raw != b"\0"
        if not octets:
            raise BadValue(f"is {plain(raw)[:80]}, which are bytes")
        if len(raw) > BYTES_MAX:
            raise BadValue(f"has more than {BYTES_MAX:,} bytes; the first of them are shown")
        return raw.hex()
    if octets:
        raise BadValue(f"is {str(plain(raw))[:80]!r}; it takes bytes")
    match field.type:
        case FieldType.NUMBER:
            return _number(raw)
        case FieldType.DATE:
            return _date(field, raw)
        case FieldType.DATE_TIME:
            return _moment(field, raw, zone)
        case FieldType.TEXT:
            return _text(raw)
    return one(field, raw, zone)


def _number(raw: Any) -> Any:
    try:
        return number(raw)
    except BadValue:
        if isinstance(raw, (int, float, Decimal)) and not isinstance(raw, bool) and isfinite(raw):
            return str(raw)  # a key of eighteen digits is a name, not an amount
        raise


def _date(field: Field, raw: Any) -> Any:
    if isinstance(raw, date):
        return raw.isoformat()[:10]
    try:
        return one(field, raw)
    except BadValue:
        if isinstance(raw, str) and raw[10:].strip(" T0:.") == "":  # midnight, as many programs write days into SQLite
            return one(field, raw[:10])
        raise


def _moment(field: Field, raw: Any, zone: tzinfo) -> Any:
    if not isinstance(raw, datetime):
        return one(field, raw, zone)
    try:
        return moment_text(raw if raw.tzinfo else raw.replace(tzinfo=zone))
    except OverflowError:
        raise BadValue(f"is {raw}; in UTC it is outside of the years 1 to 9999") from None


def _text(raw: Any) -> str:
    text = str(raw)
    if len(text) > TEXT_MAX:
        raise BadValue(f"has {len(text):,} characters; the first {TEXT_MAX:,} are shown")
    if has_surrogate(text):
        raise BadValue("has bytes that are no UTF-8, shown as \\x..")
    return text


def plain(raw: Any) -> Any:
    """Return a driver's value as a JSON number or text."""
    if isinstance(raw, bytes):
        return f"0x{raw[:BYTES_MAX].hex()}"
    if isinstance(raw, (int, float)) and isfinite(raw) and abs(raw) < _SAFE_MAX:
        return raw
    text = str(raw)[:TEXT_MAX]
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def cells(
    fields: Sequence[Field], octets: Sequence[bool], row: Sequence[Any], zone: tzinfo
) -> tuple[dict[str, Any], dict[str, Invalid] | None]:
    """Return the values of a row, and its invalid cells, both by id of the field.

    `octets` has for each column whether it holds bytes.
    """
    values: dict[str, Any] = {}
    invalid: dict[str, Invalid] = {}
    for field, holds_bytes, raw in zip(fields, octets, row, strict=False):
        try:
            value = normal(field, raw, octets=holds_bytes, zone=zone)
        except BadValue as error:
            invalid[field.id] = Invalid(plain(raw), str(error))
            continue
        if value is not None:
            values[field.id] = value
    return values, invalid or None


def as_cell(field: Field | None, column: Column[Any], value: Any, zone: tzinfo) -> Any:
    """Return a value in normal form as a value of its column; raise ExternalRefused for an impossible one."""
    from sqlalchemy import types  # noqa: PLC0415

    match None if field is None else field.type:
        case FieldType.DATE:
            return date.fromisoformat(value)
        case FieldType.DATE_TIME:
            moment = datetime.fromisoformat(value).astimezone(zone)
            return moment if getattr(column.type, "timezone", False) else moment.replace(tzinfo=None)
        case FieldType.NUMBER:
            if isinstance(column.type, types.Integer) and isinstance(value, float):
                raise ExternalRefused(f"{column.name} takes whole numbers, not {value}")
            exact = isinstance(column.type, types.Numeric) and not isinstance(column.type, types.Float)
            return Decimal(repr(value)) if exact and isinstance(value, float) else value
    if not isinstance(value, str):
        return value
    try:
        return of_text(column.type, value)
    except ValueError:
        takes = "an even number of hexadecimal digits" if is_bytes(column.type) else f"a {type(column.type).__name__}"
        raise ExternalRefused(f"{column.name} takes {takes}, not {value[:80]!r}") from None


def of_text(kind: Any, text: str) -> Any:
    """Return a text as a value of a column type; raise ValueError."""
    from uuid import UUID  # noqa: PLC0415

    from sqlalchemy import types  # noqa: PLC0415

    if is_bytes(kind):
        return bytes.fromhex(text)
    if isinstance(kind, types.Integer):
        return int(text)
    if is_number(kind):
        try:
            return float(text) if isinstance(kind, types.Float) else Decimal(text)
        except ArithmeticError:
            raise ValueError(text) from None
    if isinstance(kind, types.DateTime):
        return datetime.fromisoformat(text)
    if isinstance(kind, types.Date):
        return date.fromisoformat(text)
    if isinstance(kind, types.Uuid):
        return UUID(text)
    return text
