"""The client's address and the host of a request: of the connection and the Host, or of a trusted proxy's headers."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final

from headway.networks import is_loopback

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""Names in a Host header that are this machine's own."""
FORWARDED: Final = b"x-forwarded-for"
_FORWARDING: Final = frozenset(
    {
        b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"x-cluster-client-ip", b"x-original-host", b"true-client-ip",
        b"cf-connecting-ip", b"x-envoy-external-address",
    }
)  # fmt: skip
NET_BITS: Final = 64
"""Of IPv6: what one customer has; whoever is counted has all of it."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Addresses:
    """Knows which proxies are believed."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        """Take addresses and networks; raise ValueError for what is none."""
        self._trusted: tuple[Network, ...] = tuple(ipaddress.ip_network(text.strip(), strict=False) for text in trusted)

    def of(self, peer: str, headers: Mapping[bytes, bytes]) -> str:
        """Return the address of the client: the last in X-Forwarded-For that no trusted proxy has, if one of those asks."""
        said = headers.get(FORWARDED)
        if said is None or not self._trusted or not self._trusts(_address(peer)):
            return peer
        for text in reversed(said.decode("latin-1").split(",")):
            found = _address(text.strip())
            if found is None:  # whatever stands before it was not said by anyone who is believed
                return peer
            if not self._trusts(found):
                return str(found)
        return peer

    def place(self, peer: str, headers: Mapping[bytes, bytes]) -> str:
        """Return what is counted for an address: itself, or its network of IPv6."""
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
    """Tell whether a request comes from this machine: by its address and Host, and without a header of a proxy.

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
