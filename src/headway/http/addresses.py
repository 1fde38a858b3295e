"""Where a request comes from: the peer's address, or what a proxy that is trusted says of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final

FORWARDED: Final = b"x-forwarded-for"
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

    def _trusts(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)


def _address(text: str) -> Address | None:
    try:
        found = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
