"""Tables to move: those of the migrations, so that no later table can be forgotten."""

from __future__ import annotations

import functools
from typing import Any, Final

import apsw
import msgspec

from headway.store.sqlite.migrate import migrate

STAY: Final = frozenset({"migrations", "servers"})
"""Tables about a place and not about runs: the record of the schema there, and the servers."""


class Table(msgspec.Struct, frozen=True):
    """One table, as every dialect has it."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    """The primary key; both ends read in its order, text by its bytes."""

    def after(self, row: tuple[Any, ...]) -> list[Any]:
        """Return where in the order a row stands."""
        return [row[self.columns.index(name)] for name in self.key]


@functools.cache
def tables() -> tuple[Table, ...]:
    """Return every table that is moved, by name."""
    connection = apsw.Connection(":memory:")
    try:
        migrate(connection, 0)
        names = [
            str(row[0])
            for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        ]
        return tuple(_table(connection, name) for name in names if name not in STAY and not name.startswith("sqlite_"))
    finally:
        connection.close()


def _table(connection: apsw.Connection, name: str) -> Table:
    rows = connection.execute("SELECT name, pk FROM pragma_table_info(?) ORDER BY cid", (name,))
    found = [(str(column), int(str(place))) for column, place in rows]
    key = sorted((place, column) for column, place in found if place)
    assert key, f"{name} has no primary key, so a move could not go on after its last row"
    return Table(name, tuple(column for column, _ in found), tuple(column for _, column in key))
