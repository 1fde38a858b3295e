"""Audit log: lines about changes and refusals, with a limit on repeated refusals, and its seal."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from headway.clock import Clock
from headway.errors import Unavailable
from headway.features.access.model import AuditEvent
from headway.features.access.store import append_lines, read_audit, read_seal, seal, unsealed
from headway.ids import Signer
from headway.kernel.authority import Origin
from headway.store.command import Command
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork
from headway.web.ratelimits import Window

TEXT_MAX: Final = 200
"""Most characters of a text of the caller, such as its User-Agent."""
REFUSALS_PER_HOUR: Final = 2_000
"""Lines about refusals; more are counted, in one line a minute."""
REST_EVERY_MS: Final = 60_000
DISTINCT_MAX: Final = 500
"""Different refusals that are remembered until they are written."""

_Refusal = tuple[Origin, str, str, str]
"""Origin, action, noun and outcome."""
_THE_REST: Final[_Refusal] = (Origin(actor=""), "many", "", "refused")


def line(origin: Origin, action: str, noun: str, outcome: str, now_ms: int) -> AuditEvent:
    """Return a line, without the number and hash that it gets when it is appended."""
    return AuditEvent(
        number=0,
        time=now_ms,
        organisation=origin.organisation,
        actor=_plain(origin.actor),
        key_id=origin.key_id,
        ip=origin.ip,
        agent=_plain(origin.agent),
        action=action,
        object=_plain(noun),
        outcome=outcome,
        request_id=origin.request_id,
        hash="",
    )


def note(uow: UnitOfWork, origin: Origin, action: str, noun: str) -> None:
    """Append a line about a change to the log, in the transaction of the change."""
    _append(uow, line(origin, action, noun, "done", uow.now_ms))


def _append(uow: UnitOfWork, event: AuditEvent) -> None:
    uow.do_last(append_lines, event)


def _plain(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text[:TEXT_MAX])


log: Final = logging.getLogger("headway.audit")


@dataclass(eq=False)
class AppendLines(Command[None]):
    """Appending of lines to the log."""

    events: list[AuditEvent]

    def apply(self, uow: UnitOfWork) -> None:
        for event in self.events:
            _append(uow, event)


@dataclass(eq=False)
class SealLog(Command[None]):
    """Sealing of the log; a log with lines that was not sealed gets a line about that."""

    signer: Signer
    earlier: tuple[Signer, ...]
    head: int
    """Number of the last entry when the seal was read."""

    def apply(self, uow: UnitOfWork) -> None:
        uow.flush()
        before = seal(uow, self.signer, self.earlier)
        if before is None and self.head:
            note(uow, Origin(actor="server"), "audit.seal", f"lines 1 to {self.head}")


class Audit:
    """The audit log of a store."""

    def __init__(self, store: Store, signer: Signer, earlier: Sequence[Signer] = ()) -> None:
        """`earlier`: signers with earlier secrets of the store."""
        self._store = store
        self._signer = signer
        self._earlier = tuple(earlier)
        self._broken = False
        """Whether a broken seal was logged already."""
        self._refusals: dict[_Refusal, int] = {}
        self._room = Window(3_600_000, REFUSALS_PER_HOUR)
        self._rest_told_at = 0

    @property
    def _clock(self) -> Clock:
        return self._store.clock

    async def append(self, origin: Origin, action: str, noun: str, outcome: str) -> None:
        """Append a line; it is on disk when this returns."""
        event = line(origin, action, noun, outcome, self._clock.now_ms())
        await self._store.write(AppendLines([event]))

    async def seal(self) -> None:
        """Seal the audit log: sign its last entry with the store's secret, without which it cannot be rewritten then.

        Nothing is done if the seal is current. If a log with entries has no valid seal, an entry `audit.seal` records
        that: an earlier version has not sealed it, the secret has changed, or the seal was removed.
        """
        head, text = await self._store.read.on(read_seal)
        if self._broken or unsealed(text, (self._signer,)) == head:
            return
        try:
            await self._store.write(SealLog(self._signer, self._earlier, head.number))
        except Unavailable:  # it is tried again soon
            return
        except ValueError as error:
            self._broken = True
            log.error("audit.broken: %s; run headway doctor --verify", error)  # noqa: TRY400 - it is no mistake of ours

    def note_refusal(self, origin: Origin, action: str, noun: str, outcome: str) -> None:
        """Remember a refusal until `flush`; repeated ones become one line with a number."""
        place = (replace(origin, request_id="", agent=origin.agent[:TEXT_MAX]), action, noun[:TEXT_MAX], outcome)
        if place not in self._refusals and len(self._refusals) >= DISTINCT_MAX:
            place = _THE_REST
        self._refusals[place] = self._refusals.get(place, 0) + 1

    async def flush(self) -> None:
        """Append the remembered refusals."""
        if not self._refusals:
            return
        refusals, self._refusals = self._refusals, {}
        now_ms = self._clock.now_ms()
        events, rest = [], 0
        for (origin, action, noun, outcome), count in refusals.items():
            if self._room.left(now_ms) <= 0 or action == "many":
                rest += count
                continue
            self._room.mine += 1
            times = f" ({count} times)" if count > 1 else ""
            events.append(line(origin, action, noun, outcome + times, now_ms))
        if rest and now_ms < self._rest_told_at + REST_EVERY_MS:
            self._refusals[_THE_REST] = rest
        elif rest:
            self._rest_told_at = now_ms
            origin, action, noun, outcome = _THE_REST
            events.append(line(origin, action, noun, f"{outcome} ({rest} times)", now_ms))
        if not events:
            return
        try:
            await self._store.write(AppendLines(events))
        except Unavailable:  # they are written once the store is back
            self._refusals.pop(_THE_REST, None)  # these are among them
            for place, count in refusals.items():
                self._refusals[place] = self._refusals.get(place, 0) + count
            raise

    async def page(self, organisation: int, after: int, limit: int, action: str = "") -> tuple[list[AuditEvent], bool]:
        """Return the lines of an organisation (0: of all) after a number, and whether there are more."""
        return await read_audit(self._store.read, after, limit, organisation, action)
