"""Payloads from outside: read once, held to limits and schema, kept as compact JSON text."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from headway.errors import InvalidInput, MalformedJson, PayloadTooLarge

if TYPE_CHECKING:
    import jsonschema_rs

_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
_LONG: Final = re.compile(rb"[0-9]{19}")
_KEY: Final = re.compile(r"[^\x00-\x1f\x7f]{1,255}")
BACKSLASH: Final = 0x5C
QUOTE: Final = 0x22
ERRORS_MAX: Final = 20
"""What is wrong with an input is told up to here."""
SCHEMAS_MAX: Final = 10_000
"""Compiled schemas that are kept."""


def canonical(raw: bytes | msgspec.Raw, *, bytes_max: int, depth_max: int, pointer: str) -> tuple[str, Any]:
    """Return the JSON as compact text and as objects; raise PayloadTooLarge, MalformedJson or InvalidInput.

    Refused: more than `bytes_max` bytes, deeper than `depth_max`, NaN and infinities, numbers that do not fit (integers
    beyond 64 bits, floats beyond a double), lone surrogates, names that an object has twice, anything that is not UTF-8.
    """
    data = bytes(raw)
    if len(data) > bytes_max:
        raise PayloadTooLarge(f"{pointer} has {len(data):,} bytes; the limit is {bytes_max:,}")
    if data == b"{}":
        return "{}", {}
    try:
        if data.count(b"[") + data.count(b"{") > depth_max and _depth(data) > depth_max:
            raise InvalidInput(
                f"{pointer} is nested deeper than {depth_max}", errors=[_error(pointer, "depth", "nested too deep")]
            )
        value = _decode(data)
        if _LONG.search(data) and not _fits(value):
            raise InvalidInput(
                f"{pointer} has an integer beyond 64 bits", errors=[_error(pointer, "number", "integer beyond 64 bits")]
            )
        text = _encode(value)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{pointer}: {error}", errors=[_error(pointer, "number", str(error))]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedJson(f"{pointer}: {error}") from None
    # Of a name that is there twice only one is left, and with it fewer quotes; only an escaped quote can make up for it.
    if data.count(b'"') != text.count(b'"') or b"\\u0022" in data:
        _refuse_doubled(data, pointer)
    return text.decode(), value


def _refuse_doubled(data: bytes, pointer: str) -> None:
    def whole(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise MalformedJson(f"{pointer}: an object has the name {twice[:80]!r} twice")

    json.loads(data, object_pairs_hook=whole)


def _fits(value: Any) -> bool:
    """Tell whether every integer in the value has 64 bits with its sign: others are not the same number everywhere."""
    match value:
        case bool():
            return True
        case int():
            return -(1 << 63) <= value < 1 << 63
        case dict():
            return all(map(_fits, value.values()))
        case list():
            return all(map(_fits, value))
    return True


def _depth(data: bytes) -> int:
    """Return how deep brackets nest, outside of strings."""
    deepest = depth = 0
    quoted = escaped = False
    for byte in data:
        if escaped:
            escaped = False
        elif quoted:
            escaped, quoted = byte == BACKSLASH, byte != QUOTE
        elif byte == QUOTE:
            quoted = True
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _error(pointer: str, code: str, message: str) -> dict[str, Any]:
    return {"pointer": pointer, "code": code, "message": message}


class Schemas:
    """Compiled JSON Schemas, one a task version; compiling takes a hundred times longer than checking."""

    def __init__(self) -> None:
        self._compiled: dict[str, jsonschema_rs.Draft202012Validator] = {}

    def check(self, schema: str, value: Any, pointer: str = "/input") -> None:
        """Raise InvalidInput with a pointer to everything that does not fit."""
        if schema == "{}":
            return
        validator = self._compiled.get(schema)
        if validator is None:
            validator = self.compile(schema)
        if validator.is_valid(value):
            return
        errors = []
        for found in validator.iter_errors(value):
            path = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in found.instance_path)
            code = str(getattr(found.kind, "name", None) or found.schema_path[-1])
            errors.append(_error(pointer + path, code, found.message[:500]))
            if len(errors) == ERRORS_MAX:
                break
        first = errors[0]
        raise InvalidInput(f"{first['pointer'][1:].replace('/', '.')}: {first['message']}", errors=errors)

    def compile(self, schema: str) -> jsonschema_rs.Draft202012Validator:
        """Return the schema's validator; raise InvalidInput for one that is no schema or refers elsewhere."""
        import jsonschema_rs  # noqa: PLC0415 - 40 ms that a cold start need not pay

        def refuse(uri: str) -> Any:
            raise ValueError(f"schemas may not refer to {uri}")

        if len(self._compiled) > SCHEMAS_MAX:
            self._compiled.clear()
        try:
            validator = jsonschema_rs.Draft202012Validator(
                _decode(schema), retriever=refuse, pattern_options=jsonschema_rs.RegexOptions()
            )
        except (ValueError, jsonschema_rs.ValidationError) as error:
            raise InvalidInput(
                f"the input schema cannot be used: {error}",
                errors=[_error("/input_schema", "schema", str(error)[:500])],
            ) from None
        self._compiled[schema] = validator
        return validator


def pick_key(path: str | None, value: Any) -> str | None:
    """Return the text at a dotted path in the input, if there is one: what per-key limits count by."""
    if path is None:
        return None
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    match value:
        case str() if _KEY.fullmatch(value):
            return value
        case bool() | None:
            return None
        case int():
            return str(value)
    return None
