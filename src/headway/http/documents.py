"""Documents of a server's routes, made when they are first asked for."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headway.config import Settings
from headway.http import pages
from headway.http.route import Route


class RouteDocuments:
    """The OpenAPI document of each surface, and the page of all routes."""

    def __init__(self, routes: Sequence[Route], settings: Settings, version: str) -> None:
        self._routes = routes
        self._settings = settings
        self._version = version
        self._made: dict[str, bytes] = {}

    def openapi(self, surface: str) -> bytes:
        """Return the OpenAPI document of a surface; raise NotFound for an unknown name."""
        found = self._made.get(surface)
        if found is None:
            from headway.http.openapi import document  # noqa: PLC0415 - most servers are never asked

            made = document(self._routes, surface, self._settings, self._version or "0")
            found = self._made[surface] = msgspec.json.encode(made)
        return found

    def page(self) -> bytes:
        """Return the list of all routes as HTML."""
        return pages.docs(self._routes, self._version)
