# Generated from client/aio/access.py by tools/unasync.py: change that, not this.
"""client.keys, client.users, client.organisations, client.audit: who may do what."""

from __future__ import annotations

import builtins
from collections.abc import Iterable

from headway.client import encoding
from headway.client.sync.caller import Caller
from headway.wire.access import (
    AuditEventList,
    KeyList,
    KeyOut,
    OrganisationList,
    OrganisationOut,
    UserList,
    UserOut,
)


class Keys:
    """The keys of an organisation."""

    def __init__(self, caller: Caller) -> None:
        """Made by the client."""
        self._caller = caller

    def create(
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
        """Make a key; its text is in `key` of what this returns, and nowhere else. Without scopes it may read."""
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
        return self._caller.post("/v1/keys", body, KeyOut)

    def list(self) -> builtins.list[KeyOut]:
        """Return all, those that were revoked too, oldest first."""
        return (self._caller.get("/v1/keys", KeyList)).data

    def get(self, key_id: str) -> KeyOut:
        """Return one."""
        return self._caller.get(encoding.path("keys", key_id), KeyOut)

    def update(self, key_id: str, **changes: object) -> KeyOut:
        """Change its `name`, `scopes`, `per_minute` or `per_day`; None lifts a limit of its own."""
        return self._caller.patch(encoding.path("keys", key_id), changes, KeyOut)

    def rotate(self, key_id: str, *, overlap: str = "24h") -> KeyOut:
        """Give it a new secret; the last one goes on for the overlap. The new text is in `key` of what this returns."""
        return self._caller.post(encoding.path("keys", key_id, verb="rotate"), {"overlap": overlap}, KeyOut)

    def revoke(self, key_id: str) -> KeyOut:
        """End it, and what it has open."""
        return self._caller.post(encoding.path("keys", key_id, verb="revoke"), {}, KeyOut)


class Users:
    """The users of an organisation."""

    def __init__(self, caller: Caller) -> None:
        """Made by the client."""
        self._caller = caller

    def create(self, name: str, *, email: str = "") -> UserOut:
        """Make a user."""
        return self._caller.post("/v1/users", {"name": name, "email": email}, UserOut)

    def list(self) -> builtins.list[UserOut]:
        """Return all, oldest first."""
        return (self._caller.get("/v1/users", UserList)).data

    def get(self, user_id: str) -> UserOut:
        """Return one."""
        return self._caller.get(encoding.path("users", user_id), UserOut)

    def update(self, user_id: str, **changes: object) -> UserOut:
        """Change their `name`, `email` or `state`; of a disabled user no key works."""
        return self._caller.patch(encoding.path("users", user_id), changes, UserOut)


class Organisations:
    """The organisations of a server; for keys with organisation:admin of the first one."""

    def __init__(self, caller: Caller) -> None:
        """Made by the client."""
        self._caller = caller

    def create(
        self, name: str, *, zone: str = "UTC", per_minute: int | None = None, per_day: int | None = None
    ) -> OrganisationOut:
        """Make an organisation; `client.keys.create(organisation=…)` makes its first key."""
        body = {"name": name, "zone": zone, "per_minute": per_minute, "per_day": per_day}
        return self._caller.post("/v1/organisations", body, OrganisationOut)

    def list(self) -> builtins.list[OrganisationOut]:
        """Return all, oldest first."""
        return (self._caller.get("/v1/organisations", OrganisationList)).data

    def get(self, organisation_id: str) -> OrganisationOut:
        """Return one."""
        return self._caller.get(encoding.path("organisations", organisation_id), OrganisationOut)

    def update(self, organisation_id: str, **changes: object) -> OrganisationOut:
        """Change its `name`, `zone`, `per_minute`, `per_day` or `state`; of a disabled one no key works."""
        return self._caller.patch(encoding.path("organisations", organisation_id), changes, OrganisationOut)


class Audit:
    """The log of who did what."""

    def __init__(self, caller: Caller) -> None:
        """Made by the client."""
        self._caller = caller

    def page(self, *, after: int = 0, page_size: int = 50, action: str | None = None) -> AuditEventList:
        """Return lines after a number, oldest first; ask again with `after` = `next_after`."""
        path = encoding.path("audit-events", after=after, page_size=page_size, action=action)
        return self._caller.get(path, AuditEventList)
