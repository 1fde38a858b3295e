"""Users of one organisation: making and changing them, with a line in the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NoReturn

from msgspec import UNSET
from msgspec.structs import replace

from headway.errors import Conflict, UserNotFound
from headway.features.access import audit
from headway.features.access import store as rows
from headway.features.access.access import Access
from headway.features.access.model import User
from headway.ids import IdSource
from headway.kernel.authority import Origin
from headway.kernel.namespace import Namespace
from headway.kernel.query import FIRST
from headway.protocol import access as wire
from headway.runs.idempotency import Creation, RequestKey, keyed
from headway.store.command import Command
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

USERS_MAX: Final = 10_000
"""Most users of one organisation: all are cached in memory."""


class Users:
    """Users of one organisation."""

    def __init__(self, store: Store, access: Access, ids: IdSource, organisation: int = FIRST) -> None:
        self._store = store
        self._access = access
        self._ids = ids
        self._organisation = organisation
        self._namespace = Namespace(organisation)

    def list(self) -> list[User]:
        """Return all users, oldest first."""
        return [user for user in self._access.directory.users.values() if user.organisation == self._organisation]

    def get(self, user_id: str) -> User:
        """Return a user; raise UserNotFound."""
        user = self._access.directory.users.get(user_id)
        if user is None or user.organisation != self._organisation:
            _absent(user_id)
        return user

    async def create(self, asked: wire.CreateUser, origin: Origin, request: RequestKey | None = None) -> User:
        """Make a user; raise Conflict for more than USERS_MAX, or IdempotencyKeyReused."""
        command = CreateUser(asked, self._organisation, self._ids.new(self._store.clock.now_ms()), origin)
        user_id = await self._store.write(keyed(command, request, self._namespace))
        await self._access.refresh()
        return self.get(user_id)

    async def patch(self, user_id: str, asked: wire.PatchUser, origin: Origin) -> User:
        """Change a user; if it is disabled, its keys are refused from the commit on. Raises UserNotFound."""
        self.get(user_id)
        await self._store.write(ChangeUser(user_id, self._organisation, asked, origin))
        await self._access.refresh()
        return self.get(user_id)


@dataclass(eq=False)
class CreateUser(Creation):
    """Insertion of a user; the result is its id."""

    asked: wire.CreateUser
    organisation: int
    user_id: str
    origin: Origin

    def apply(self, uow: UnitOfWork) -> str:
        known = rows.lock(uow)
        if sum(user.organisation == self.organisation for user in known.users) >= USERS_MAX:
            raise Conflict(f"an organisation has at most {USERS_MAX:,} users")
        asked, now_ms = self.asked, uow.now_ms
        user = User(self.user_id, self.organisation, asked.name, asked.email, "active", now_ms, now_ms)
        rows.save(uow, known, user)
        audit.note(uow, self.origin, "user.create", user.id)
        return user.id


@dataclass(eq=False)
class ChangeUser(Command[None]):
    """Change of a user."""

    user_id: str
    organisation: int
    asked: wire.PatchUser
    origin: Origin

    def apply(self, uow: UnitOfWork) -> None:
        known = rows.lock(uow)
        sought = self.user_id, self.organisation
        user = next((user for user in known.users if (user.id, user.organisation) == sought), None)
        if user is None:
            _absent(self.user_id)
        asked = self.asked
        changed = replace(
            user,
            name=user.name if asked.name is UNSET else asked.name,
            email=user.email if asked.email is UNSET else asked.email,
            state=user.state if asked.state is UNSET else asked.state,
        )
        if changed != user:
            rows.save(uow, known, replace(changed, updated_at=uow.now_ms))
            audit.note(uow, self.origin, "user.change", self.user_id)


def _absent(user_id: str) -> NoReturn:
    raise UserNotFound(f"there is no user {user_id[:80]!r}")
