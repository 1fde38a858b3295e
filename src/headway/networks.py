"""Public addresses and settings' hosts: our own table, since `ipaddress.is_global` accepts some internal ones.

Of IPv6 only global unicast (2000::/3) is public at all, less what embeds an IPv4 address (6to4, Teredo, ISATAP) or is
set aside; that leaves out mapped, compatible, translated and NAT64 addresses without a list of their spellings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from socket import inet_aton
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NOT_PUBLIC: Final[tuple[Network, ...]] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # "this host": Linux takes it for loopback
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by carriers (CGNAT); Alibaba's metadata is here
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's own services, at an address that looks public
        "169.254.0.0/16",  # link-local; the metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # of the IETF; Oracle's metadata is here
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "2001::/23",  # of the IETF, Teredo among them
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
UNFIT: Final = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ufeff\\]")
"""Characters that are invalid in hosts and URLs."""
GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
ISATAP: Final = frozenset({0x0000_5EFE, 0x0200_5EFE})
"""Upper halves of interface ids that embed an IPv4 address."""


def is_public(address: Address) -> bool:
    """Return whether the address is public, and embeds no internal address."""
    if isinstance(address, IPv6Address) and (
        address not in GLOBAL_UNICAST or address.scope_id is not None or int(address) >> 32 & 0xFFFF_FFFF in ISATAP
    ):
        return False
    return not within(address, NOT_PUBLIC)


def is_loopback(host: str) -> bool:
    """Return whether a host, by name or address, is loopback."""
    found = literal(host)
    if found is None:
        return host == "localhost"
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def is_wildcard(host: str) -> bool:
    """Tell whether a host to listen on stands for every address of the machine: no URL can have it.

    Sockets also take the short forms of inet_aton: `0` is 0.0.0.0.
    """
    found = literal(host)
    if found is None:
        with suppress(OSError):
            found = ip_address(inet_aton(host))
    return found is not None and found.is_unspecified


def within(address: Address, networks: Iterable[Network]) -> bool:
    """Return whether the address lies in one of the networks."""
    return any(address.version == network.version and address in network for network in networks)


def literal(host: str) -> Address | None:
    """Return the address that a URL's host is, with or without brackets; None for a name."""
    try:
        return ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def in_url(host: str) -> str:
    """Return a host as in a URL or a Host header: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def canonical_host(host: str) -> str:
    """Return the canonical spelling of a host."""
    address = literal(host)
    return str(address) if address is not None else host.lower().rstrip(".")


def named(entry: str) -> tuple[str, int | None]:
    """Read HOST, HOST:PORT, ADDRESS or [ADDRESS]:PORT; raise ValueError."""
    text = entry.strip()
    if literal(text) is not None:
        return canonical_host(text), None
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, ""
    if not host or UNFIT.search(host) or (colon and not (port.isdecimal() and 0 < int(port) < 65_536)):  # noqa: PLR2004
        raise ValueError(f"{entry!r} is not a host, such as mail.example.com or 127.0.0.1:8080")
    return canonical_host(host), int(port) if port else None
