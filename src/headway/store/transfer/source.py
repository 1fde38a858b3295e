"""Source of a move: a file without a server, held until the move ends. Nothing of it is changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from headway.store.database import SchemaTooNew, StorageBroken, StoreRefused
from headway.store.location import kept_secret
from headway.store.sqlite.dialect import SQLITE
from headway.store.sqlite.integrity import check, looking
from headway.store.sqlite.lock import StoreInUse, hold
from headway.store.statements import migrations
from headway.store.transfer.schema import Table

Row = tuple[Any, ...]

# What a server that has used the file since has changed, as a rule; what it has not is found when rows are compared.
_SEEN: Final = (
    "SELECT applied_at FROM migrations ORDER BY number LIMIT 1",
    "SELECT position, run_id, time FROM events ORDER BY position DESC LIMIT 1",
    "SELECT count(*), max(created_at), max(heard_at) FROM workers",
    "SELECT count(*), max(updated_at) FROM tasks",
    "SELECT count(*), max(updated_at) FROM queues",
    "SELECT count(*), max(last_slot), max(updated_at) FROM schedules",
)


class Source:
    """A file."""

    def __init__(self, path: Path, facts_stay: tuple[str, ...]) -> None:
        """Hold the file, or raise StoreRefused; `facts_stay` are the entries about its place."""
        if not path.is_file():
            raise StoreRefused(f"there is no store at {path}")
        self.path = path.resolve()
        self._stay = facts_stay
        try:
            self._lock = hold(path)
        except StoreInUse:
            raise StoreInUse(f"{path} is in use by a server: stop that first; its workers may go on") from None
        try:
            check(path)
            self._connection = looking(path)
            self._check()
        except BaseException:
            os.close(self._lock)
            raise

    def _check(self) -> None:
        known = {number for number, _, _ in migrations(SQLITE)}
        try:
            if not self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'migrations'").fetchall():
                raise StoreRefused(f"{self.path} is a database, but not a store of Headway")
            done = {number for (number,) in self._connection.execute("SELECT number FROM migrations")}
        except apsw.Error as error:
            raise StorageBroken(f"{self.path} cannot be read: {error}; look at it with `headway doctor`") from None
        if done - known:
            raise SchemaTooNew(max(done), max(known))
        if known - done:
            raise StoreRefused(
                f"{self.path} was written by an older Headway: start a server on it once, so that it is brought up to "
                f"date, and stop that"
            )

    @property
    def secret(self) -> str | None:
        """Secret that signed tokens and cursors, if it was kept beside the file."""
        kept = kept_secret(self.path, "")
        return None if kept is None else kept.hex()

    def mark(self) -> str:
        """Return the identity of this store; it changes once a server has done something in it."""
        seen = [self._connection.execute(sql).fetchall() for sql in _SEEN]
        return hashlib.sha256(msgspec.json.encode(seen)).hexdigest()

    def count(self, table: Table) -> int:
        """Return how many rows there are to move."""
        where, binds = self._where(table, [])
        row = self._connection.execute(f"SELECT count(*) FROM {table.name} WHERE {where}", binds).fetchone()  # noqa: S608 - our schema
        return int(row[0]) if row else 0

    def rows(self, table: Table, after: list[Any]) -> Iterator[Row]:
        """Yield rows in the order of the key, from the first after that key on."""
        where, binds = self._where(table, after)
        key = ", ".join(table.key)
        sql = f"SELECT {', '.join(table.columns)} FROM {table.name} WHERE {where} ORDER BY {key}"  # noqa: S608 - our schema
        try:
            yield from self._connection.execute(sql, binds)
        except apsw.Error as error:
            raise StorageBroken(f"{table.name} of {self.path} cannot be read: {error}") from None

    def _where(self, table: Table, after: list[Any]) -> tuple[str, list[Any]]:
        parts: list[str] = ["true"]
        binds: list[Any] = []
        if table.name == "store":
            parts.append(f"name NOT IN ({', '.join('?' * len(self._stay))})")
            binds.extend(self._stay)
        if after:
            parts.append(f"({', '.join(table.key)}) > ({', '.join('?' * len(after))})")
            binds.extend(after)
        return " AND ".join(parts), binds

    def close(self) -> None:
        """Release the file."""
        self._connection.close()
        os.close(self._lock)
