"""Keys of one organisation: making, changing, rotating and revoking, each with a line in the audit log."""

from __future__ import annotations

import builtins
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple, NoReturn

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from headway.errors import Conflict, Forbidden, KeyNotFound
from headway.features.access import audit, digests
from headway.features.access import store as rows
from headway.features.access.access import Access
from headway.features.access.directory import KeyEntry
from headway.features.access.model import Key, Secret
from headway.features.access.rules import rotated
from headway.features.access.store import AccessSnapshot
from headway.ids import Signer
from headway.kernel.authority import GRANTABLE, OPERATING, READING, Origin, Principal
from headway.kernel.namespace import Namespace
from headway.kernel.permissions import beyond
from headway.kernel.query import FIRST
from headway.protocol import access as wire
from headway.protocol import keytext
from headway.protocol.keytext import KeyText
from headway.protocol.values import duration, invalid
from headway.runs.idempotency import Creation, RequestKey, keyed
from headway.store.command import Command
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

KEYS_MAX: Final = 10_000
"""Most keys of one organisation, revoked ones included: all are cached in memory."""

_encode: Final = msgspec.json.Encoder().encode


class IssuedKey(NamedTuple):
    """A key, with its text if the key or its secret was just made."""

    entry: KeyEntry
    text: KeyText | None


class Keys:
    """Keys of one organisation."""

    def __init__(self, store: Store, access: Access, signer: Signer, organisation: int = FIRST) -> None:
        self._store = store
        self._access = access
        self._signer = signer
        self._organisation = organisation
        self._namespace = Namespace(organisation)

    def list(self) -> list[KeyEntry]:
        """Return all keys, revoked ones included, oldest first."""
        return [entry for entry in self._access.directory.keys.values() if self._is_ours(entry)]

    def created_at(self, key_id: str) -> int | None:
        """Return the time at which a key was made, keys of local workers included; None if there is no such key."""
        entry = self._access.directory.entry(key_id)
        return None if entry is None else entry.key.created_at

    def get(self, key_id: str) -> KeyEntry:
        """Return a key; raise KeyNotFound."""
        entry = self._access.directory.keys.get(key_id)
        if entry is None or not self._is_ours(entry):
            _absent(key_id)
        return entry

    def _is_ours(self, entry: KeyEntry) -> bool:
        return entry.key.organisation == self._organisation

    async def create(
        self,
        asked: wire.CreateKey,
        by: Principal,
        origin: Origin,
        request: RequestKey | None = None,
        *,
        first: KeyText | None = None,
    ) -> IssuedKey:
        """Make a key; its text is in this result and is stored nowhere.

        `first` is the text of the first key of all, in place of a random one. Raises InvalidInput for an unknown scope or
        user, Forbidden for rights that `by` lacks, Conflict for more than KEYS_MAX keys, for a first key without
        `key:admin`, and with `first` if there are keys already, and IdempotencyKeyReused.
        """
        scopes = self._scopes(asked.scopes)
        _refuse_beyond(by, scopes, asked.queues)
        text = first or keytext.new()
        digest = digests.digest(self._signer, text)
        life_ms = None if asked.expires_in is None else duration(asked.expires_in, "/expires_in")
        command = CreateKey(asked, self._organisation, scopes, text, digest, life_ms, origin, first=first is not None)
        key_id = await self._store.write(keyed(command, request, self._namespace))
        await self._access.refresh()
        return IssuedKey(self.get(key_id), None if request is not None and request.replayed else text)

    async def patch(self, key_id: str, asked: wire.PatchKey, by: Principal, origin: Origin) -> KeyEntry:
        """Change a key; rights are taken from it at once, also from open requests.

        Raises KeyNotFound, InvalidInput for an unknown scope, and Forbidden for a key with more rights than `by`.
        """
        scopes = None if asked.scopes is UNSET else self._scopes(asked.scopes)
        if scopes is not None:
            _refuse_beyond(by, scopes, self.get(key_id).principal.queues)
        return await self._change(ChangeKey(key_id, self._organisation, by, origin, asked, scopes))

    async def revoke(self, key_id: str, by: Principal, origin: Origin) -> KeyEntry:
        """Revoke a key for good: from the commit on it is refused, and its open requests are ended.

        Raises KeyNotFound, and Forbidden for a key with more rights than `by`.
        """
        return await self._change(RevokeKey(key_id, self._organisation, by, origin))

    async def rotate(
        self, key_id: str, overlap: str, by: Principal, origin: Origin, request: RequestKey | None = None
    ) -> IssuedKey:
        """Give a key a new secret; the last one stays valid for the overlap (a duration), an earlier one ends now.

        Raises KeyNotFound, InvalidInput, Forbidden for a key with more rights than `by`, Conflict for a revoked key, and
        IdempotencyKeyReused.
        """
        overlap_ms = duration(overlap, "/overlap")
        text = keytext.new(key_id)
        self.get(key_id)
        command = RotateKey(key_id, self._organisation, digests.digest(self._signer, text), overlap_ms, by, origin)
        await self._store.write(keyed(command, request, self._namespace))
        await self._access.refresh()
        return IssuedKey(self.get(key_id), None if request is not None and request.replayed else text)

    async def _change(self, command: KeyCommand) -> KeyEntry:
        self.get(command.key_id)
        await self._store.write(command)
        await self._access.refresh()
        return self.get(command.key_id)

    def _scopes(self, asked: Iterable[str] | None) -> builtins.list[str]:
        wanted = [scope for scope in GRANTABLE if scope in (READING if asked is None else set(asked))]
        unknown = sorted(set(asked or ()) - set(GRANTABLE))
        if unknown:
            raise invalid("/scopes", f"there is no scope {unknown[0]!r}; there are: {', '.join(GRANTABLE)}")
        operating = sorted(OPERATING.intersection(wanted)) if asked is not None else []
        if operating and self._organisation != FIRST:
            raise invalid("/scopes", f"{operating[0]} is for keys of the first organisation")
        return [str(scope) for scope in wanted]


@dataclass(eq=False)
class CreateKey(Creation):
    """Insertion of a key with its first secret; the result is its id."""

    asked: wire.CreateKey
    organisation: int
    scopes: list[str]
    text: KeyText
    digest: str
    life_ms: int | None
    origin: Origin
    first: bool
    """Whether the key has to be the first one."""

    def apply(self, uow: UnitOfWork) -> str:
        known, asked, key_id = rows.lock(uow), self.asked, self.text.id
        if self.first and known.keys:
            raise Conflict("there are keys already")
        _refuse_strange_user(known, self.organisation, asked.user_id)
        if not known.keys and "key:admin" not in self.scopes:
            raise Conflict("the first key needs the scope key:admin: without it no other key could be made")
        if sum(key.organisation == self.organisation for key in known.keys) >= KEYS_MAX:
            raise Conflict(f"an organisation has at most {KEYS_MAX:,} keys")
        key = Key(
            id=key_id,
            organisation=self.organisation,
            user_id=asked.user_id,
            name=asked.name,
            scopes=_encode(self.scopes).decode(),
            queues=None if asked.queues is None else _encode(asked.queues).decode(),
            per_minute=asked.per_minute,
            per_day=asked.per_day,
            created_at=uow.now_ms,
            expires_at=None if self.life_ms is None else uow.now_ms + self.life_ms,
            revoked_at=None,
            last_used_at=None,
        )
        rows.save(uow, known, key)
        rows.save_secrets(uow, key_id, [Secret(key_id, 1, self.digest, uow.now_ms, None)])
        audit.note(uow, self.origin, "key.create", key_id)
        return key_id


@dataclass(eq=False)
class RotateKey(Creation):
    """Insertion of a new secret of a key; the result is the key's id."""

    key_id: str
    organisation: int
    digest: str
    overlap_ms: int
    by: Principal
    origin: Origin

    def apply(self, uow: UnitOfWork) -> str:
        known, key_id = rows.lock(uow), self.key_id
        key = _key_of(known, self.organisation, key_id)
        _refuse_stronger(self.by, key)
        if key.revoked_at is not None:
            raise Conflict("the key was revoked; make a new one")
        secrets = [secret for secret in known.secrets if secret.key_id == key_id]
        rows.save(uow, known, key)
        rows.save_secrets(uow, key_id, rotated(secrets, key_id, self.digest, self.overlap_ms, uow.now_ms))
        audit.note(uow, self.origin, "key.rotate", key_id)
        return key_id


@dataclass(eq=False)
class KeyCommand(Command[None]):
    """Base of the changes of one key: a change is saved with a line in the audit log."""

    key_id: str
    organisation: int
    by: Principal
    origin: Origin

    action: ClassVar[str]

    def apply(self, uow: UnitOfWork) -> None:
        """Change the key; raise KeyNotFound, or Forbidden for a key with more rights than `by`."""
        known = rows.lock(uow)
        key = _key_of(known, self.organisation, self.key_id)
        _refuse_stronger(self.by, key)
        changed = self.change(key, uow.now_ms)
        if changed != key:
            rows.save(uow, known, changed)
            audit.note(uow, self.origin, self.action, self.key_id)

    @abstractmethod
    def change(self, key: Key, now_ms: int) -> Key:
        """Return the key after the change."""


@dataclass(eq=False)
class ChangeKey(KeyCommand):
    """Change of a key's name, scopes and limits."""

    asked: wire.PatchKey
    scopes: list[str] | None
    """The new scopes, checked; None: as before."""

    action = "key.change"

    def change(self, key: Key, now_ms: int) -> Key:
        del now_ms
        asked = self.asked
        return replace(
            key,
            name=key.name if asked.name is UNSET else asked.name,
            scopes=key.scopes if self.scopes is None else _encode(self.scopes).decode(),
            per_minute=key.per_minute if asked.per_minute is UNSET else asked.per_minute,
            per_day=key.per_day if asked.per_day is UNSET else asked.per_day,
        )


@dataclass(eq=False)
class RevokeKey(KeyCommand):
    """Revocation of a key."""

    action = "key.revoke"

    def change(self, key: Key, now_ms: int) -> Key:
        return replace(key, revoked_at=key.revoked_at or now_ms)


def _key_of(known: AccessSnapshot, organisation: int, key_id: str) -> Key:
    for key in known.keys:
        if key.id == key_id and key.organisation == organisation:
            return key
    return _absent(key_id)


def _refuse_strange_user(known: AccessSnapshot, organisation: int, user_id: str | None) -> None:
    """Raise InvalidInput for a user of another organisation, as for an unknown user."""
    ours = {user.id for user in known.users if user.organisation == organisation}
    if user_id is not None and user_id not in ours:
        raise invalid("/user_id", "no user has that id")


def _refuse_stronger(by: Principal, key: Key) -> None:
    """Raise Forbidden for a key with more rights than the principal, who could take it over by a new secret."""
    _refuse_beyond(by, msgspec.json.decode(key.scopes), None if key.queues is None else msgspec.json.decode(key.queues))


def _refuse_beyond(by: Principal, scopes: Iterable[str], queues: Iterable[str] | None) -> None:
    missing = beyond(by, scopes, queues)
    if missing:
        raise Forbidden(f"the caller's own key does not have: {', '.join(missing)}")


def _absent(key_id: str) -> NoReturn:
    raise KeyNotFound(f"there is no key {key_id[:80]!r}")
