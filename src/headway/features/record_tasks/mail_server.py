"""Mail server of an organisation: its settings, and the password sealed by the server's secret."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict, replace

from headway.errors import Conflict, InvalidInput, NotFound
from headway.features.record_tasks import store as storage
from headway.outbound.gateway import Gateway
from headway.outbound.letter import MailServer, check_server
from headway.protocol import record_tasks as wire
from headway.store.command import Command
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork
from headway.vault import NotOpened, Vault

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(MailServer).decode


class MailServerSettings(msgspec.Struct, frozen=True):
    """Settings of a mail server without the password."""

    server: MailServer
    has_password: bool
    updated_at: int
    """Time of the last change, in milliseconds."""


@dataclass
class _SetMailServer(Command[None]):
    organisation: int
    server: MailServer
    password: str | UnsetType
    vault: Vault

    def apply(self, uow: UnitOfWork) -> None:
        server, password = self.server, self.password
        found = storage.read_mail_server(uow.database, self.organisation)
        sealed = "" if password is UNSET or not password else self.vault.seal(_seal(self.organisation), password)
        if password is UNSET and found is not None and found[1]:
            before = _decode(found[0])
            if (before.host, before.username) != (server.host, server.username):  # or it would be sent to another
                raise InvalidInput("the password is needed again with another host or user name")
            sealed = found[1]
        storage.save_mail_server(uow, self.organisation, _encode(server).decode(), sealed)


@dataclass
class _ForgetMailServer(Command[None]):
    organisation: int

    def apply(self, uow: UnitOfWork) -> None:
        storage.delete_mail_server(uow, self.organisation)


class MailServers:
    """The mail server of an organisation."""

    def __init__(self, store: Store, gateway: Gateway, vault: Vault, organisation: int) -> None:
        self._store = store
        self._gateway = gateway
        self._vault = vault
        self._organisation = organisation

    async def get(self) -> MailServerSettings:
        """Return the settings; raise NotFound if none are set."""
        settings, password, updated_at = await self._row()
        return MailServerSettings(_decode(settings), bool(password), updated_at)

    async def open(self) -> MailServer:
        """Return the settings with the password; raise NotFound, or Conflict if the password cannot be opened."""
        settings, password, _ = await self._row()
        server = _decode(settings)
        return replace(server, password=self._opened(password)) if password else server

    async def set(self, spec: wire.MailServerIn) -> MailServerSettings:
        """Set the settings; without a password the stored one stays, for the same host and user name.

        Raises InvalidInput, and TargetRefused for a server that the egress policy does not allow.
        """
        given = asdict(spec)
        password = given.pop("password")
        server = MailServer(**given)
        await self._gateway.policy.look_up(check_server(server, self._gateway.policy))
        await self._store.write(_SetMailServer(self._organisation, server, password, self._vault))
        return await self.get()

    async def forget(self) -> None:
        """Remove the settings and the password."""
        await self._store.write(_ForgetMailServer(self._organisation))

    async def _row(self) -> tuple[str, str, int]:
        organisation = self._organisation
        found = await self._store.read.ask(lambda database, _: storage.read_mail_server(database, organisation))
        if found is None:
            raise NotFound("no mail server is set; `headway mail-server set` sets one")
        return found

    def _opened(self, sealed: str) -> str:
        try:
            return self._vault.open(_seal(self._organisation), sealed)
        except NotOpened as error:
            raise Conflict(str(error)) from None


def _seal(organisation: int) -> str:
    """Return the name under which the password is sealed."""
    return f"smtp:{organisation}"
