"""Conversion of an unsuccessful answer into the server's exception (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from headway import errors
from headway.client.errors import UnexpectedAnswer

_OWN_MEMBERS: Final = frozenset({"type", "title", "status", "code", "detail", "errors", "hint"})
"""The members of a problem document that have a place of their own on the exception; the others are its `fields`."""

_BY_STATUS: Final[dict[int, type[errors.HeadwayError]]] = {
    400: errors.BadRequest,
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    409: errors.Conflict,
    410: errors.Gone,
    412: errors.VersionMismatch,
    413: errors.PayloadTooLarge,
    415: errors.UnsupportedMediaType,
    421: errors.BadHost,
    422: errors.InvalidInput,
    423: errors.Protected,
    429: errors.TooManyRequests,
    502: errors.Unavailable,
    503: errors.Unavailable,
    504: errors.Unavailable,
}


def to_error(status: int, headers: Mapping[str, str], body: bytes) -> errors.HeadwayError:
    """Return the exception for an answer; a code that this version does not know becomes the class of its status."""
    document = _document(body)
    kind = errors.BY_CODE.get(str(document.get("code"))) or _BY_STATUS.get(status) or _of_unknown_status(status)
    detail = document.get("detail") or document.get("title") or f"the server answered {status}"
    raised = kind(str(detail), errors=_error_list(document))
    raised.fields = {name: value for name, value in document.items() if name not in _OWN_MEMBERS}
    if "request_id" not in raised.fields and "x-request-id" in headers:
        raised.fields["request_id"] = headers["x-request-id"]
    told: dict[str, Any] = {"status": status}  # on the instance: what this answer said, where the class has a default
    if isinstance(document.get("code"), str):
        told["code"] = document["code"]
    if isinstance(document.get("hint"), str):
        told["hint"] = document["hint"]
    seconds = headers.get("retry-after", "")
    if seconds.isascii() and seconds.isdigit():
        told["retry_after_s"] = int(seconds)
    vars(raised).update(told)
    return raised


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)  # not msgspec, whose import takes as long as the rest of the transport
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _error_list(document: dict[str, Any]) -> list[dict[str, Any]]:
    found = document.get("errors")
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _of_unknown_status(status: int) -> type[errors.HeadwayError]:
    if status < 400:  # noqa: PLR2004
        return UnexpectedAnswer
    return errors.BadRequest if status < 500 else errors.HeadwayError  # noqa: PLR2004
