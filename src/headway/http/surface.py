"""A surface: one API that the server speaks, with an OpenAPI document of its own. There is the native one, and those of `compat`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headway.model.access import SCOPES, UNGRANTED


class Surface(msgspec.Struct, frozen=True, kw_only=True):
    """The name of an API, what its document says of it, and how its callers show their key."""

    name: str
    title: str
    description: str
    schemes: dict[str, dict[str, Any]]
    """The security schemes of the document, by name."""
    ways: tuple[tuple[str, ...], ...]
    """Sets of schemes that are a credential together; one set is enough."""


BEARER: Final[dict[str, Any]] = {
    "type": "http",
    "scheme": "bearer",
    "description": "`Authorization: Token` is the same. On loopback none is needed as long as there is no key at all. Scopes: "
    + " ".join(f"`{scope}`: {meaning}" for scope, meaning in SCOPES.items() if scope not in UNGRANTED),
}
"""The scheme of a key of ours, which every surface takes."""

NATIVE: Final = Surface(
    name="native",
    title="Headway",
    description="""\
Durable runs of tasks: start, watch, suspend, stop and remember them.

Times are RFC 3339 in UTC, durations are texts such as "30s" or "PT30S". Unknown fields of a request are refused, unknown
fields of an answer are to be ignored. Errors are problem documents (RFC 9457) with a stable `code`; `type` leads to a page
about it. Every POST may carry an Idempotency-Key, so that repeating it is safe.""",
    schemes={"key": BEARER},
    ways=(("key",),),
)
