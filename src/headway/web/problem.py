"""Errors as RFC 9457 problem documents, in one function; and the page that each error's `type` resolves to."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headway.errors import BadRequest, HeadwayError
from headway.web.reply import PROBLEM, Reply


class ErrorDetail(msgspec.Struct, omit_defaults=True):
    """One thing that is wrong with the input, and where it is (RFC 6901)."""

    pointer: str
    code: str
    message: str


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What every answer that is not a success says. `code` is for programs, `detail` and `hint` are for people."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str = ""
    request_id: str = ""
    errors: list[ErrorDetail] = []
    hint: str | None = None


class InternalError(HeadwayError):
    """A bug in the server; it is in the server's log, under the request's id. Nothing was half done."""

    code, status, title = "internal_error", 500, "Internal error"
    hint = "Repeat the request with its Idempotency-Key; if it happens again, report it with the request_id."


class UriTooLong(BadRequest):
    """The path and query are longer than the limit; long filters go into POST /v1/runs:query."""

    code, status, title = "uri_too_long", 414, "The path and query are too long"


class HeadersTooLarge(BadRequest):
    """There are more headers than the limit."""

    code, status, title = "headers_too_large", 431, "There are too many headers"


def every_error() -> dict[str, type[HeadwayError]]:
    """Return every error by its code, those that only this package raises too."""

    def under(root: type[HeadwayError]) -> dict[str, type[HeadwayError]]:
        found = {root.code: root}
        for child in root.__subclasses__():
            found |= under(child)
        return found

    return under(HeadwayError)


_OWN: Final = frozenset({"type", "title", "status", "code", "detail", "instance", "request_id", "errors", "hint"})
_encode: Final = msgspec.json.Encoder().encode


def document(error: HeadwayError, instance: str = "", request_id: str = "") -> dict[str, Any]:
    """Return the problem document of an error; what its `fields` say come as further members."""
    members: dict[str, Any] = {
        "type": f"/errors/{error.code}",
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "detail": clean(error.detail),
    }
    if instance:
        members["instance"] = clean(instance)
    if request_id:
        members["request_id"] = request_id
    if error.errors:
        members["errors"] = [{name: clean(str(text)) for name, text in item.items()} for item in error.errors]
    if error.hint is not None:
        members["hint"] = error.hint
    for name, value in error.fields.items():
        if name not in _OWN:
            members[name] = clean(value) if isinstance(value, str) else value
    return members


def headers(error: HeadwayError) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers that belong to an error, in whatever dialect it is told."""
    found: list[tuple[bytes, bytes]] = []
    if error.retry_after_s is not None:
        found.append((b"retry-after", b"%d" % error.retry_after_s))
    if error.status == 401:  # noqa: PLR2004 - Unauthenticated
        found.append((b"www-authenticate", b'Bearer realm="headway"'))
    allow = error.fields.get("allow")
    if error.code == "method_not_allowed" and isinstance(allow, list):
        found.append((b"allow", ", ".join(allow).encode()))
    if error.status in (413, 414, 431):  # what else was sent is not read: the connection cannot be used again
        found.append((b"connection", b"close"))
    return tuple(found)


def reply(error: HeadwayError, instance: str = "", request_id: str = "") -> Reply:
    """Answer with the problem document of an error."""
    return Reply(error.status, _encode(document(error, instance, request_id)), headers(error), PROBLEM)


def clean(text: str) -> str:
    """Return the text with what UTF-8 cannot say replaced: an error must always be sayable."""
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text
