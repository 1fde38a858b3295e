"""After-commit events: typed announcements of a transaction, delivered on the event loop once it is on stable storage.

A transaction that is undone announces nothing. Handlers are subscribed by type, run in the order of their subscription,
and must not block; a handler that fails is logged, and the others still run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, ClassVar, Final, TypeVar

import msgspec

log: Final = logging.getLogger("headway.events")


class CommitEvent(msgspec.Struct, frozen=True, array_like=True):
    """Base of all after-commit events; equal events of one transaction are delivered once."""

    relay: ClassVar[str] = ""
    """Name of the event in messages between servers that share a database; empty: it stays on the server."""


class Timer(CommitEvent, frozen=True):
    """A moment at which work is due; of several in one transaction the earliest is delivered."""

    at_ms: int
    """Milliseconds since 1970, by the wall clock."""


E = TypeVar("E", bound=CommitEvent)


class RunDue(Timer, frozen=True):
    """A run leaves `scheduled`, or is un-parked, at this time: the stager's work."""


class DeadlineSet(Timer, frozen=True):
    """A deadline of a run passes at this time: the rescuer's work."""


class LaneClosed(CommitEvent, frozen=True):
    """A rate closed a lane until a moment."""

    queue: str
    task: str
    at_ms: int


class ClaimsLeft(Timer, frozen=True):
    """A claim ended at its limit of runs to look at, with others behind them."""


class StopRequested(CommitEvent, frozen=True):
    """A worker has to end a run that it holds."""

    relay: ClassVar[str] = "stops"

    worker_id: str
    run_id: str
    epoch: int
    grace_ms: int
    reason: str


class MessagesMissed(CommitEvent, frozen=True):
    """Messages of other servers may have been lost: anything that they tell of may have happened."""


class SessionsChanged(CommitEvent, frozen=True):
    """A worker's session was opened, or its stream broke: sessions may expire earlier than before."""


class CallersChanged(CommitEvent, frozen=True):
    """Keys, users or organisations were read anew: callers that are served may have lost their rights."""


class PeersChecked(CommitEvent, frozen=True):
    """A heartbeat of this server is over, and with it its regular look at the work of the others."""


class StorageRegained(CommitEvent, frozen=True):
    """The database can be reached again."""


class StorageStopped(CommitEvent, frozen=True):
    """The storage broke a promise: nothing can be written any more."""

    error: Any


class Dispatcher:
    """Delivery of events to the handlers of their type."""

    def __init__(self) -> None:
        self._handlers: dict[type[CommitEvent], tuple[Callable[[Any], object], ...]] = {}

    def subscribe(self, kind: type[E], handler: Callable[[E], object]) -> None:
        """Call `handler` with every event of exactly this type, on the event loop."""
        self._handlers[kind] = (*self._handlers.get(kind, ()), handler)

    def publish(self, event: CommitEvent) -> None:
        """Call the handlers of the event's type."""
        for handler in self._handlers.get(type(event), ()):
            try:
                handler(event)
            except Exception:
                log.exception("events.failed event=%s", type(event).__name__)
