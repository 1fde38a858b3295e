"""Authorizer: authentication, authorization and rate limits of requests.

The one authorizer of a server decides on the matched route, never on the form of a path: a route needs its scope, and a
route without a scope does not import.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from typing import Final

from headway.errors import Forbidden, TooManyRequests, Unauthenticated
from headway.kernel.authority import LOCAL, Principal
from headway.kernel.permissions import NEEDS, may
from headway.protocol import keytext
from headway.protocol.keytext import KeyText
from headway.web.access_control import AccessControl, Caller
from headway.web.addresses import is_local
from headway.web.call import Call
from headway.web.exchange import Exchange
from headway.web.ratelimits import (
    MINUTE_MS,
    Headers,
    RateLimits,
    Window,
    minute_headers,
    remaining_header,
    seconds_left,
    spent,
)
from headway.web.route import UNCOUNTED, Route
from headway.web.surface import Credentials

AUTHORIZATION: Final = b"authorization"
FAILURES_MAX: Final = 30
"""Attempts without a valid key in a minute, of one address, that are answered in full."""
_CALLERS_MAX: Final = 10_000
_ADDRESSES_MAX: Final = 10_000


class Authorizer:
    """Authentication, scopes and request counts of one server."""

    def __init__(self, access: AccessControl, credentials: Iterable[Credentials] = ()) -> None:
        """`credentials` are the credential headers of surfaces, besides `Authorization`."""
        self._access = access
        self._credentials = tuple(credentials)
        others = {name for each in self._credentials for name in each.headers}
        self._others = frozenset(others)
        self.headers = frozenset({AUTHORIZATION, *others})
        """All headers that can have a key."""
        self._in_order = tuple(sorted(self.headers))
        self._callers: dict[bytes, Caller] = {}
        self._generation = -1
        self._salt = secrets.token_bytes(32)
        """Key of the digests under which credentials are cached, so that look-up times tell nothing about them."""
        self._failures: dict[str, Window] = {}

    def authorize(self, route: Route, call: Exchange) -> None:
        """Set the principal of the call, and count its use of the route.

        Raises Unauthenticated, Forbidden or TooManyRequests.
        """
        scope = route.scope
        if scope == "public" or scope == "token":  # noqa: PLR1714 - no tuple is built
            return
        now_ms = call.server.clock.now_ms()
        call.caller = caller = self._cached(call.headers, now_ms) or self._authenticate(call, route)
        call.principal = principal = caller.principal
        if call.application and principal.key_id is not None:
            self._check_application(call)
        if not (may(principal, scope) or (route.or_scope is not None and may(principal, route.or_scope))):
            error = Forbidden(f"this needs the scope {scope}", scope=scope)
            call.audit_refusal(error)
            raise error
        if route.does:
            call.check(*route.does)
        shows = route.shows
        if shows is not None and not may(principal, NEEDS[shows.effect].scope):
            call.brief = shows.brief
        if caller.rates is not None and scope not in UNCOUNTED:
            self._count(caller.rates, call, now_ms)
        if caller.key_id is not None:
            self._access.note_use(caller.key_id, now_ms)

    def _check_application(self, call: Call) -> None:
        """Raise Unauthenticated for a path that names another organisation than the key's."""
        if self._access.organisation_of(call.application) != call.principal.organisation:
            error = Unauthenticated("the key belongs to another organisation", reason="organisation")
            call.audit_refusal(error)
            self._count_failure(call)
            raise error

    def left(self, call: Exchange) -> Headers:
        """Return rate limit headers for an answer that is not counted; () for a caller who is not in the cache."""
        now_ms = call.server.clock.now_ms()
        cached = self._cached(call.headers, now_ms)
        if (
            cached is None
            or cached.rates is None
            or (call.endpoint is not None and call.endpoint.route.scope == "worker:protocol")
        ):
            return ()
        return cached.rates.headers(now_ms)

    def would_authorize(self, route: Route, call: Call) -> bool:
        """Whether an admitted caller may use the route; the call gets its limits, and no use is counted."""
        now_ms = call.server.clock.now_ms()
        cached = self._cached(call.headers, now_ms)
        if cached is None or not may(cached.principal, route.scope):
            return False
        if cached.rates is not None:
            call.limits = cached.rates.headers(now_ms)
        return True

    def _cached(self, headers: Mapping[bytes, bytes], now_ms: int) -> Caller | None:
        """Return the cached caller with the same credential, unless it has expired or access has changed since."""
        if self._generation != self._access.generation:
            self._callers.clear()
            self._generation = self._access.generation
            return None
        mark = self._mark(headers)
        found = self._callers.get(mark)
        if found is not None and now_ms >= found.until:
            del self._callers[mark]
            return None
        return found

    def _mark(self, headers: Mapping[bytes, bytes]) -> bytes:
        if self._others.isdisjoint(headers):
            shown = headers.get(AUTHORIZATION)
            if shown is None:
                return b""
        else:
            shown = b"\0".join([headers.get(name, b"\0") for name in self._in_order])
        return hashlib.blake2b(shown, key=self._salt, digest_size=16).digest()

    def _authenticate(self, call: Call, route: Route) -> Caller:
        try:
            shown, application = self._credential(call.headers)
            keyless = self._keyless(call, route) if shown is None and self._access.locked else None
            if keyless is not None:  # not cached: the next request without a key may have another origin
                return Caller(keyless)
            caller = self._access.authenticate(shown, application)
        except Unauthenticated as error:
            call.audit_refusal(error)
            self._count_failure(call)
            raise
        if len(self._callers) >= _CALLERS_MAX:
            self._callers.clear()
        self._callers[self._mark(call.headers)] = caller
        return caller

    def _credential(self, headers: Mapping[bytes, bytes]) -> tuple[KeyText | None, str | None]:
        """Return the key in the headers, if there is one, and the organisation that is named with it.

        Raises Unauthenticated for two keys that are not the same, and for a malformed one.
        """
        keys: dict[KeyText, None] = {}
        application = None
        for credentials in self._credentials:
            found = credentials.read(headers)
            if found is not None:
                application = found[0]
                keys[found[1]] = None
        bearer = headers.get(AUTHORIZATION)
        if bearer is not None:
            keys[_bearer(bearer)] = None
        if len(keys) > 1:
            raise Unauthenticated("the request has two different keys: send one")
        return next(iter(keys), None), application

    @staticmethod
    def _keyless(call: Call, route: Route) -> Principal | None:
        """Return the principal of a loopback request without a key, if the settings allow it once keys exist."""
        keyless = LOCAL if call.server.settings.loopback_without_key else route.dialect.keyless
        return keyless if keyless is not None and is_local(call.client, call.headers) else None

    def _count_failure(self, call: Call) -> None:
        """Raise TooManyRequests for an address with too many failures; valid keys of that address are admitted all the same."""
        place = call.server.addresses.place(call.client, call.headers)
        if place not in self._failures and len(self._failures) >= _ADDRESSES_MAX:
            self._failures.clear()
        now_ms = call.server.clock.now_ms()
        window = self._failures.setdefault(place, Window(MINUTE_MS, FAILURES_MAX))
        over = spent((window,), now_ms)
        call.limits = (*minute_headers(window, now_ms), remaining_header(window))
        if over is not None:
            raise TooManyRequests("too many attempts without a valid key", retry_after_s=seconds_left(window, now_ms))

    @staticmethod
    def _count(rates: RateLimits, call: Call, now_ms: int) -> None:
        over = spent(rates.windows, now_ms)
        call.limits = rates.headers(now_ms)
        if over is None:
            return
        span = "minute" if over.period == MINUTE_MS else "day"
        whose = "key" if over in rates.windows[:2] else "organisation"
        raise TooManyRequests(
            f"the {whose} may send {over.limit:,} requests a {span}", retry_after_s=seconds_left(over, now_ms)
        )


def _bearer(value: bytes) -> KeyText:
    scheme, _, text = value.decode("latin-1").partition(" ")
    if scheme.lower() not in ("bearer", "token"):
        raise Unauthenticated("Authorization has to be  Bearer hw_…  or  Token hw_…")
    shown = keytext.read(text.strip())
    if shown is None:
        raise Unauthenticated("the key is not known")
    return shown
