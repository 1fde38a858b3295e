"""The gate: authentication, authorisation and rate limits of requests.

There is one gate, and it decides on the route that was matched, never on how a path looks: what asks for a scope is
refused to whoever does not have it, and a route without a scope does not import.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from headway.engine.access import DAY_MS, MINUTE_MS, Window, lacking, may, spent
from headway.errors import Forbidden, HeadwayError, TooManyRequests, Unauthenticated
from headway.http.addresses import Addresses, is_local
from headway.http.route import UNCOUNTED, Route
from headway.model.access import LOCAL, Origin, Principal
from headway.model.effects import NEEDS, Effect
from headway.service.access import keytext
from headway.service.access.access import NEVER, Access, Admission
from headway.service.access.keytext import KeyText
from headway.service.access.meters import UNLIMITED

if TYPE_CHECKING:
    from headway.http.call import Call

CREDENTIALS: Final = frozenset(
    {b"authorization", b"x-tadabase-app-id", b"x-tadabase-app-key", b"x-tadabase-app-secret"}
)
_IN_ORDER: Final = tuple(sorted(CREDENTIALS))
FAILURES_MAX: Final = 30
"""Attempts without a valid key in a minute, of one address, that are answered in full."""
_ADMITTED_MAX: Final = 10_000
_ADDRESSES_MAX: Final = 10_000

Headers = tuple[tuple[bytes, bytes], ...]


class Gate:
    """Who is let in, to which routes, and how often; one for each server."""

    def __init__(self, access: Access, addresses: Addresses) -> None:
        self._access = access
        self._addresses = addresses
        self._admitted: dict[bytes, Admission] = {}
        self._generation = -1
        self._salt = secrets.token_bytes(32)
        """So that what is remembered of a credential cannot be made elsewhere, and nothing is learnt from how long a look takes."""
        self._failures: dict[str, Window] = {}

    def permit(self, route: Route, call: Call) -> None:
        """Let the call use the route, as who it is; raise Unauthenticated, Forbidden or TooManyRequests."""
        scope = route.scope
        if scope == "public" or scope == "token":  # noqa: PLR1714 - no tuple is built
            return
        now_ms = call.api.service.store.clock.now_ms()
        admission = self._known(call.headers, now_ms) or self._admit(call, route)
        call.principal = principal = admission.principal
        if call.application and principal.key_id is not None:
            self._check_application(route, call)
        if not (may(principal, scope) or (route.or_scope is not None and may(principal, route.or_scope))):
            error = Forbidden(f"this needs the scope {scope}", scope=scope)
            self._refused(call, route, error)
            raise error
        if route.does:
            self.check(call, route.does)
        if admission.windows and scope not in UNCOUNTED:
            self._count(admission, call, now_ms)
        if admission.key_id is not None:
            self._access.used(admission.key_id, now_ms)

    def _check_application(self, route: Route, call: Call) -> None:
        """Raise Unauthenticated for a path that names another organisation than the key's."""
        named = self._access.directory.by_public_id.get(call.application)
        if named is None or named.id != call.principal.organisation:
            error = Unauthenticated("the key is not one of that organisation", reason="organisation")
            self._refused(call, route, error)
            self._slow_down(call)
            raise error

    def check(self, call: Call, effects: Iterable[Effect]) -> None:
        """Raise Forbidden for an effect of the call whose scope the key lacks."""
        effect = lacking(call.principal, effects)
        if effect is not None:
            scope = NEEDS[effect].scope
            error = Forbidden(f"this needs the scope {scope}, to {effect}", scope=scope)
            if call.route is not None:
                self._refused(call, call.route, error)
            raise error

    def origin(self, call: Call) -> Origin:
        """Return where a call comes from, for the log."""
        principal = call.principal
        return Origin(
            organisation=principal.organisation,
            actor=principal.actor,
            key_id=principal.key_id or "",
            ip=self._addresses.of(call.client, call.headers),
            agent=call.headers.get(b"user-agent", b"").decode("latin-1"),
            request_id=call.request_id.decode(),
        )

    def windows(self, call: Call) -> tuple[Window, ...]:
        """Return what the caller may use up; nothing if it is not counted."""
        known = self._known(call.headers, call.api.service.store.clock.now_ms())
        return () if known is None else known.windows

    def left(self, call: Call) -> Headers:
        """Return what is left to the caller, as headers of an answer that is not counted; nothing if it is not known."""
        now_ms = call.api.service.store.clock.now_ms()
        known = self._known(call.headers, now_ms)
        if known is None or not known.windows or (call.route is not None and call.route.scope == "worker:protocol"):
            return ()
        return limits(known, now_ms)

    def would_permit(self, route: Route, call: Call) -> bool:
        """Whether somebody who was let in before may use the route; the call is told its limits, and nothing is counted."""
        now_ms = call.api.service.store.clock.now_ms()
        known = self._known(call.headers, now_ms)
        if known is None or not may(known.principal, route.scope):
            return False
        if known.windows:
            call.limits = limits(known, now_ms)
        return True

    def _known(self, headers: Mapping[bytes, bytes], now_ms: int) -> Admission | None:
        """Return who was let in with the same credential before, if nothing has changed since."""
        if self._generation != self._access.generation:
            self._admitted.clear()
            self._generation = self._access.generation
            return None
        mark = self._mark(headers)
        found = self._admitted.get(mark)
        if found is not None and now_ms >= found.until:
            del self._admitted[mark]
            return None
        return found

    def _mark(self, headers: Mapping[bytes, bytes]) -> bytes:
        shown = headers.get(b"authorization")
        if b"x-tadabase-app-key" in headers or b"x-tadabase-app-id" in headers or b"x-tadabase-app-secret" in headers:
            shown = b"\0".join([headers.get(name, b"\0") for name in _IN_ORDER])
        elif shown is None:
            return b""
        return hashlib.blake2b(shown, key=self._salt, digest_size=16).digest()

    def _admit(self, call: Call, route: Route) -> Admission:
        try:
            shown, application = credential(call.headers)
            keyless = self._keyless(call, route) if shown is None and self._access.locked else None
            if keyless is not None:  # not cached: the next request without a key may have another origin
                return Admission(keyless, NEVER, ())
            admission = self._access.admit(shown, application)
        except Unauthenticated as error:
            self._refused(call, route, error)
            self._slow_down(call)
            raise
        if len(self._admitted) >= _ADMITTED_MAX:
            self._admitted.clear()
        self._admitted[self._mark(call.headers)] = admission
        return admission

    @staticmethod
    def _keyless(call: Call, route: Route) -> Principal | None:
        """Return the principal of a loopback request without a key, if the settings allow it once keys exist."""
        settings = call.api.service.settings
        keyless = LOCAL if settings.loopback_without_key else route.dialect.keyless(settings)
        return keyless if keyless is not None and is_local(call.client, call.headers) else None

    def _slow_down(self, call: Call) -> None:
        """Answer an address that has failed often with 429. A valid key is let in from there all the same."""
        place = self._addresses.place(call.client, call.headers)
        if place not in self._failures and len(self._failures) >= _ADDRESSES_MAX:
            self._failures.clear()
        now_ms = call.api.service.store.clock.now_ms()
        window = self._failures.setdefault(place, Window(MINUTE_MS, FAILURES_MAX))
        over = spent((window,), now_ms)
        call.limits = (*_minute(window, now_ms), _remaining(window))
        if over is not None:
            raise TooManyRequests("too many attempts without a valid key", retry_after_s=_seconds(window, now_ms))

    def _refused(self, call: Call, route: Route, error: HeadwayError) -> None:
        self._access.audit.refused(self.origin(call), route.name, _object(call), error.code)

    def _count(self, admission: Admission, call: Call, now_ms: int) -> None:
        over = spent(admission.windows, now_ms)
        call.limits = limits(admission, now_ms)
        if over is None:
            return
        span = "minute" if over.period == MINUTE_MS else "day"
        whose = "key" if over in admission.windows[:2] else "organisation"
        raise TooManyRequests(
            f"the {whose} may ask {over.limit:,} times a {span}", retry_after_s=_seconds(over, now_ms)
        )


def _object(call: Call) -> str:
    return next(iter(call.arguments.values()), "")


def _seconds(window: Window, now_ms: int) -> int:
    return max(1, -(-(window.ends_at - now_ms) // 1000))


def tightest(windows: tuple[Window, ...], period: int) -> Window:
    """Return the window of a period of which least is left."""
    mine, all_of_us = windows[::2] if period == MINUTE_MS else windows[1::2]
    return (
        mine
        if mine.limit - mine.mine - mine.others <= all_of_us.limit - all_of_us.mine - all_of_us.others
        else all_of_us
    )


def limits(admission: Admission, now_ms: int) -> Headers:
    """Return the headers that say what is left of the tightest limits. Most of them are the same for a second."""
    second = now_ms // 1000
    if (
        admission.said_at != second
        or admission.windows[2].limit != UNLIMITED
        or admission.windows[3].limit != UNLIMITED
    ):
        admission.said_at = second
        minute, day = admission.tight = tightest(admission.windows, MINUTE_MS), tightest(admission.windows, DAY_MS)
        admission.said = (
            *_minute(minute, now_ms),
            (b"x-ratelimit-daily-limit", b"%d" % day.limit),
            (b"x-daily-ratelimit-reset", b"%d" % (day.ends_at // 1000)),
            (b"x-daily-retry-after", b"%d" % _seconds(day, now_ms)),
        )
    assert admission.tight is not None
    minute, day = admission.tight
    return (
        *admission.said,
        _remaining(minute),
        (b"x-ratelimit-daily-remaining", b"%d" % max(0, day.limit - day.mine - day.others)),
    )


def _minute(window: Window, now_ms: int) -> Headers:
    return (
        (b"x-ratelimit-limit", b"%d" % window.limit),
        (b"x-ratelimit-reset", b"%d" % (window.ends_at // 1000)),
        (b"x-retry-after", b"%d" % _seconds(window, now_ms)),
    )


def _remaining(window: Window) -> tuple[bytes, bytes]:
    return (b"x-ratelimit-remaining", b"%d" % max(0, window.limit - window.mine - window.others))


def credential(headers: Mapping[bytes, bytes]) -> tuple[KeyText | None, str | None]:
    """Return the key that the headers show, if they show one, and the organisation that they name with it.

    Two that are not the same raise Unauthenticated, as does what cannot be a key: nobody is let in as a third.
    """
    application, mine = _tadabase(headers)
    bearer = headers.get(b"authorization")
    if bearer is None:
        return mine, application
    scheme, _, text = bearer.decode("latin-1").partition(" ")
    if scheme.lower() not in ("bearer", "token"):
        raise Unauthenticated("Authorization has to be  Bearer hw_…  or  Token hw_…")
    shown = keytext.read(text.strip())
    if shown is None:
        raise Unauthenticated("the key is not known")
    if mine is not None and mine != shown:
        raise Unauthenticated("there are two different keys in the request")
    return shown, application


def _tadabase(headers: Mapping[bytes, bytes]) -> tuple[str | None, KeyText | None]:
    parts = [headers.get(b"x-tadabase-app-" + part) for part in (b"id", b"key", b"secret")]
    if parts == [None, None, None]:
        return None, None
    application, key_id, secret = (b"" if part is None else part for part in parts)
    if not (application and key_id and secret):
        raise Unauthenticated("X-Tadabase-App-id, -Key and -Secret have to be there together")
    return application.decode("latin-1"), KeyText(key_id.decode("latin-1"), secret.decode("latin-1"))
