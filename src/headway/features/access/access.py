"""Authentication: from a key that is shown to its caller, without a read of the database.

Keys, users and organisations are cached in memory. A change is taken in as soon as it is committed here, and announced to
the other servers that share the database; these also look for changes every second, in case a message was lost.
"""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec.structs import astuple, replace

from headway.config import Settings
from headway.errors import StorageUnavailable, Unauthenticated
from headway.features.access import digests
from headway.features.access.audit import Audit
from headway.features.access.directory import Directory, KeyEntry
from headway.features.access.rules import fault, is_live
from headway.features.access.store import AccessChanged, read_snapshot, read_usage, read_version
from headway.features.access.usage import UsageWindows
from headway.ids import Signer
from headway.kernel.authority import EVERYBODY, Origin, Principal
from headway.notify.events import CallersChanged, MessagesMissed
from headway.protocol.keytext import KeyText
from headway.store.command import Command, Statement
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork
from headway.vault import as_secrets
from headway.web.access_control import NEVER, Caller
from headway.web.ratelimits import DAY_MS, RateLimits

TOUCHED_EVERY_MS: Final = 60_000
"""Interval at which the last use of a key is saved; only people read that."""
COUNTED_EVERY_MS: Final = 5_000
"""Interval at which usage is saved; servers that share a database save it each second."""
SHARED_EVERY_MS: Final = 1_000
_NO_DIGESTS: Final = ("\0" * 43, "\0" * 43)
"""Digests that a secret is compared with if there is no key: the same work, and never a match."""
ANONYMOUS: Final = Caller(EVERYBODY)
"""The caller of every request without a key while no key exists."""

_encode: Final = msgspec.json.Encoder().encode


@dataclass(eq=False)
class SaveUsage(Command[None]):
    """Saving of request counts, and removal of old ones."""

    rows: str
    before: int

    def apply(self, uow: UnitOfWork) -> None:
        uow.later("save_usage", rows=self.rows)
        uow.later("delete_usage", before=self.before)


class Access:
    """Access control of a service (`web.access_control.AccessControl`), with the cache of keys and the audit log."""

    def __init__(self, store: Store, signer: Signer, settings: Settings) -> None:
        self._store = store
        self._signer = signer
        self._settings = settings
        self.directory = Directory()
        self.audit = Audit(store, signer, [Signer(secret) for secret in as_secrets(settings.earlier_secrets)])
        self.generation = 0
        peers = store.peers
        self.shared = peers is not None
        self._usage = UsageWindows(peers.server_id if peers is not None else "", shared=self.shared)
        self._used: dict[str, int] = {}
        self._touched: dict[str, int] = {}
        self._counted_at = 0
        self._sealed_at = 0
        self._ends_at = NEVER
        """The next time at which a key or a secret expires."""
        self._loading = asyncio.Lock()
        for kind in (AccessChanged, MessagesMissed):
            store.events.subscribe(kind, lambda _: store.soon(self.refresh))

    # -- the cache -------------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Read keys, users, organisations and the usage of today, and seal the log; done before any request is answered."""
        await self.refresh()
        await self._count()
        await self.audit.seal()

    async def refresh(self) -> None:
        """Read keys, users and organisations anew if any of them changed."""
        async with self._loading:
            version = await self._store.read.on(read_version)
            if version == self.directory.version:
                return
            self.directory.take(await self._store.read.on(read_snapshot))
        self._changed()

    def _changed(self) -> None:
        self.generation += 1
        now_ms = self._store.clock.now_ms()
        times = [
            time
            for entry in self.directory.keys.values()
            for time in (entry.key.expires_at, *(secret.until for secret in entry.secrets))
            if time is not None and time > now_ms
        ]
        self._ends_at = min(times, default=NEVER)
        for entry in self.directory.keys.values():
            self._rates(entry)  # limits may be others now
        self._store.events.publish(CallersChanged())

    # -- authentication --------------------------------------------------------------------------------------------------

    @property
    def locked(self) -> bool:
        return self.directory.locked

    def authenticate(self, key: KeyText | None, organisation: str | None = None) -> Caller:
        """Return the caller; raise Unauthenticated, or StorageUnavailable before the keys are loaded.

        An unknown key takes the same work as a known one, and gets the same answer.
        """
        if self.directory.version is None:
            raise StorageUnavailable
        if key is None:
            if self.locked:
                raise Unauthenticated("send a key: Authorization: Bearer hw_…")
            return ANONYMOUS
        now_ms = self._store.clock.now_ms()
        digest = digests.digest(self._signer, key)
        entry = self.directory.entry(key.id)
        if entry is None and digests.is_local(self._signer, key):
            entry = self.directory.add_local(key.id, digest, now_ms)
        number = self._matching(entry, digest, now_ms)
        owner = entry.organisation if entry is not None else None
        if organisation is not None and number and (owner is None or owner.public_id != organisation):
            raise Unauthenticated("the key belongs to another organisation", reason="organisation")
        if entry is None or not number:
            raise Unauthenticated("the key is not known")
        wrong = fault(entry.key, entry.user, owner, now_ms)
        if wrong is not None:
            raise Unauthenticated(f"the key is not valid any more: {wrong.replace('_', ' ')}", reason=wrong)
        until = entry.good_until(number)
        return Caller(replace(entry.principal, secret=number), NEVER if until is None else until, self._rates(entry))

    @staticmethod
    def _matching(entry: KeyEntry | None, digest: str, now_ms: int) -> int:
        """Return the number of the secret with this digest; 0 for none. Always two are compared, each in constant time."""
        live = [known for known in entry.secrets if is_live(known, now_ms)] if entry is not None else []
        numbers = ([known.number for known in live] + [0, 0])[:2]
        known_digests = [known.digest for known in live] + [*_NO_DIGESTS]
        found = 0
        for number, known in zip(numbers, known_digests[:2], strict=True):
            if hmac.compare_digest(known, digest):
                found = number
        return found

    def _rates(self, entry: KeyEntry) -> RateLimits | None:
        key, organisation, all_of = entry.key, entry.organisation, entry.allowance
        if organisation is None or key.id not in self.directory.keys:
            return None
        settings, now_ms = self._settings, self._store.clock.now_ms()
        mine, all_of_us = f"key:{key.id}", f"organisation:{organisation.id}"
        rates = RateLimits(
            self._usage.of(mine, key.per_minute or settings.key_per_minute, key.per_day or settings.key_per_day),
            self._usage.of(all_of_us, *((None, None) if all_of is None else (all_of.per_minute, all_of.per_day))),
        )
        for subject in (mine, all_of_us):
            self._usage.resume(subject, now_ms)
        return rates

    def is_current(self, principal: Principal) -> bool:
        if principal.key_id is None:
            return principal is not EVERYBODY or not self.locked  # other principals without a key come by a setting
        entry = self.directory.entry(principal.key_id)
        if entry is None or replace(entry.principal, secret=principal.secret) != principal:
            return False
        return entry.is_valid(principal.secret, self._store.clock.now_ms())

    def organisation_of(self, public_id: str) -> int | None:
        found = self.directory.by_public_id.get(public_id)
        return None if found is None else found.id

    def note_use(self, key_id: str, now_ms: int) -> None:
        self._used[key_id] = now_ms

    def note_refusal(self, origin: Origin, action: str, noun: str, outcome: str) -> None:
        self.audit.note_refusal(origin, action, noun, outcome)

    async def record(self, origin: Origin, action: str, noun: str, outcome: str) -> None:
        await self.audit.append(origin, action, noun, outcome)

    # -- usage -------------------------------------------------------------------------------------------------------------

    async def tick(self) -> int:
        """Save usage and refusals, and drop callers whose keys have expired; return the milliseconds until the next tick."""
        if self.shared:
            await self.refresh()
        now_ms = self._store.clock.now_ms()
        if now_ms >= self._ends_at:
            self._changed()
        await self.audit.flush()
        if self.shared or not 0 <= now_ms - self._counted_at < COUNTED_EVERY_MS:  # a clock that was set back too
            await self._count()
        if now_ms >= self._sealed_at + COUNTED_EVERY_MS:
            self._sealed_at = now_ms
            await self.audit.seal()
        await self._touch(TOUCHED_EVERY_MS)
        return SHARED_EVERY_MS if self.shared else COUNTED_EVERY_MS // 5

    async def close(self) -> None:
        """Save usage and refusals for the last time."""
        await self.audit.flush()
        await self._count()
        await self._touch(0)
        await self.audit.seal()

    async def _count(self) -> None:
        first, now_ms = not self._counted_at, self._store.clock.now_ms()
        self._counted_at = now_ms
        usages = self._usage.unsaved()
        if usages:
            rows = _encode([astuple(usage) for usage in usages]).decode()
            await self._store.write(SaveUsage(rows, now_ms - 2 * DAY_MS))
            self._usage.mark_saved(usages)
        if not (self.shared or usages or first):
            return  # no other server counts
        since = now_ms - now_ms % DAY_MS
        self._usage.take(await self._store.read.on(lambda database: read_usage(database, since)), now_ms)

    async def _touch(self, every_ms: int) -> None:
        due = [(key, at) for key, at in self._used.items() if at >= self._touched.get(key, -every_ms) + every_ms]
        due = [(key, at) for key, at in due if at != self._touched.get(key) and key in self.directory.keys]
        self._used = {}
        if due:
            rows = _encode(due).decode()
            await self._store.write(Statement("touch_keys", rows=rows))
            self._touched.update(due)
            for key_id, at in due:
                entry = self.directory.keys.get(key_id)
                if entry is not None:
                    self.directory.keys[key_id] = replace(entry, key=replace(entry.key, last_used_at=at))
