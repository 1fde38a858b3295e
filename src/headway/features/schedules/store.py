"""Statements of schedules and slots, within a transaction or a read.

The scheduler, changes and triggers decide about a schedule with its row in hand. On PostgreSQL the row is locked until the
end of the transaction, so two servers never decide the same slot.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec
from msgspec.structs import astuple

from headway.features.schedules.model import Outcome, PastSlot, Schedule
from headway.ids import canonical_id
from headway.kernel.run import BEHIND, Run
from headway.notify.events import Timer
from headway.store.command import Command
from headway.store.database import Database
from headway.store.unit_of_work import UnitOfWork, as_rows

if TYPE_CHECKING:
    from headway.store.reader import Reader

Row = tuple[Any, ...]


class SlotDue(Timer, frozen=True):
    """A schedule that was made or changed has its next slot at this time: the scheduler's work."""

    relay: ClassVar[str] = "slot_at"


_COLUMNS: Final = (
    "id", "organisation", "name", "task", "paused", "declared", "definition", "last_slot", "next_at", "created_at", "updated_at",
    "version",
)  # fmt: skip
_IN_DOCUMENT: Final = tuple(name for name in Schedule.__struct_fields__ if name not in _COLUMNS)
BEHIND_TEXT: Final = msgspec.json.encode([BEHIND]).decode()
"""`blocked_on` of a run that waits for earlier ones of its schedule."""
DAMAGED: Final = "what it says was damaged on the server's disk: say it anew"
NEWEST: Final = 1 << 62
"""Time after every slot."""

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


def make_schedule(row: Row) -> Schedule:
    """Return the schedule of a row with all columns; if it was damaged on disk, with a `problem` instead of times."""
    columns = dict(zip(_COLUMNS, row, strict=True))
    columns |= {name: bool(columns[name]) for name in ("paused", "declared")}
    try:
        return msgspec.convert(_decode(columns.pop("definition")) | columns, Schedule)
    except (msgspec.MsgspecError, TypeError):
        return msgspec.convert({"occurrence": "", "description": DAMAGED, "problem": DAMAGED} | columns, Schedule)


def _binds(schedule: Schedule) -> dict[str, Any]:
    document = {name: getattr(schedule, name) for name in _IN_DOCUMENT}
    binds = {name: getattr(schedule, name) for name in _COLUMNS if name != "definition"}
    flags = {"paused": int(schedule.paused), "declared": int(schedule.declared)}
    return binds | flags | {"definition": _encode(document).decode()}


def make_slot(row: Row) -> PastSlot:
    """Return the slot of a row."""
    return PastSlot(row[0], row[1], row[2], Outcome(row[3]), *row[4:])


# -- schedules, within a transaction ---------------------------------------------------------------------------------------


def load(uow: UnitOfWork, organisation: int, named: str) -> Schedule | None:
    """Return an organisation's schedule by its id or its name, to decide about it."""
    uow.flush()
    if (schedule_id := canonical_id(named)) is not None:
        rows = uow.database.rows("load_schedule", id=schedule_id, organisation=organisation)
    else:
        rows = uow.database.rows("load_schedule_named", organisation=organisation, name=named)
    return make_schedule(rows[0]) if rows else None


def lock_declared(uow: UnitOfWork, organisation: int, tasks: list[str]) -> list[Schedule]:
    """Return the schedules of an organisation's tasks that code declares, to decide about them."""
    uow.flush()
    rows = uow.database.rows("lock_declared_schedules", organisation=organisation, ids=as_rows(tasks))
    return [make_schedule(row) for row in rows]


def insert(uow: UnitOfWork, schedule: Schedule) -> None:
    """Insert a new schedule; its name must be free."""
    uow.execute("insert_schedule", **_binds(schedule))
    _announce(uow, schedule)


def save(uow: UnitOfWork, schedule: Schedule, before: Schedule) -> None:
    """Save a changed schedule."""
    uow.execute(
        "save_schedule", expect=1, **_without(_binds(schedule), "organisation", "created_at"), was=before.version
    )
    _announce(uow, schedule)


def _announce(uow: UnitOfWork, schedule: Schedule) -> None:
    if schedule.next_at is not None:
        uow.emit(SlotDue(schedule.next_at))


def delete(uow: UnitOfWork, schedule: Schedule) -> None:
    """Delete a schedule; its slots are removed by retention."""
    uow.execute("delete_schedule", expect=1, id=schedule.id, was=schedule.version)


def find_due(uow: UnitOfWork, limit: int) -> list[Schedule]:
    """Return schedules whose next slot has come, the longest due first."""
    uow.flush()
    return [make_schedule(row) for row in uow.database.rows("find_due_schedules", now_ms=uow.now_ms, limit=limit)]


def advance(uow: UnitOfWork, passed: Iterable[tuple[Schedule, Schedule]]) -> None:
    """Save the last decided slots of schedules, given as (before, after)."""
    rows = [(after.id, after.last_slot, after.next_at, before.last_slot) for before, after in passed]
    if rows:
        uow.execute("advance_schedules", expect=len(rows), rows=as_rows(rows))


def _without(binds: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in binds.items() if name not in names}


# -- slots and runs, within a transaction ------------------------------------------------------------------------------------


def add_slots(uow: UnitOfWork, slots: list[PastSlot]) -> None:
    """Insert decided slots."""
    if slots:
        uow.execute("insert_slots", rows=as_rows(list(map(astuple, slots))))


def fill_slots(uow: UnitOfWork, slots: list[PastSlot]) -> None:
    """Save the runs that a back-fill gave to slots."""
    if slots:
        uow.execute("fill_slots", expect=len(slots), rows=as_rows(list(map(astuple, slots))))


def slots_within(uow: UnitOfWork, schedule_id: str, first: int, last: int) -> dict[int, PastSlot]:
    """Return the stored slots between two times, both included, by time."""
    rows = uow.database.rows("slots_within", schedule_id=schedule_id, first=first, last=last)
    return {slot.nominal: slot for slot in map(make_slot, rows)}


def count_unfinished(uow: UnitOfWork, schedule_ids: list[str]) -> dict[str, int]:
    """Return the number of unfinished runs of each schedule."""
    if not schedule_ids:
        return {}
    uow.flush()
    return {row[0]: row[1] for row in uow.database.rows("count_unfinished", ids=as_rows(schedule_ids))}


def lock_unfinished(uow: UnitOfWork, schedule_id: str) -> int:
    """Return the number of unfinished runs of a schedule, and keep them from ending before this transaction does."""
    uow.flush()
    return len(uow.database.rows("lock_unfinished", schedule_id=schedule_id))


def find_unfinished(uow: UnitOfWork, schedule_id: str, limit: int) -> list[Run]:
    """Return runs of a schedule that are not finished, the oldest first."""
    return uow.find("find_unfinished", schedule_id=schedule_id, limit=limit)


def next_behind(uow: UnitOfWork, schedule_ids: Iterable[str]) -> list[Run]:
    """Return the next waiting run of each schedule without another run under way."""
    waiting = uow.find("find_next_behind", ids=as_rows(schedule_ids), behind=BEHIND_TEXT)
    if not waiting:
        return []
    asked = as_rows([run.schedule_id for run in waiting])
    busy = {row[0] for row in uow.database.rows("busy_schedules", ids=asked, behind=BEHIND_TEXT)}
    return [run for run in waiting if run.schedule_id not in busy]


@dataclass
class PruneSlots(Command[bool]):
    """Removal of up to `limit` old slots; the result says whether others are left."""

    kept_ms: int
    limit: int

    def apply(self, uow: UnitOfWork) -> bool:
        before = uow.now_ms - self.kept_ms
        uow.execute("prune_slots", before=before, limit=self.limit)
        oldest = uow.database.rows("oldest_decision")[0][0]
        return oldest is not None and bool(oldest < before)


# -- reads ---------------------------------------------------------------------------------------------------------------


class ScheduleReader:
    """Reads that never wait for the writer."""

    def __init__(self, reader: Reader) -> None:
        """Read by way of the store's reader."""
        self._reader = reader

    async def get(self, organisation: int, named: str) -> Schedule | None:
        """Return an organisation's schedule by its id or its name."""
        schedule_id = canonical_id(named)

        def read(database: Database) -> list[Row]:
            if schedule_id is not None:
                return database.rows("read_schedule", id=schedule_id, organisation=organisation)
            return database.rows("read_schedule_named", organisation=organisation, name=named)

        rows = await self._reader.on(read)
        return make_schedule(rows[0]) if rows else None

    async def page(self, organisation: int, task: str | None, after: str, limit: int) -> list[Schedule]:
        """Return an organisation's schedules, of a task or of all, in the order of names."""

        def read(database: Database) -> list[Row]:
            if task is not None:
                return database.rows(
                    "read_schedules_of_task", organisation=organisation, task=task, after=after, limit=limit
                )
            return database.rows("read_schedules", organisation=organisation, after=after, limit=limit)

        return [make_schedule(row) for row in await self._reader.on(read)]

    async def soonest(self, organisation: int, tasks: list[str]) -> list[Schedule]:
        """Return the schedule with the earliest next slot of each of these tasks, or its first by name if no slot is to come."""
        ids = as_rows(tasks)
        rows = await self._reader.on(
            lambda database: database.rows("read_soonest_schedules", organisation=organisation, ids=ids)
        )
        return [make_schedule(row) for row in rows]

    async def slots(self, schedule_id: str, outcome: str | None, before: int, limit: int) -> list[PastSlot]:
        """Return decided slots of a schedule, newest first."""

        def read(database: Database) -> list[Row]:
            if outcome is not None:
                return database.rows(
                    "read_slots_of_outcome", schedule_id=schedule_id, outcome=outcome, before=before, limit=limit
                )
            return database.rows("read_slots", schedule_id=schedule_id, before=before, limit=limit)

        return [make_slot(row) for row in await self._reader.on(read)]

    async def next_slot_at(self) -> int | None:
        """Return the time of the next slot of all schedules, which may have passed."""
        found: int | None = (await self._reader.on(lambda database: database.rows("next_slot_at")))[0][0]
        return found
