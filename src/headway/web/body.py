"""Request bodies: reading within the limit, decoding into the route's struct, and errors with JSON pointers."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import AsyncIterator
from typing import Any, Final, TypeVar

import msgspec

from headway.codec.pointers import escaped, split, to_pointer
from headway.errors import (
    BadParameter,
    HeadwayError,
    InvalidInput,
    MalformedJson,
    PayloadTooLarge,
    UnknownField,
    UnsupportedMediaType,
)
from headway.kernel.numbers import FEW_MAX
from headway.protocol.values import invalid
from headway.runs.inputs import hold_many
from headway.web.call import Call, check_key
from headway.web.disconnect import Receive
from headway.web.router import Endpoint

T = TypeVar("T")

_NAMED: Final = re.compile(r"field `([^`]*)`")


class ClientGone(Exception):
    """The client disconnected before its request was complete."""


async def receive_json(call: Call, endpoint: Endpoint, bytes_max: int) -> None:
    """Read the body of a request, and decode it into the struct of its route.

    Raises BadParameter (Idempotency-Key, Content-Length, or a body for a route that takes none), UnsupportedMediaType,
    and the errors of `read` and `decode`.
    """
    headers = call.headers
    key = headers.get(b"idempotency-key")
    if key is not None:
        check_key(key)
    call.raw_body = raw = await read(call.receive, headers, bytes_max)
    if raw:
        check_type(headers)
    decoder = endpoint.decoder
    if decoder is None:
        if raw and raw.strip() != b"{}":
            raise BadParameter("this route takes no body")
    elif raw:
        call.body = decode(decoder, raw)
    elif endpoint.route.optional:
        call.body = decoder.decode(b"{}")
    else:
        check_type(headers)
        raise MalformedJson("the body is missing")


async def read(receive: Receive, headers: dict[bytes, bytes], bytes_max: int) -> bytes:
    """Return the body; raise BadParameter (Content-Length), PayloadTooLarge without reading on, or ClientGone."""
    length = headers.get(b"content-length")
    if length is not None:
        if not length.isdigit():
            raise BadParameter("Content-Length is not a number")
        if int(length) > bytes_max:
            raise _too_large(bytes_max)
    message = await receive()
    if message["type"] != "http.request":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if len(body) > bytes_max:
            raise _too_large(bytes_max)
        return body
    chunks, size = [body], len(body)
    while message.get("more_body"):
        if size > bytes_max:
            raise _too_large(bytes_max)
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
    if size > bytes_max:
        raise _too_large(bytes_max)
    return b"".join(chunks)


async def pieces(receive: Receive, headers: dict[bytes, bytes], bytes_max: int) -> AsyncIterator[bytes]:
    """Yield the pieces of the body as they arrive; raises as `read`."""
    length = headers.get(b"content-length", b"0")
    if not length.isdigit():
        raise BadParameter("Content-Length is not a number")
    size, more = 0, True
    while more:
        if max(int(length), size) > bytes_max:
            raise _too_large(bytes_max)
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        more = message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if size <= bytes_max:
            yield piece
    if size > bytes_max:
        raise _too_large(bytes_max)


def check_type(headers: dict[bytes, bytes]) -> None:
    """Raise UnsupportedMediaType unless the body is declared as JSON in UTF-8."""
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise UnsupportedMediaType("compressed bodies are not supported: send it uncompressed")
    declared = headers.get(b"content-type", b"")
    if declared == b"application/json":
        return
    essence, _, rest = declared.decode("latin-1").lower().partition(";")
    if essence.strip() != "application/json":
        raise UnsupportedMediaType(f"Content-Type is {essence.strip()[:100] or 'missing'}; send application/json")
    for parameter in rest.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip().strip('"') not in ("utf-8", "utf8", "us-ascii"):
            raise UnsupportedMediaType("JSON must be sent as UTF-8")


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Return the struct; raise MalformedJson, UnknownField or InvalidInput."""
    try:
        if len(body) > FEW_MAX:
            hold_many(body)
        str(body, "utf-8")  # payloads that pass through unparsed have to be text as well
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _malformed(body) or refusal(str(error), decoder.type, body) from None
    except UnicodeDecodeError:
        raise MalformedJson("the body is not UTF-8") from None
    except RecursionError:
        raise InvalidInput("the body is nested too deep", errors=[_error("", "depth", "nested too deep")]) from None
    except (msgspec.DecodeError, ValueError) as error:
        raise _not_json(body, error) from None


def _not_json(body: bytes, error: Exception) -> MalformedJson:
    if body.startswith(BOM_UTF8):
        return MalformedJson("the body begins with a byte order mark; send it without")
    return MalformedJson(str(error)[:500])


def _malformed(body: bytes) -> MalformedJson | None:
    """Return MalformedJson for a body that is no JSON, which msgspec does not notice after a wrong value before it."""
    try:
        msgspec.json.decode(
            body, type=msgspec.Raw
        )  # checks the syntax without converting values: large numbers are slow
    except RecursionError:
        return None
    except (msgspec.DecodeError, ValueError) as error:
        return _not_json(body, error)
    return None


def refusal(message: str, kind: Any, body: bytes = b"") -> HeadwayError:
    """Return the error for a message of msgspec about a value."""
    what, path = split(message)
    pointer = to_pointer(path)
    if "unknown field" in what:
        named = _NAMED.search(what)
        unknown = named[1] if named is not None else ""
        names = _all_unknown(kind, body) if not path else [unknown]
        listed = names or [unknown]
        return UnknownField(
            f"not known here: {', '.join(f'{pointer}/{name}' for name in listed)}",
            errors=[
                _error(f"{pointer}/{escaped(name)}", "unknown_field", "this field is not known") for name in listed
            ],
        )
    code = "value"
    if "missing required field" in what:
        named = _NAMED.search(what)
        pointer, code = f"{pointer}/{named[1] if named else ''}", "required"
    elif what.startswith("Expected `") and "got `" in what:
        code = "type"
    return invalid(pointer, what, code)


def _all_unknown(kind: Any, body: bytes) -> list[str]:
    """Return all unknown fields, since msgspec names the first one only."""
    try:
        members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        known = {field.encode_name for field in msgspec.structs.fields(kind)}
    except (msgspec.MsgspecError, RecursionError, TypeError, ValueError):
        return []
    return [name[:200] for name in members if name not in known][:20]


def _error(pointer: str, code: str, message: str) -> dict[str, Any]:
    return {"pointer": pointer, "code": code, "message": message[:500]}


def _too_large(bytes_max: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body may have {bytes_max:,} bytes", limit=bytes_max)
