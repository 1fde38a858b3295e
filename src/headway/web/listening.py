"""Listening sockets. Imports next to nothing, since they are opened before all other modules are loaded."""

from __future__ import annotations

import socket

BACKLOG = 2048
"""Connections that the kernel queues: early workers wait there until the server is up."""


def listen(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets for an address; `localhost` has two. Raises OSError."""
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
