"""Load shedder: refuses requests by their head while the server is overloaded.

A refusal has to cost much less than the refused request, or an overload leaves no time for admitted ones. So it is decided
on the head alone, before a body, a task or an ASGI request exists, and answered in the dialect of the route. Authorization
comes first here too: only callers that were authorized before are told that there is no room, and all other requests take
the usual way.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from math import ceil
from time import monotonic, process_time
from typing import Any, Final, NoReturn
from urllib.parse import unquote

from headway.errors import HeadwayError, Overloaded
from headway.web.authorizer import Authorizer
from headway.web.context import ServerContext
from headway.web.exchange import Exchange
from headway.web.hostcheck import HostCheck
from headway.web.reply import Headers, Reply, head
from headway.web.router import Router

EXPECTED: Final = "headway.expected"
"""Key of the ASGI scope of an admitted start, which the limiter expects."""
RETRY_AFTER_S: Final = (1, 5)
"""Least and most seconds of Retry-After."""
REFUSED_MAX: Final = 2_500
"""Refusals in a second of the server's CPU time, about a tenth of it, above which Retry-After becomes longer."""
CHECKED_EVERY_S: Final = 0.25
"""Seconds between two checks of that rate."""
DELAYED_MAX: Final = 10_000
"""Connections whose refusal may be delayed because they came back too early."""


class Rejection:
    """A complete refusal, ready to be written."""

    __slots__ = ("body", "headers", "retry_after_s", "status")

    def __init__(self, status: int, headers: Headers, body: bytes, retry_after_s: float) -> None:
        """`retry_after_s` is the Retry-After in seconds."""
        self.status = status
        self.headers = headers
        self.body = body
        self.retry_after_s = retry_after_s


class LoadShedder:
    """The load shedder of one API."""

    def __init__(
        self,
        server: ServerContext,
        router: Router,
        host_check: HostCheck,
        authorizer: Authorizer,
        answer: Callable[[HeadwayError, Exchange, float], Reply],
    ) -> None:
        """`answer` renders, counts and logs the refusal of a request that began at a time of `monotonic`."""
        self._server = server
        self._router = router
        self._host_check = host_check
        self._authorizer = authorizer
        self._answer = answer
        self.limiter = server.limiter
        self.delayed = 0
        """Delayed refusals."""
        self.retry_after_s = RETRY_AFTER_S[0]
        """Current Retry-After in seconds."""
        self._refused = 0
        self._since = (0.0, 0.0)
        """Start of the count: monotonic and CPU seconds."""

    def refuse(self, scope: MutableMapping[str, Any], method: str, path: bytes, query: bytes) -> Rejection | None:
        """Return the refusal of a request, or None to admit it. Called while the limiter is pressed.

        `scope` is the ASGI scope, of which headers and client are read.
        """
        began = monotonic()
        limiter = self.limiter
        try:
            endpoint, arguments = self._router.find(method, path)
            route = endpoint.route
            if limiter.has_room(route.scope, gives_way=route.gives_way):
                if route.scope == "run:start":
                    limiter.expected += 1
                    scope[EXPECTED] = True
                return None
            headers = dict(scope["headers"])
            if len(headers) != len(scope["headers"]):
                return None
            self._host_check.check_host(headers.get(b"host"))
            call = Exchange(self._server, method, unquote(path.decode("ascii")), headers, _never, _never)
            call.client = scope["client"][0] if scope["client"] else ""
            call.endpoint, call.arguments, call.raw_query = endpoint, arguments, query
            call.dialect = route.dialect
            self._host_check.check_site(call, route.dialect)
            if route.dialect.prepare is not None:
                route.dialect.prepare(call)
            if not self._authorizer.would_authorize(route, call):
                return None
        except HeadwayError:
            return None
        self._count(began)
        error = Overloaded()
        error.retry_after_s = self.retry_after_s
        reply = self._answer(error, call, began)
        body = b"" if method == "HEAD" else reply.body
        return Rejection(reply.status, head(reply, call.request_id, call.limits), body, self.retry_after_s)

    def _count(self, now_s: float) -> None:
        """Count a refusal, and adapt Retry-After to their rate: refused callers come back after it."""
        self._refused += 1
        passed_s = now_s - self._since[0]
        if passed_s < CHECKED_EVERY_S:
            return
        worked_s = process_time()
        wanted_s = ceil(self.retry_after_s * self._refused / (REFUSED_MAX * max(worked_s - self._since[1], 0.01)))
        if wanted_s > self.retry_after_s:
            self.retry_after_s = min(RETRY_AFTER_S[1], wanted_s)
        elif passed_s < self.retry_after_s:  # waiting callers have not come back yet
            return
        else:
            self.retry_after_s = max(RETRY_AFTER_S[0], wanted_s)
        self._refused, self._since = 0, (now_s, worked_s)


async def _never(*_: object) -> NoReturn:
    raise AssertionError("a refused request neither reads nor sends")
