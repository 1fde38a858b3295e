"""Problem documents: errors in the form of RFC 9457."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headway.errors import BadRequest, HeadwayError
from headway.web.reply import PROBLEM, Reply


class ErrorDetail(msgspec.Struct, omit_defaults=True):
    """One error in the input, with the JSON pointer to its place (RFC 6901)."""

    pointer: str
    code: str
    message: str


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An error (RFC 9457). `code` is for programs, `detail` and `hint` are for people."""

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
    """A bug in the server, which is in its log under the request's id. No change was made in part."""

    code, status, title = "internal_error", 500, "Internal error"
    hint = "Repeat the request with its Idempotency-Key; if it happens again, report it with the request_id."


class UriTooLong(BadRequest):
    """The path and query are longer than the limit; POST /v1/runs:query takes long filters in its body."""

    code, status, title = "uri_too_long", 414, "The path and query are too long"


class HeadersTooLarge(BadRequest):
    """The request has more headers than the limit."""

    code, status, title = "headers_too_large", 431, "There are too many headers"


def every_error() -> dict[str, type[HeadwayError]]:
    """Return all errors by code, including the errors of this package."""

    def under(root: type[HeadwayError]) -> dict[str, type[HeadwayError]]:
        found = {root.code: root}
        for child in root.__subclasses__():
            found |= under(child)
        return found

    return under(HeadwayError)


_OWN: Final = frozenset({"type", "title", "status", "code", "detail", "instance", "request_id", "errors", "hint"})
_encode: Final = msgspec.json.Encoder().encode


def document(error: HeadwayError, instance: str = "", request_id: str = "") -> dict[str, Any]:
    """Return the problem document of an error; its `fields` are further members."""
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
    """Return the headers of an error, which are the same in all dialects."""
    found: list[tuple[bytes, bytes]] = []
    if error.retry_after_s is not None:
        found.append((b"retry-after", b"%d" % error.retry_after_s))
    if error.status == 401:  # noqa: PLR2004 - Unauthenticated
        found.append((b"www-authenticate", b'Bearer realm="headway"'))
    allow = error.fields.get("allow")
    if error.code == "method_not_allowed" and isinstance(allow, list):
        found.append((b"allow", ", ".join(allow).encode()))
    if error.status in (413, 414, 431):  # the rest of the request is not read, so the connection cannot be used again
        found.append((b"connection", b"close"))
    return tuple(found)


def reply(error: HeadwayError, instance: str = "", request_id: str = "") -> Reply:
    """Return the reply with the problem document of an error."""
    return Reply(error.status, _encode(document(error, instance, request_id)), headers(error), PROBLEM)


def clean(text: str) -> str:
    """Return the text with replacements for characters that UTF-8 cannot encode, such as lone surrogates."""
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text
