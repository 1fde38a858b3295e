"""Where a crowd is turned away: before a request, a task or a body is made of what has come.

A refusal has to cost much less than what it refuses, or an overload leaves no time for those who were let in. So it is
decided on the head alone, and told in the words of the route's dialect. The gate's order is kept: that there is no room is
told to those who were let in before, and whatever else there is to say to others is said on the usual way.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from math import ceil
from time import monotonic, process_time
from typing import Any, Final, NoReturn
from urllib.parse import unquote

from headway.errors import HeadwayError, Overloaded
from headway.http.context import ServerContext
from headway.http.exchange import Exchange
from headway.http.guard import Gate
from headway.http.reply import Headers, Reply, head
from headway.http.router import Router
from headway.http.sites import Guard

EXPECTED: Final = "headway.expected"
"""What the door writes into the scope of a start that it lets in and the crowd expects."""
AGAIN_S: Final = (1, 5)
"""How long whoever is refused is told to wait, at least and at most."""
REFUSED_MAX: Final = 2_500
"""How many refusals there are to be in a second of the server's time on a processor, which is about a tenth of it: if there
are more, all have to wait longer."""
LOOKS_S: Final = 0.25
"""How often that is looked at."""
HELD_MAX: Final = 10_000
"""How many may be kept waiting for a refusal because they have not waited."""


class Refusal:
    """A whole answer."""

    __slots__ = ("again_s", "body", "headers", "status")

    def __init__(self, status: int, headers: Headers, body: bytes, again_s: float) -> None:
        """`again_s` is how long they are to wait before they ask again."""
        self.status = status
        self.headers = headers
        self.body = body
        self.again_s = again_s


class Door:
    """The way in; one for each API."""

    def __init__(
        self,
        server: ServerContext,
        router: Router,
        guard: Guard,
        gate: Gate,
        answer: Callable[[HeadwayError, Exchange, float], Reply],
    ) -> None:
        """`answer` renders, counts and logs the refusal of a request that began at a time of `monotonic`."""
        self._server = server
        self._router = router
        self._guard = guard
        self._gate = gate
        self._answer = answer
        self.crowd = server.crowd
        self.held = 0
        """How many are kept waiting now."""
        self.again_s = AGAIN_S[0]
        """How long those that are refused now have to wait before they ask again."""
        self._refused = 0
        self._since = (0.0, 0.0)
        """When counting began, on the clock and by the server's time on a processor."""

    def refuse(self, scope: MutableMapping[str, Any], method: str, path: bytes, query: bytes) -> Refusal | None:
        """Return what is told to somebody who is turned away; None lets them in.

        `scope` has the headers and the client. Called only while the crowd is pressed.
        """
        began = monotonic()
        crowd = self.crowd
        try:
            route, arguments = self._router.find(method, path)
            if crowd.has_room(route.scope, gives_way=route.gives_way):
                if route.scope == "run:start":
                    crowd.expected += 1
                    scope[EXPECTED] = True
                return None
            headers = dict(scope["headers"])
            if len(headers) != len(scope["headers"]):
                return None
            self._guard.check_host(headers.get(b"host"))
            call = Exchange(self._server, method, unquote(path.decode("ascii")), headers, _never, _never)
            call.client = scope["client"][0] if scope["client"] else ""
            call.route, call.arguments, call.raw_query = route, arguments, query
            call.dialect = route.dialect
            self._guard.check_site(call, route.dialect)
            route.dialect.receive(call)
            if not self._gate.would_permit(route, call):
                return None
        except HeadwayError:
            return None
        self._count(began)
        error = Overloaded()
        error.retry_after_s = self.again_s
        reply = self._answer(error, call, began)
        body = b"" if method == "HEAD" else reply.body
        return Refusal(reply.status, head(reply, call.request_id, call.limits), body, self.again_s)

    def _count(self, now_s: float) -> None:
        """Count a refusal, and see now and then whether there were too many: as many come back as have waited."""
        self._refused += 1
        passed_s = now_s - self._since[0]
        if passed_s < LOOKS_S:
            return
        worked_s = process_time()
        wanted_s = ceil(self.again_s * self._refused / (REFUSED_MAX * max(worked_s - self._since[1], 0.01)))
        if wanted_s > self.again_s:
            self.again_s = min(AGAIN_S[1], wanted_s)
        elif passed_s < self.again_s:  # those that wait have not come back yet
            return
        else:
            self.again_s = max(AGAIN_S[0], wanted_s)
        self._refused, self._since = 0, (now_s, worked_s)


async def _never(*_: object) -> NoReturn:
    raise AssertionError("nobody asks or answers at the door")
