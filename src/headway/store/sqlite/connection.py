"""SQLite connections: write-ahead log, full durability, driver errors turned into ours."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, Final

import apsw

from headway.errors import Damaged
from headway.store.corruption import decode_text
from headway.store.database import DatabaseLocked, DiskFull, Interrupted, Outdated, StorageBroken
from headway.store.sqlite.backup import rescue
from headway.store.sqlite.dialect import SQLITE
from headway.store.sqlite.watch import Watch
from headway.store.statements import load

# FULL: the commit's fdatasync comes before the answer. The checkpoint happens every 4,000 pages (16 MB), which keeps the
# log small under load without stalling the writer; the size limit gives the space back after a burst.
# Two seconds are enough for what others rightly do with the file (a checkpoint, a person's statement), and short enough
# that a waiting caller gets storage_busy before its timeout: a worker's heartbeat waits 5 s for its answer.
_PRAGMAS = (
    "PRAGMA synchronous = FULL",
    "PRAGMA busy_timeout = 2000",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA journal_size_limit = 67108864",
)
_WRITER_CACHE = "PRAGMA cache_size = -32768"
_READER_CACHE = "PRAGMA cache_size = -8192"

STATEMENTS: Final = load(SQLITE)


class SqliteDatabase:
    """One connection to one file."""

    def __init__(self, path: str, *, writer: bool = False) -> None:
        """Open the file; `:memory:` needs the same connection for reads and writes."""
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        try:
            self._connection = apsw.Connection(path, flags=flags, statementcachesize=200)
            # Else SQLite prepares a statement again whenever a bound value changes that might change its plan.
            self._connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
            self._connection.execute("PRAGMA journal_mode = WAL")
            for pragma in _PRAGMAS:
                self._connection.execute(pragma)
            self._connection.execute(_WRITER_CACHE if writer else _READER_CACHE)
        except apsw.Error as error:
            raise translated(error) from error
        self._execute = self._connection.execute
        self.watch: Watch | None = None
        """Checks after each commit of a server's writer that the store's files are still in place; else None."""

    def begin(self) -> None:
        """Take the write lock."""
        try:
            self._execute("BEGIN IMMEDIATE")
        except apsw.Error as error:
            raise translated(error) from error

    def settle(self) -> None:
        """Every statement is carried out when it is asked for."""

    def commit(self, messages: Sequence[str] = ()) -> None:
        """Commit, and return once the WAL is synced; raise FilesGone if the store's files are no longer in place."""
        del messages
        try:
            self._execute("COMMIT")
        except apsw.Error as error:
            raise translated(error) from error
        if self.watch is not None:
            self.watch.committed()

    def rollback(self) -> None:
        """Undo, if there is anything to undo (SQLite itself rolls back on some errors)."""
        if not self._connection.in_transaction:
            return
        try:
            self._execute("ROLLBACK")
        except apsw.Error as error:
            raise translated(error) from error

    def rows(self, name: str, /, **binds: Any) -> list[tuple[Any, ...]]:
        """Return all rows of a named statement."""
        return self.select(STATEMENTS[name], binds)

    def run(self, name: str, /, **binds: Any) -> None:
        """Carry out a named statement."""
        try:
            self._execute(STATEMENTS[name], binds)
        except apsw.Error as error:
            raise translated(error) from error

    def must(self, count: int, name: str, /, **binds: Any) -> None:
        """Carry out a named statement that changes just so many rows."""
        try:
            self._execute(STATEMENTS[name], binds)
        except apsw.Error as error:
            raise translated(error) from error
        if self._connection.changes() != count:
            raise Outdated(f"{name} changed {self._connection.changes()} rows, not {count}")

    def select(self, sql: str, binds: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Return all rows of a list's statement."""
        try:
            return self._execute(sql, binds).fetchall()
        except UnicodeDecodeError:
            return list(decoded_rows(self._connection, sql, binds))
        except apsw.Error as error:
            raise translated(error) from error

    @property
    def connection(self) -> apsw.Connection:
        """The driver's connection, for migrations, backup and checks."""
        return self._connection

    def reopen(self) -> None:
        """A file does not go away; an error in it is raised when it is used."""

    def close(self) -> None:
        """Close; the last connection to a file checkpoints and removes its log."""
        if self.watch is not None:
            self.watch.forget()
        self._connection.close()

    def abandon(self) -> None:
        """Close without a checkpoint, so that no file at the store's path is changed; it may be another store's."""
        if self.watch is not None and self.watch.gone is not None and self.watch.gone.data:
            rescue(self._connection, self.watch.path, self.watch.clock.now_ms(), whole=self.watch.gone.whole)
        self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._connection.close()

    def cached_bytes(self) -> int:
        """Return the memory of the library in bytes, nearly all of it for pages: it counts for the whole process."""
        return apsw.memory_used()


def decoded_rows(
    connection: apsw.Connection, sql: str, binds: dict[str, Any]
) -> Generator[tuple[Any, ...], None, None]:
    """Yield the rows of a SELECT with texts that are not UTF-8; see `store.corruption`."""
    cursor = connection.execute(sql, binds)
    names = [f"column_{number}" for number, _ in enumerate(cursor.description)]
    cursor.close()
    cells = ", ".join(
        f"typeof({name}), CASE typeof({name}) WHEN 'text' THEN CAST({name} AS BLOB) ELSE {name} END" for name in names
    )
    for row in connection.execute(f"WITH read ({', '.join(names)}) AS (\n{sql}\n) SELECT {cells} FROM read", binds):  # noqa: S608
        yield tuple(decode_text(cell) if of == "text" else cell for of, cell in zip(row[::2], row[1::2], strict=True))


def translated(error: apsw.Error) -> Exception:
    """Return our error for the driver's: locked, full, interrupted, broken, or the driver's own (a programmer's mistake).

    A "locking protocol" is broken for SQLite when another process, which may be stopped, has the log for itself for ten seconds.
    """
    if isinstance(error, (apsw.BusyError, apsw.LockedError, apsw.ProtocolError)):
        return DatabaseLocked(str(error))
    if isinstance(error, apsw.FullError):
        return DiskFull(str(error))
    if isinstance(error, apsw.IOError) and getattr(error, "extendedresult", 0) in _NO_SPACE_MAY_CAUSE:
        return DiskFull(str(error))
    if isinstance(error, apsw.SQLError) and "malformed JSON" in str(error):
        return Damaged("a record that the query reads is damaged")
    if isinstance(error, apsw.InterruptError):
        return Interrupted(str(error))
    if isinstance(error, (apsw.IOError, apsw.CorruptError, apsw.NotADBError)):
        return StorageBroken(str(error))
    return error


_NO_SPACE_MAY_CAUSE = frozenset({apsw.SQLITE_IOERR_SHMSIZE})
"""The wal-index could not grow: SQLite reports that as an I/O error."""
