"""Surface: the port through which an API plugs into the server, with its routes, credentials, settings and document."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from headway.config import Settings
from headway.kernel.authority import SCOPES, UNGRANTED
from headway.protocol.keytext import KeyText
from headway.surfaces import SurfaceSettings
from headway.web.call import StartGate, StartPolicy
from headway.web.route import Route


class Credentials(msgspec.Struct, frozen=True):
    """Headers in which callers of a surface show their key, besides `Authorization`. All routes of a server take them."""

    headers: tuple[bytes, ...]
    """Names of the headers in lower case; a request with one of them twice is refused."""
    read: Callable[[Mapping[bytes, bytes]], tuple[str | None, KeyText] | None]
    """Function that returns the organisation's public id, if named, and the key; None without the headers. Raises Unauthenticated."""


class Surface(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One API: its routes with their dialects, credentials, settings, start policy and OpenAPI document."""

    name: str
    """Name of the surface and of its document, /openapi/NAME.json."""
    title: str
    description: str
    schemes: dict[str, dict[str, Any]]
    """Security schemes of the document, by name."""
    ways: tuple[tuple[str, ...], ...]
    """Sets of schemes that are a credential together; one set is enough."""
    routes: Callable[[Any, StartGate], Iterable[Route]]
    """Function that makes the routes from the surface's settings and its start gate."""
    settings: type[SurfaceSettings] = SurfaceSettings
    policy: StartPolicy = StartPolicy()
    credentials: Credentials | None = None
    headers: tuple[str, ...] = ()
    """Request headers that web pages of allowed origins may send, besides those of the native API."""


class Mount(NamedTuple):
    """A surface with the routes that its settings make."""

    surface: Surface
    routes: tuple[Route, ...]


def mount(surfaces: Iterable[Surface], settings: Settings) -> tuple[Mount, ...]:
    """Return the surfaces with their routes; raise ValueError for a setting that a surface cannot use."""
    return tuple(
        Mount(surface, tuple(surface.routes(settings.of(surface.settings), StartGate(surface.policy))))
        for surface in surfaces
    )


BEARER: Final[dict[str, Any]] = {
    "type": "http",
    "scheme": "bearer",
    "description": "`Authorization: Token` is the same. On loopback none is needed as long as there is no key at all. Scopes: "
    + " ".join(f"`{scope}`: {meaning}" for scope, meaning in SCOPES.items() if scope not in UNGRANTED),
}
"""The security scheme of `Authorization: Bearer`, which every surface takes."""

NATIVE: Final = "native"
"""Name of the server's own API."""
