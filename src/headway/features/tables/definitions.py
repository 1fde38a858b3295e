"""Tables of an organisation: creation, changes of their fields, and deletion."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from datetime import UTC, tzinfo
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from headway.errors import TableInUse, TableNotFound
from headway.features.tables import store as storage
from headway.features.tables.external.tables import ExternalTables
from headway.features.tables.model import External, Field, Table
from headway.features.tables.rules.fields import is_table_name
from headway.features.tables.table_commands import (
    AddField,
    AlterField,
    DeleteField,
    DeleteTable,
    InsertTable,
    RefreshTable,
    RenameTable,
    SweepTables,
    find_field,
)
from headway.ids import IdSource, canonical_id
from headway.kernel.namespace import Namespace
from headway.protocol import tables as wire
from headway.protocol.values import invalid
from headway.runs.idempotency import RequestKey, keyed
from headway.store.store import Store

SWEEPS: Final = 10
"""Chunks of a deleted table that are deleted with it; the pruner deletes the others."""


class TableContext(msgspec.Struct, frozen=True):
    """The collaborators of an organisation's tables and of their records."""

    store: Store
    ids: IdSource
    organisation: int = 1
    zone: Callable[[], tzinfo] = lambda: UTC
    """Reader of the zone of days, and of moments without a zone."""
    external: ExternalTables | None = None
    """None on a server without external tables."""


class Tables:
    """Operations on the tables of an organisation. A table is named by its id or its name."""

    def __init__(self, context: TableContext) -> None:
        self._store = context.store
        self._ids = context.ids
        self._organisation = context.organisation
        self._zone = context.zone
        self._external = context.external

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
        """Create a table with its fields, or one of an external database.

        Raises InvalidInput for invalid names and fields, Conflict for a name in use or too many tables, and
        ExternalRefused or ExternalFailed.
        """
        _check_name(spec.name)
        table_id = self._ids.new(self._store.clock.now_ms())
        fields, external = await self._reflect(table_id, spec)
        command = InsertTable(self._organisation, table_id, spec, fields, external, self._zone())
        return await self.get(await self._store.write(keyed(command, request, Namespace(self._organisation))))

    async def _reflect(self, table_id: str, spec: wire.CreateTable) -> tuple[tuple[Field, ...], External | None]:
        if spec.external is None:
            return (), None
        if spec.fields:
            raise invalid("/fields", "the fields of an external table are read from its database")
        if self._external is None:
            raise invalid("/external", "external tables are not available on this server")
        return await self._external.reflect(table_id, spec.external)

    async def refresh(self, name: str) -> Table:
        """Read the fields of an external table again; existing fields keep their ids.

        Raises TableNotFound, TableInUse for another table, VersionMismatch, ExternalRefused or ExternalFailed.
        """
        known = await self.get(name)
        if known.external is None or self._external is None:
            raise TableInUse("only an external table's fields can be read again")
        fields, external = await self._external.reflect_again(known)
        command = RefreshTable(self._organisation, known.id, known.version, fields, external)
        return await self._store.write(command)

    async def patch(self, name: str, spec: wire.PatchTable, version: int | None = None) -> Table:
        """Rename or describe a table; raise TableNotFound, InvalidInput, Conflict, or VersionMismatch."""
        if spec.name is not UNSET:
            _check_name(spec.name)
        return await self._store.write(RenameTable(self._organisation, name, version, spec))

    async def delete(self, name: str, version: int | None = None) -> None:
        """Delete a table and its records; raise TableNotFound, VersionMismatch, or TableInUse if others connect to it.

        The table is gone at once; the rows of a large one are deleted later.
        """
        await self._store.write(DeleteTable(self._organisation, name, version))
        await sweep(self._store, SWEEPS)

    # -- fields ----------------------------------------------------------------------------------------------------------

    async def add_field(self, name: str, spec: wire.FieldSpec, version: int | None = None) -> tuple[Table, Field]:
        """Add a field; raise TableNotFound, VersionMismatch, InvalidInput, or TableInUse.

        New records get its default; existing ones have a blank until they are changed.
        """
        table = await self._store.write(AddField(self._organisation, name, version, spec, self._zone()))
        return table, table.fields[-1]

    async def patch_field(
        self, name: str, field_name: str, spec: wire.PatchField, version: int | None = None
    ) -> tuple[Table, Field]:
        """Change a field and convert the values of all records, or none.

        Raises TableNotFound, FieldNotFound, VersionMismatch, InvalidInput, or TableInUse for records that do not fit.
        """
        command = AlterField(self._organisation, name, version, field_name, spec, self._zone())
        table = await self._store.write(command)
        return table, find_field(table, field_name if spec.name is UNSET else spec.name)

    async def delete_field(self, name: str, field_name: str, version: int | None = None) -> Table:
        """Delete a field; raise TableNotFound, FieldNotFound, VersionMismatch, or TableInUse.

        Values in it are not shown any more, and are deleted with the next change of each record.
        """
        return await self._store.write(DeleteField(self._organisation, name, version, field_name))


async def sweep(store: Store, rounds: int = 100) -> None:
    """Delete rows of deleted tables and fields of all organisations, a chunk per transaction."""
    for _ in range(rounds):
        if not await store.write(SweepTables()):
            return


def _check_name(name: str | UnsetType) -> None:
    if isinstance(name, str) and not is_table_name(name):
        raise invalid("/name", "a table's name has no spaces around it and does not look like an id")
