"""Organisations: parties that share a server and see nothing of each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NoReturn

from msgspec import UNSET
from msgspec.structs import replace

from headway.errors import Conflict, OrganisationNotFound
from headway.features.access import audit
from headway.features.access import store as rows
from headway.features.access.access import Access
from headway.features.access.model import Allowance
from headway.ids import IdSource
from headway.kernel.authority import Origin
from headway.kernel.namespace import Namespace
from headway.kernel.organisation import Organisation
from headway.kernel.query import FIRST
from headway.kernel.zone import UnknownZone, named
from headway.protocol.access import CreateOrganisation, PatchOrganisation
from headway.protocol.values import invalid
from headway.runs.idempotency import Creation, RequestKey, keyed
from headway.store.command import Command
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

ORGANISATIONS_MAX: Final = 10_000
"""All are kept in memory."""


class Organisations:
    """Every verb on organisations; for those who run the server."""

    def __init__(self, store: Store, access: Access, ids: IdSource) -> None:
        self._store = store
        self._access = access
        self._ids = ids
        self._namespace = Namespace(FIRST)

    def list(self) -> list[Organisation]:
        """Return all, oldest first."""
        return list(self._access.directory.organisations.values())

    def get(self, public_id: str) -> Organisation:
        """Return one; raise OrganisationNotFound."""
        found = self._access.directory.by_public_id.get(public_id)
        return found or _absent(public_id)

    def of(self, number: int) -> Organisation:
        """Return the one that a caller is in."""
        return self._access.directory.organisations[number]

    def allowance(self, number: int) -> Allowance:
        """Return how often all of its keys together may ask."""
        return self._access.directory.allowances.get(number) or Allowance(number)

    async def create(
        self, asked: CreateOrganisation, origin: Origin, request: RequestKey | None = None
    ) -> Organisation:
        """Make an organisation; it is empty, and gets its first key from those who run the server."""
        _check_zone(asked.zone)
        command = _CreateOrganisation(asked, self._ids.new(self._store.clock.now_ms()), origin)
        public_id = await self._store.write(keyed(command, request, self._namespace))
        await self._access.refresh()
        return self.get(public_id)

    async def patch(self, public_id: str, asked: PatchOrganisation, origin: Origin) -> Organisation:
        """Change an organisation; if it is disabled, none of its keys works from the commit on."""
        if asked.zone is not UNSET:
            _check_zone(asked.zone)
        self.get(public_id)
        await self._store.write(_ChangeOrganisation(public_id, asked, origin))
        await self._access.refresh()
        return self.get(public_id)


@dataclass(eq=False)
class _CreateOrganisation(Creation):
    asked: CreateOrganisation
    public_id: str
    origin: Origin

    def apply(self, uow: UnitOfWork) -> str:
        known = rows.lock(uow)
        if len(known.organisations) >= ORGANISATIONS_MAX:
            raise Conflict(f"there are at most {ORGANISATIONS_MAX:,} organisations")
        asked = self.asked
        made = Organisation(
            id=max(one.id for one in known.organisations) + 1,
            public_id=self.public_id,
            name=asked.name,
            zone=asked.zone,
            created_at=uow.now_ms,
        )
        rows.save(uow, known, made, Allowance(made.id, asked.per_minute, asked.per_day))
        audit.note(uow, self.origin, "organisation.create", self.public_id)
        return self.public_id


@dataclass(eq=False)
class _ChangeOrganisation(Command[None]):
    public_id: str
    asked: PatchOrganisation
    origin: Origin

    def apply(self, uow: UnitOfWork) -> None:
        known, asked, public_id = rows.lock(uow), self.asked, self.public_id
        one = next((one for one in known.organisations if one.public_id == public_id), None) or _absent(public_id)
        if one.id == FIRST and asked.state == "disabled":
            raise Conflict("the first organisation runs the server and cannot be disabled")
        changed = replace(
            one,
            name=one.name if asked.name is UNSET else asked.name,
            zone=one.zone if asked.zone is UNSET else asked.zone,
            state=one.state if asked.state is UNSET else asked.state,
        )
        before = next((found for found in known.allowances if found.organisation == one.id), Allowance(one.id))
        allowance = replace(
            before,
            per_minute=before.per_minute if asked.per_minute is UNSET else asked.per_minute,
            per_day=before.per_day if asked.per_day is UNSET else asked.per_day,
        )
        if (changed, allowance) != (one, before):
            rows.save(uow, known, changed, allowance)
            audit.note(uow, self.origin, "organisation.change", public_id)


def _check_zone(name: str) -> None:
    try:
        named(name)
    except UnknownZone as error:
        raise invalid("/zone", str(error)) from None


def _absent(public_id: str) -> NoReturn:
    raise OrganisationNotFound(f"there is no organisation {public_id[:80]!r}")
