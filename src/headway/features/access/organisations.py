"""Organisations: tenants of a server, isolated from each other."""

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
from headway.protocol import access as wire
from headway.protocol.values import invalid
from headway.runs.idempotency import Creation, RequestKey, keyed
from headway.store.command import Command
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

ORGANISATIONS_MAX: Final = 10_000
"""Most organisations of a store: all are cached in memory."""


class Organisations:
    """Organisations of a store, for the operators of the server."""

    def __init__(self, store: Store, access: Access, ids: IdSource) -> None:
        self._store = store
        self._access = access
        self._ids = ids
        self._namespace = Namespace(FIRST)

    def list(self) -> list[Organisation]:
        """Return all organisations, oldest first."""
        return list(self._access.directory.organisations.values())

    def get(self, public_id: str) -> Organisation:
        """Return an organisation; raise OrganisationNotFound."""
        found = self._access.directory.by_public_id.get(public_id)
        return found or _absent(public_id)

    def of(self, number: int) -> Organisation:
        """Return an organisation by its number."""
        return self._access.directory.organisations[number]

    def allowance(self, number: int) -> Allowance:
        """Return the request limits of all keys of an organisation together."""
        return self._access.directory.allowances.get(number) or Allowance(number)

    async def create(
        self, asked: wire.CreateOrganisation, origin: Origin, request: RequestKey | None = None
    ) -> Organisation:
        """Make an organisation, which is empty and has no key yet.

        Raises InvalidInput for an unknown zone, Conflict for more than ORGANISATIONS_MAX, and IdempotencyKeyReused.
        """
        _check_zone(asked.zone)
        command = CreateOrganisation(asked, self._ids.new(self._store.clock.now_ms()), origin)
        public_id = await self._store.write(keyed(command, request, self._namespace))
        await self._access.refresh()
        return self.get(public_id)

    async def patch(self, public_id: str, asked: wire.PatchOrganisation, origin: Origin) -> Organisation:
        """Change an organisation; if it is disabled, its keys are refused from the commit on.

        Raises OrganisationNotFound, InvalidInput for an unknown zone, and Conflict for disabling the first organisation.
        """
        if asked.zone is not UNSET:
            _check_zone(asked.zone)
        self.get(public_id)
        await self._store.write(ChangeOrganisation(public_id, asked, origin))
        await self._access.refresh()
        return self.get(public_id)


@dataclass(eq=False)
class CreateOrganisation(Creation):
    """Insertion of an organisation; the result is its public id."""

    asked: wire.CreateOrganisation
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
class ChangeOrganisation(Command[None]):
    """Change of an organisation and of its request limits."""

    public_id: str
    asked: wire.PatchOrganisation
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
