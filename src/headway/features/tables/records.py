"""Records: find them, and change them, one or up to a thousand at a time, all or none."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, tzinfo
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from headway.errors import InvalidInput, InvalidRecord, RecordNotFound, TableInUse, VersionMismatch
from headway.features.tables import store as storage
from headway.features.tables.changes import Draft, Refusal, Refused, filled, fresh, hold, loose, remove, save
from headway.features.tables.condition_sql import ListOrder
from headway.features.tables.definitions import Tables
from headway.features.tables.external.tables import FarTables
from headway.features.tables.model import Field, Record, Table, Values
from headway.features.tables.rules.conditions import EVERY, BadCondition, Condition, Moment, read
from headway.features.tables.rules.keys import key
from headway.features.tables.rules.values import BadValue, normal
from headway.ids import IdSource, canonical_id
from headway.kernel.namespace import Namespace
from headway.protocol import tables as wire
from headway.protocol.values import invalid
from headway.runs.idempotency import RequestKey, keys_of, once
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

T = TypeVar("T")

PAGE_MAX: Final = 1_000
CREATED: Final = "created_at"


class Batch(msgspec.Struct, frozen=True):
    """Records after a batch, in the order in which they were given."""

    table: Table
    records: list[Record]
    created: int = 0
    updated: int = 0


class Records:
    """Every verb on the records of an organisation's tables."""

    def __init__(
        self,
        store: Store,
        tables: Tables,
        ids: IdSource,
        organisation: int = 1,
        zone: Callable[[], tzinfo] = lambda: UTC,
        far: FarTables | None = None,
    ) -> None:
        """`zone` is that of days, and of times which do not say theirs."""
        self._far = far
        self._store = store
        self._tables = tables
        self._ids = ids
        self._organisation = organisation
        self._zone = zone

    @property
    def zone(self) -> tzinfo:
        """The zone of days, and of times which do not say theirs."""
        return self._zone()

    # -- looking ---------------------------------------------------------------------------------------------------------

    def condition(self, table: Table, given: Any, pointer: str = "/filter") -> Condition:
        """Return the condition that a document describes; raise InvalidInput with a pointer to what is wrong."""
        try:
            return read(table, given, Moment(self._store.clock.now_ms(), self._zone()))
        except BadCondition as error:
            raise invalid(f"{pointer}{error.pointer}", error.message, "condition") from None

    async def get(self, table_name: str, record_id: str) -> tuple[Table, Record]:
        """Return a record; raise TableNotFound or RecordNotFound."""
        table = await self._tables.get(table_name)
        if table.external is not None:
            return table, await self._elsewhere.get(table, record_id)
        wanted = canonical_id(record_id) or record_id
        found = await self._store.read.ask(lambda database, _: storage.read_records(database, table, [wanted]))
        if not found:
            raise RecordNotFound(f"the table {table.name!r} has no record {record_id[:80]!r}")
        return table, found[0]

    async def page(
        self, table: Table, condition: Condition = EVERY, after: str = "", size: int = 50, order_by: str = ""
    ) -> tuple[builtins.list[Record], str]:
        """Return records of which the condition is true, and the place after which it goes on ("" at the end).

        A page may be short or even empty although there is more: it looks at so many records only.
        """
        size = min(size, PAGE_MAX)
        if table.external is not None:
            return await self._elsewhere.page(table, condition, after, size, order_by)
        walk = _walk(table, order_by)
        return await self._store.read.ask(
            lambda database, dialect: storage.read_page(database, dialect, table, condition, after, size, walk),
            slow=condition != EVERY or bool(order_by),  # blanks are looked for record by record
        )

    async def at(
        self, table: Table, condition: Condition = EVERY, offset: int = 0, size: int = 50
    ) -> builtins.list[Record]:
        """Return a page by its number, oldest first. It costs as much as all pages before it."""
        if table.external is not None:
            return await self._elsewhere.at(table, condition, offset, min(size, PAGE_MAX))
        return await self._store.read.ask(
            lambda database, dialect: storage.read_at(database, dialect, table, condition, offset, min(size, PAGE_MAX)),
            slow=True,
        )

    async def some_far(self, table: Table, ids: Sequence[str], condition: Condition = EVERY) -> builtins.list[Record]:
        """Return those of the rows of an external table that are there and of which the condition is true."""
        return await self._elsewhere.some(table, condition, ids)

    async def count(self, table: Table, condition: Condition = EVERY) -> int:
        """Return of how many records the condition is true: of all from the count that is kept, else by looking."""
        if table.external is not None:
            return await self._elsewhere.count(table, condition)
        return await self._store.read.ask(
            lambda database, dialect: storage.count_records(database, dialect, table, condition),
            slow=condition != EVERY,
        )

    # -- changing --------------------------------------------------------------------------------------------------------

    async def insert(
        self, table_name: str, given: Sequence[Mapping[str, Any]], request: RequestKey | None = None
    ) -> Batch:
        """Add records, all or none; raise InvalidRecord with what is wrong with which."""
        if (table := await self._external(table_name)) is not None:
            return Batch(table, await self._elsewhere.insert(table, self._each_far(table, given)), created=len(given))
        new_ids = [self._ids.new(self._store.clock.now_ms()) for _ in given]

        def work(uow: UnitOfWork, table: Table) -> builtins.list[str]:
            drafts = self._each(
                given, new_ids, lambda index: Draft(new_ids[index], fresh(table, given[index], self._zone()))
            )
            _take(new_ids, save(uow, table, drafts, whole=True))
            return new_ids

        table, ids = await self._write(table_name, work, len(given), request, grows=True)
        return await self._shown(table, ids, created=len(ids))

    async def update(
        self, table_name: str, given: Sequence[wire.RecordPatch], request: RequestKey | None = None
    ) -> Batch:
        """Change records, all or none; raise RecordNotFound, VersionMismatch or InvalidRecord."""
        if (table := await self._external(table_name)) is not None:
            return await self._update_far(table, given)
        ids = [canonical_id(patch.id) or patch.id for patch in given]
        if len(set(ids)) < len(ids):
            raise InvalidInput(
                "a record is there twice",
                errors=[{"pointer": "/records", "code": "twice", "message": "a record is there twice"}],
            )

        def work(uow: UnitOfWork, table: Table) -> builtins.list[str]:
            found = storage.load_records(uow, table, ids)
            for record_id, patch in zip(ids, given, strict=True):
                _check_version(table, found.get(record_id), record_id, patch.version)
            drafts = self._each(
                given,
                ids,
                lambda index: Draft(
                    ids[index],
                    filled(table, given[index].values, found[ids[index]].values, self._zone()),
                    found[ids[index]],
                ),
            )
            _take(ids, save(uow, table, _changed(drafts), whole=True))
            return ids

        table, ids = await self._write(table_name, work, len(given), request)
        return await self._shown(table, ids, updated=len(ids))

    async def upsert(
        self, table_name: str, by: str, given: Sequence[Mapping[str, Any]], request: RequestKey | None = None
    ) -> Batch:
        """Change the records that have the given values in a unique field, and add the others, all or none."""
        if await self._external(table_name) is not None:
            raise TableInUse("rows of an external table are added or updated, and not both at once")
        new_ids = [self._ids.new(self._store.clock.now_ms()) for _ in given]

        def work(uow: UnitOfWork, table: Table) -> builtins.list[str]:
            field = unique_field(table, by)
            found = known(uow, table, field, unique_keys(field, given, self._zone()))
            ids = [found[index].id if index in found else new_ids[index] for index in range(len(given))]

            def draft(index: int) -> Draft:
                before = found.get(index)
                if before is None:
                    return Draft(ids[index], fresh(table, given[index], self._zone()))
                return Draft(ids[index], filled(table, given[index], before.values, self._zone()), before)

            if len(set(ids)) < len(ids):
                twice = next(index for index, each in enumerate(ids) if each in ids[:index])
                _refuse({twice: (Refusal(field.name, "twice", "has a value that an earlier one of the batch has"),)})
            drafts = self._each(given, ids, draft)
            _take(ids, save(uow, table, _changed(drafts), whole=True))
            return [*ids, str(len(found))]

        table, lines = await self._write(table_name, work, len(given), request, grows=True)
        updated = int(lines[-1])
        return await self._shown(table, lines[:-1], created=len(given) - updated, updated=updated)

    async def delete(
        self, table_name: str, ids: Sequence[str], version: int | None = None, request: RequestKey | None = None
    ) -> int:
        """Delete records, all or none; raise RecordNotFound, VersionMismatch, or RecordInUse if a connection restricts it."""
        if (far := await self._external(table_name)) is not None:
            return await self._elsewhere.delete(far, list(dict.fromkeys(ids)))
        wanted = list(dict.fromkeys(canonical_id(each) or each for each in ids))

        def work(uow: UnitOfWork, table: Table) -> builtins.list[str]:
            found = storage.load_records(uow, table, wanted)
            for record_id in wanted:
                _check_version(table, found.get(record_id), record_id, version)
            return [str(remove(uow, table, wanted))]

        _, lines = await self._write(table_name, work, len(wanted), request)
        return int(lines[0])

    # -- of databases elsewhere --------------------------------------------------------------------------------------------

    @property
    def _elsewhere(self) -> FarTables:
        assert self._far is not None, "a table is external only where there are such"
        return self._far

    async def _external(self, table_name: str) -> Table | None:
        table = await self._tables.get(table_name)
        return table if table.external is not None else None

    def _each_far(self, table: Table, given: Sequence[Mapping[str, Any]]) -> builtins.list[Values]:
        return [
            draft.values
            for draft in self._each(given, [], lambda index: Draft("", fresh(table, given[index], self._zone())))
        ]

    async def _update_far(self, table: Table, given: Sequence[wire.RecordPatch]) -> Batch:
        """Change rows, which have no versions; a blank is a NULL."""
        if any(patch.version is not None for patch in given):
            raise InvalidInput("rows of an external table have no versions")
        taken = loose(table)
        drafts = self._each(given, [], lambda index: Draft("", filled(taken, given[index].values, {}, self._zone())))
        changes = []
        for patch, draft in zip(given, drafts, strict=True):
            named = {field.id for name in patch.values if (field := table.find(name)) is not None}
            changes.append((patch.id, {field: draft.values.get(field) for field in sorted(named)}))
        after = await self._elsewhere.update(table, changes)
        return Batch(table, after, updated=len(after))

    # -- pieces ----------------------------------------------------------------------------------------------------------

    async def _write(
        self,
        table_name: str,
        work: Callable[[UnitOfWork, Table], builtins.list[str]],
        weight: int,
        request: RequestKey | None,
        *,
        grows: bool = False,
    ) -> tuple[Table, builtins.list[str]]:
        wanted = canonical_id(table_name) or table_name

        namespace = Namespace(self._organisation)

        def whole(uow: UnitOfWork) -> tuple[Table, builtins.list[str]]:
            table = hold(uow, self._organisation, wanted)
            lines, _ = once(uow, request, namespace, lambda uow: work(uow, table))
            return table, lines

        return await self._store.write(whole, keys=keys_of(request, namespace), grows=grows, weight=max(1, weight))

    async def _shown(self, table: Table, ids: Sequence[str], *, created: int = 0, updated: int = 0) -> Batch:
        found = await self._store.read.ask(lambda database, _: storage.read_records(database, table, ids))
        by_id = {record.id: record for record in found}
        return Batch(table, [by_id[each] for each in ids if each in by_id], created, updated)

    @staticmethod
    def _each(given: Sequence[Any], ids: Sequence[str], draft: Callable[[int], Draft]) -> builtins.list[Draft]:
        """Return the drafts, or raise InvalidRecord with all that is wrong with any of them."""
        del ids
        drafts, wrong = [], {}
        for index in range(len(given)):
            try:
                drafts.append(draft(index))
            except Refused as refused:
                wrong[index] = refused.refusals
        if wrong:
            _refuse(wrong)
        return drafts


def _walk(table: Table, order_by: str) -> ListOrder:
    name, _, way = order_by.strip().rpartition(" ")
    if way.lower() not in ("asc", "desc") or not name:
        name, way = order_by.strip(), "asc"
    if name in ("", CREATED):
        return ListOrder(down=way.lower() == "desc")
    field = table.find(name)
    if field is None or not field.kept or field.lists:
        known = [repr(each.name) for each in table.fields if each.kept and not each.lists]
        message = f"records can be ordered by {', '.join([CREATED, *known])}; other fields have no index"
        raise invalid("/order_by", message)
    return ListOrder(field.id, field.type, down=way.lower() == "desc")


def unique_field(table: Table, name: str) -> Field:
    """Return the unique field by which records are known; raise InvalidInput."""
    field = table.find(name)
    if field is None or not field.unique:
        known = ", ".join(repr(each.name) for each in table.fields if each.unique) or "none"
        raise invalid("/by", f"{name[:80]!r} is no unique field; the table has {known}")
    return field


def unique_keys(field: Field, given: Sequence[Mapping[str, Any]], zone: tzinfo) -> dict[int, str]:
    """Return the key of what is given for a unique field, by place; what is blank, or no value, has none."""
    found = {}
    for index, values in enumerate(given):
        try:
            value = normal(field, values.get(field.name, values.get(field.id)), zone)
        except BadValue:
            continue  # it is refused as a record
        if value is not None:
            found[index] = key(field.type, value)
    return found


def known(uow: UnitOfWork, table: Table, field: Field, places: Mapping[int, str]) -> dict[int, Record]:
    """Return the records that have the keys in a unique field, by place."""
    asked = [(field.id, text) for text in dict.fromkeys(places.values())]
    owners = {text: owner for _, text, owner in storage.holders(uow.database, table, asked)}
    found = storage.load_records(uow, table, list(owners.values()))
    return {index: found[owners[text]] for index, text in places.items() if text in owners}


def _changed(drafts: Sequence[Draft]) -> builtins.list[Draft]:
    """Leave out those that change nothing: a record gets no new version for them."""
    return [draft for draft in drafts if draft.before is None or draft.before.values != draft.values]


def _check_version(table: Table, found: Record | None, record_id: str, version: int | None) -> None:
    if found is None:
        raise RecordNotFound(f"the table {table.name!r} has no record {record_id[:80]!r}")
    if version is not None and found.version != version:
        raise VersionMismatch(f"the record {record_id} is at version {found.version}", version=found.version)


def _take(ids: Sequence[str], refused: Mapping[str, tuple[Refusal, ...]]) -> None:
    if refused:
        _refuse({index: refused[each] for index, each in enumerate(ids) if each in refused})


def _refuse(wrong: Mapping[int, tuple[Refusal, ...]]) -> NoReturn:
    errors = [
        {"pointer": f"/records/{index}/values/{refusal.field}", "code": refusal.code, "message": str(refusal)}
        for index, refusals in wrong.items()
        for refusal in refusals
    ]
    index, refusals = next(iter(wrong.items()))
    raise InvalidRecord(f"records.{index}: {refusals[0]}", errors=errors[:100])
