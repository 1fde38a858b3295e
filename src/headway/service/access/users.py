"""Users of one organisation."""

from __future__ import annotations

from typing import Final, NoReturn

from msgspec import UNSET
from msgspec.structs import replace

from headway.errors import Conflict, UserNotFound
from headway.ids import IdSource
from headway.model.access import Origin, User
from headway.model.query import FIRST
from headway.model.space import Space
from headway.service.access import audit
from headway.service.access.access import Access
from headway.service.idempotency import RequestKey, keys_of, once
from headway.storage import access as rows
from headway.storage.store import Store
from headway.storage.unit import Unit
from headway.wire.access import CreateUser, PatchUser

USERS_MAX: Final = 10_000
"""Users of one organisation: all are kept in memory."""


class Users:
    """Every verb on the users of an organisation."""

    def __init__(self, store: Store, access: Access, ids: IdSource, organisation: int = FIRST) -> None:
        self._store = store
        self._access = access
        self._ids = ids
        self._organisation = organisation
        self._space = Space(organisation)

    def list(self) -> list[User]:
        """Return all, oldest first."""
        return [user for user in self._access.directory.users.values() if user.organisation == self._organisation]

    def get(self, user_id: str) -> User:
        """Return one; raise UserNotFound."""
        user = self._access.directory.users.get(user_id)
        if user is None or user.organisation != self._organisation:
            _absent(user_id)
        return user

    async def create(self, asked: CreateUser, origin: Origin, request: RequestKey | None = None) -> User:
        """Make a user."""

        def make(unit: Unit) -> list[str]:
            known = rows.lock(unit)
            if sum(user.organisation == self._organisation for user in known.users) >= USERS_MAX:
                raise Conflict(f"an organisation has at most {USERS_MAX:,} users")
            now_ms = unit.now_ms
            user = User(self._ids.new(now_ms), self._organisation, asked.name, asked.email, "active", now_ms, now_ms)
            rows.save(unit, known, user)
            audit.note(unit, origin, "user.create", user.id)
            return [user.id]

        (user_id,), _ = await self._store.write(
            lambda unit: once(unit, request, self._space, make), keys=keys_of(request, self._space)
        )
        await self._access.refresh()
        return self.get(user_id)

    async def patch(self, user_id: str, asked: PatchUser, origin: Origin) -> User:
        """Change a user; if they are disabled, none of their keys works from the commit on."""

        def work(unit: Unit) -> None:
            known = rows.lock(unit)
            user = next(
                (user for user in known.users if (user.id, user.organisation) == (user_id, self._organisation)), None
            )
            if user is None:
                _absent(user_id)
            changed = replace(
                user,
                name=user.name if asked.name is UNSET else asked.name,
                email=user.email if asked.email is UNSET else asked.email,
                state=user.state if asked.state is UNSET else asked.state,
            )
            if changed != user:
                rows.save(unit, known, replace(changed, updated_at=unit.now_ms))
                audit.note(unit, origin, "user.change", user_id)

        self.get(user_id)
        await self._store.write(work)
        await self._access.refresh()
        return self.get(user_id)


def _absent(user_id: str) -> NoReturn:
    raise UserNotFound(f"there is no user {user_id[:80]!r}")
