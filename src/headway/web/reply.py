"""Replies: answers of handlers, the headers of all answers, their sending, and their meters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import msgspec

from headway.histogram import Histogram

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
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
"""Headers of all answers: no cache stores them, no browser guesses their type, no page passes on their URL."""

encode: Final = msgspec.json.Encoder().encode


class Reply(msgspec.Struct, frozen=True, gc=False):
    """A complete answer, without the headers that `send` adds to all answers."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    kind: tuple[bytes, bytes] = JSON


NO_CONTENT: Final = Reply(204)


def head(reply: Reply, request_id: bytes, limits: tuple[tuple[bytes, bytes], ...] = ()) -> Headers:
    """Return the headers of an answer; `limits` are those of the caller's rate limits."""
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


async def send_reply(
    reply: Reply, send: Send, method: str, request_id: bytes, limits: tuple[tuple[bytes, bytes], ...]
) -> None:
    """Send an answer; one to HEAD has no body."""
    await send({"type": "http.response.start", "status": reply.status, "headers": head(reply, request_id, limits)})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else reply.body})


class AnswerMeter:
    """Meter of a route: the number of its answers by status, and their times."""

    __slots__ = ("name", "statuses", "times")

    def __init__(self, name: str) -> None:
        """`name` is the route's."""
        self.name = name
        self.statuses: dict[int, int] = {}
        self.times = Histogram()

    def note(self, status: int, seconds: float) -> None:
        """Count an answer, and the seconds that it took."""
        statuses = self.statuses
        statuses[status] = statuses.get(status, 0) + 1
        self.times.note(seconds)


def json(value: object, status: int = 200, *headers: tuple[bytes, bytes]) -> Reply:
    """Return a reply with a struct as JSON."""
    return Reply(status, encode(value), headers)
