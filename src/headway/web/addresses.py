"""Client address and host of a request, taken from its connection and `Host`, or from the headers of a trusted proxy."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final

from headway.networks import is_loopback

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""Host names of the loopback interface."""
FORWARDED: Final = b"x-forwarded-for"
_FORWARDING: Final = frozenset(
    {
        b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"x-cluster-client-ip", b"x-original-host", b"true-client-ip",
        b"cf-connecting-ip", b"x-envoy-external-address",
    }
)  # fmt: skip
NET_BITS: Final = 64
"""Bits of the IPv6 network that is counted as one client: providers give each customer a /64."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Addresses:
    """Client addresses, with the proxies whose headers are trusted."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        """`trusted` are addresses and networks; raises ValueError for other texts."""
        self._trusted: tuple[Network, ...] = tuple(ipaddress.ip_network(text.strip(), strict=False) for text in trusted)

    def of(self, peer: str, headers: Mapping[bytes, bytes]) -> str:
        """Return the client's address: behind trusted proxies the last address in X-Forwarded-For that is no trusted proxy's."""
        said = headers.get(FORWARDED)
        if said is None or not self._trusted or not self._trusts(_address(peer)):
            return peer
        for text in reversed(said.decode("latin-1").split(",")):
            found = _address(text.strip())
            if found is None:  # no trusted proxy has written the addresses before it
                return peer
            if not self._trusts(found):
                return str(found)
        return peer

    def place(self, peer: str, headers: Mapping[bytes, bytes]) -> str:
        """Return the text under which a client is counted: its IPv4 address, or its IPv6 network."""
        text = self.of(peer, headers)
        found = _address(text)
        if found is None or found.version == 4:  # noqa: PLR2004 - the protocol's number
            return text
        return str(ipaddress.ip_network((found, NET_BITS), strict=False))

    def said(self, peer: str, headers: Mapping[bytes, bytes], name: bytes) -> str | None:
        """Return the value of an X-Forwarded header; None if it is missing or does not come from a trusted proxy."""
        said = headers.get(name)
        if said is None or not self._trusted or not self._trusts(_address(peer)):
            return None
        return said.decode("latin-1").partition(",")[0].strip()

    def _trusts(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)


def is_local(peer: str, headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request comes from this machine: by its address and Host, and without a proxy's headers.

    A proxy on this machine that adds no header, and leaves the Host to its client, cannot be told from such a program.
    """
    if any(name in _FORWARDING or name.startswith(b"x-forwarded-") for name in headers):
        return False
    host = read_host(headers.get(b"host", b"").decode("latin-1"))
    return host is not None and host[0] in LOOPBACK and is_loopback(peer)


def read_host(text: str) -> tuple[str, str] | None:
    """Return the name in lower case and the port (or "") of a Host header; None if it is malformed."""
    name, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        return text.lower().rstrip("."), ""
    return (name.lower().rstrip("."), port) if port.isascii() and port.isdigit() else None


def _address(text: str) -> Address | None:
    try:
        found = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
