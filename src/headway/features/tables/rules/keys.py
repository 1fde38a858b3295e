"""Index keys of values: texts whose byte order is the order of the values of the type."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from typing import Any, Final

from headway.features.tables.model import Field, FieldType

PREFIX: Final = 100
"""Length of the ordered part of a text; longer texts are distinguished by a digest, in no order."""
_SIGN: Final = 1 << 63
_ALL: Final = (1 << 64) - 1


def key(of: FieldType, value: Any) -> str:
    """Return the key of one value in normal form. Different values have different keys."""
    match of:
        case FieldType.NUMBER:
            return _number(value)
        case FieldType.BOOLEAN:
            return "1" if value else "0"
        case _:
            text = str(value)
            if len(text) <= PREFIX:
                return text
            return f"{text[:PREFIX]}\x01{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}"


def _number(value: float) -> str:
    """Return the bits of a double in its order: the sign bit flipped, and all bits if the number is negative."""
    bits = int(struct.unpack(">Q", struct.pack(">d", float(value)))[0])
    return f"{bits ^ (_ALL if bits & _SIGN else _SIGN):016x}"


def keys(field: Field, value: Any) -> tuple[str, ...]:
    """Return the keys of a record's value in a field; none for a blank."""
    if value is None:
        return ()
    return tuple(key(field.type, item) for item in value) if field.is_list else (key(field.type, value),)


def entries(fields: Iterable[Field], values: dict[str, Any]) -> set[tuple[str, str, int]]:
    """Return (field, key, whether it is unique) for each index entry of a record."""
    return {
        (field.id, text, int(field.unique))
        for field in fields
        if field.has_index
        for text in keys(field, values.get(field.id))
    }
