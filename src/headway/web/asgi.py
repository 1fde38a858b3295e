"""ASGI application: limits, authorization, handler, and one way out for every answer.

A status read may take twenty microseconds, so nothing is built that an answer does not need; rare cases (a duplicate
header, a body in pieces, an error) may cost more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container, Iterable, Mapping, MutableMapping
from time import monotonic, perf_counter
from typing import Any, Final

import msgspec

from headway.errors import (
    BadParameter,
    CutOff,
    HeadwayError,
    MethodNotAllowed,
    Overloaded,
    RouteNotFound,
    StorageBusy,
    StorageFailed,
    Unauthenticated,
)
from headway.ids import random_names
from headway.logs import LoggedError
from headway.notify.events import CallersChanged
from headway.runs.service import Service
from headway.store.database import DatabaseLocked, StorageBroken
from headway.store.query_context import QUERY_CONTEXT, ClientDisconnected, QueryContext
from headway.web import accesslog, body, problem
from headway.web.authorizer import Authorizer
from headway.web.brief import in_brief
from headway.web.call import REQUESTED, Call
from headway.web.context import Check, ServerContext
from headway.web.dialect import NATIVE, Dialect
from headway.web.disconnect import Receive
from headway.web.documents import SurfaceDocuments
from headway.web.exchange import Exchange
from headway.web.hostcheck import SAFE_METHODS, Cors, HostCheck
from headway.web.reply import Reply, Send, send_reply
from headway.web.route import Route
from headway.web.router import Router, raw_path
from headway.web.shedder import EXPECTED, LoadShedder
from headway.web.surface import Surface, mount

log = logging.getLogger("headway.http")

URL_BYTES_MAX: Final = 16 * 1024
HEADERS_MAX: Final = 100
HEALTH: Final = frozenset({b"/livez", b"/readyz", b"/healthz"})
"""Paths of health checks, which are answered under any Host."""
REQUEST_ID_MAX: Final = 128
_SINGLE: Final = frozenset(
    {b"host", b"content-length", b"content-type", b"idempotency-key", b"if-match", b"last-event-id", b"origin"}
)
"""Headers that are refused twice in one request, since two readers could use different ones, as are headers with keys."""


class Api(ServerContext):
    """The ASGI application of one service, with its surfaces; `checks` are the checks of readiness, by name."""

    def __init__(
        self,
        service: Service,
        surfaces: Iterable[Surface],
        *,
        checks: Mapping[str, Check] | None = None,
        version: str = "",
    ) -> None:
        settings = service.settings
        mounts = mount(surfaces, settings)
        self.routes = tuple(route for each in mounts for route in each.routes)
        super().__init__(service, checks or {})
        self.documents = SurfaceDocuments(mounts, version)
        self.host_check = HostCheck(settings, self.addresses)
        plugged = [each.surface for each in mounts]
        self.authorizer = Authorizer(
            self.access, (each.credentials for each in plugged if each.credentials is not None)
        )
        self._cors = Cors(settings.allow_origin, (name for each in plugged for name in each.headers))
        service.store.events.subscribe(CallersChanged, lambda _: self._end_revoked())
        self.router = Router(self.routes)
        self.meters = [endpoint.meter for endpoint in self.router.endpoints]
        self._dialects = tuple(dict.fromkeys(route.dialect for route in self.routes))
        """Dialects in the order of their first routes, which is the order in which they may claim a request without a route."""
        self._shared = bool(settings.allow_origin) or any(dialect.origins for dialect in self._dialects)
        """Whether any origin of another site is allowed."""
        self.shedder = LoadShedder(self, self.router, self.host_check, self.authorizer, self._shed)
        self._body_max = settings.body_max
        self.access_log = settings.access_log
        self._query_max_s = settings.query_max_ms / 1000
        self._request_ids = random_names(b"req_")

    def drain(self) -> None:
        """End long-lasting requests: streams send `reconnect`, long polls answer with the present state."""
        self.draining = True
        for wait in tuple(self.waiting):
            wait.end("draining")

    def close(self) -> None:
        """Drain, and end the workers' signals streams too, right before the server stops."""
        self.closing = True
        self.drain()
        for wait in tuple(self.signals):
            wait.end("draining")

    def _end_revoked(self) -> None:
        """End streams and long polls of callers whose keys are revoked."""
        for wait in (*self.waiting, *self.signals):
            if not wait.stands():
                wait.end("revoked")

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await _other(scope, receive, send)
            return
        began = perf_counter()
        if self.limiter.expected and scope.pop(EXPECTED, False):
            self.limiter.expected -= 1
        raw_headers = scope["headers"]
        headers = dict(raw_headers)
        call = Exchange(self, scope["method"], scope["path"], headers, receive, send)
        peer = scope.get("client")
        call.client = peer[0] if peer else ""
        call.request_id = self.request_id(headers)
        try:
            try:
                if len(headers) != len(raw_headers):
                    _check_doubled(raw_headers, self.authorizer.headers)
                reply = await self._answer(call, scope)
            except HeadwayError as error:
                reply = self._refuse(error, call)
            except (body.ClientGone, ClientDisconnected):
                return
            except asyncio.CancelledError:
                if not self.closing or call.status:
                    raise
                reply = self._refuse(CutOff(), call)
            except DatabaseLocked:
                reply = self._refuse(StorageBusy(), call)
            except StorageBroken:
                log.exception("http.storage_broken request_id=%s", call.request_id.decode())
                reply = self._refuse(StorageFailed(), call)
            except Exception:
                log.exception("http.internal_error request_id=%s path=%r", call.request_id.decode(), call.path[:200])
                reply = self._refuse(problem.InternalError(), call)
            if reply is not None:
                if self._shared:
                    reply = self._with_cors(reply, call)
                call.status = reply.status
                await send_reply(reply, send, call.method, call.request_id, call.limits)
            endpoint = call.endpoint
            if endpoint is not None:
                endpoint.meter.note(call.status, perf_counter() - began)
        finally:
            if self.access_log:
                seconds, client = perf_counter() - began, self.addresses.of(call.client, headers)
                accesslog.note(call.method, call.path, call.status, seconds, client, call.request_id, _route(call))

    async def _answer(self, call: Exchange, scope: MutableMapping[str, Any]) -> Reply | None:
        headers, method = call.headers, call.method
        path = scope.get("raw_path") or raw_path(scope["path"])
        query: bytes = scope["query_string"]
        if len(path) + len(query) > URL_BYTES_MAX:
            raise problem.UriTooLong(f"the path and query may have {URL_BYTES_MAX:,} bytes")
        if len(headers) > HEADERS_MAX:
            raise problem.HeadersTooLarge(f"a request may have {HEADERS_MAX} headers")
        host = headers.get(b"host")
        if host not in self.host_check.accepted and path not in HEALTH:
            self.host_check.check_host(host)
        if method == "OPTIONS":
            return self._options(call, path)
        endpoint, call.arguments = self.router.find(method, path)
        route = endpoint.route
        call.endpoint, call.route_name = endpoint, route.name
        call.dialect = dialect = route.dialect
        call.raw_query = query
        if b"origin" in headers or b"sec-fetch-site" in headers:
            self.host_check.check_site(call, dialect)
        if dialect.prepare is not None:
            dialect.prepare(call)
        self.authorizer.authorize(route, call)
        call.services = self.service.of(call.principal.organisation)
        organisation = call.services.organisation
        query_context = QueryContext(None if route.scope == "worker:protocol" else organisation, self._query_max_s)
        QUERY_CONTEXT.set(query_context)
        if not route.logged:  # a logged change must not be cancelled between its effect and its line in the audit log
            scope[REQUESTED] = query_context
        if self._shared and route.streams:
            call.cors = self._cors_headers(call)
        if self.limiter.pressed and not self.limiter.has_room(route.scope, gives_way=route.gives_way):
            raise Overloaded
        if route.unparsed:
            if method not in SAFE_METHODS:
                call.raw_body = await body.read(call.receive, headers, self._body_max)
        else:
            if not endpoint.is_prepared:
                endpoint.prepare()
            call.query = endpoint.parameters.read(query) if query else endpoint.no_query
            if (method == "POST" or method == "PATCH" or method == "PUT") and not route.raw:  # noqa: PLR1714 - no tuple is built
                await body.receive_json(call, endpoint, self._body_max)
        reply = await route.handler(call)
        if call.brief is not None and reply is not None and reply.body:
            reply = in_brief(reply, call.brief)
        if route.logged:
            await self._log(call, route, reply)
        return reply

    async def _log(self, call: Call, route: Route, reply: Reply | None) -> None:
        """Write the audit line before the answer, so that every acknowledged change has one."""
        outcome = "done" if reply is None else f"done {reply.status}"
        noun = next(iter(call.arguments.values()), "")
        await self.access.record(call.origin(), route.logged, noun, outcome)

    def _options(self, call: Exchange, path: bytes) -> Reply:
        try:
            self.router.find("OPTIONS", path)
        except MethodNotAllowed as refused:
            allow: list[str] = refused.fields["allow"]
        else:
            raise RouteNotFound
        asked = call.header(b"access-control-request-method")
        if asked in allow:  # a preflight, answered as the request itself would be
            call.dialect = self.router.find(asked, path)[0].route.dialect
        return Reply(204, b"", ((b"allow", ", ".join(allow).encode()),))

    def request_id(self, headers: dict[bytes, bytes]) -> bytes:
        """Return the request's id: the client's `X-Request-Id` if it is well-formed, else a random one."""
        given = headers.get(b"x-request-id")
        return given if given is not None and _sane(given) else next(self._request_ids)

    def _shed(self, error: HeadwayError, call: Exchange, began_s: float) -> Reply:
        """Return the answer to a request that the load shedder refuses by its head."""
        call.request_id = self.request_id(call.headers)
        reply = self._refuse(error, call)
        if self._shared:
            reply = self._with_cors(reply, call)
        seconds = monotonic() - began_s
        if call.endpoint is not None:
            call.endpoint.meter.note(reply.status, seconds)
        if self.access_log:
            accesslog.note(call.method, call.path, reply.status, seconds, call.client, call.request_id, _route(call))
        return reply

    def _cors_headers(self, call: Exchange) -> tuple[tuple[bytes, bytes], ...]:
        return self._cors.headers(call, self._dialect(call))

    def _with_cors(self, reply: Reply, call: Exchange) -> Reply:
        return msgspec.structs.replace(reply, headers=(*reply.headers, *self._cors_headers(call)))

    def _refuse(self, error: HeadwayError, call: Exchange) -> Reply:
        if call.status:  # the answer has begun: breaking it off is the only way to show that it is incomplete
            where = call.request_id.decode(), call.path[:200]
            log.warning("http.broken_off request_id=%s path=%r error=%s", *where, error)
            raise LoggedError
        if not call.limits:
            call.limits = self.authorizer.left(call)
        if call.dialect is not None and call.dialect.yields(error, call):
            call.dialect = None
        return self._dialect(call).refuse(error, call)

    def _dialect(self, call: Exchange) -> Dialect:
        """Return the dialect of the answer; without a route, that of the surface which claims the request."""
        if call.dialect is None:
            call.dialect = next((dialect for dialect in self._dialects if dialect.claims(call)), NATIVE)
        return call.dialect


def _route(call: Exchange) -> Route | None:
    return None if call.endpoint is None else call.endpoint.route


def _sane(request_id: bytes) -> bool:
    return 0 < len(request_id) <= REQUEST_ID_MAX and all(0x21 <= byte <= 0x7E for byte in request_id)  # noqa: PLR2004


def _check_doubled(raw_headers: list[tuple[bytes, bytes]], credentials: Container[bytes]) -> None:
    """Raise BadParameter for a duplicate of a header that may occur once, Unauthenticated for one with a key."""
    seen: set[bytes] = set()
    for name, _ in raw_headers:
        if name in seen and name in credentials:
            raise Unauthenticated("the request has two keys: send one")
        if name in seen and name in _SINGLE:
            raise BadParameter(f"the header {name.decode()} is given twice")
        seen.add(name)


async def _other(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """Answer the lifespan protocol, and close WebSockets, which are not supported."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1000})
        return
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
