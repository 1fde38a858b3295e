"""What a handler answers with, and the headers that every answer has."""

from __future__ import annotations

from typing import Final

import msgspec

Headers = list[tuple[bytes, bytes]]

JSON: Final = (b"content-type", b"application/json")
PROBLEM: Final = (b"content-type", b"application/problem+json")
HTML: Final = (b"content-type", b"text/html; charset=utf-8")
TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")

ALWAYS: Final[Headers] = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
"""Answers belong to who asked: no cache keeps them, no browser guesses at them, no URL of ours travels on."""

encode: Final = msgspec.json.Encoder().encode


class Reply(msgspec.Struct, frozen=True, gc=False):
    """A whole answer. Headers that all answers have are added when it is sent."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    kind: tuple[bytes, bytes] = JSON


NO_CONTENT: Final = Reply(204)


def head(reply: Reply, request_id: bytes, limits: tuple[tuple[bytes, bytes], ...] = ()) -> Headers:
    """Return the headers of an answer; `limits` say what is left to the caller."""
    content = reply.body
    if content or reply.status not in (204, 304):
        headers = [
            *ALWAYS,
            (b"x-request-id", request_id),
            reply.kind,
            (b"content-length", b"%d" % len(content)),
        ]
    else:
        headers = [*ALWAYS, (b"x-request-id", request_id)]
    if reply.headers:
        headers.extend(reply.headers)
    if limits:
        headers.extend(limits)
    return headers


def json(value: object, status: int = 200, *headers: tuple[bytes, bytes]) -> Reply:
    """Answer with a wire struct."""
    return Reply(status, encode(value), headers)
