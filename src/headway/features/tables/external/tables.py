"""External tables: reflection of their fields, and reads and changes of their rows.

A change of rows is a transaction of the external database: idempotency keys do not cover it, and a repeated request changes
the rows again.
"""

from __future__ import annotations

import builtins
import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from headway.errors import ExternalFailed
from headway.features.tables.external.columns import Reflection, reflect
from headway.features.tables.external.database import ExternalDatabases
from headway.features.tables.external.rows import Rows
from headway.features.tables.model import External, Field, Record, Table, Values
from headway.features.tables.rules.conditions import Condition
from headway.protocol.tables import ExternalSpec
from headway.protocol.values import invalid
from headway.vault import NotOpened, Vault

T = TypeVar("T")
log = logging.getLogger("headway.external")

KEY_ORDER = "created_at"
"""Name of the default order of lists: in external tables that of the key."""


class ExternalTables:
    """Operations on external tables and their rows. All raise ExternalRefused or ExternalFailed."""

    def __init__(self, databases: ExternalDatabases, vault: Vault) -> None:
        self._databases = databases
        self._vault = vault

    async def reflect(self, table_id: str, spec: ExternalSpec) -> tuple[tuple[Field, ...], External]:
        """Return fields and location of a new external table."""
        shown = self._databases.shown(spec.url)
        found = await self._databases.call(
            spec.url, lambda connection: reflect(connection, spec.relation, spec.namespace)
        )
        _log_left_out(table_id, found)
        url = self._vault.seal(_secret_name(table_id), spec.url)
        return found.fields, External(
            url=url, shown=shown, relation=spec.relation, namespace=spec.namespace, key=found.key,
            columns=found.columns, left_out=found.left_out,
        )  # fmt: skip

    async def reflect_again(self, table: Table) -> tuple[tuple[Field, ...], External]:
        """Return the present fields and location of a table; known columns keep the ids of their fields."""
        location = _location(table)
        found = await self._call(table, lambda connection: reflect(connection, location.relation, location.namespace))
        _log_left_out(table.id, found)
        known = {name: field for field, name in location.columns.items()}
        following = table.next_field
        ids: dict[str, str] = {}
        for field in found.fields:
            ids[field.id] = known.get(field.name, f"field_{following}")
            following += field.name not in known
        of = {ids[field]: name for field, name in found.columns.items()}
        after = replace(location, key=found.key, columns=of, left_out=found.left_out)
        return tuple(replace(field, id=ids[field.id]) for field in found.fields), after

    async def page(
        self, table: Table, condition: Condition, after: str, size: int, order_by: str
    ) -> tuple[builtins.list[Record], str]:
        """Return rows in the order of their key, and the position of the next page; raise InvalidInput for another order."""
        if order_by.strip() not in ("", KEY_ORDER):
            raise invalid("/order_by", "rows of an external table can only be sorted by their key")
        return await self._call(
            table, lambda connection: Rows(connection, table).page(condition, after, size), reads=True
        )

    async def at(self, table: Table, condition: Condition, offset: int, size: int) -> builtins.list[Record]:
        """Return rows from an offset on."""
        return await self._call(
            table, lambda connection: Rows(connection, table).at(condition, offset, size), reads=True
        )

    async def count(self, table: Table, condition: Condition) -> int:
        """Return the number of rows of which the condition is true."""
        return await self._call(table, lambda connection: Rows(connection, table).count(condition), reads=True)

    async def get(self, table: Table, record_id: str) -> Record:
        """Return one row; raise RecordNotFound."""
        return await self._call(table, lambda connection: Rows(connection, table).get(record_id), reads=True)

    async def some(self, table: Table, condition: Condition, ids: Sequence[str]) -> builtins.list[Record]:
        """Return the existing rows with these ids of which the condition is true."""
        return await self._call(table, lambda connection: Rows(connection, table).some(condition, ids), reads=True)

    async def insert(self, table: Table, given: Sequence[Values]) -> builtins.list[Record]:
        """Add rows, all or none."""
        return await self._call(table, lambda connection: Rows(connection, table).insert(given))

    async def update(self, table: Table, changes: Sequence[tuple[str, Values]]) -> builtins.list[Record]:
        """Change rows, all or none; raise RecordNotFound."""
        return await self._call(table, lambda connection: Rows(connection, table).update(changes))

    async def delete(self, table: Table, ids: Sequence[str]) -> int:
        """Delete rows, all or none; raise RecordNotFound."""
        return await self._call(table, lambda connection: Rows(connection, table).delete(ids))

    async def _call(self, table: Table, work: Callable[[Any], T], *, reads: bool = False) -> T:
        try:
            url = self._vault.open(_secret_name(table.id), _location(table).url)
        except NotOpened as error:
            raise ExternalFailed(str(error)) from None
        return await self._databases.call(url, work, reads=reads)


def _log_left_out(table_id: str, found: Reflection) -> None:
    for column, why in found.left_out.items():
        log.warning("external.left_out table=%s column=%r why=%r", table_id, column, why)


def _secret_name(table_id: str) -> str:
    return f"table:{table_id}:url"


def _location(table: Table) -> External:
    assert table.external is not None
    return table.external
