"""Access: `client.keys`, `client.users`, `client.organisations` and `client.audit`."""

from __future__ import annotations

import builtins
from collections.abc import Iterable

from headway.client import encoding
from headway.client.aio.caller import AsyncCaller
from headway.protocol.access import (
    AuditEventList,
    KeyList,
    KeyOut,
    OrganisationList,
    OrganisationOut,
    UserList,
    UserOut,
)


class AsyncKeys:
    """API keys of an organisation."""

    def __init__(self, caller: AsyncCaller) -> None:
        self._caller = caller

    async def create(
        self,
        name: str,
        *,
        scopes: Iterable[str] | None = None,
        queues: Iterable[str] | None = None,
        user_id: str | None = None,
        expires_in: str | None = None,
        per_minute: int | None = None,
        per_day: int | None = None,
        organisation: str | None = None,
    ) -> KeyOut:
        """Make a key; its secret is in `key` of the answer and is never shown again.

        - `scopes`: default: the reading scopes.
        - `queues`: of a worker's key, the queues that it may claim from; default: all.
        - `expires_in`: a duration such as "90d"; default: no end.
        - `per_minute`, `per_day`: limits of requests; default: the organisation's.
        - `organisation`: another organisation's id, for its first key.

        Raises `organisation_not_found` or `conflict`.
        """
        body = {
            "name": name,
            "scopes": None if scopes is None else [*scopes],
            "queues": None if queues is None else [*queues],
            "user_id": user_id,
            "expires_in": expires_in,
            "per_minute": per_minute,
            "per_day": per_day,
            "organisation": organisation,
        }
        return await self._caller.post("/v1/keys", body, KeyOut)

    async def list(self) -> builtins.list[KeyOut]:
        """Return all keys, including revoked ones, oldest first."""
        return (await self._caller.get("/v1/keys", KeyList)).data

    async def get(self, key_id: str) -> KeyOut:
        """Return a key.

        Raises `key_not_found`.
        """
        return await self._caller.get(encoding.path("keys", key_id), KeyOut)

    async def update(self, key_id: str, **changes: object) -> KeyOut:
        """Change a key's `name`, `scopes`, `per_minute` or `per_day`; None removes the key's own limit.

        Raises `key_not_found`.
        """
        return await self._caller.patch(encoding.path("keys", key_id), changes, KeyOut)

    async def rotate(self, key_id: str, *, overlap: str = "24h") -> KeyOut:
        """Give the key a new secret, which is in `key` of the answer; the last one works for `overlap` more.

        Raises `key_not_found`, or `conflict` for a key that was revoked.
        """
        return await self._caller.post(encoding.path("keys", key_id, verb="rotate"), {"overlap": overlap}, KeyOut)

    async def revoke(self, key_id: str) -> KeyOut:
        """Revoke the key and close its streams and sessions.

        Raises `key_not_found`.
        """
        return await self._caller.post(encoding.path("keys", key_id, verb="revoke"), {}, KeyOut)


class AsyncUsers:
    """Users of an organisation."""

    def __init__(self, caller: AsyncCaller) -> None:
        self._caller = caller

    async def create(self, name: str, *, email: str = "") -> UserOut:
        """Make a user.

        Raises `conflict` if the organisation has as many users as it may.
        """
        return await self._caller.post("/v1/users", {"name": name, "email": email}, UserOut)

    async def list(self) -> builtins.list[UserOut]:
        """Return all users, oldest first."""
        return (await self._caller.get("/v1/users", UserList)).data

    async def get(self, user_id: str) -> UserOut:
        """Return a user.

        Raises `user_not_found`.
        """
        return await self._caller.get(encoding.path("users", user_id), UserOut)

    async def update(self, user_id: str, **changes: object) -> UserOut:
        """Change a user's `name`, `email` or `state` ("active", "disabled"); keys of a disabled user are refused.

        Raises `user_not_found`.
        """
        return await self._caller.patch(encoding.path("users", user_id), changes, UserOut)


class AsyncOrganisations:
    """Organisations of a server; they need the scope organisation:admin of the first organisation."""

    def __init__(self, caller: AsyncCaller) -> None:
        self._caller = caller

    async def create(
        self, name: str, *, zone: str = "UTC", per_minute: int | None = None, per_day: int | None = None
    ) -> OrganisationOut:
        """Make an organisation; `client.keys.create(organisation=…)` makes its first key.

        Raises `conflict` if the server has as many organisations as it may.
        """
        body = {"name": name, "zone": zone, "per_minute": per_minute, "per_day": per_day}
        return await self._caller.post("/v1/organisations", body, OrganisationOut)

    async def list(self) -> builtins.list[OrganisationOut]:
        """Return all organisations, oldest first."""
        return (await self._caller.get("/v1/organisations", OrganisationList)).data

    async def get(self, organisation_id: str) -> OrganisationOut:
        """Return an organisation.

        Raises `organisation_not_found`.
        """
        return await self._caller.get(encoding.path("organisations", organisation_id), OrganisationOut)

    async def update(self, organisation_id: str, **changes: object) -> OrganisationOut:
        """Change an organisation's `name`, `zone`, `per_minute`, `per_day` or `state` ("active", "disabled").

        Keys of a disabled organisation are refused. Raises `organisation_not_found`, or `conflict` for the first
        organisation, which cannot be disabled.
        """
        return await self._caller.patch(encoding.path("organisations", organisation_id), changes, OrganisationOut)


class AsyncAudit:
    """Audit log of an organisation."""

    def __init__(self, caller: AsyncCaller) -> None:
        self._caller = caller

    async def page(self, *, after: int = 0, page_size: int = 50, action: str | None = None) -> AuditEventList:
        """Return up to `page_size` entries after a number, oldest first.

        `next_after` of the answer is the `after` of the next page.
        """
        path = encoding.path("audit-events", after=after, page_size=page_size, action=action)
        return await self._caller.get(path, AuditEventList)
