"""Lets callers in: from what they show to who they are, without a look at the database.

Everybody is known in memory. A change is taken in as soon as it is committed here, is told to the other servers that
share the database, and is looked for by those every second in case they were not reached.
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
from headway.features.access import keytext
from headway.features.access.audit import Audit
from headway.features.access.directory import Directory, KeyEntry
from headway.features.access.keytext import KeyText
from headway.features.access.meters import Meters
from headway.features.access.rules import DAY_MS, Window, fault, is_live
from headway.features.access.store import read_known, read_usage, read_version
from headway.ids import Signer
from headway.kernel.authority import EVERYBODY, Principal
from headway.notify.events import AccessChanged, CallersChanged, MessagesMissed
from headway.store.command import Command, Statement
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork
from headway.vault import as_secrets

TOUCHED_EVERY_MS: Final = 60_000
"""How often it is written down that a key was used; only people read that."""
COUNTED_EVERY_MS: Final = 5_000
"""How often it is written down how much was used; other servers are told each second."""
SHARED_EVERY_MS: Final = 1_000
NEVER: Final = 1 << 62
_NOBODY: Final = ("\0" * 43, "\0" * 43)
"""What a secret is compared with if there is no key: the same work, and never a match."""

_encode: Final = msgspec.json.Encoder().encode


class Admission:
    """A caller who was let in, as long as nothing changes: who it is, until when, and what it may use up."""

    __slots__ = ("key_id", "principal", "said", "said_at", "tight", "until", "windows")

    def __init__(self, principal: Principal, until: int, windows: tuple[Window, ...]) -> None:
        self.principal = principal
        self.key_id = principal.key_id
        self.until = until
        self.windows = windows
        """Minute and day of the key, minute and day of its organisation; none of what is not counted."""
        self.said: tuple[tuple[bytes, bytes], ...] = ()
        """What was said of the limits, in the second `said_at`."""
        self.said_at = -1
        self.tight: tuple[Window, Window] | None = None
        """The windows of which least was left then."""


OPEN: Final = Admission(EVERYBODY, NEVER, ())


@dataclass(eq=False)
class _SaveUsage(Command[None]):
    rows: str
    before: int

    def apply(self, uow: UnitOfWork) -> None:
        uow.later("save_usage", rows=self.rows)
        uow.later("delete_usage", before=self.before)


class Access:
    """The door of a service; one for each server."""

    def __init__(self, store: Store, signer: Signer, settings: Settings) -> None:
        self._store = store
        self._signer = signer
        self._settings = settings
        self.directory = Directory()
        self.audit = Audit(store, signer, [Signer(secret) for secret in as_secrets(settings.earlier_secrets)])
        self.generation = 0
        """Raised when anybody may have become somebody else; whoever remembers an admission forgets it then."""
        peers = store.peers
        self.shared = peers is not None
        self._meters = Meters(peers.server_id if peers is not None else "", shared=self.shared)
        self._used: dict[str, int] = {}
        self._touched: dict[str, int] = {}
        self._counted_at = 0
        self._sealed_at = 0
        self._ends_at = NEVER
        self._loading = asyncio.Lock()
        for kind in (AccessChanged, MessagesMissed):
            store.events.subscribe(kind, lambda _: store.soon(self.refresh))

    # -- who is known ----------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Get to know everybody, and what they have used today. A server calls this before it answers anyone."""
        await self.refresh()
        await self._count()
        await self.audit.seal()

    async def refresh(self) -> None:
        """Take in what has changed."""
        async with self._loading:
            version = await self._store.read.on(read_version)
            if version == self.directory.version:
                return
            self.directory.take(await self._store.read.on(read_known))
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
            self._windows(entry)  # limits may be others now
        self._store.events.publish(CallersChanged())

    # -- letting in ------------------------------------------------------------------------------------------------------

    @property
    def locked(self) -> bool:
        """Whether requests need a key: from the first key on, even after all are revoked."""
        return self.directory.locked

    def admit(self, shown: KeyText | None, application: str | None = None) -> Admission:
        """Return who has shown this; raise Unauthenticated. `application` is the organisation that they say they mean.

        What is done for a key that does not exist is what is done for one that does, and the answer is the same.
        """
        if self.directory.version is None:
            raise StorageUnavailable
        if shown is None:
            if self.locked:
                raise Unauthenticated("show a key: Authorization: Bearer hw_…")
            return OPEN
        now_ms = self._store.clock.now_ms()
        entry = self.directory.entry(shown.id)
        if entry is None and keytext.is_lent(self._signer, shown):
            entry = self.directory.lend(shown.id, keytext.digest(self._signer, shown), now_ms)
        number = self._matching(entry, keytext.digest(self._signer, shown), now_ms)
        organisation = entry.organisation if entry is not None else None
        if application is not None and number and (organisation is None or organisation.public_id != application):
            raise Unauthenticated("the key is not one of that organisation", reason="organisation")
        if entry is None or not number:
            raise Unauthenticated("the key is not known")
        wrong = fault(entry.key, entry.user, entry.organisation, now_ms)
        if wrong is not None:
            raise Unauthenticated(f"the key is not good any more: {wrong.replace('_', ' ')}", reason=wrong)
        until = entry.good_until(number)
        principal = replace(entry.principal, secret=number)
        return Admission(principal, NEVER if until is None else until, self._windows(entry))

    @staticmethod
    def _matching(entry: KeyEntry | None, digest: str, now_ms: int) -> int:
        """Return the number of the secret of which this is the digest; 0 for none. Always two are looked at, to their ends."""
        live = [known for known in entry.secrets if is_live(known, now_ms)] if entry is not None else []
        numbers = ([known.number for known in live] + [0, 0])[:2]
        digests = [known.digest for known in live] + [*_NOBODY]
        found = 0
        for number, known in zip(numbers, digests[:2], strict=True):
            if hmac.compare_digest(known, digest):
                found = number
        return found

    def _windows(self, entry: KeyEntry) -> tuple[Window, ...]:
        key, organisation, all_of = entry.key, entry.organisation, entry.allowance
        if organisation is None or key.id not in self.directory.keys:
            return ()
        settings, now_ms = self._settings, self._store.clock.now_ms()
        mine, all_of_us = f"key:{key.id}", f"organisation:{organisation.id}"
        found = (
            *self._meters.of(mine, key.per_minute or settings.key_per_minute, key.per_day or settings.key_per_day),
            *self._meters.of(all_of_us, *((None, None) if all_of is None else (all_of.per_minute, all_of.per_day))),
        )
        for subject in (mine, all_of_us):
            self._meters.resume(subject, now_ms)
        return found

    def stands(self, principal: Principal) -> bool:
        """Whether someone who was let in before would be let in now, as the same: what lasts is looked at again."""
        if principal.key_id is None:
            return principal is not EVERYBODY or not self.locked  # others were let in by a setting
        entry = self.directory.entry(principal.key_id)
        if entry is None or replace(entry.principal, secret=principal.secret) != principal:
            return False
        return entry.stands(principal.secret, self._store.clock.now_ms())

    def used(self, key_id: str, now_ms: int) -> None:
        """Keep in mind when a key was used."""
        self._used[key_id] = now_ms

    # -- keeping books -----------------------------------------------------------------------------------------------------

    async def tick(self) -> int:
        """Write down what was used and refused; see who has to go; return when to look again."""
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
        """Write down what is left; the server goes."""
        await self.audit.flush()
        await self._count()
        await self._touch(0)
        await self.audit.seal()

    async def _count(self) -> None:
        first, now_ms = not self._counted_at, self._store.clock.now_ms()
        self._counted_at = now_ms
        usages = self._meters.unsaved()
        if usages:
            rows = _encode([astuple(usage) for usage in usages]).decode()
            await self._store.write(_SaveUsage(rows, now_ms - 2 * DAY_MS))
            self._meters.saved(usages)
        if not (self.shared or usages or first):
            return  # nobody else counts
        since = now_ms - now_ms % DAY_MS
        self._meters.take(await self._store.read.on(lambda database: read_usage(database, since)), now_ms)

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
