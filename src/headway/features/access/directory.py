"""Everybody whom the store knows, in memory; replaced as a whole when anything has changed."""

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


class KeyEntry(msgspec.Struct, frozen=True):
    """A key with what belongs to it."""

    key: Key
    user: User | None
    organisation: Organisation | None
    allowance: Allowance | None
    secrets: tuple[Secret, ...]
    principal: Principal
    """As which its holder acts; the number of the secret is filled in when one is shown."""

    def stands(self, secret: int, now_ms: int) -> bool:
        """Whether the key is good, shown with the secret of that number."""
        good = fault(self.key, self.user, self.organisation, now_ms) is None
        return good and any(known.number == secret and is_live(known, now_ms) for known in self.secrets)

    def good_until(self, secret: int) -> int | None:
        """Return when that ceases to be so by itself."""
        times = [self.key.expires_at, *(known.until for known in self.secrets if known.number == secret)]
        return min((time for time in times if time is not None), default=None)


class Directory:
    """Organisations, users and keys by what they are looked up by."""

    def __init__(self) -> None:
        self.version: str | None = None
        """What was taken in; None: nothing yet, so nobody is let in."""
        self.organisations: dict[int, Organisation] = {}
        self.by_public_id: dict[str, Organisation] = {}
        self.allowances: dict[int, Allowance] = {}
        self.users: dict[str, User] = {}
        self.keys: dict[str, KeyEntry] = {}
        self._lent: dict[str, KeyEntry] = {}

    @property
    def locked(self) -> bool:
        """Whether a key is needed: from the first that was ever made. None that is revoked or expires opens the door again."""
        return bool(self.keys)

    def entry(self, key_id: str) -> KeyEntry | None:
        """Return a key by its public id."""
        return self.keys.get(key_id) or self._lent.get(key_id)

    def take(self, known: AccessSnapshot) -> None:
        """Know this and nothing else, but for the keys that were lent."""
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

    def lend(self, key_id: str, digest: str, now_ms: int) -> KeyEntry:
        """Know a key for as long as this process lives: that of servers' own workers. It opens nothing else."""
        key = Key(key_id, FIRST, None, LOCAL, '["worker:protocol"]', None, None, None, now_ms, None, None, None)
        organisation = Organisation(FIRST, "", LOCAL, "UTC", now_ms)
        entry = self._entry(key, [Secret(key_id, 1, digest, now_ms, None)])
        entry = self._lent[key_id] = replace(entry, organisation=organisation)
        return entry
