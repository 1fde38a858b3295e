"""Definitions of tables: make them, change them as far as their records fit, and let go of them."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from datetime import UTC, tzinfo
from typing import Any, Final

from msgspec import UNSET, UnsetType
from msgspec.structs import asdict, replace

from headway.errors import Conflict, FieldNotFound, TableInUse, TableNotFound, VersionMismatch
from headway.features.tables import store as storage
from headway.features.tables.changes import hold
from headway.features.tables.external.tables import FarTables
from headway.features.tables.model import External, Field, FieldType, Record, RecordChange, Table
from headway.features.tables.rules.fields import FIELDS_MAX, BadField, checked, converted, is_table_name
from headway.features.tables.rules.keys import keys
from headway.features.tables.rules.values import BadValue
from headway.ids import IdSource, canonical_id
from headway.kernel.namespace import Namespace
from headway.protocol import tables as wire
from headway.protocol.values import invalid
from headway.runs.idempotency import RequestKey, keys_of, once
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

TABLES_MAX: Final = 1_000
ALTER_MAX: Final = 100_000
"""Records that one change of a field may look at: it is one transaction, and about a second."""
CHUNK: Final = 1_000
SWEEPS: Final = 10
"""Chunks of a deleted table that are removed at once; the rest goes with the next rounds of the pruner."""


class Tables:
    """Every verb on the tables of an organisation."""

    def __init__(
        self,
        store: Store,
        ids: IdSource,
        organisation: int = 1,
        zone: Callable[[], tzinfo] = lambda: UTC,
        far: FarTables | None = None,
    ) -> None:
        """`zone` is that of times which do not say theirs; without `far` there are no external tables."""
        self._far = far
        self._store = store
        self._ids = ids
        self._organisation = organisation
        self._zone = zone

    async def list(self) -> builtins.list[Table]:
        """Return all tables, by name."""
        return await self._store.read.ask(lambda database, _: storage.read_tables(database, self._organisation))

    async def get(self, name: str) -> Table:
        """Return the table of that id or name; raise TableNotFound."""
        wanted = canonical_id(name) or name
        found = await self._store.read.ask(lambda database, _: storage.find_table(database, self._organisation, wanted))
        if found is None:
            raise TableNotFound(f"there is no table {name[:80]!r}", table=name[:80])
        return found

    async def create(self, spec: wire.CreateTable, request: RequestKey | None = None) -> Table:
        """Make a table with its fields; raise InvalidInput for what cannot be, Conflict for a name that is taken."""
        _check_name(spec.name)
        table_id = self._ids.new(self._store.clock.now_ms())
        fields, external = await self._external(table_id, spec)

        def work(uow: UnitOfWork) -> builtins.list[str]:
            others = storage.read_tables(uow.database, self._organisation)
            if len(others) >= TABLES_MAX:
                raise Conflict(f"there are {TABLES_MAX:,} tables already")
            self._refuse_taken(others, spec.name)
            table = Table(
                number=storage.next_number(uow), id=table_id, organisation=self._organisation, name=spec.name,
                description=spec.description, fields=fields, next_field=len(fields) + 1, created_at=uow.now_ms, updated_at=uow.now_ms,
            )  # fmt: skip
            for index, field in enumerate(spec.fields):
                table = self._with(table, others, field, f"/fields/{index}")
            storage.insert_table(uow, replace(table, external=external))
            return [table_id]

        (found,), _ = await self._store.write(
            lambda uow: once(uow, request, Namespace(self._organisation), work),
            keys=keys_of(request, Namespace(self._organisation)),
            grows=True,
        )
        return await self.get(found)

    async def _external(self, table_id: str, spec: wire.CreateTable) -> tuple[tuple[Field, ...], External | None]:
        if spec.external is None:
            return (), None
        if spec.fields:
            raise invalid("/fields", "the fields of an external table are read from its database")
        if self._far is None:
            raise invalid("/external", "this server has no external tables")
        return await self._far.reflect(table_id, spec.external)

    async def refresh(self, name: str) -> Table:
        """Read the fields of an external table again; those that are still there keep their ids."""
        known = await self.get(name)
        if known.external is None or self._far is None:
            raise TableInUse("only external tables have fields that are read from elsewhere")
        fields, external = await self._far.reflect_again(known)

        def work(uow: UnitOfWork) -> Table:
            table = self._held(uow, known.id, known.version)
            last = max((int(field.id.removeprefix("field_")) for field in fields), default=0)
            after = replace(table, fields=fields, external=external, next_field=max(table.next_field, last + 1))
            return self._saved(uow, table, after)

        return await self._store.write(work)

    async def patch(self, name: str, spec: wire.PatchTable, version: int | None = None) -> Table:
        """Rename or describe a table; raise VersionMismatch if it is not at that version."""
        if spec.name is not UNSET:
            _check_name(spec.name)

        def work(uow: UnitOfWork) -> Table:
            table = self._held(uow, name, version)
            after = table
            if spec.name is not UNSET and spec.name != table.name:
                self._refuse_taken(storage.read_tables(uow.database, self._organisation), spec.name)
                after = replace(after, name=spec.name)
            if spec.description is not UNSET:
                after = replace(after, description=spec.description)
            return self._saved(uow, table, after)

        return await self._store.write(work)

    async def delete(self, name: str, version: int | None = None) -> None:
        """Remove a table and its records; raise TableInUse if a connection of another one names it.

        It is gone at once; rows of a large one are removed by and by.
        """

        def work(uow: UnitOfWork) -> None:
            table = self._held(uow, name, version)
            for other in storage.read_tables(uow.database, self._organisation):
                for field in other.fields:
                    if field.table_id == table.id and other.id != table.id:
                        raise TableInUse(
                            f"the field {field.name!r} of {other.name!r} connects to it: delete that first"
                        )
            storage.delete_table(uow, table)

        await self._store.write(work)
        await sweep(self._store, SWEEPS)

    # -- fields ----------------------------------------------------------------------------------------------------------

    async def add_field(self, name: str, spec: wire.FieldSpec, version: int | None = None) -> tuple[Table, Field]:
        """Add a field; records have its default from their next change on, until then a blank."""

        def work(uow: UnitOfWork) -> tuple[Table, Field]:
            table = self._held(uow, name, version)
            if spec.required and table.count:
                raise TableInUse(
                    "the table has records, which would lack it: add it as it is, fill it, then require it"
                )
            after = self._with(table, storage.read_tables(uow.database, self._organisation), spec, "")
            return self._saved(uow, table, after), after.fields[-1]

        return await self._store.write(work)

    async def patch_field(
        self, name: str, field_name: str, spec: wire.PatchField, version: int | None = None
    ) -> tuple[Table, Field]:
        """Change a field and, with its type, what records have in it; raise TableInUse if some do not fit. All or nothing."""

        def work(uow: UnitOfWork) -> tuple[Table, Field]:
            table = self._held(uow, name, version)
            before = _field(table, field_name)
            _refuse_external(table)
            given = {member: value for member, value in asdict(spec).items() if value is not UNSET}
            if "choices" in given:
                given["choices"] = tuple(given["choices"])
            if "type" in given:
                given["type"] = FieldType(given["type"])
                if FieldType.CONNECTION in (given["type"], before.type) and given["type"] is not before.type:
                    raise invalid("/type", "a connection is no other type: add a field of the new one")
            field = self._checked(replace(before, **given), table, "")
            after = replace(table, fields=tuple(field if each.id == field.id else each for each in table.fields))
            after = self._saved(uow, table, after)
            if _looks_at_records(before, field):
                self._alter(uow, after, before, field)
            return after, field

        return await self._store.write(work, weight=CHUNK)

    async def delete_field(self, name: str, field_name: str, version: int | None = None) -> Table:
        """Remove a field; what records have in it is not shown any more, and goes when they are next changed."""

        def work(uow: UnitOfWork) -> Table:
            table = self._held(uow, name, version)
            field = _field(table, field_name)
            _refuse_external(table)
            if field.kept:
                storage.leave_field(uow, table, field)
            return self._saved(uow, table, replace(table, fields=tuple(each for each in table.fields if each != field)))

        return await self._store.write(work)

    def _alter(self, uow: UnitOfWork, table: Table, before: Field, after: Field) -> None:
        """Bring records and index from one form of the field to another; raise TableInUse for what does not fit."""
        if table.count > ALTER_MAX:
            raise TableInUse(
                f"the table has {table.count:,} records, and such a change looks at {ALTER_MAX:,} at the most: "
                f"add a field as you want it, fill it from this one, and delete this one"
            )
        if before.kept:
            storage.clear_index(uow, table, before)
        plain = replace(table, fields=())
        seen: dict[str, str] = {}
        last = ""
        while found := storage.read_span(uow.database, table, last, CHUNK):
            last = found[-1].id
            new = [replace(record, values=self._altered(record, before, after, seen)) for record in found]
            changes = [
                RecordChange(was, now.values) for was, now in zip(found, new, strict=True) if was.values != now.values
            ]
            if changes:
                storage.write_records(uow, plain, [], changes)
            if after.kept:
                storage.index_field(uow, table, after, new)

    def _altered(self, record: Record, before: Field, after: Field, seen: dict[str, str]) -> dict[str, Any]:
        value = record.values.get(before.id)
        try:
            value = converted(before, after, value, self._zone())
        except BadValue as error:
            raise TableInUse(f"record {record.id} does not fit: {before.name} {error}") from None
        if value is None:
            if after.required:
                raise TableInUse(f"record {record.id} has nothing in {after.name!r}: it cannot be required")
            return {field: each for field, each in record.values.items() if field != after.id}
        if after.unique:
            for text in keys(after, value):
                if seen.setdefault(text, record.id) != record.id:
                    raise TableInUse(f"records {seen[text]} and {record.id} have the same value in {after.name!r}")
        return {**record.values, after.id: value}

    # -- pieces ----------------------------------------------------------------------------------------------------------

    def _held(self, uow: UnitOfWork, name: str, version: int | None) -> Table:
        table = hold(uow, self._organisation, canonical_id(name) or name)
        if version is not None and table.version != version:
            raise VersionMismatch(f"the table is at version {table.version}", version=table.version)
        return table

    def _saved(self, uow: UnitOfWork, before: Table, after: Table) -> Table:
        after = replace(after, version=before.version + 1, updated_at=uow.now_ms)
        storage.save_table(uow, after, before.version)
        return after

    def _refuse_taken(self, others: builtins.list[Table], name: str) -> None:
        if any(other.name == name for other in others):
            raise Conflict(f"there is a table {name!r}")

    def _with(self, table: Table, others: builtins.list[Table], spec: wire.FieldSpec, pointer: str) -> Table:
        """Return the table with one field more."""
        _refuse_external(table)
        if len(table.fields) >= FIELDS_MAX:
            raise invalid(pointer, f"a table has up to {FIELDS_MAX} fields")
        target = None
        if spec.table is not None:
            wanted = canonical_id(spec.table) or spec.table
            target = next((each for each in (*others, table) if wanted in (each.id, each.name)), None)
            if target is None or target.external is not None:
                raise invalid(f"{pointer}/table", f"there is no table {spec.table[:80]!r} to connect to")
        field = Field(
            id=f"field_{table.next_field}", name=spec.name, type=FieldType(spec.type), required=spec.required,
            unique=spec.unique, indexed=spec.indexed, default=spec.default, choices=tuple(spec.choices),
            table_id=None if target is None else target.id, multiple=spec.multiple, on_delete=spec.on_delete,
        )  # fmt: skip
        field = self._checked(field, table, pointer)
        return replace(table, fields=(*table.fields, field), next_field=table.next_field + 1)

    def _checked(self, field: Field, table: Table, pointer: str) -> Field:
        try:
            return checked(field, table.fields, self._zone())
        except BadField as error:
            raise invalid(f"{pointer}/{error.member}", f"{field.name}: {error.message}") from None


async def sweep(store: Store, rounds: int = 100) -> None:
    """Remove what is left of deleted tables and fields of all organisations, a chunk a transaction."""
    for _ in range(rounds):
        if not await store.write(lambda uow: storage.sweep(uow, CHUNK), weight=CHUNK):
            return


def _looks_at_records(before: Field, after: Field) -> bool:
    return (
        before.type is not after.type
        or (before.choices != after.choices and not _extends(before, after))
        or (after.required and not before.required)
        or before.unique != after.unique
        or before.kept != after.kept
    )


def _extends(before: Field, after: Field) -> bool:
    """Whether all choices are still there, in their order: then no record changes."""
    return tuple(choice for choice in after.choices if choice in before.choices) == before.choices


def _refuse_external(table: Table) -> None:
    if table.external is not None:
        raise TableInUse("the fields of an external table are its database's: change them there, and refresh the table")


def _field(table: Table, name: str) -> Field:
    field = table.find(name)
    if field is None:
        raise FieldNotFound(f"the table {table.name!r} has no field {name[:80]!r}", table=table.name, field=name[:80])
    return field


def _check_name(name: str | UnsetType) -> None:
    if isinstance(name, str) and not is_table_name(name):
        raise invalid("/name", "a table's name has no spaces around it and does not look like an id")
