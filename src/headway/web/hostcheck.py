"""Checks of `Host` and `Origin` against DNS rebinding and cross-site requests, and the headers of CORS.

Loopback is not safe by itself: any web page open on the machine can send requests there. So the Host has to be an
allowed one (against DNS rebinding), and requests of browsers are accepted from the server's own pages and from origins
in the settings. An origin is scheme, host and port: another port of this machine is another site. Browsers send
requests without a body without a preflight, so only the server can refuse them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from headway.config import Settings
from headway.errors import BadHost, Forbidden
from headway.networks import in_url, is_wildcard
from headway.web.addresses import LOOPBACK, Addresses, read_host
from headway.web.call import Call
from headway.web.dialect import Dialect

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_REMEMBERED_MAX: Final = 256
_PORTS: Final = {"http": "80", "https": "443"}
_ITSELF: Final = frozenset({b"same-origin", b"none"})
"""Sec-Fetch-Site of requests from the server's own pages, and of an address that a person typed."""
_VARY: Final = (b"vary", b"origin")
_EXPOSED: Final = (b"access-control-expose-headers", b"*")
_METHODS: Final = (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE")
_HEADERS: Final = (
    "Accept", "Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID", "Prefer",
    "X-Request-Id",
)  # fmt: skip


class HostCheck:
    """Checks the hosts and origins of one server's requests."""

    def __init__(self, settings: Settings, addresses: Addresses) -> None:
        """`addresses` knows the trusted proxies; allowed besides loopback are the host listened on and those in the settings."""
        own = set() if is_wildcard(settings.host) else {in_url(settings.host)}
        self._hosts = LOOPBACK | {host.lower() for host in own.union(settings.allow_host)}
        self._allowed = settings.allow_origin
        self._behind_proxy = settings.behind_proxy
        self._tls = bool(settings.tls_cert)
        self._addresses = addresses
        self.accepted: set[bytes | None] = set()
        """Host headers that were accepted before."""

    def check_host(self, host: bytes | None) -> None:
        """Raise BadHost unless the Host header has an allowed host; any port will do."""
        if host is None or self._ours(host.decode("latin-1")) is None:
            shown = "" if host is None else host[:100].decode("latin-1")
            raise BadHost(f"this server does not answer for the host {shown!r}")
        if len(self.accepted) < _REMEMBERED_MAX:
            self.accepted.add(host)

    def check_site(self, call: Call, dialect: Dialect) -> None:
        """Raise Forbidden for a browser's request from a page that is not the server's own or of an allowed origin.

        A request with neither `Origin` nor `Sec-Fetch-Site` comes from no browser, or is a GET of an old one.
        """
        origin, site = call.headers.get(b"origin"), call.headers.get(b"sec-fetch-site")
        if origin is None and site is None:
            return
        safe = call.method in SAFE_METHODS
        if origin is None:
            linked = dialect.links and call.headers.get(b"sec-fetch-mode") == b"navigate"
            if not (safe and (site in _ITSELF or linked)):
                raise Forbidden("a web page of another site may not send this request")
            return
        text = origin.decode("latin-1")
        if text not in (*self._allowed, *dialect.origins) and not (
            (site is None or site in _ITSELF) and self._is_own(text, call)
        ):
            raise Forbidden(
                f"a web page of {text[:100]!r} may not use this server: its origin is not allowed; HEADWAY_ALLOW_ORIGIN allows it"
            )

    def _is_own(self, origin: str, call: Call) -> bool:
        """Tell whether the page's origin is the request's target: same host and port, and the same scheme if known."""
        scheme, _, rest = origin.partition("://")
        said = self._addresses.said(call.client, call.headers, b"x-forwarded-host")
        theirs, ours = (
            read_host(rest),
            self._ours(call.headers.get(b"host", b"").decode("latin-1") if said is None else said),
        )
        if scheme not in _PORTS or theirs is None or ours is None:
            return False
        known = self._addresses.said(call.client, call.headers, b"x-forwarded-proto")
        if known is None and not self._behind_proxy:
            known = "https" if self._tls else "http" if ours[0] in LOOPBACK else None
        port = _PORTS[scheme]
        return (theirs[0], theirs[1] or port) == (ours[0], ours[1] or port) and known in (None, scheme)

    def _ours(self, text: str) -> tuple[str, str] | None:
        """Return name and port of an allowed host; None for others."""
        host = read_host(text)
        return host if host is not None and host[0] in self._hosts else None


class Cors:
    """Headers of CORS, which let web pages of allowed origins read answers."""

    def __init__(self, allowed: Collection[str], headers: Iterable[str]) -> None:
        """`allowed` are the origins that every surface takes, `headers` request headers besides those of the native API."""
        self._allowed = allowed
        self._headers = (b"access-control-allow-headers", ", ".join((*_HEADERS, *headers)).encode())

    def headers(self, call: Call, dialect: Dialect) -> tuple[tuple[bytes, bytes], ...]:
        """Return the headers of an answer in the dialect."""
        origin = call.headers.get(b"origin", b"")
        text = origin.decode("latin-1")
        if text not in self._allowed and text not in dialect.origins:
            return (_VARY,)
        ours = (b"access-control-allow-origin", origin)
        return (ours, _METHODS, self._headers, _VARY) if call.method == "OPTIONS" else (ours, _EXPOSED, _VARY)
