"""Surfaces: the list of the task APIs that a server speaks beside its own, and the base of their settings.

A surface is a package with two modules: `settings` declares its settings (`SETTINGS`) and imports nothing of the server,
since clients and workers have to know the variables; `surface` plugs it into the server (`SURFACE`, an
`web.surface.Surface`) and is imported when a server needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

import msgspec

from headway.setting import check_all

SURFACES: Final[list[str]] = ["headway.compat.tadabase", "headway.compat.cloudcoin"]
"""Packages of the surfaces, in the order in which they claim requests without a route."""


class SurfaceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a surface. Raises ValueError for bad values."""

    def __post_init__(self) -> None:
        """Refuse values that their settings do not take."""
        check_all(self)

    def check(self) -> None:
        """Raise ValueError, with what to do, for settings with which no server may run."""


def tables() -> tuple[type[SurfaceSettings], ...]:
    """Return the tables of settings of all surfaces."""
    return tuple(import_module(f"{package}.settings").SETTINGS for package in SURFACES)


def plugged() -> tuple[Any, ...]:
    """Return all surfaces, in the order of SURFACES."""
    return tuple(import_module(f"{package}.surface").SURFACE for package in SURFACES)
