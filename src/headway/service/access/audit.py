"""The log of who did what: what it is appended, how it is read, and how a flood of refusals is kept short."""

from __future__ import annotations

from typing import Final

from headway.clock import Clock
from headway.engine.access import Window
from headway.model.access import AuditEvent, Origin
from headway.model.query import FIRST
from headway.storage.access import read_audit
from headway.storage.store import Store
from headway.storage.unit import Unit

TEXT_MAX: Final = 200
"""Characters of what a caller says of itself, such as its User-Agent."""
REFUSALS_PER_HOUR: Final = 2_000
"""Lines about refusals; what is beyond is counted, and told in one line each time."""
DISTINCT_MAX: Final = 500
"""Refusals that are told apart until they are written down."""

_Refusal = tuple[int, str, str, str, str, str, str]
_THE_REST: Final[_Refusal] = (FIRST, "", "", "", "", "many", "")


def line(origin: Origin, action: str, noun: str, outcome: str, now_ms: int) -> AuditEvent:
    """Return a line; its number and hash are given when it is appended."""
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


def note(unit: Unit, origin: Origin, action: str, noun: str) -> None:
    """Append, in the transaction that does it, that something was done."""
    unit.audit(line(origin, action, noun, "done", unit.now_ms))


def _plain(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text[:TEXT_MAX])


class Audit:
    """The log."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._refusals: dict[_Refusal, int] = {}
        self._room = Window(3_600_000, REFUSALS_PER_HOUR)

    @property
    def _clock(self) -> Clock:
        return self._store.clock

    async def append(self, origin: Origin, action: str, noun: str, outcome: str) -> None:
        """Append a line; it is on disk when this returns."""
        event = line(origin, action, noun, outcome, self._clock.now_ms())
        await self._store.write(lambda unit: unit.audit(event))

    def refused(self, origin: Origin, action: str, noun: str, outcome: str) -> None:
        """Keep in mind that something was refused, to be appended soon. What happens often becomes one line with a number."""
        place = (
            origin.organisation, _plain(origin.actor), origin.key_id, origin.ip, _plain(origin.agent), action,
            f"{outcome}\n{noun[:TEXT_MAX]}",
        )  # fmt: skip
        if place not in self._refusals and len(self._refusals) >= DISTINCT_MAX:
            place = _THE_REST
        self._refusals[place] = self._refusals.get(place, 0) + 1

    async def flush(self) -> None:
        """Append the refusals that are kept in mind."""
        if not self._refusals:
            return
        refusals, self._refusals = self._refusals, {}
        now_ms = self._clock.now_ms()
        events, rest = [], 0
        for (organisation, actor, key_id, ip, agent, action, said), count in refusals.items():
            if self._room.left(now_ms) <= 0 or action == "many":
                rest += count
                continue
            self._room.mine += 1
            outcome, _, noun = said.partition("\n")
            origin = Origin(organisation, actor, key_id, ip, agent)
            times = f" ({count} times)" if count > 1 else ""
            events.append(line(origin, action, noun, outcome + times, now_ms))
        if rest:
            events.append(line(Origin(actor=""), "many", "", f"refused ({rest} times)", now_ms))

        def work(unit: Unit) -> None:
            for event in events:
                unit.audit(event)

        await self._store.write(work)

    async def page(self, organisation: int, after: int, limit: int, action: str = "") -> tuple[list[AuditEvent], bool]:
        """Return the lines of an organisation after a number (0 as organisation: of all), and whether there are more."""
        return await read_audit(self._store.read, after, limit, organisation, action)
