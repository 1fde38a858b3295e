"""Egress policy of outbound targets: checked when a target is defined, and again at every dial.

A name is no criterion, since its owner can point it inside at any time. The dialled address decides: the policy makes
the sockets, and makes none for a refused address. Only the operator of the server can allow internal targets.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final

import msgspec

from headway.config import Settings
from headway.errors import TargetRefused
from headway.networks import UNFIT, Network, canonical_host, is_public, literal, named, within

if TYPE_CHECKING:
    from yarl import URL

AddressInfo = tuple[Any, ...]
"""One address as `getaddrinfo` returns it: family, type, protocol, canonical name, socket address."""
Resolve = Callable[[str, int], Awaitable[list[AddressInfo]]]
"""Resolution of a host and a port to addresses; raises OSError if there are none."""

URL_MAX: Final = 2048
HOST_MAX: Final = 253
RESOLVE_S: Final = 3.0
"""Timeout of name resolution when a target is defined, in seconds; a call has its own timeout."""
CONNECT_S: Final = 5.0
MAIL_PORTS: Final = frozenset({25, 465, 587, 2525})

_NAME: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))+\.?")
_NUMBER: Final = re.compile(r"([0-9]+|0x[0-9a-f]*)\.?")
_INSIDE: Final = re.compile(r"\.(localhost|local|internal|intranet|lan|localdomain|home\.arpa)\.?$")


class AddressRefused(OSError):
    """The name resolves to an address that must not be dialled. The message does not reveal the address."""


class Target(msgspec.Struct, frozen=True):
    """A host and port that may be called, as far as can be told without looking where the name leads."""

    host: str
    port: int
    trusted: bool
    """Whether the operator allowed the target, so that it may have any address that is not always refused."""
    url: URL | None = None


class EgressPolicy:
    """Policy for outbound targets."""

    def __init__(
        self,
        allowed: Iterable[str] = (),
        refused: Iterable[str] = (),
        ports: Iterable[int] = (443,),
        *,
        plain: bool = False,
        resolve: Resolve | None = None,
    ) -> None:
        """Take hosts (with or without a port) and networks that may be called beside the public ones, and what never may.

        A host that is allowed may be called on any port, or the one named, by http too. A network that is allowed counts as
        public. `plain` lets public hosts be called by http. Raises ValueError with what cannot be read.
        """
        entries = list(allowed)
        self._allowed = tuple(_network(entry) for entry in entries if "/" in entry)
        self._named = {named(entry) for entry in entries if "/" not in entry}
        self._refused = tuple(_network(entry) for entry in refused)
        self._ports = frozenset(ports) | ({80} if plain else frozenset())
        self._plain = plain
        self.resolve: Resolve = resolve or _by_the_system

    @classmethod
    def of(cls, settings: Settings) -> EgressPolicy:
        """Return the policy of the settings."""
        return cls(
            settings.outbound_allow, settings.outbound_refuse, settings.outbound_ports, plain=settings.outbound_http
        )

    # -- when a target is named ----------------------------------------------------------------------------------------

    def url(self, text: str) -> Target:
        """Return the target of a URL; raise TargetRefused with the reason."""
        from yarl import URL  # noqa: PLC0415 - slow to import, and not every server calls somebody

        if len(text) > URL_MAX:
            raise TargetRefused(f"the URL is longer than {URL_MAX} characters")
        if UNFIT.search(text):
            raise TargetRefused("the URL has a blank, a backslash or a control character in it")
        try:
            url = URL(text)
            host, port = url.raw_host, url.port
        except ValueError as error:
            raise TargetRefused(f"this is not a URL: {error}") from None
        if url.scheme not in {"https", "http"} or not host or port is None:
            raise TargetRefused("the URL must begin with https:// and name a host")
        if "[" in text.split("/")[2] and ":" not in host:
            raise TargetRefused("the URL has brackets without an IPv6 address in them")
        if "@" in url.raw_authority:
            raise TargetRefused("the URL must not carry a user or a password; put them into a header")
        if url.raw_fragment or "#" in text:
            raise TargetRefused("the URL must not have a fragment (#…)")
        trusted = self._trusts(host, port)
        if not trusted and url.scheme == "http" and not self._plain:
            raise TargetRefused("the URL must begin with https://, since http is not encrypted")
        self._check_host(host, trusted=trusted)
        if not trusted and port not in self._ports:
            raise TargetRefused(f"port {port} is not allowed; allowed: {_listed(self._ports)}")
        return Target(host, port, trusted, url)

    def mail_server(self, host: str, port: int) -> Target:
        """Return the target of a mail server; raise TargetRefused."""
        trusted = self._trusts(host, port)
        if UNFIT.search(host) or len(host) > HOST_MAX:
            raise TargetRefused("the mail server's host is not a host name")
        self._check_host(host, trusted=trusted)
        if not trusted and port not in MAIL_PORTS:
            raise TargetRefused(f"port {port} is not a port for mail: {_listed(MAIL_PORTS)}")
        return Target(host, port, trusted)

    async def look_up(self, target: Target) -> None:
        """Raise TargetRefused if the name resolves to a refused address; a name without an address passes."""
        try:
            async with asyncio.timeout(RESOLVE_S):
                found = await self.resolve(target.host, target.port)
        except (OSError, UnicodeError, TimeoutError):
            return
        if not all(self._may_dial(str(info[4][0]), trusted=target.trusted) for info in found):
            raise TargetRefused(f"{target.host} resolves to an address that is not public")

    def _trusts(self, host: str, port: int) -> bool:
        name = canonical_host(host)
        return (name, None) in self._named or (name, port) in self._named

    def _check_host(self, host: str, *, trusted: bool) -> None:
        address = literal(host)
        if address is not None:
            if not self._may_dial(str(address), trusted=trusted):
                raise TargetRefused(f"{host} is not a public address")
            return
        if trusted:
            return
        name = host.lower()
        if not _NAME.fullmatch(name) or _INSIDE.search(name) or len(name) > HOST_MAX:
            raise TargetRefused(f"{host[:80]} is not the full name of a public host")
        if _NUMBER.fullmatch(name.rpartition(".")[2] or name.rstrip(".").rpartition(".")[2]):
            raise TargetRefused(
                f"{host[:80]} is an address in a form that is not used; write four numbers from 0 to 255"
            )

    # -- when it is called ---------------------------------------------------------------------------------------------

    def sockets(self, *, trusted: bool) -> Callable[[AddressInfo], socket.socket]:
        """Return a factory of sockets for addresses, which raises AddressRefused for refused ones."""

        def make(info: AddressInfo) -> socket.socket:
            family, kind, protocol, _, address = info
            if not self._may_dial(address[0], trusted=trusted):
                raise AddressRefused("the name resolves to an address that is not public")
            return socket.socket(family=family, type=kind, proto=protocol)

        return make

    async def dial(self, target: Target) -> socket.socket:
        """Return a connected socket, to the first address of the target that answers; raise OSError, AddressRefused among them."""
        loop = asyncio.get_running_loop()
        found = await self.resolve(target.host, target.port)
        make = self.sockets(trusted=target.trusted)
        failure: OSError = OSError("the name does not resolve")
        for info in found:
            connection = make(info)
            try:
                connection.setblocking(False)
                async with asyncio.timeout(CONNECT_S):
                    await loop.sock_connect(connection, info[4])
            except OSError as error:  # also when it takes too long
                connection.close()
                failure = error
            except BaseException:
                connection.close()
                raise
            else:
                return connection
        raise failure

    def _may_dial(self, text: str, *, trusted: bool) -> bool:
        address = ip_address(text)
        if within(address, self._refused):
            return False
        return trusted or is_public(address) or within(address, self._allowed)


async def _by_the_system(host: str, port: int) -> list[AddressInfo]:
    return list(await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM))


def _network(entry: str) -> Network:
    try:
        return ip_network(entry.strip())
    except ValueError as error:
        raise ValueError(f"{entry!r} is not a network such as 10.0.0.0/8 ({error})") from None


def _listed(ports: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(ports)))
