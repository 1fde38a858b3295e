"""Call: one authorized request as its handler sees it, and the start gate, through which calls start runs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

import msgspec

from headway.errors import BadCursor, BadParameter, Draining, Forbidden, HeadwayError, RunNotFound
from headway.ids import canonical_id
from headway.kernel.authority import EVERYBODY, Origin, Principal
from headway.kernel.permissions import NEEDS, Effect, lacking, may, of_start
from headway.protocol.runs import StartRun
from headway.runs.idempotency import RequestKey, request_key
from headway.runs.runs import StartResult
from headway.runs.service import OrganisationServices
from headway.web.access_control import Caller
from headway.web.context import ServerContext
from headway.web.disconnect import CancelOnDisconnect, Receive
from headway.web.limiter import Permit
from headway.web.ratelimits import RateLimits
from headway.web.reply import Send

T = TypeVar("T")

REQUESTED: Final = "headway.requester"
"""Key of the ASGI scope under which the request's `store.query_context.QueryContext` is, if its queries may be cancelled."""
KEY_MAX: Final = 255
ACTOR_MAX: Final = 1000


class Call:
    """An authorized request."""

    request_id = b""
    status = 0
    """Status of an answer that the handler sends itself; 0: none yet."""
    principal: Principal = EVERYBODY
    """The caller; set by the authorizer before the handler is called."""
    client = ""
    """Address of the connection's peer."""
    limits: tuple[tuple[bytes, bytes], ...] = ()
    """Rate limit headers of the answer."""
    caller: Caller | None = None
    """The authenticated caller, with its rate limits; None on routes that need no key."""
    cors: tuple[tuple[bytes, bytes], ...] = ()
    """CORS headers for an answer that the handler sends itself."""
    route_name = ""
    """Method and path pattern of the route, for the audit log."""
    arguments: Mapping[str, str] = MappingProxyType({})
    application = ""
    """Public id of the organisation in the path, or empty; the key has to be of that organisation."""
    query: Any = None
    body: Any = None
    raw_body = b""
    raw_query = b""

    services: OrganisationServices
    """Services of the caller's organisation; set after authorization."""

    def __init__(
        self, server: ServerContext, method: str, path: str, headers: dict[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        self.server = server
        self.method = method
        self.path = path
        self.headers = headers
        self.receive = receive
        self.send = send

    def asked(self, kind: type[T]) -> T:
        """Return the decoded body."""
        assert isinstance(self.body, kind)
        return self.body

    def parameters(self, kind: type[T]) -> T:
        """Return the decoded query."""
        assert isinstance(self.query, kind)
        return self.query

    def run_id(self) -> str:
        """Return the canonical run id of the path; raise RunNotFound for a text that is no run id."""
        text = self.arguments["id"]
        found = canonical_id(text)
        if found is None:
            raise RunNotFound(f"{text[:80]!r} is not the id of a run")
        return found

    def name(self) -> str:
        """Return the name in the path."""
        return self.arguments["name"]

    def header(self, name: bytes) -> str | None:
        """Return a header as text."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def request_key(self) -> RequestKey | None:
        """Return the request key of the Idempotency-Key, or None without one; raise BadParameter for a malformed one."""
        raw = self.headers.get(b"idempotency-key")
        if raw is None:
            return None
        check_key(raw)
        return request_key(raw.decode(), self.method, self.path, self.raw_body, self.server.settings.idempotency_ms)

    def expected_version(self) -> int | None:
        """Return the version in If-Match; None if the header is absent or `*`."""
        text = self.header(b"if-match")
        if text is None or text.strip() == "*":
            return None
        return version_of(text)

    def preferred_wait_ms(self) -> int | None:
        """Return the milliseconds of `Prefer: wait=N` (RFC 7240), `wait_max_ms` at most; None without that preference."""
        raw = self.headers.get(b"prefer")
        if raw is None:
            return None
        for preference in raw.decode("latin-1").replace(";", ",").split(","):
            name, _, value = preference.partition("=")
            digits = value.strip().strip('"')
            if name.strip().lower() == "wait" and digits.isascii() and digits.isdigit():
                return min(int(digits[:9]) * 1000, self.server.settings.wait_max_ms)
        return None

    def prefers_async(self) -> bool:
        """Whether the client prefers `respond-async` (RFC 7240)."""
        return b"respond-async" in self.headers.get(b"prefer", b"").lower()

    def cancel_on_disconnect(self) -> CancelOnDisconnect:
        """Return the context manager that ends a wait when the client disconnects or the server drains."""
        return CancelOnDisconnect(self.server.waiting, self.receive, self.stands)

    def stands(self) -> bool:
        """Whether the caller's key is still valid."""
        return self.server.access.is_current(self.principal)

    def actor(self, said: str) -> str:
        """Return the actor for the history: the given name, with the caller's key if there is one."""
        if self.principal.key_id is None:
            return said
        return f"{said} ({self.principal.actor})"[:ACTOR_MAX] if said else self.principal.actor

    def may(self, effect: Effect) -> bool:
        """Whether the caller's key has the scope for the effect."""
        return may(self.principal, NEEDS[effect].scope)

    def check(self, *effects: Effect) -> None:
        """Raise Forbidden for the first effect whose scope the caller's key lacks."""
        effect = lacking(self.principal, effects)
        if effect is not None:
            scope = NEEDS[effect].scope
            error = Forbidden(f"this needs the scope {scope}, to {effect}", scope=scope)
            self.audit_refusal(error)
            raise error

    def refuse_if_draining(self) -> None:
        """Raise Draining while the server drains."""
        if self.server.draining:
            raise Draining

    def origin(self) -> Origin:
        """Return the origin of the call, for the audit log."""
        principal = self.principal
        return Origin(
            organisation=principal.organisation,
            actor=principal.actor,
            key_id=principal.key_id or "",
            ip=self.server.addresses.of(self.client, self.headers),
            agent=self.headers.get(b"user-agent", b"").decode("latin-1"),
            request_id=self.request_id.decode(),
        )

    def audit_refusal(self, error: HeadwayError) -> None:
        """Write the refusal into the audit log."""
        noun = next(iter(self.arguments.values()), "")
        self.server.access.note_refusal(self.origin(), self.route_name, noun, error.code)

    def now_ms(self) -> int:
        """Return the time of the server's clock."""
        return self.server.clock.now_ms()

    def show_limits(self) -> None:
        """Add the caller's rate limits to the answer of a route whose use is not counted."""
        if self.rates is not None:
            self.limits = self.rates.headers(self.now_ms())

    @property
    def rates(self) -> RateLimits | None:
        """The caller's rate limits; None if its requests are not counted."""
        return None if self.caller is None else self.caller.rates

    def accepts(self, kind: bytes) -> bool:
        """Whether `Accept` names the media type."""
        return kind in self.headers.get(b"accept", b"").lower()


class StartPolicy(msgspec.Struct, frozen=True):
    """Start policy of a surface."""

    run_type: str = "api"
    """Type of the runs that are started on the surface."""


class StartGate:
    """Start gate of a surface: the checks that every start of runs passes, in one order: drain, scopes, load."""

    def __init__(self, policy: StartPolicy) -> None:
        self._run_type = policy.run_type

    def check(self, call: Call, *effects: Effect) -> None:
        """Raise Draining, or Forbidden for a scope that the caller's key lacks."""
        if call.server.draining:
            raise Draining
        call.check(*effects)

    def permit(self, call: Call, *effects: Effect) -> Permit:
        """Check, and count the start for as long as the block lasts. Raises as `check`."""
        self.check(call, *effects)
        return Permit(call.server.limiter)

    async def start(self, call: Call, spec: StartRun) -> StartResult:
        """Start a run, or find the one of an earlier start with the same Idempotency-Key or dedupe key.

        Raises Draining, Forbidden, BadParameter (Idempotency-Key), and the errors of `Runs.start`.
        """
        with self.permit(call, *effects_of(spec)):
            return await call.services.runs.start(spec, call.request_key(), run_type=self._run_type)


def effects_of(spec: StartRun) -> tuple[Effect, ...]:
    """Return the effects of a start."""
    return of_start(spec.task) if spec.dedupe is None else of_start(spec.task, spec.dedupe.on_conflict)


def check_key(raw: bytes) -> None:
    """Raise BadParameter unless an Idempotency-Key is 1 to 255 visible ASCII characters."""
    if not 1 <= len(raw) <= KEY_MAX or not all(0x21 <= byte <= 0x7E for byte in raw):  # noqa: PLR2004
        raise BadParameter(
            f"Idempotency-Key must have 1 to {KEY_MAX} visible ASCII characters", parameter="Idempotency-Key"
        )


def version_of(etag: str) -> int:
    """Return the version in an ETag; -1, which no object has, for an ETag that is none of ours."""
    digits = etag.strip().removeprefix("W/").strip('"')
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 18 else -1  # noqa: PLR2004


def number(text: str, what: str) -> int:
    """Return a position in a history or feed; raise BadCursor for a text that is no such number."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):  # noqa: PLR2004
        raise BadCursor(f"{what} must be a number from 0, not {text[:40]!r}")
    return int(text)


def etag(version: int) -> tuple[bytes, bytes]:
    """Return the ETag of a version."""
    return (b"etag", b'"%d"' % version)
