"""Values of fields: conversion of input to the normal form of the field's type, or an error for people.

The normal form is the JSON in the store. Two values are equal if their normal forms are, and the order of a type is
that of its normal form; storage relies on both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from math import isfinite
from typing import Any, Final, assert_never

from headway.features.tables.model import Field, FieldType

TEXT_MAX: Final = 100_000
"""Maximum length of a text, in characters."""
DIGITS_MAX: Final = 15
"""Maximum number of decimal digits of a number, which a double holds exactly."""
NUMBER_MAX: Final = 10**DIGITS_MAX
LIST_MAX: Final = 1_000
"""Maximum number of values in a field of several."""
SMALLEST: Final = 1e-100
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MOMENT: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)\s?(Z|z|[+-]\d{2}:?\d{2})?)?", re.ASCII
)
_EMAIL: Final = re.compile(
    r"[^@\s\x00-\x20\x7f()<>,;:\"\[\]\\]{1,64}@[^@\s\x00-\x20\x7f()<>,;:\"\[\]\\.]+(\.[^@\s\x00-\x20\x7f()<>,;:\"\[\]\\.]+)+"
)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_RECORD: Final = re.compile(r"[^\x00-\x1f\x7f]{1,1000}")
_TRUE: Final = frozenset({"true", "yes", "y", "1", "on"})
_FALSE: Final = frozenset({"false", "no", "n", "0", "off"})


class BadValue(ValueError):
    """The input is no value of the field; the text describes valid ones."""


def normal(field: Field, given: Any, zone: tzinfo = UTC) -> Any:
    """Return the value in normal form, None for a blank; raise BadValue. Moments without a zone are in `zone`."""
    if given is None or given in ("", []):
        return None
    if field.is_list:
        return _several(field, given)
    if isinstance(given, list | dict):
        raise BadValue(f"is {_shown(given)}; it takes one value")
    return one(field, given, zone)


def one(field: Field, given: Any, zone: tzinfo = UTC) -> Any:
    """Return one value of the field, or one item of a field of several; raise BadValue."""
    match field.type:
        case FieldType.TEXT:
            return _text(given)
        case FieldType.NUMBER:
            return number(given)
        case FieldType.DATE:
            return _date(given)
        case FieldType.DATE_TIME:
            return _moment(given, zone)
        case FieldType.BOOLEAN:
            return _boolean(given)
        case FieldType.CHOICE | FieldType.MULTI_CHOICE:
            return _choice(field, given)
        case FieldType.EMAIL:
            return _email(given)
        case FieldType.CONNECTION:
            return _record(given)
        case _:
            assert_never(field.type)


def _several(field: Field, given: Any) -> Any:
    items = [part.strip() for part in given.split(";")] if isinstance(given, str) else given
    if not isinstance(items, list | tuple):
        raise BadValue(f"is {_shown(given)}; it takes a list")
    if len(items) > LIST_MAX:
        raise BadValue(f"has {len(items):,} values; it takes up to {LIST_MAX:,}")
    found = dict.fromkeys(one(field, item) for item in items if item not in (None, ""))
    if field.type is FieldType.MULTI_CHOICE:
        return [choice for choice in field.choices if choice in found] or None
    return list(found) or None


def _text(given: Any) -> str:
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, int | float | Decimal):
        return str(given)
    if not isinstance(given, str):
        raise BadValue(f"is {_shown(given)}; it takes a text")
    if len(given) > TEXT_MAX:
        raise BadValue(f"has {len(given):,} characters; it takes up to {TEXT_MAX:,}")
    if "\x00" in given or has_surrogate(given):
        raise BadValue("has a character that cannot be stored (NUL, or half of a pair)")
    return given


def has_surrogate(text: str) -> bool:
    """Return whether the text has half of a surrogate pair, which no encoding has."""
    return not text.isascii() and _SURROGATE.search(text) is not None


def number(given: Any) -> int | float:
    """Return the number, rounded to 15 significant digits; raise BadValue for more digits before the point."""
    if isinstance(given, str):
        text = given.strip()
        if _NUMBER.fullmatch(text) is None:
            raise BadValue(f"is {_shown(given)}; it takes a number such as 12.5, without separators of thousands")
        given = Decimal(text)
    if isinstance(given, bool) or not isinstance(given, (int, float, Decimal)) or not isfinite(given):
        raise BadValue(f"is {_shown(given)}; it takes a number")
    if not -NUMBER_MAX < given < NUMBER_MAX:
        raise BadValue(
            f"is {_shown(given)}; numbers have up to {DIGITS_MAX} digits, longer ones are kept in a text field"
        )
    if isinstance(given, int):
        return given
    rounded = float(f"{given:.{DIGITS_MAX - 1}e}")
    if rounded and abs(rounded) < SMALLEST:
        raise BadValue(f"is {_shown(given)}; it is too small")
    if abs(rounded) >= NUMBER_MAX:
        raise BadValue(f"is {_shown(given)}; numbers have up to {DIGITS_MAX} digits")
    return int(rounded) if rounded.is_integer() else rounded


def _date(given: Any) -> str:
    text = given.strip() if isinstance(given, str) else ""
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text).isoformat()
    except ValueError:
        pass
    raise BadValue(f"is {_shown(given)}; it takes a date such as 2026-12-01")


def _moment(given: Any, zone: tzinfo) -> str:
    found = _MOMENT.fullmatch(given.strip()) if isinstance(given, str) else None
    if found is not None:
        day, time, offset = found[1], found[2] or "00:00", (found[3] or "").upper()
        try:
            moment = datetime.fromisoformat(f"{day}T{time}{offset}")
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=zone)
            return moment_text(moment)
        except (ValueError, OverflowError):
            pass
    raise BadValue(f"is {_shown(given)}; it takes a time such as 2026-12-01T02:00:00Z")


def moment_text(moment: datetime) -> str:
    """Return the normal form of a moment."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _boolean(given: Any) -> bool:
    if isinstance(given, bool):
        return given
    word = str(given).strip().lower() if isinstance(given, str | int) else ""
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise BadValue(f"is {_shown(given)}; it takes true or false")


def _choice(field: Field, given: Any) -> str:
    if isinstance(given, str):
        if given in field.choices:
            return given
        folded = given.strip().casefold()
        for choice in field.choices:
            if choice.casefold() == folded:
                return choice
    raise BadValue(f"is {_shown(given)}; it takes one of {_named(field.choices)}")


def _email(given: Any) -> str:
    text = given.strip().lower() if isinstance(given, str) else ""
    if _EMAIL.fullmatch(text) and len(text) <= 254 and not has_surrogate(text):  # noqa: PLR2004 - RFC 5321
        return text
    raise BadValue(f"is {_shown(given)}; it takes an e-mail address such as ann@example.com")


def _record(given: Any) -> str:
    if isinstance(given, str) and _RECORD.fullmatch(given) and not has_surrogate(given):
        return given
    raise BadValue(f"is {_shown(given)}; it takes the id of a record")


def _shown(given: Any) -> str:
    text = ascii(given) if isinstance(given, str) and has_surrogate(given) else repr(given)
    return text if len(text) <= 80 else f"{text[:80]}…"  # noqa: PLR2004 - enough to know it again


def _named(choices: Iterable[str]) -> str:
    names = [repr(choice) for choice in choices]
    return ", ".join(names[:20]) + (f" and {len(names) - 20} others" if len(names) > 20 else "")  # noqa: PLR2004


def merge(
    fields: Iterable[Field],
    given: dict[str, Any],
    before: dict[str, Any],
    zone: tzinfo,
    wrong: Callable[[Field, str], None],
) -> dict[str, Any]:
    """Return all values of a record after an update; `given` is by field id, `wrong` is called for refused values."""
    values = {}
    for field in fields:
        if field.id in given:
            try:
                value = normal(field, given[field.id], zone)
            except BadValue as error:
                wrong(field, str(error))
                continue
        else:
            value = before.get(field.id)
        if value is not None:
            values[field.id] = value
        elif field.required:
            wrong(field, "is required")
    return values
