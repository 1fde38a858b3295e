"""The ASGI application: limits first, then the gate, then the handler, then one way out for every answer.

The path of a request is short on purpose: a status read has twenty microseconds. Nothing is built that the answer does
not need; what is rare (a doubled header, a body in pieces, an error) may cost more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from time import perf_counter
from typing import Any, Final

import msgspec

from headway.errors import (
    BadHost,
    BadParameter,
    CutOff,
    Draining,
    HeadwayError,
    MalformedJson,
    MethodNotAllowed,
    RouteNotFound,
    StorageBusy,
    StorageFailed,
    Unauthenticated,
)
from headway.http import accesslog, body, guard, problem, sites
from headway.http.addresses import Addresses
from headway.http.brief import in_brief
from headway.http.call import REQUESTED, Call, Receive, Send, check_key
from headway.http.crowd import Crowd
from headway.http.dialect import NATIVE, Dialect
from headway.http.door import EXPECTED, Door
from headway.http.frames import Frames
from headway.http.meter import Meters
from headway.http.parameters import Parameters
from headway.http.patience import Patient
from headway.http.reply import Reply, head
from headway.http.route import Route
from headway.http.router import Router, raw_path
from headway.http.sites import SAFE_METHODS
from headway.http.streams import Streams
from headway.ids import random_names
from headway.logs import Told
from headway.service.service import Service
from headway.storage.database import DatabaseLocked, StorageBroken
from headway.storage.requester import REQUESTER, Requester, RequesterGone

log = logging.getLogger("headway.http")

URL_BYTES_MAX: Final = 16 * 1024
HEADERS_MAX: Final = 100
HEALTH: Final = frozenset({b"/livez", b"/readyz", b"/healthz"})
"""Paths that say how the server is, under any Host."""
REQUEST_ID_MAX: Final = 128
_SINGLE: Final = frozenset(
    guard.CREDENTIALS
    | {b"host", b"content-length", b"content-type", b"idempotency-key", b"if-match", b"last-event-id", b"origin"}
)
"""Headers of which two in one request would mean that someone reads the other one."""

Check = Callable[[], Awaitable[str | None]]
"""A readiness check: None is fine, a text says what is wrong."""


class Prepared(msgspec.Struct, frozen=True, eq=False):
    """What a route needs at each request, made at its first one: a start does not wait for those that nobody asks."""

    decoder: msgspec.json.Decoder[Any] | None
    parameters: Parameters | None
    no_query: Any
    """The query struct of a request without a query string."""


class Api:
    """The API over one service. `routes` is the list; `checks` are what readiness depends on, by name."""

    def __init__(
        self, service: Service, routes: Iterable[Route], *, checks: Mapping[str, Check] | None = None, version: str = ""
    ) -> None:
        self.service = service
        self.routes = tuple(routes)
        self.checks = dict(checks or {})
        self.version = version
        self.draining = False
        """Set by `drain`: nothing new that lasts is begun, and what lasts is ended."""
        self.closing = False
        self.waiting: set[Patient] = set()
        """Long polls and event streams, which a drain ends."""
        self.signals: set[Patient] = set()
        """Workers' signals streams, which outlast a drain: a worker is alive as long as its stream is open."""
        self.crowd = Crowd()
        self.crowd.excused = service.schemas.has_judged
        self.frames = Frames()
        self.meters = Meters([route.name for route in self.routes])
        settings = service.settings
        addresses = Addresses(settings.trusted_proxy)
        self.guard = sites.Guard(settings, addresses)
        self.gate = guard.Gate(service.access, addresses)
        self.streams = Streams(settings.streams_max)
        service.access.on_change = self._look_again
        self.router = Router(self.routes)
        self._dialects = tuple(dict.fromkeys(route.dialect for route in self.routes))
        """In the order of their first routes: who comes first may claim first."""
        self._shared = any(dialect.allowed_origins(settings) for dialect in (NATIVE, *self._dialects))
        """Whether any origin of another site is allowed."""
        self._slots = {id(route): slot for slot, route in enumerate(self.routes)}
        self._prepared: dict[int, Prepared] = {}
        self.door = Door(self)
        self._body_max = settings.body_max
        self.access_log = settings.access_log
        self._addresses = addresses
        self._query_max_s = settings.query_max_ms / 1000
        self._request_ids = random_names(b"req_")
        self._documents: dict[str, bytes] = {}

    def document(self, surface: str) -> bytes:
        """Return the OpenAPI document of a surface, made when it is first asked for; raise NotFound if there is none."""
        found = self._documents.get(surface)
        if found is None:
            from headway.http.openapi import document  # noqa: PLC0415 - most servers are never asked

            made = document(self.routes, surface, self.service.settings, self.version or "0")
            found = self._documents[surface] = msgspec.json.encode(made)
        return found

    def drain(self) -> None:
        """End what lasts: streams say `reconnect`, long polls answer with what they have."""
        self.draining = True
        for patient in tuple(self.waiting):
            patient.end("draining")

    def close(self) -> None:
        """End the workers' signals streams too: the server goes now."""
        self.closing = True
        self.drain()
        for patient in tuple(self.signals):
            patient.end("draining")

    def _look_again(self) -> None:
        """End what lasts of those who would not be let in any more."""
        for patient in (*self.waiting, *self.signals):
            if not patient.stands():
                patient.end("revoked")

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await _other(scope, receive, send)
            return
        began = perf_counter()
        if self.crowd.expected and scope.pop(EXPECTED, False):
            self.crowd.expected -= 1
        raw_headers = scope["headers"]
        headers = dict(raw_headers)
        call = Call(self, scope["method"], scope["path"], headers, receive, send)
        peer = scope.get("client")
        call.client = peer[0] if peer else ""
        call.request_id = self.request_id(headers)
        try:
            try:
                if len(headers) != len(raw_headers):
                    _check_doubled(raw_headers)
                reply = await self._answer(call, scope)
            except HeadwayError as error:
                reply = self._refuse(error, call)
            except (body.ClientGone, RequesterGone):
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
                    reply = self._shown(reply, call)
                call.status = reply.status
                await _send(reply, call, send)
            route = call.route
            if route is not None:
                self.meters.note(self._slots[id(route)], call.status, perf_counter() - began)
        finally:
            if self.access_log:
                seconds, client = perf_counter() - began, self._addresses.of(call.client, headers)
                accesslog.note(call.method, call.path, call.status, seconds, client, call.request_id, call.route)

    def note(self, route: Route, status: int, seconds: float) -> None:
        """Count an answer that was given before there was a request."""
        self.meters.note(self._slots[id(route)], status, seconds)

    async def _answer(self, call: Call, scope: MutableMapping[str, Any]) -> Reply | None:
        headers, method = call.headers, call.method
        path = scope.get("raw_path") or raw_path(scope["path"])
        query: bytes = scope["query_string"]
        if len(path) + len(query) > URL_BYTES_MAX:
            raise problem.UriTooLong(f"the path and query may have {URL_BYTES_MAX:,} bytes")
        if len(headers) > HEADERS_MAX:
            raise problem.HeadersTooLarge(f"a request may have {HEADERS_MAX} headers")
        try:
            self.guard.check_host(headers.get(b"host"))
        except BadHost:
            if path not in HEALTH:  # what looks there knows an address, and seldom a name
                raise
        if method == "OPTIONS":
            return self._options(call, path)
        route, call.arguments = self.router.find(method, path)
        call.route = route
        call.dialect = dialect = route.dialect
        call.raw_query = query
        dialect.receive(call, self.guard)
        self.gate.permit(route, call)
        call.service = self.service.of(call.principal.organisation)
        organisation = call.service.organisation
        requester = Requester(None if route.scope == "worker:protocol" else organisation, self._query_max_s)
        REQUESTER.set(requester)
        if not route.logged:  # a logged change must not be cancelled between its effect and its line in the audit log
            scope[REQUESTED] = requester
        if self.crowd.pressed:
            self.crowd.check(route)
        if route.unparsed:
            if method not in SAFE_METHODS:
                call.raw_body = await body.read(call.receive, headers, self._body_max)
        else:
            prepared = self._prepared.get(id(route)) or self._prepare(route)
            call.query = (prepared.parameters or _NO_PARAMETERS).read(query) if query else prepared.no_query
            if (method == "POST" or method == "PATCH" or method == "PUT") and not route.raw:  # noqa: PLR1714 - no tuple is built
                await self._read_body(call, route, prepared)
        reply = await route.handler(call)
        shows = route.shows
        if shows is not None and reply is not None and reply.body and not call.may(shows.effect):
            reply = in_brief(reply, shows.brief)
        if route.logged:
            await self._log(call, route, reply)
        return reply

    def _prepare(self, route: Route) -> Prepared:
        parameters = Parameters.of(route.query) if route.query is not None else None
        prepared = self._prepared[id(route)] = Prepared(
            decoder=msgspec.json.Decoder(route.takes) if route.takes is not None else None,
            parameters=parameters,
            no_query=parameters.read(b"") if parameters is not None else None,
        )
        return prepared

    async def _log(self, call: Call, route: Route, reply: Reply | None) -> None:
        """Tell the log, before the caller is answered: what was acknowledged stands there too."""
        outcome = "done" if reply is None else f"done {reply.status}"
        noun = next(iter(call.arguments.values()), "")
        await self.service.access.audit.append(call.origin(), route.logged, noun, outcome)

    async def _read_body(self, call: Call, route: Route, prepared: Prepared) -> None:
        headers = call.headers
        key = headers.get(b"idempotency-key")
        if key is not None:
            check_key(key)
        call.raw_body = raw = await body.read(call.receive, headers, self._body_max)
        if raw:
            body.check_type(headers)
        decoder = prepared.decoder
        if decoder is None:
            if raw and raw.strip() != b"{}":
                raise BadParameter("this route takes no body")
        elif raw:
            call.body = body.decode(decoder, raw)
        elif route.optional:
            call.body = decoder.decode(b"{}")
        else:
            body.check_type(headers)
            raise MalformedJson("the body is missing")

    def _options(self, call: Call, path: bytes) -> Reply:
        try:
            self.router.find("OPTIONS", path)
        except MethodNotAllowed as refused:
            allow: list[str] = refused.fields["allow"]
        else:
            raise RouteNotFound
        asked = call.header(b"access-control-request-method")
        if asked in allow:  # a browser wants to know how that would be answered
            call.dialect = self.router.find(asked, path)[0].dialect
        return Reply(204, b"", ((b"allow", ", ".join(allow).encode()),))

    def request_id(self, headers: dict[bytes, bytes]) -> bytes:
        """Return the request's id: the client's `X-Request-Id` if it is well-formed, else a random one."""
        given = headers.get(b"x-request-id")
        return given if given is not None and _sane(given) else next(self._request_ids)

    def refused(self, error: HeadwayError, call: Call) -> Reply:
        """Return the whole answer to somebody who gets no further."""
        reply = self._refuse(error, call)
        return self._shown(reply, call) if self._shared else reply

    def cors_headers(self, call: Call) -> tuple[tuple[bytes, bytes], ...]:
        """Return the headers of CORS; none if the settings allow no origins of other sites."""
        return (
            sites.cors_headers(call, self._dialect(call).allowed_origins(self.service.settings)) if self._shared else ()
        )

    def _shown(self, reply: Reply, call: Call) -> Reply:
        return msgspec.structs.replace(reply, headers=(*reply.headers, *self.cors_headers(call)))

    def _refuse(self, error: HeadwayError, call: Call) -> Reply:
        if call.status:  # the answer has begun: that it breaks off is the only way to say that it is not whole
            where = call.request_id.decode(), call.path[:200]
            log.warning("http.broken_off request_id=%s path=%r error=%s", *where, error)
            raise Told
        if not call.limits:
            call.limits = self.gate.left(call)
        return self._dialect(call).refuse(error, call)

    def _dialect(self, call: Call) -> Dialect:
        """Return how a request is answered; what no route takes, by what it looks like."""
        if call.dialect is None:
            call.dialect = next((dialect for dialect in self._dialects if dialect.claims(call)), NATIVE)
        return call.dialect

    def refuse_if_draining(self) -> None:
        """Raise Draining for what should not begin any more."""
        if self.draining:
            raise Draining


_NO_PARAMETERS: Final = Parameters(msgspec.Struct, frozenset(), frozenset(), frozenset(), labels=False)


async def _send(reply: Reply, call: Call, send: Send) -> None:
    headers = head(reply, call.request_id, call.limits)
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if call.method == "HEAD" else reply.body})


def _sane(request_id: bytes) -> bool:
    return 0 < len(request_id) <= REQUEST_ID_MAX and all(0x21 <= byte <= 0x7E for byte in request_id)  # noqa: PLR2004


def _check_doubled(raw_headers: list[tuple[bytes, bytes]]) -> None:
    """Raise BadParameter for two of a header that there can be one of; of two keys neither is looked at."""
    seen: set[bytes] = set()
    for name, _ in raw_headers:
        if name in seen and name in _SINGLE:
            if name in guard.CREDENTIALS:
                raise Unauthenticated("there are two keys in the request")
            raise BadParameter(f"the header {name.decode()} is there twice")
        seen.add(name)


async def _other(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    """Take part in the lifespan protocol; there are no WebSockets."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1000})
        return
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
