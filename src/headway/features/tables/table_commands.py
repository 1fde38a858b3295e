"""Commands of the writer on tables and their fields."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, Final

from msgspec import UNSET
from msgspec.structs import asdict, replace

from headway.errors import Conflict, FieldNotFound, TableInUse, VersionMismatch
from headway.features.tables import store as storage
from headway.features.tables.model import External, Field, FieldType, Record, RecordChange, Table
from headway.features.tables.rules.fields import FIELDS_MAX, BadField, checked, converted
from headway.features.tables.rules.keys import keys
from headway.features.tables.rules.values import BadValue
from headway.ids import canonical_id
from headway.protocol import tables as wire
from headway.protocol.values import invalid
from headway.runs.idempotency import Creation
from headway.store.command import Command
from headway.store.unit_of_work import UnitOfWork

TABLES_MAX: Final = 1_000
ALTER_MAX: Final = 100_000
"""Records that a change of a field may look at: it is one transaction of about a second."""
CHUNK: Final = 1_000


@dataclass
class InsertTable(Creation):
    """Creation of a table; the result is its id."""

    organisation: int
    table_id: str
    spec: wire.CreateTable
    fields: tuple[Field, ...]
    """Fields of an external table."""
    external: External | None
    zone: tzinfo

    grows = True

    def apply(self, uow: UnitOfWork) -> str:
        """Insert the table; raise Conflict for a name in use or too many tables, InvalidInput for invalid fields."""
        others = storage.read_tables(uow.database, self.organisation)
        if len(others) >= TABLES_MAX:
            raise Conflict(f"there are {TABLES_MAX:,} tables already")
        _check_free(others, self.spec.name)
        table = Table(
            number=storage.next_number(uow), id=self.table_id, organisation=self.organisation, name=self.spec.name,
            description=self.spec.description, fields=self.fields, next_field=len(self.fields) + 1, created_at=uow.now_ms,
            updated_at=uow.now_ms,
        )  # fmt: skip
        for index, field in enumerate(self.spec.fields):
            table = _with_field(table, others, field, self.zone, f"/fields/{index}")
        storage.insert_table(uow, replace(table, external=self.external))
        return self.table_id


@dataclass
class ChangeTable(Command[Table]):
    """Base of the changes of a table; the result is the table after the change."""

    organisation: int
    name: str
    version: int | None
    """Expected version; None: any."""

    def apply(self, uow: UnitOfWork) -> Table:
        """Change the table; raise TableNotFound, VersionMismatch, and the errors of the change."""
        before = _lock(uow, self.organisation, self.name, self.version)
        after = replace(self.change(uow, before), version=before.version + 1, updated_at=uow.now_ms)
        storage.save_table(uow, after, before.version)
        return after

    @abstractmethod
    def change(self, uow: UnitOfWork, table: Table) -> Table:
        """Return the table after the change."""


@dataclass
class RenameTable(ChangeTable):
    """Change of a table's name and description."""

    spec: wire.PatchTable

    def change(self, uow: UnitOfWork, table: Table) -> Table:
        """Return the table after the change; raise Conflict for a name in use."""
        spec, after = self.spec, table
        if spec.name is not UNSET and spec.name != table.name:
            _check_free(storage.read_tables(uow.database, self.organisation), spec.name)
            after = replace(after, name=spec.name)
        return after if spec.description is UNSET else replace(after, description=spec.description)


@dataclass
class RefreshTable(ChangeTable):
    """Replacement of the fields of an external table by the present columns of its relation."""

    fields: tuple[Field, ...]
    external: External

    def change(self, uow: UnitOfWork, table: Table) -> Table:
        """Return the table with the new fields; ids of earlier fields are not used again."""
        del uow
        last = max((int(field.id.removeprefix("field_")) for field in self.fields), default=0)
        return replace(table, fields=self.fields, external=self.external, next_field=max(table.next_field, last + 1))


@dataclass
class AddField(ChangeTable):
    """Addition of a field at the end."""

    spec: wire.FieldSpec
    zone: tzinfo

    def change(self, uow: UnitOfWork, table: Table) -> Table:
        """Return the table with the field; raise TableInUse for a required one of a table with records, or InvalidInput."""
        if self.spec.required and table.count:
            raise TableInUse(
                "the table has records without a value: add the field as optional, fill it, then require it"
            )
        return _with_field(table, storage.read_tables(uow.database, self.organisation), self.spec, self.zone, "")


@dataclass
class DeleteField(ChangeTable):
    """Removal of a field; records lose their values in it with their next change."""

    field: str
    """Id or name."""

    def change(self, uow: UnitOfWork, table: Table) -> Table:
        """Return the table without the field; raise FieldNotFound, or TableInUse for an external table."""
        field = find_field(table, self.field)
        _check_own(table)
        if field.has_index:
            storage.leave_field(uow, table, field)
        return replace(table, fields=tuple(each for each in table.fields if each != field))


@dataclass
class AlterField(ChangeTable):
    """Change of a field, with conversion of the records' values."""

    field: str
    """Id or name."""
    spec: wire.PatchField
    zone: tzinfo

    weight = CHUNK

    def change(self, uow: UnitOfWork, table: Table) -> Table:
        """Return the table with the field; raise FieldNotFound, InvalidInput, or TableInUse for records that do not fit."""
        before = find_field(table, self.field)
        _check_own(table)
        given = {member: value for member, value in asdict(self.spec).items() if value is not UNSET}
        if "choices" in given:
            given["choices"] = tuple(given["choices"])
        if "type" in given:
            given["type"] = FieldType(given["type"])
            if FieldType.CONNECTION in (given["type"], before.type) and given["type"] is not before.type:
                raise invalid("/type", "a connection cannot change its type: add a field of the new type")
        field = _checked(replace(before, **given), table, self.zone, "")
        if _concerns_records(before, field):
            self._convert(uow, table, before, field)
        return replace(table, fields=tuple(field if each.id == field.id else each for each in table.fields))

    def _convert(self, uow: UnitOfWork, table: Table, before: Field, after: Field) -> None:
        """Convert values and index entries of all records; raise TableInUse for a record that does not fit."""
        if table.count > ALTER_MAX:
            raise TableInUse(
                f"the table has {table.count:,} records, and such a change is limited to {ALTER_MAX:,}: "
                f"add a field as you want it, fill it from this one, and delete this one"
            )
        if before.has_index:
            storage.clear_index(uow, table, before)
        without_index = replace(table, fields=())
        owners: dict[str, str] = {}
        last = ""
        while found := storage.read_span(uow.database, table, last, CHUNK):
            last = found[-1].id
            new = [replace(record, values=self._values(record, before, after, owners)) for record in found]
            changes = [
                RecordChange(was.id, now.values, was)
                for was, now in zip(found, new, strict=True)
                if was.values != now.values
            ]
            if changes:
                storage.write_records(uow, without_index, changes)
            if after.has_index:
                storage.index_field(uow, table, after, new)

    def _values(self, record: Record, before: Field, after: Field, owners: dict[str, str]) -> Mapping[str, Any]:
        value = record.values.get(before.id)
        try:
            value = converted(before, after, value, self.zone)
        except BadValue as error:
            raise TableInUse(f"record {record.id} does not fit: {before.name} {error}") from None
        if value is None:
            if after.required:
                raise TableInUse(f"record {record.id} has no value in {after.name!r}: the field cannot be required")
            return {field: each for field, each in record.values.items() if field != after.id}
        if after.unique:
            for key in keys(after, value):
                if owners.setdefault(key, record.id) != record.id:
                    raise TableInUse(f"records {owners[key]} and {record.id} have the same value in {after.name!r}")
        return {**record.values, after.id: value}


@dataclass
class DeleteTable(Command[None]):
    """Removal of a table; `SweepTables` deletes its rows."""

    organisation: int
    name: str
    version: int | None

    def apply(self, uow: UnitOfWork) -> None:
        """Delete the table; raise TableNotFound, VersionMismatch, or TableInUse if another table connects to it."""
        table = _lock(uow, self.organisation, self.name, self.version)
        for other in storage.read_tables(uow.database, self.organisation):
            for field in other.fields:
                if field.table_id == table.id and other.id != table.id:
                    raise TableInUse(
                        f"the field {field.name!r} of {other.name!r} connects to the table: delete that field first"
                    )
        storage.delete_table(uow, table)


class SweepTables(Command[bool]):
    """Removal of some rows of deleted tables and fields; the result is whether there may be more."""

    weight = CHUNK

    def apply(self, uow: UnitOfWork) -> bool:
        """Delete a chunk of rows."""
        return storage.sweep(uow, CHUNK)


def find_field(table: Table, name: str) -> Field:
    """Return the field of that id or name; raise FieldNotFound."""
    field = table.find(name)
    if field is None:
        raise FieldNotFound(f"the table {table.name!r} has no field {name[:80]!r}", table=table.name, field=name[:80])
    return field


def _lock(uow: UnitOfWork, organisation: int, name: str, version: int | None) -> Table:
    table = storage.lock_table(uow, organisation, canonical_id(name) or name)
    if version is not None and table.version != version:
        raise VersionMismatch(f"the table is at version {table.version}", version=table.version)
    return table


def _check_free(others: Iterable[Table], name: str) -> None:
    if any(other.name == name for other in others):
        raise Conflict(f"there is a table {name!r}")


def _check_own(table: Table) -> None:
    if table.external is not None:
        raise TableInUse("the fields of an external table are its database's: change them there, and refresh the table")


def _with_field(table: Table, others: Iterable[Table], spec: wire.FieldSpec, zone: tzinfo, pointer: str) -> Table:
    """Return the table with one field more."""
    _check_own(table)
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
    field = _checked(field, table, zone, pointer)
    return replace(table, fields=(*table.fields, field), next_field=table.next_field + 1)


def _checked(field: Field, table: Table, zone: tzinfo, pointer: str) -> Field:
    try:
        return checked(field, table.fields, zone)
    except BadField as error:
        raise invalid(f"{pointer}/{error.member}", f"{field.name}: {error.message}") from None


def _concerns_records(before: Field, after: Field) -> bool:
    """Return whether a change of a field needs a look at the records."""
    return (
        before.type is not after.type
        or (before.choices != after.choices and not _extends(before, after))
        or (after.required and not before.required)
        or before.unique != after.unique
        or before.has_index != after.has_index
    )


def _extends(before: Field, after: Field) -> bool:
    """Return whether all choices are kept in their order: then no record changes."""
    return tuple(choice for choice in after.choices if choice in before.choices) == before.choices
