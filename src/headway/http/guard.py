"""The gate: which hosts are answered, which browsers are not, and who may use a route.

Loopback is not safe by itself: any web page that the operator looks at can send requests there. So the Host has to be
one of ours (DNS rebinding), and a browser may not change anything from another site.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from headway.errors import BadHost, Forbidden
from headway.http.route import Route
from headway.model.query import FIRST

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_REMEMBERED_MAX: Final = 256


class Guard:
    """Holds what is allowed; one for each server."""

    def __init__(self, allow_host: Iterable[str] = ()) -> None:
        """`allow_host` are names without a port."""
        self._hosts = LOOPBACK | {host.lower() for host in allow_host}
        self._seen: set[bytes] = set()

    def check_host(self, host: bytes | None) -> None:
        """Raise BadHost unless the Host header names us; the port does not matter."""
        if host in self._seen:
            return
        if host is None or not self._ours(host.decode("latin-1")):
            shown = "" if host is None else host[:100].decode("latin-1")
            raise BadHost(f"this server does not answer for the host {shown!r}")
        if len(self._seen) < _REMEMBERED_MAX:
            self._seen.add(host)

    def check_site(self, headers: dict[bytes, bytes]) -> None:
        """Raise Forbidden for a change that a browser asks for from another site."""
        if headers.get(b"sec-fetch-site", b"").lower() == b"cross-site":
            raise Forbidden("a web page of another site may not change anything here")
        origin = headers.get(b"origin")
        if origin is not None:
            scheme, _, host = origin.decode("latin-1").partition("://")
            if scheme not in ("http", "https") or not self._ours(host):
                raise Forbidden(f"a web page of {origin[:100].decode('latin-1')!r} may not change anything here")

    def _ours(self, host: str) -> bool:
        name, colon, port = host.rpartition(":")
        if not colon or host.endswith("]"):
            name, port = host, "0"
        return name.lower().rstrip(".") in self._hosts and port.isascii() and port.isdigit()


def permit(route: Route, headers: dict[bytes, bytes]) -> int:
    """Let the request use the route, and return whose organisation it comes from; or raise Unauthenticated or Forbidden.

    As long as there are no keys the server listens on loopback only (see `server.ensure_safe_bind`), and whoever is on
    the machine may do everything. This is the one place where keys and scopes will be looked at.
    """
    del headers
    assert route.scope, "a route without a scope does not import"
    return FIRST
