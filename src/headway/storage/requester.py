"""On whose behalf something is read: whose turn it takes among the threads that read, how long it may take, and who still waits."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any, Final

BACKGROUND_S: Final = 25.0
"""How long a query of a run that the server executes itself may take: longer than a request, since nobody sits and waits."""


class RequesterGone(Exception):
    """The client has left: nobody waits for what was to be read."""


class Requester:
    """A request, or a run that the server executes itself."""

    __slots__ = ("_waiting", "gone", "organisation", "within_s")

    def __init__(self, organisation: int | None, within_s: float) -> None:
        """`organisation` shares the threads with the others; None: it has the server's own share, as workers do.

        `within_s` is how long one of its queries may take, in seconds, once it has begun.
        """
        self.organisation = organisation
        self.within_s = within_s
        self.gone = False
        self._waiting: list[asyncio.Future[Any]] | None = None

    def wait_for(self, future: asyncio.Future[Any]) -> None:
        """Let `leave` end the wait for a query; it is ended at once if the client has left already."""
        if self.gone:
            future.set_exception(RequesterGone())
            return
        if self._waiting is None:  # most requests make no query
            self._waiting = []
        self._waiting.append(future)
        future.add_done_callback(self._waiting.remove)

    def leave(self) -> None:
        """End what is queried for a client that has left; its later queries are not begun."""
        self.gone = True
        for future in tuple(self._waiting or ()):
            if not future.done():
                future.set_exception(RequesterGone())


REQUESTER: Final[ContextVar[Requester | None]] = ContextVar("headway_requester", default=None)
"""Who asks, in this task; None: the server itself, for its loops."""
