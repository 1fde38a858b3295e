"""Payloads from outside: read once, held to limits and schema, kept as compact JSON text."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import msgspec

from headway.errors import InvalidInput, MalformedJson, PayloadTooLarge
from headway.kernel.numbers import FAR_MAX, FEW_MAX, too_many_far, without_texts

_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
_LONG: Final = re.compile(rb"[0-9]{19}")
_KEY: Final = re.compile(r"[^\x00-\x1f\x7f]{1,255}")
_INTEGER: Final = re.compile(rb"(?<![^\[,:\s])-?[0-9]{19,}(?![^\],}\s])")
_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[{]}"))
CONTAINERS_MAX: Final = 500_000
"""Most lists and objects in one value; each takes far more memory and time than its two characters suggest."""
DIGITS_MAX: Final = 20
"""Characters of the longest 64-bit integer, with its sign."""


def canonical(raw: bytes | msgspec.Raw, *, bytes_max: int, depth_max: int, pointer: str) -> tuple[str, Any]:
    """Return the JSON as compact text and as objects; raise PayloadTooLarge, MalformedJson or InvalidInput.

    Refused: more than `bytes_max` bytes, deeper than `depth_max`, more than CONTAINERS_MAX lists and objects or FAR_MAX
    numbers like 1e308, NaN and infinities, integers beyond 64 bits, floats beyond a double, lone surrogates, names that
    an object has twice, anything that is not UTF-8.
    """
    data = bytes(raw)
    if len(data) > bytes_max:
        raise PayloadTooLarge(f"{pointer} has {len(data):,} bytes; the limit is {bytes_max:,}")
    if data == b"{}":
        return "{}", {}
    try:
        if data.count(b"[") + data.count(b"{") > depth_max:
            _hold_shape(data, depth_max, pointer)
        if len(data) > FEW_MAX:
            _hold_far(data, pointer)
        value = _decode(data)
        if _LONG.search(data) and not _fits(data):
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
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise MalformedJson(f"{pointer}: an object has the name {name[:80]!r} twice")
            seen.add(name)

    json.loads(data, object_pairs_hook=whole)


def _fits(data: bytes) -> bool:
    """Tell whether every integer fits in 64 signed bits; larger ones are not the same number in every language."""
    found = _INTEGER.findall(without_texts(data))
    return all(len(each) <= DIGITS_MAX and -(1 << 63) <= int(each) < 1 << 63 for each in found)


def hold_many(data: bytes, pointer: str = "") -> None:
    """Raise InvalidInput for JSON with more than CONTAINERS_MAX lists and objects, or FAR_MAX far numbers.

    JSON of up to FEW_MAX bytes has neither.
    """
    if len(data) > 2 * CONTAINERS_MAX and data.count(b"[") + data.count(b"{") > CONTAINERS_MAX:
        _hold_many(_brackets(data), pointer)
    _hold_far(data, pointer)


def _hold_far(data: bytes, pointer: str) -> None:
    if too_many_far(data):
        message = f"it has more than {FAR_MAX:,} numbers with an exponent of three digits"
        raise InvalidInput(f"{pointer or 'the body'}: {message}", errors=[_error(pointer, "size", message)])


def _hold_many(brackets: bytes, pointer: str) -> None:
    many = brackets.count(b"[")
    if many > CONTAINERS_MAX:
        message = f"it has {many:,} lists and objects; the limit is {CONTAINERS_MAX:,}"
        raise InvalidInput(f"{pointer or 'the body'}: {message}", errors=[_error(pointer, "size", message)])


def _brackets(data: bytes) -> bytes:
    """Return the brackets outside of strings, all of them as square ones."""
    return without_texts(data).translate(_SQUARE, _NO_BRACKETS)


def _hold_shape(data: bytes, depth_max: int, pointer: str) -> None:
    """Raise InvalidInput for too many or too deeply nested lists and objects; the decoder refuses unclosed ones."""
    brackets = _brackets(data)
    _hold_many(brackets, pointer)
    for _ in range(depth_max):
        outer = brackets.replace(b"[]", b"")  # without the innermost
        if len(outer) == len(brackets):
            deeper = brackets.count(b"[") > depth_max
            break
        brackets = outer
    else:
        deeper = bool(brackets)
    if deeper:
        raise InvalidInput(
            f"{pointer} is nested deeper than {depth_max}", errors=[_error(pointer, "depth", "nested too deep")]
        )


def _error(pointer: str, code: str, message: str) -> dict[str, Any]:
    return {"pointer": pointer, "code": code, "message": message}


def pick_key(path: str, value: Any) -> str | None:
    """Return the text at a dotted path in the input, if there is one: what per-key limits count by."""
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
