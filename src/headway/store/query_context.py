"""The request or run for which the database is read: its organisation, the timeout of its queries, and their end."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any, Final

import msgspec

BACKGROUND_S: Final = 25.0
"""Timeout of a query of a built-in task, in seconds; longer than a request's, since no client waits."""


class ClientDisconnected(Exception):
    """The client has disconnected, so its queries are cancelled."""


class QueryContext(msgspec.Struct, eq=False):
    """A request, or a run of a built-in task."""

    organisation: int | None
    """The number whose share of the threads is used; None: the server's share, as for workers."""
    within_s: float
    """The timeout of each of its queries, in seconds from the moment it begins."""
    gone: bool = False
    """Whether the client has disconnected."""
    _waiting: list[asyncio.Future[Any]] | None = None

    def wait_for(self, future: asyncio.Future[Any]) -> None:
        """Register a query's future to be failed by `leave`; it fails at once if the client has disconnected."""
        if self.gone:
            future.set_exception(ClientDisconnected())
            return
        if self._waiting is None:  # most requests make no query
            self._waiting = []
        self._waiting.append(future)
        future.add_done_callback(self._waiting.remove)

    def leave(self) -> None:
        """Cancel the queries of a client that has disconnected; its later queries do not begin."""
        self.gone = True
        for future in tuple(self._waiting or ()):
            if not future.done():
                future.set_exception(ClientDisconnected())


QUERY_CONTEXT: Final[ContextVar[QueryContext | None]] = ContextVar("headway_query_context", default=None)
"""The context of the current asyncio task; None: the server itself, in its loops."""
