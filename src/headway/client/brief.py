"""Decoder of answers in brief: members that the key may not read are blank, so that a start returns a handle."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec
from msgspec import inspect

T = TypeVar("T")

_BLANKS: Final[dict[type[inspect.Type], Any]] = {
    inspect.StrType: "", inspect.IntType: 0, inspect.FloatType: 0.0, inspect.BoolType: False, inspect.ListType: [],
    inspect.DictType: {},
}  # fmt: skip
_UNDECODED: Final[dict[str, Any]] = {"input": {}, "labels": {}, "input_schema": {}, "blocked_on": []}
"""Blank values of members with raw JSON that are not null."""


def whole(body: bytes, kind: type[T]) -> T | None:
    """Return the answer with blanks for missing members; None if no part of it has `brief`."""
    found: list[bool] = []
    answer = _filled(inspect.type_info(kind), msgspec.json.decode(body), found)
    return msgspec.json.decode(msgspec.json.encode(answer), type=kind) if found else None


def _filled(kind: inspect.Type, value: Any, found: list[bool]) -> Any:
    match kind:
        case inspect.StructType() if isinstance(value, dict):
            blank = {}
            if value.get("brief") is True:
                found.append(True)
                blank = {field.encode_name: _blank(field) for field in kind.fields if field.required}
            types = {field.encode_name: field.type for field in kind.fields}
            return {
                **blank,
                **{name: _filled(types[name], part, found) for name, part in value.items() if name in types},
            }
        case inspect.ListType() if isinstance(value, list):
            return [_filled(kind.item_type, item, found) for item in value]
        case inspect.UnionType() if isinstance(value, dict):
            struct = next((one for one in kind.types if isinstance(one, inspect.StructType)), kind)
            return value if struct is kind else _filled(struct, value, found)
        case _:
            return value


def _blank(field: inspect.Field) -> Any:
    match field.type:
        case inspect.StructType(fields=fields):
            return {inner.encode_name: _blank(inner) for inner in fields if inner.required}
        case inspect.LiteralType(values=values):
            return values[0]
        case inspect.RawType():
            return _UNDECODED.get(field.name)
        case kind:
            return _BLANKS.get(type(kind))
