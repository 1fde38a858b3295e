"""Fields of requests: bodies as JSON, form, multipart or empty, and names with brackets in the notation of PHP.

filters[items][0][field_id]=status        {"filters": {"items": [{"field_id": "status"}]}}
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from headway.errors import BadParameter, InvalidInput, MalformedJson, PayloadTooLarge, UnsupportedMediaType
from headway.runs.inputs import hold_many
from headway.web.call import Call

FIELDS_MAX: Final = 1000
FORM_MAX: Final = 1024 * 1024
"""Largest form in bytes; forms are slower to parse than JSON."""
NAME_MAX: Final = 1000
HEAD_MAX: Final = 8 * 1024
"""Largest head of a part in bytes."""
DEPTH_MAX: Final = 8
_NAME: Final = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_BLANK: Final = re.compile(rb"\r?\n\r?\n")
_STEP: Final = re.compile(r"\[([^\[\]]*)\]")
_decode: Final = msgspec.json.Decoder().decode

JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
PARTS: Final = "multipart/form-data"


class BodyFields(msgspec.Struct, frozen=True):
    """Fields of a body."""

    values: dict[str, Any]
    textual: bool = False
    """Whether all values are texts, as in forms."""


def body(call: Call) -> BodyFields:
    """Return the fields of the body.

    Raises MalformedJson, InvalidInput, PayloadTooLarge, UnsupportedMediaType or BadParameter.
    """
    raw = call.raw_body
    if not raw.strip():
        return BodyFields({})
    if call.headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise UnsupportedMediaType("compressed bodies are not supported: send it uncompressed")
    declared = call.header(b"content-type") or JSON
    kind = declared.partition(";")[0].strip().lower()
    if kind != JSON and len(raw) > FORM_MAX:
        raise PayloadTooLarge(f"the body has {len(raw):,} bytes; a form may have {FORM_MAX:,}: send it as {JSON}")
    match kind:
        case "application/json":
            return BodyFields(_object(raw))
        case "application/x-www-form-urlencoded":
            return BodyFields(nested(_pairs(raw)), textual=True)
        case "multipart/form-data":
            return BodyFields(nested(_parts(raw, declared)), textual=True)
        case other:
            raise UnsupportedMediaType(f"Content-Type is {other[:100]}; send {JSON}, {FORM} or {PARTS}")


def query(call: Call) -> dict[str, Any]:
    """Return the fields of the query string; raise BadParameter, also for a NUL, which databases refuse."""
    pairs = _pairs(call.raw_query) if call.raw_query else []
    for name, value in pairs:
        if "\0" in name + value:
            raise BadParameter(f"{name[:80]!r} has a NUL", parameter=name[:80].replace("\0", ""))
    return nested(pairs)


def number(asked: dict[str, Any], name: str, default: int, most: int) -> int:
    """Return a number of the query from 1 to `most`; raise BadParameter for another value."""
    text = asked.get(name, str(default))
    digits = text.lstrip("0") if isinstance(text, str) and text.isascii() and text.isdigit() else ""
    if not 1 <= int(digits[: len(str(most)) + 1] or "0") <= most:  # enough digits to see that it is too large
        raise BadParameter(f"{name} must be a number from 1 to {most:,}", parameter=name)
    return int(digits)


def _object(raw: bytes) -> dict[str, Any]:
    hold_many(raw, "/input")
    try:
        found = _decode(raw)
    except RecursionError:
        raise _not_an_input("it is nested too deep") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise MalformedJson(str(error)[:500]) from None
    if not isinstance(found, dict):
        raise _not_an_input("it is not an object")
    return found


def _not_an_input(why: str) -> InvalidInput:
    return InvalidInput(f"the body: {why}", errors=[{"pointer": "/input", "code": "value", "message": why}])


def _pairs(text: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text.decode(), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX)
    except UnicodeDecodeError:
        raise BadParameter("the fields are not UTF-8") from None
    except ValueError:
        raise BadParameter(f"there are more than {FIELDS_MAX:,} fields") from None


def _parts(raw: bytes, declared: str) -> Iterable[tuple[str, str]]:
    from email.parser import BytesHeaderParser  # noqa: PLC0415 - slow to import, and rarely needed

    parser = BytesHeaderParser()
    boundary = parser.parsebytes(f"content-type: {declared}\r\n\r\n".encode("latin-1", "replace")).get_boundary()
    between = re.compile(
        rb"\r?\n--" + re.escape((boundary or "").encode("latin-1", "replace")) + rb"(?=--|[ \t]*\r?\n)"
    )
    _, *parts = between.split(b"\n" + raw, FIELDS_MAX + 2)
    if not boundary or not parts:
        raise BadParameter("the body has no parts with the boundary that Content-Type names")
    ends = next((index for index, part in enumerate(parts) if part.startswith(b"--")), len(parts))
    if ends > FIELDS_MAX:
        raise BadParameter(f"there are more than {FIELDS_MAX:,} fields")
    for part in parts[:ends]:
        # Only the head is parsed by the library, which takes a millisecond for a complete message.
        head, *rest = _BLANK.split(part, maxsplit=1)
        if len(head) > HEAD_MAX:
            raise BadParameter("the headers of a part are too long")
        message = parser.parsebytes(head.lstrip() + b"\r\n\r\n")
        name = message.get_param("name", header="content-disposition")
        if not isinstance(name, str) or message.get_filename() is not None:
            raise UnsupportedMediaType("a part is not a field with a name; files are not taken")
        message.set_payload(b"".join(rest).decode("ascii", "surrogateescape"))
        content = message.get_payload(decode=True)
        try:
            yield name, content.decode() if isinstance(content, bytes) else ""
        except UnicodeDecodeError:
            raise BadParameter(f"{name[:80]} is not UTF-8", parameter=name[:80]) from None


def nested(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the fields with brackets as objects and lists; raise BadParameter for malformed names."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        match = _NAME.fullmatch(name) if len(name) <= NAME_MAX else None
        steps = [match[1], *_STEP.findall(match[2])] if match is not None else []
        if not steps or len(steps) > DEPTH_MAX:
            raise BadParameter(f"{name[:80]!r} is not a field name", parameter=name[:80])
        _put(found, steps, value, name)
    return {name: _listed(value) for name, value in found.items()}


def _put(found: dict[str, Any], steps: list[str], value: str, name: str) -> None:
    *folders, last = steps
    for step in folders:
        inner = found.setdefault(step or str(len(found)), {})
        if not isinstance(inner, dict):
            raise BadParameter(f"{name[:80]} is given with and without brackets: use one form", parameter=name[:80])
        found = inner
    last = last or str(len(found))
    if last in found:
        raise BadParameter(f"{name[:80]} is given twice", parameter=name[:80])
    found[last] = value


def _listed(value: Any) -> Any:
    """Return an object whose names are 0, 1, 2 … as a list."""
    if not isinstance(value, dict):
        return value
    inner = {name: _listed(item) for name, item in value.items()}
    places = sorted(inner, key=lambda name: (len(name), name))
    return [inner[place] for place in places] if places == [str(n) for n in range(len(places))] else inner
