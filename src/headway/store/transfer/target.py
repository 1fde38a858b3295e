"""The end that a move writes: a database which, until all is there, refuses to be served and says how far it is."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
import psycopg
from psycopg import errors, sql

from headway import failpoints
from headway.clock import Clock
from headway.kernel.query import FIRST
from headway.store.database import DatabaseGone, StoreRefused
from headway.store.postgres.connection import connect
from headway.store.postgres.dialect import POSTGRES
from headway.store.postgres.open import MOVING, POSITIONS, SECRET, TURNS, explained, half_moved, make_ready
from headway.store.sqlite.secret import MARK
from headway.store.statements import migrations
from headway.store.transfer.schema import Table, tables

MOVED: Final = "moved"
FACTS_STAY: Final = (*TURNS, POSITIONS, SECRET, MARK, MOVING, MOVED)
"""Entries of a store about its place, which are not copied."""
SILENT_S: Final = 8.0
"""A server that gives no sign of life for so long is gone."""
LOOKS_S: Final = 0.5
STREAMED: Final = 50
"""Rows that are fetched at once: whole ones, which may be large."""

# A part may take long on a slow disk, whatever the user's or the database's own limits are. Rows came in the order of their
# key, so that index reads them as they lie; a sort would write the whole table once more.
_SETTINGS: Final = {
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": "10s",
    "enable_sort": "off",
    "jit": "off",
}
_TURN: Final = 0x6865_6164_7761_7932
"""Advisory lock of a move into this database ("headway2")."""
_FROM_THE_START: Final[dict[str, list[Any]]] = {"store": [list(FACTS_STAY)], "organisations": [FIRST]}
_BESIDES: Final = {"store": "WHERE name <> ALL(%s)", "organisations": "WHERE id <> %s"}
"""Conditions of rows beyond those of an opening."""
_TAKE: Final = "SELECT pg_advisory_lock(%s)"


class Cursor(msgspec.Struct):
    """Progress of a move, stored in the database by the transaction that makes it."""

    mark: str
    """Identity of the source."""
    source: str
    began_at: int
    rows: dict[str, int]
    """Table → rows that are there, for each that was begun."""
    after: dict[str, list[Any]]
    """Key of the last copied row by table; a complete table has none."""


class CompletedMove(msgspec.Struct, frozen=True):
    """Record of a completed move."""

    mark: str
    source: str
    at: int
    tables: dict[str, tuple[int, str]]
    """Table → rows, and the checksum of them all."""


class Target:
    """A database."""

    def __init__(self, url: str, clock: Clock, *, accept_loss: bool, silent_s: float) -> None:
        """Connect and bring the schema up to date; raise StoreRefused if another move is at work there."""
        self._clock = clock
        self._silent_s = silent_s
        self._connection = connect(url, _SETTINGS)
        try:
            with self._plainly():
                self._take()
                self._refuse_older()
                make_ready(self._connection, clock, accept_loss=accept_loss)
        except BaseException:
            self.close()
            raise

    def _take(self) -> None:
        # One that was killed leaves its lock as soon as the database has noticed.
        try:
            self._connection.execute(_TAKE, (_TURN,))
        except errors.LockNotAvailable:
            raise StoreRefused("another  headway migrate-store  is at work on this database") from None

    def _refuse_older(self) -> None:
        """A store that others use is not brought up to date by a mistake in a URL."""
        row = self._connection.execute("SELECT to_regclass('migrations') IS NOT NULL").fetchone()
        if row is None or not row[0] or half_moved(self._connection):
            return
        done = {number for (number,) in self._connection.execute("SELECT number FROM migrations")}
        if done and done < {number for number, _, _ in migrations(POSTGRES)}:
            raise StoreRefused("the database has a store of an older Headway: make a new one for this store")

    @contextlib.contextmanager
    def _plainly(self) -> Iterator[None]:
        try:
            with explained():
                yield
        except DatabaseGone as error:
            raise DatabaseGone(f"the database is gone ({error}): start the move again, and it goes on") from error

    # -- the begin and the end ---------------------------------------------------------------------------------------------

    def arrived(self, mark: str) -> CompletedMove | None:
        """Return the record of a completed move from the same source."""
        with self._plainly():
            text = self._fact(MOVED)
        found = msgspec.json.decode(text, type=CompletedMove) if text else None
        return found if found is not None and found.mark == mark else None

    def begin(self, mark: str, source: str, secret: str | None) -> Cursor:
        """Return how far the move of this source is; begin it, if the database is empty, or raise StoreRefused."""
        with self._plainly():
            text = self._fact(MOVING)
            if text is None:
                self._refuse_others_work()
            self._refuse_servers()
            with self._connection.transaction():
                self._connection.execute("SELECT 1 FROM store WHERE name = 'servers' FOR UPDATE")
                if text is not None:
                    return self._go_on(msgspec.json.decode(text, type=Cursor), mark)
                cursor = Cursor(mark, source, self._clock.now_ms(), {}, {})
                self._say(MOVING, cursor)
                self._connection.execute("DELETE FROM organisations")  # the opening of an empty store made one
                if secret is not None:  # tokens and cursors that are out stay good
                    self._say(SECRET, secret)
            return cursor

    @staticmethod
    def _go_on(cursor: Cursor, mark: str) -> Cursor:
        if cursor.mark != mark:
            raise StoreRefused(
                f"a move of {cursor.source} into this database was begun, and this is another store, or a server has "
                f"used it since: drop the database and begin again with an empty one"
            )
        return cursor

    def _refuse_others_work(self) -> None:
        for table in tables():
            binds = _FROM_THE_START.get(table.name)
            where = sql.SQL(_BESIDES[table.name] if binds else "")
            query = sql.SQL("SELECT 1 FROM {} {} LIMIT 1").format(sql.Identifier(table.name), where)
            if self._connection.execute(query, binds).fetchone() is not None:
                raise StoreRefused(f"the database is not empty (there are {table.name}): make a new one for the store")

    def _refuse_servers(self) -> None:
        """Refuse where a server is alive. One that is gone has left its beat as it was; its place is cleared."""
        first = self._beats()
        waited_s = 0.0
        while first and waited_s < self._silent_s:
            threading.Event().wait(LOOKS_S)
            waited_s += LOOKS_S
            if any(first.get(server_id) != beat for server_id, beat in self._beats().items()):
                raise StoreRefused("a server uses this database: stop it first")
        if first:
            self._connection.execute("DELETE FROM servers WHERE id = ANY(%s)", (list(first),))

    def _beats(self) -> dict[str, int]:
        return dict(self._connection.execute("SELECT id, beat FROM servers").fetchall())

    def finish(self, arrived: CompletedMove) -> None:
        """Let the database be served. Statistics come first: without them the first claims would read whole tables."""
        with self._plainly():
            for table in tables():
                self._connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table.name)))
            with self._connection.transaction():
                self._connection.execute("SELECT 1 FROM store WHERE name = 'servers' FOR UPDATE")
                self._refuse_meanwhile()
                self._say(MOVED, arrived)
                self._connection.execute("DELETE FROM store WHERE name = %s", (MOVING,))

    def _refuse_meanwhile(self) -> None:
        if self._beats():
            raise StoreRefused(
                "a server has come up on this database meanwhile: stop it, drop the database and begin again"
            )

    # -- rows --------------------------------------------------------------------------------------------------------------

    def add(self, table: Table, rows: list[tuple[Any, ...]], cursor: Cursor) -> None:
        """Add rows, and with them how far the move is: killed at any moment, both are there or none."""
        with self._plainly():
            try:
                with self._connection.transaction():
                    # What is lost with the machine is copied again; the last commit of the move waits for all of it.
                    self._connection.execute("SET LOCAL synchronous_commit = off")
                    self._refuse_meanwhile()
                    self._copy(table, rows)
                    self._say(MOVING, cursor)
                    failpoints.point("moving.before_commit")
            except psycopg.DataError as error:
                raise StoreRefused(
                    f"{table.name} has a value that PostgreSQL cannot store: {' '.join(str(error).split())}"
                ) from None
            except psycopg.IntegrityError as error:
                raise StoreRefused(f"{table.name} does not fit: {' '.join(str(error).split())}") from None
            failpoints.point("moving.after_commit")

    def _copy(self, table: Table, rows: list[tuple[Any, ...]]) -> None:
        columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
        copying = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), columns)
        with self._connection.cursor() as cursor, cursor.copy(copying) as copy:
            for row in rows:
                copy.write_row(row)

    def rows(self, table: Table) -> Iterable[tuple[Any, ...]]:
        """Yield all rows in the order of the key."""
        columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
        key = sql.SQL(", ").join(map(sql.Identifier, table.key))
        where = sql.SQL("WHERE name <> ALL(%s)") if table.name == "store" else sql.SQL("")
        query = sql.SQL("SELECT {} FROM {} {} ORDER BY {}").format(columns, sql.Identifier(table.name), where, key)
        binds = [list(FACTS_STAY)] if table.name == "store" else None
        with self._plainly(), self._connection.cursor() as cursor:
            yield from cursor.stream(query, binds, size=STREAMED)

    # -- what the store says of itself -------------------------------------------------------------------------------------

    def _fact(self, name: str) -> str | None:
        row = self._connection.execute("SELECT value FROM store WHERE name = %s", (name,)).fetchone()
        return None if row is None else str(row[0])

    def _say(self, name: str, value: msgspec.Struct | str) -> None:
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        self._connection.execute(
            "INSERT INTO store VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, text)
        )

    def close(self) -> None:
        """Let go of the database, and of the lock."""
        self._connection.close()
