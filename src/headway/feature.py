"""Feature: the struct by which a folder of `features` plugs into service, loops, routes, metrics and checks."""

from __future__ import annotations

from collections.abc import Callable

from headway.runs.built_in.task import BuiltInTask, ServerExecutor
from headway.runs.loops.loop import Ticking
from headway.runs.service import Extension, Service
from headway.store.verify import RowCheck
from headway.web.route import Route


class Feature(Extension, frozen=True, kw_only=True):
    """A feature of the server.

    Its statements are the `.sql` files in its folder; a name that begins with `uses_secret_` is of one that finds a row
    which was signed or sealed with the store's secret.
    """

    routes: tuple[Route, ...] = ()
    """Routes of the native API."""
    loops: tuple[Callable[[Service], Ticking], ...] = ()
    """Makers of the loops that a server runs for it."""
    built_in_tasks: tuple[BuiltInTask, ...] = ()
    """Tasks of its own that every organisation may start."""
    executors: tuple[ServerExecutor, ...] = ()
    """Executors of the tasks that its users define."""
    checks: tuple[RowCheck, ...] = ()
    """Checks of the stored rows, made by `headway doctor`."""
