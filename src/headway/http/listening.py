"""Opens the sockets to listen on, if that is safe. Imports next to nothing, because it comes before everything else."""

from __future__ import annotations

import ipaddress
import socket

BACKLOG = 2048
"""Connections that may wait to be taken: workers that come early wait here until the server is up."""


class UnsafeBind(Exception):
    """The address would let others in, and nothing would tell them apart or keep what they say to themselves."""


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def ensure_safe_bind(host: str, *, behind_proxy: bool = False, anonymous: bool = False) -> None:
    """Raise UnsafeBind for an address that is not this machine's own, unless a proxy with TLS stands before it.

    Where others can come from, nobody gets in without a key: see `ensure_keys`.
    """
    if anonymous and (behind_proxy or not is_loopback(host)):
        raise UnsafeBind("--anonymous-loopback is for this machine alone: not behind a proxy, not on another address")
    if not (behind_proxy or is_loopback(host)):
        raise UnsafeBind(
            f"refusing to listen on {host}: keys would go over the network in the clear; put a proxy that speaks TLS "
            f"before it and say --behind-proxy, or listen on 127.0.0.1"
        )


def ensure_keys(host: str, *, locked: bool) -> None:
    """Raise UnsafeBind for an address that others can reach, as long as there is no key."""
    if not (locked or is_loopback(host)):
        raise UnsafeBind(
            f"refusing to listen on {host}: without keys anyone who reaches it could run tasks; make one with  "
            f"headway keys create admin --scope all --store URL  or listen on 127.0.0.1"
        )


def listen(host: str, port: int, *, behind_proxy: bool = False, anonymous: bool = False) -> list[socket.socket]:
    """Return listening sockets for an address that is safe; `localhost` has two. Raises UnsafeBind or OSError."""
    ensure_safe_bind(host, behind_proxy=behind_proxy, anonymous=anonymous)
    found: list[socket.socket] = []
    try:
        for family, _, _, _, address in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM):
            if family == socket.AF_INET6 and found and not socket.has_ipv6:
                continue
            opened = socket.socket(family, socket.SOCK_STREAM)
            found.append(opened)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            port_now = found[0].getsockname()[1] if port == 0 and len(found) > 1 else address[1]
            opened.bind((address[0], port_now))
            opened.listen(BACKLOG)
            opened.setblocking(False)
    except OSError:
        if len(found) < 2:  # noqa: PLR2004 - the first address has to work; a missing second (::1) is no harm
            for opened in found:
                opened.close()
            raise
        found.pop().close()
    return found
