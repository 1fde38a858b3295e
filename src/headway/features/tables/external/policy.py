"""Allowed external databases: the URL is checked when it is given, the address again at every dial.

A URL comes from a user, and could open a file of the server, a socket of its machine, or a neighbour in its network. So its
options are limited; a SQLite file is in a folder that the operator named; and an address is public, or named by the operator,
on a port of databases. Names are resolved here, and the connection goes to the checked address. A refused address and an
unknown name are one error, which tells nothing about the inner network.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import msgspec

from headway.errors import ExternalRefused
from headway.networks import Network, canonical_host, is_public, literal, named, within

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

DRIVERS: Final[Mapping[str, str]] = {
    "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg", "postgresql+psycopg": "postgresql+psycopg",
    "mysql": "mysql+pymysql", "mysql+pymysql": "mysql+pymysql", "mariadb": "mysql+pymysql", "mariadb+pymysql": "mysql+pymysql",
    "sqlite": "sqlite", "sqlite+pysqlite": "sqlite",
}  # fmt: skip
OPTIONS: Final[Mapping[str, frozenset[str]]] = {
    "postgresql+psycopg": frozenset({"sslmode"}),
    "mysql+pymysql": frozenset({"charset"}),
    "sqlite": frozenset(),
}
"""Allowed parameters of a URL: none that names a file, a socket or a command."""
PORTS: Final = {"postgresql+psycopg": 5432, "mysql+pymysql": 3306}


class DatabasePolicy(msgspec.Struct, frozen=True):
    """Policy of the operator."""

    hosts: frozenset[tuple[str, int | None]] = frozenset()
    """Allowed hosts and addresses that are not public, each with its port, or None for any port."""
    networks: tuple[Network, ...] = ()
    """Networks that count as public."""
    ports: tuple[int, ...] = (3306, 5432)
    """Ports allowed on hosts that are not named."""
    folders: tuple[str, ...] = ()
    """Folders whose SQLite files may be opened."""

    @classmethod
    def of(cls, allow: Iterable[str], ports: Iterable[int] = (3306, 5432), folders: Iterable[str] = ()) -> Self:
        """Parse the settings; raise ValueError for an entry that is neither host, address nor network."""
        entries = [entry.strip() for entry in allow]
        hosts = frozenset(named(entry) for entry in entries if "/" not in entry)
        networks = [ip_network(entry, strict=False) for entry in entries if "/" in entry]
        addresses = [ip_network(host) for host, port in hosts if port is None and literal(host) is not None]
        return cls(hosts, (*networks, *addresses), tuple(ports), tuple(folders))

    def names(self, host: str, port: int) -> bool:
        """Whether the operator has named the host for this port."""
        known = canonical_host(host)
        return (known, None) in self.hosts or (known, port) in self.hosts


def parse_url(text: str, policy: DatabasePolicy, own: Iterable[Path] = ()) -> URL:
    """Return the URL with its driver, without connecting; raise ExternalRefused with the fault."""
    from sqlalchemy.engine import make_url  # noqa: PLC0415 - an extra, and slow to import
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ExternalRefused(
            "this is not the URL of a database; write postgresql://USER:PASSWORD@HOST/DATABASE"
        ) from None
    driver = DRIVERS.get(url.drivername)
    if driver is None:
        raise ExternalRefused(f"{url.drivername[:40]!r} is not supported; use PostgreSQL, MySQL or SQLite")
    unknown = sorted(set(url.query) - OPTIONS[driver])
    if unknown:
        known = ", ".join(sorted(OPTIONS[driver])) or "none"
        raise ExternalRefused(f"the URL has the option {unknown[0][:40]!r}; known: {known}")
    url = url.set(drivername=driver)
    if driver == "sqlite":
        allowed_file(url.database or "", policy, own)
        return url
    host = url.host or ""
    if not host or "/" in host or "," in host or host.startswith("@"):
        raise ExternalRefused("the URL must name one host, not a socket")
    if not url.database:
        raise ExternalRefused("the URL names no database")
    check_port(host, port_of(url), policy)
    return url


def port_of(url: URL) -> int:
    """Return the port of the URL, by default that of its kind of database."""
    return url.port or PORTS[url.drivername]


def check_port(host: str, port: int, policy: DatabasePolicy) -> None:
    """Raise ExternalRefused for a port that is not allowed."""
    if port not in policy.ports and not policy.names(host, port):
        known = ", ".join(map(str, sorted(policy.ports)))
        raise ExternalRefused(
            f"port {port} is not allowed for databases, only {known}; the operator can allow it (external_ports)"
        )


def allowed_file(text: str, policy: DatabasePolicy, own: Iterable[Path] = ()) -> Path:
    """Return the real path of a SQLite file; raise ExternalRefused unless it is in an allowed folder."""
    if not text or not Path(text).is_absolute():
        raise ExternalRefused("a SQLite file needs an absolute path: sqlite:////srv/data/file.db")
    path = Path(text).resolve()
    if not any(path.is_relative_to(Path(folder).resolve()) for folder in policy.folders if folder):
        raise ExternalRefused("SQLite files may only be opened in folders that the operator names (external_folders)")
    if any(path.name.startswith(each.name) and path.parent == each.resolve().parent for each in own):
        raise ExternalRefused("this is the server's own store")
    return path


def allowed_address(host: str, port: int, policy: DatabasePolicy) -> str:
    """Return an allowed address of the host; raise ExternalRefused if there is none."""
    check_port(host, port, policy)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found = []
    for _, _, _, _, place in found:
        address = ip_address(str(place[0]).partition("%")[0])
        if policy.names(host, port) or is_public(address) or within(address, policy.networks):
            return str(address)
    raise ExternalRefused(f"the host {host[:100]!r} has no public address; the operator can allow it (external_allow)")
