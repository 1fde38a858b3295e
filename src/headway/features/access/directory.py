"""Directory: the cache of organisations, users and keys, replaced as a whole when any of them changes."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from headway.features.access.model import Allowance, Key, Secret, User
from headway.features.access.rules import fault, is_live
from headway.features.access.store import AccessSnapshot
from headway.kernel.authority import Principal
from headway.kernel.organisation import Organisation
from headway.kernel.query import FIRST

_names: Final = msgspec.json.Decoder(tuple[str, ...]).decode
_set: Final = msgspec.json.Decoder(frozenset[str]).decode

LOCAL: Final = "local worker"
"""Name of keys that servers make for their own workers."""


class KeyEntry(msgspec.Struct, frozen=True):
    """A key with its user, organisation, limits and secrets."""

    key: Key
    user: User | None
    organisation: Organisation | None
    allowance: Allowance | None
    secrets: tuple[Secret, ...]
    principal: Principal
    """Principal of the holder; the number of the secret is filled in when one is shown."""

    def is_valid(self, secret: int, now_ms: int) -> bool:
        """Whether the key is valid, and its secret of that number too."""
        good = fault(self.key, self.user, self.organisation, now_ms) is None
        return good and any(known.number == secret and is_live(known, now_ms) for known in self.secrets)

    def good_until(self, secret: int) -> int | None:
        """Return the time at which the key or that secret expires, or None."""
        times = [self.key.expires_at, *(known.until for known in self.secrets if known.number == secret)]
        return min((time for time in times if time is not None), default=None)


class Directory:
    """Organisations, users and keys by their ids."""

    def __init__(self) -> None:
        self.version: str | None = None
        """Version of the content; None before it is loaded."""
        self.organisations: dict[int, Organisation] = {}
        self.by_public_id: dict[str, Organisation] = {}
        self.allowances: dict[int, Allowance] = {}
        self.users: dict[str, User] = {}
        self.keys: dict[str, KeyEntry] = {}
        self._local: dict[str, KeyEntry] = {}

    @property
    def locked(self) -> bool:
        """Whether requests need a key: from the first key on, also after all are revoked or expired."""
        return bool(self.keys)

    def entry(self, key_id: str) -> KeyEntry | None:
        """Return a key by its public id."""
        return self.keys.get(key_id) or self._local.get(key_id)

    def take(self, known: AccessSnapshot) -> None:
        """Replace the content; keys of local workers stay."""
        self.version = known.version
        self.organisations = {one.id: one for one in known.organisations}
        self.by_public_id = {one.public_id: one for one in known.organisations}
        self.allowances = {allowance.organisation: allowance for allowance in known.allowances}
        self.users = {user.id: user for user in known.users}
        secrets: dict[str, list[Secret]] = {}
        for secret in known.secrets:
            secrets.setdefault(secret.key_id, []).append(secret)
        self.keys = {key.id: self._entry(key, secrets.get(key.id, [])) for key in known.keys}

    def _entry(self, key: Key, secrets: list[Secret]) -> KeyEntry:
        user = self.users.get(key.user_id) if key.user_id is not None else None
        principal = Principal(
            organisation=key.organisation,
            key_id=key.id,
            secret=0,
            user_id=key.user_id,
            scopes=_set(key.scopes),
            queues=None if key.queues is None else _names(key.queues),
            actor=user.name if user is not None else key.name,
        )
        owner = key.organisation
        return KeyEntry(key, user, self.organisations.get(owner), self.allowances.get(owner), tuple(secrets), principal)

    def add_local(self, key_id: str, digest: str, now_ms: int) -> KeyEntry:
        """Add the key of a server's own workers until this process ends; its only scope is `worker:protocol`."""
        key = Key(key_id, FIRST, None, LOCAL, '["worker:protocol"]', None, None, None, now_ms, None, None, None)
        organisation = Organisation(FIRST, "", LOCAL, "UTC", now_ms)
        entry = self._entry(key, [Secret(key_id, 1, digest, now_ms, None)])
        entry = self._local[key_id] = replace(entry, organisation=organisation)
        return entry
