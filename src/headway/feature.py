"""Feature: the struct by which a folder of `features` plugs into service, loops, routes, metrics and checks."""

from __future__ import annotations

from collections.abc import Callable

from headway.http.route import Route
from headway.loops.loop import Ticking
from headway.service.service import Extension, Service
from headway.storage.verify import RowCheck


class Feature(Extension, frozen=True, kw_only=True):
    """A feature of the server. Its statements are the `.sql` files in its folder; nothing else has to know them."""

    routes: tuple[Route, ...] = ()
    """Routes of the native API."""
    loops: tuple[Callable[[Service], Ticking], ...] = ()
    """Makers of the loops that a server runs for it."""
    checks: tuple[RowCheck, ...] = ()
    """Checks of the stored rows, made by `headway doctor`."""
