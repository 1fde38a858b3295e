"""Records of an organisation's tables: lookup, pages, and changes of up to a thousand at once, all or none."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Any, Final

import msgspec

from headway.errors import InvalidInput, RecordNotFound, TableInUse
from headway.features.tables import store as storage
from headway.features.tables.changes import initial_values, updated_values, without_required
from headway.features.tables.condition_sql import ListOrder
from headway.features.tables.definitions import TableContext, Tables
from headway.features.tables.external.tables import ExternalTables
from headway.features.tables.model import Record, RecordChange, Table
from headway.features.tables.record_commands import (
    DeleteRecords,
    InsertRecords,
    Outcome,
    RecordCommand,
    UpdateRecords,
    UpsertRecords,
    each_valid,
)
from headway.features.tables.rules.conditions import EVERY, BadCondition, Condition, Moment, read
from headway.ids import canonical_id
from headway.kernel.namespace import Namespace
from headway.protocol import tables as wire
from headway.protocol.values import invalid
from headway.runs.idempotency import RequestKey, keyed

PAGE_MAX: Final = 1_000
CREATED: Final = "created_at"


class Batch(msgspec.Struct, frozen=True):
    """Records after a change, in the order of the request."""

    table: Table
    records: list[Record]
    created: int = 0
    updated: int = 0


class Records:
    """Operations on the records of an organisation's tables."""

    def __init__(self, context: TableContext, tables: Tables) -> None:
        self._tables = tables
        self._store = context.store
        self._ids = context.ids
        self._organisation = context.organisation
        self._namespace = Namespace(context.organisation)
        self._zone = context.zone
        self._external = context.external

    @property
    def zone(self) -> tzinfo:
        """The zone of days, and of moments without a zone."""
        return self._zone()

    # -- reads -----------------------------------------------------------------------------------------------------------

    def condition(self, table: Table, given: Any, pointer: str = "/filter") -> Condition:
        """Return the condition that a JSON document describes; raise InvalidInput with a pointer to the fault."""
        try:
            return read(table, given, Moment(self._store.clock.now_ms(), self._zone()))
        except BadCondition as error:
            raise invalid(f"{pointer}{error.pointer}", error.message, "condition") from None

    async def get(self, table_name: str, record_id: str) -> tuple[Table, Record]:
        """Return a record; raise TableNotFound, RecordNotFound, ExternalRefused or ExternalFailed."""
        table = await self._tables.get(table_name)
        if table.external is not None:
            return table, await self._rows.get(table, record_id)
        wanted = canonical_id(record_id) or record_id
        found = await self._store.read.ask(lambda database, _: storage.read_records(database, table, [wanted]))
        if not found:
            raise RecordNotFound(f"the table {table.name!r} has no record {record_id[:80]!r}")
        return table, found[0]

    async def page(
        self, table: Table, condition: Condition = EVERY, after: str = "", size: int = 50, order_by: str = ""
    ) -> tuple[builtins.list[Record], str]:
        """Return records of which the condition is true, and the position of the next page ("" at the end).

        A page looks at a limited number of records: it may be short, even empty, although there are more. Raises
        InvalidInput for a field without index, QueryTooCostly, ExternalRefused or ExternalFailed.
        """
        size = min(size, PAGE_MAX)
        if table.external is not None:
            return await self._rows.page(table, condition, after, size, order_by)
        order = _list_order(table, order_by)
        return await self._store.read.ask(
            lambda database, dialect: storage.read_page(database, dialect, table, condition, after, size, order),
            slow=condition != EVERY or bool(order_by),  # blanks are looked for record by record
        )

    async def at(
        self, table: Table, condition: Condition = EVERY, offset: int = 0, size: int = 50
    ) -> builtins.list[Record]:
        """Return records from an offset on, oldest first; the cost is that of all pages before it."""
        if table.external is not None:
            return await self._rows.at(table, condition, offset, min(size, PAGE_MAX))
        return await self._store.read.ask(
            lambda database, dialect: storage.read_at(database, dialect, table, condition, offset, min(size, PAGE_MAX)),
            slow=True,
        )

    async def external_rows(
        self, table: Table, ids: Sequence[str], condition: Condition = EVERY
    ) -> builtins.list[Record]:
        """Return the rows of an external table that have these ids and of which the condition is true."""
        return await self._rows.some(table, condition, ids)

    async def count(self, table: Table, condition: Condition = EVERY) -> int:
        """Return the number of records of which the condition is true; raise QueryTooCostly."""
        if table.external is not None:
            return await self._rows.count(table, condition)
        return await self._store.read.ask(
            lambda database, dialect: storage.count_records(database, dialect, table, condition),
            slow=condition != EVERY,
        )

    # -- changes ---------------------------------------------------------------------------------------------------------

    async def insert(
        self, table_name: str, given: Sequence[Mapping[str, Any]], request: RequestKey | None = None
    ) -> Batch:
        """Add records, all or none; raise TableNotFound, or InvalidRecord with the violations of all records."""
        if (table := await self._find_external(table_name)) is not None:
            return await self._insert_external(table, given)
        command = InsertRecords(self._organisation, _id(table_name), given, self._new_ids(len(given)), self._zone())
        table, ids = await self._write(command, request)
        return await self._batch(table, ids, created=len(ids))

    async def update(
        self, table_name: str, given: Sequence[wire.RecordPatch], request: RequestKey | None = None
    ) -> Batch:
        """Change records, all or none; raise TableNotFound, RecordNotFound, VersionMismatch or InvalidRecord."""
        if (table := await self._find_external(table_name)) is not None:
            return await self._update_external(table, given)
        ids = [_id(patch.id) for patch in given]
        if len(set(ids)) < len(ids):
            raise InvalidInput(
                "a record is given twice",
                errors=[{"pointer": "/records", "code": "twice", "message": "a record is given twice"}],
            )
        command = UpdateRecords(self._organisation, _id(table_name), given, ids, self._zone())
        table, ids = await self._write(command, request)
        return await self._batch(table, ids, updated=len(ids))

    async def upsert(
        self, table_name: str, by: str, given: Sequence[Mapping[str, Any]], request: RequestKey | None = None
    ) -> Batch:
        """Change the records that have the given values in a unique field, and add the others, all or none.

        Raises TableNotFound, TableInUse for an external table, InvalidInput for a field that is not unique, or InvalidRecord.
        """
        if await self._find_external(table_name) is not None:
            raise TableInUse("an external table has no upsert: add or update its rows")
        new_ids = self._new_ids(len(given))
        command = UpsertRecords(self._organisation, _id(table_name), given, new_ids, by, self._zone())
        table, (*ids, updated) = await self._write(command, request)
        return await self._batch(table, ids, created=len(given) - int(updated), updated=int(updated))

    async def delete(
        self, table_name: str, ids: Sequence[str], version: int | None = None, request: RequestKey | None = None
    ) -> int:
        """Delete records, all or none; return their number.

        Raises TableNotFound, RecordNotFound, VersionMismatch, RecordInUse if a connection restricts it, or Conflict if it
        would touch too many records.
        """
        if (table := await self._find_external(table_name)) is not None:
            return await self._rows.delete(table, list(dict.fromkeys(ids)))
        wanted = list(dict.fromkeys(map(_id, ids)))
        _, lines = await self._write(DeleteRecords(self._organisation, _id(table_name), wanted, version), request)
        return int(lines[0])

    async def _write(self, command: RecordCommand, request: RequestKey | None) -> Outcome:
        return await self._store.write(keyed(command, request, self._namespace))

    async def _batch(self, table: Table, ids: Sequence[str], *, created: int = 0, updated: int = 0) -> Batch:
        """Return the records as they are after the change; deleted ones are left out of a repeated reply."""
        found = await self._store.read.ask(lambda database, _: storage.read_records(database, table, ids))
        by_id = {record.id: record for record in found}
        return Batch(table, [by_id[each] for each in ids if each in by_id], created, updated)

    def _new_ids(self, count: int) -> builtins.list[str]:
        return [self._ids.new(self._store.clock.now_ms()) for _ in range(count)]

    # -- external tables -------------------------------------------------------------------------------------------------

    @property
    def _rows(self) -> ExternalTables:
        assert self._external is not None, "only a server with external databases has external tables"
        return self._external

    async def _find_external(self, table_name: str) -> Table | None:
        table = await self._tables.get(table_name)
        return table if table.external is not None else None

    async def _insert_external(self, table: Table, given: Sequence[Mapping[str, Any]]) -> Batch:
        zone = self._zone()
        changes = each_valid(given, lambda _, values: RecordChange("", initial_values(table, values, zone)))
        rows = await self._rows.insert(table, [change.values for change in changes])
        return Batch(table, rows, created=len(rows))

    async def _update_external(self, table: Table, given: Sequence[wire.RecordPatch]) -> Batch:
        """Update rows, which have no versions; a blank is a NULL."""
        if any(patch.version is not None for patch in given):
            raise InvalidInput("rows of an external table have no versions")
        relaxed, zone = without_required(table), self._zone()
        changes = each_valid(
            given, lambda _, patch: RecordChange(patch.id, updated_values(relaxed, patch.values, {}, zone))
        )
        updates = []
        for patch, change in zip(given, changes, strict=True):
            named = {field.id for name in patch.values if (field := table.find(name)) is not None}
            updates.append((patch.id, {field: change.values.get(field) for field in sorted(named)}))
        after = await self._rows.update(table, updates)
        return Batch(table, after, updated=len(after))


def _id(given: str) -> str:
    """Return an id in its canonical form; another text as it is."""
    return canonical_id(given) or given


def _list_order(table: Table, order_by: str) -> ListOrder:
    name, _, way = order_by.strip().rpartition(" ")
    if way.lower() not in ("asc", "desc") or not name:
        name, way = order_by.strip(), "asc"
    if name in ("", CREATED):
        return ListOrder(down=way.lower() == "desc")
    field = table.find(name)
    if field is None or not field.has_index or field.is_list:
        known = [repr(each.name) for each in table.fields if each.has_index and not each.is_list]
        message = f"records can be ordered by {', '.join([CREATED, *known])}; other fields have no index"
        raise invalid("/order_by", message)
    return ListOrder(field.id, field.type, down=way.lower() == "desc")
