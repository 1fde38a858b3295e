"""Documents of a server's surfaces, made at the first request for each."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headway.errors import NotFound
from headway.web import pages
from headway.web.surface import Mount


class SurfaceDocuments:
    """The OpenAPI document of each surface, and the page of all routes."""

    def __init__(self, mounts: Sequence[Mount], version: str) -> None:
        self._mounts = mounts
        self._version = version
        self._made: dict[str, bytes] = {}

    def openapi(self, surface: str) -> bytes:
        """Return the OpenAPI document of a surface; raise NotFound for an unknown name."""
        found = self._made.get(surface)
        if found is None:
            from headway.web.openapi import document  # noqa: PLC0415 - most servers are never asked

            made = document(find(self._mounts, surface), self._version or "0")
            found = self._made[surface] = msgspec.json.encode(made)
        return found

    def page(self) -> bytes:
        """Return the list of all routes as HTML."""
        return pages.docs(self._mounts, self._version)


def find(mounts: Sequence[Mount], name: str) -> Mount:
    """Return the surface of that name; raise NotFound."""
    for each in mounts:
        if each.surface.name == name:
            return each
    known = ", ".join(sorted(each.surface.name for each in mounts))
    raise NotFound(f"there is no surface {name[:80]!r}; there are {known}")
