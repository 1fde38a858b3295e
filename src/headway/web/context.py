"""Server context: the state that all requests of a server share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from headway.runs.service import Service
from headway.web.access_control import AccessControl
from headway.web.addresses import Addresses
from headway.web.disconnect import CancelOnDisconnect
from headway.web.frames import Frames
from headway.web.limiter import ConcurrencyLimiter
from headway.web.reply import AnswerMeter
from headway.web.streams import Streams

Check = Callable[[], Awaitable[str | None]]
"""A readiness check: None: no problem; a text describes the problem."""


class Documents(Protocol):
    """The documents that describe the routes of a server."""

    def openapi(self, surface: str) -> bytes:
        """Return the OpenAPI document of a surface; raise NotFound for an unknown name."""
        ...

    def page(self) -> bytes:
        """Return the list of all routes as HTML."""
        ...


class ServerContext:
    """Service, limits, caches, open streams and the drain of one server. Handlers reach it as `call.server`."""

    documents: Documents
    meters: Sequence[AnswerMeter]
    """Meters of the routes, in their order."""

    def __init__(self, service: Service, checks: Mapping[str, Check]) -> None:
        """`checks` are the checks of readiness, by name."""
        self.service = service
        """The whole service, of all organisations: for the server's own handlers; surfaces hold `call.services`."""
        self.access = service.part(AccessControl)
        self.settings = service.settings
        self.clock = service.store.clock
        self.checks = dict(checks)
        self.draining = False
        """Set by a drain: no new streams, long polls and starts."""
        self.closing = False
        """Set at the end of a drain: workers' signals streams end too."""
        self.waiting: set[CancelOnDisconnect] = set()
        """Long polls and event streams, which a drain ends."""
        self.signals: set[CancelOnDisconnect] = set()
        """Workers' signals streams, which outlast a drain: a worker is alive as long as its stream is open."""
        self.limiter = ConcurrencyLimiter(service.schemas.has_judged)
        self.frames = Frames()
        self.streams = Streams(service.settings.streams_max)
        self.addresses = Addresses(service.settings.trusted_proxy)
