"""Connections to PostgreSQL: a transaction goes over the wire in as few round trips as its reads leave; errors turned into ours."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import psycopg
from psycopg import errors, pq
from psycopg.abc import Buffer, PQGen
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from headway.errors import Damaged
from headway.store.corruption import decode_text
from headway.store.database import (
    DatabaseGone,
    DatabaseLocked,
    DiskFull,
    Interrupted,
    Outdated,
    StorageBroken,
    first_of,
)
from headway.store.postgres.connection_errors import no_connection, unwritable
from headway.store.postgres.dialect import POSTGRES
from headway.store.statements import load

log = logging.getLogger("headway.postgres")

T = TypeVar("T")

CHANNEL: Final = "headway"
"""Channel on which servers that share a database announce their commits."""

# Of several hosts the one that takes writes; a connection whose other end is gone is noticed within about 15 seconds,
# also while nothing is asked of it. What the URL says itself counts.
_DEFAULTS: Final = {
    "application_name": "headway",
    "target_session_attrs": "read-write",
    "connect_timeout": "3",
    "keepalives_idle": "5",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
# No statement of ours takes long; one that waits for a lock gives up before its callers do. A server that stands still in
# the middle of a transaction (a suspended machine) must not hold locks that others wait for. JIT costs more than such statements take. Each
# has its index; a table that was filled a moment ago has no statistics yet, and would be scanned as if it were small.
_SETTINGS: Final = {
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "30s",
    "jit": "off",
    "enable_seqscan": "off",
}
# Reads end in any case. A writer has no such limit: it would also end the wait of a commit for the synchronous standby, and
# the database then says that it has committed, though a failover can lose it.
_READING: Final = _SETTINGS | {"statement_timeout": "30s"}
ANSWER_WITHIN_S: Final = {"reading": 40.0, "writing": 60.0}
"""Timeout of an answer, in seconds: longer than the database lets a statement take or wait. A machine that stands still
keeps its connections open, and its kernel answers for it, so that no other limit would end the wait: also a commit's.
What has become of that is unknown then, as whenever a connection is lost, and `_confirm` sees to the standby.
"""
CONFIRM_WITHIN: Final = "5s"
"""Time, in seconds, for which a reconnected writer waits for the standby to catch up before it tries again."""
INTERRUPT_S: Final = 3.0
"""Timeout of a request to cancel a statement, in seconds."""
STATEMENTS: Final = load(POSTGRES)
PREPARE_AFTER: Final = 2
"""Executions after which a statement is prepared."""


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that can be told for how long to wait for an answer."""

    answer_within_s: float | None = None

    def wait(self, gen: PQGen[T], *arguments: Any, **options: Any) -> T:
        """Wait for the events of a driver's generator; a connection that has waited too long is of no use any more."""
        if self.answer_within_s is None:
            return super().wait(gen, *arguments, **options)
        try:
            return super().wait(_within(self.answer_within_s, gen), *arguments, **options)
        except _SilentError as error:
            self.pgconn.finish()
            raise psycopg.OperationalError(str(error)) from None


class _SilentError(Exception):
    """The database does not answer."""


def _within(seconds: float, gen: PQGen[T]) -> PQGen[T]:
    """Pass on the awaited events and their occurrence; the driver resumes ten times a second if there is none."""
    until = time.monotonic() + seconds
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= until:
                raise _SilentError(f"there was no answer within {seconds:g} s")
            wanted = gen.send(ready)
    except StopIteration as end:
        returned: T = end.value
        return returned


def connect(url: str, settings: dict[str, str] = _SETTINGS, answer_within_s: float | None = None) -> Connection:
    """Return a new connection; raise DatabaseGone if that is not possible now, ValueError for an invalid URL."""
    try:
        asked = conninfo_to_dict(url)
        made = Connection.connect(
            make_conninfo(url, **{name: text for name, text in _DEFAULTS.items() if name not in asked}),
            autocommit=True,
            prepare_threshold=PREPARE_AFTER,
        )
        with contextlib.ExitStack() as failing:
            failing.callback(made.close)
            made.answer_within_s = answer_within_s
            for name, text in settings.items():
                made.execute("SELECT set_config(%s, %s, false)", (name, text))
            failing.pop_all()
    except psycopg.ProgrammingError as error:
        raise unwritable(url, error) from None
    except psycopg.DatabaseError as error:  # whatever it says: asking again may help
        raise no_connection(url, error) from None  # the driver's own words may be about what the URL keeps secret
    return made


class PostgresDatabase:
    """One connection to one database. Writes of a transaction are sent on without waiting for what becomes of them."""

    def __init__(self, url: str, *, position_base: int = 0, writes: bool = False) -> None:
        """Connect; `position_base` is what the store says of itself (see `dialect.position`)."""
        self._url, self._writes = url, writes
        self._settings = (_SETTINGS if writes else _READING) | {"headway.position_base": str(position_base)}
        self._unsure = ""
        """Warnings of the database during a commit."""
        self._forgotten = False
        """Whether a statement is not prepared that the driver takes for it: what was sent behind an error was passed over."""
        self._connection = self._connected()
        self._transaction: contextlib.ExitStack | None = None
        self._pipeline: psycopg.Pipeline | None = None
        self._expected: list[tuple[int, str, psycopg.Cursor[Any]]] = []

    def _connected(self) -> Connection:
        made = connect(self._url, self._settings, ANSWER_WITHIN_S["writing" if self._writes else "reading"])
        made.add_notice_handler(self._noticed)
        return made

    def _noticed(self, said: errors.Diagnostic) -> None:
        if said.severity_nonlocalized == "WARNING":
            self._unsure = said.message_primary or "?"

    def _translated(self, error: psycopg.Error) -> Exception:
        if isinstance(error, errors.InvalidSqlStatementName):
            self._forgotten = True
            return Outdated(_line(error))
        return translated(error)

    def begin(self) -> None:
        """Open a transaction (READ COMMITTED: every statement sees what is committed by then)."""
        self._expected.clear()
        self._transaction = contextlib.ExitStack()
        try:
            self._pipeline = self._transaction.enter_context(self._connection.pipeline())
            self._connection.execute("BEGIN")
        except psycopg.Error as error:
            raise self._translated(error) from error

    def commit(self, messages: Sequence[str] = ()) -> None:
        """Return when the transaction is on stable storage. The messages are sent with it, in a transaction of their own.

        A NOTIFY within the transaction would make all commits of all servers wait for each other's disk.
        """
        assert self._transaction is not None
        committed: psycopg.Cursor[Any] | None = None
        try:
            self.settle()
            self._unsure = ""
            committed = self._connection.execute("COMMIT")
            for text in messages:
                self._connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, text))
            self._transaction.close()
        except psycopg.Error as error:
            if committed is None or committed.statusmessage != "COMMIT":
                raise self._translated(error) from error
            log.warning("postgres.not_told error=%s", error)  # it is on disk: the others find it by themselves
        self._transaction = None
        if committed.statusmessage != "COMMIT":
            raise Outdated(f"the commit ended in {committed.statusmessage}")
        if self._unsure:  # the wait for the standby was cancelled: the commit may be on the primary alone
            raise DatabaseGone(self._unsure)

    def settle(self) -> None:
        """See that every statement has changed as many rows as it had to; where nothing is expected, the commit sees to it."""
        assert self._pipeline is not None
        try:
            if self._expected:
                self._pipeline.sync()
        except psycopg.Error as error:
            raise self._translated(error) from error
        for count, name, cursor in self._expected:
            if cursor.rowcount != count:
                raise Outdated(f"{name} changed {cursor.rowcount} rows, not {count}")
        self._expected.clear()

    def rollback(self) -> None:
        """Undo, if there is anything to undo; a connection that cannot do that is of no use any more."""
        transaction, self._transaction = self._transaction, None
        try:
            if transaction is not None:
                with contextlib.suppress(psycopg.Error):
                    transaction.close()
            if not self._connection.closed and self._connection.info.transaction_status != pq.TransactionStatus.IDLE:
                self._connection.execute("ROLLBACK")
        except psycopg.Error:
            self._connection.close()
        if self._forgotten:  # on another connection it is prepared anew
            self._forgotten = False
            self._connection.close()
            self._connection = self._connected()

    def rows(self, name: str, /, **binds: Any) -> list[tuple[Any, ...]]:
        """Return all rows of a named statement."""
        return self.select(STATEMENTS[name], binds)

    def select(self, sql: str, binds: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Return all rows of a list's statement."""
        try:
            return self._connection.execute(sql, binds).fetchall()
        except UnicodeDecodeError:
            with _legibly(self._connection) as cursor:
                return cursor.execute(sql, binds).fetchall()
        except psycopg.Error as error:
            raise self._translated(error) from error

    def run(self, name: str, /, **binds: Any) -> None:
        """Send a named statement on its way."""
        try:
            self._connection.execute(STATEMENTS[name], binds)
        except psycopg.Error as error:
            raise self._translated(error) from error

    def must(self, count: int, name: str, /, **binds: Any) -> None:
        """Send a named statement that changes just so many rows; the commit sees to that."""
        try:
            cursor = self._connection.execute(STATEMENTS[name], binds)
        except psycopg.Error as error:
            raise self._translated(error) from error
        self._expected.append((count, name, cursor))

    def interrupt(self) -> None:
        """Ask the database to cancel the running statement; callable from any thread, while another waits for it."""
        with contextlib.suppress(psycopg.Error):  # the request failed: `statement_timeout` ends the statement
            self._connection.cancel_safe(timeout=INTERRUPT_S)

    def rows_within(self, bytes_max: int, name: str, /, **binds: Any) -> tuple[list[tuple[Any, ...]], bool]:
        """Return the first rows of a named statement, up to so much text, and whether that has cut them off."""
        return self.select_within(bytes_max, STATEMENTS[name], binds)

    def select_within(self, bytes_max: int, sql: str, binds: dict[str, Any]) -> tuple[list[tuple[Any, ...]], bool]:
        """Return the first rows of a list's statement, up to so much text, and whether that has cut them off."""
        try:
            with self._connection.cursor() as cursor:
                return first_of(bytes_max, cursor.stream(sql, binds, size=STREAMED))
        except UnicodeDecodeError:
            with _legibly(self._connection) as cursor:
                return first_of(bytes_max, cursor.stream(sql, binds, size=STREAMED))
        except psycopg.Error as error:
            raise self._translated(error) from error

    @property
    def connection(self) -> psycopg.Connection[tuple[Any, ...]]:
        """The driver's connection, for migrations and checks."""
        return self._connection

    def reopen(self) -> None:
        """Connect again, to whichever host takes writes now; raise DatabaseGone if that is none."""
        self._connection.close()
        self._transaction = None
        self._connection = self._connected()
        if self._writes:
            self._confirm()

    def _confirm(self) -> None:
        """Ensure that present data is on the standbys that commits wait for; raise DatabaseGone if it may not be.

        A commit whose wait for the standby was ended, by a crash of the primary or by a person, can be read, and a repeated
        request is answered from it, without a commit that waits. A commit that comes after it waits for both.
        """
        self._unsure = ""
        try:
            self._connection.execute("SELECT set_config('statement_timeout', %s, false)", [CONFIRM_WITHIN])
            self._connection.execute(STATEMENTS["confirm"])
            self._connection.execute("RESET statement_timeout")
        except psycopg.Error as error:
            raise self._translated(error) from error
        if self._unsure:
            raise DatabaseGone(self._unsure)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    abandon = close

    def cached_bytes(self) -> int:
        """Return none: the pages are in the database's own memory."""
        return 0


STREAMED: Final = 100
"""Rows that are fetched at once when what is read may be large."""


class Legible(Loader):
    """Loads texts that may not be UTF-8; see `store.corruption`."""

    def load(self, data: Buffer) -> str:
        """Return the text."""
        return decode_text(bytes(data))


def _legibly(connection: psycopg.Connection[tuple[Any, ...]]) -> psycopg.Cursor[tuple[Any, ...]]:
    """Return a cursor that reads texts which are not UTF-8."""
    cursor = connection.cursor()
    cursor.adapters.register_loader("text", Legible)
    return cursor


def translated(error: psycopg.Error) -> Exception:
    """Return our error for the driver's: lost, locked, full, broken, or the driver's own (a programmer's mistake)."""
    match error:
        case errors.SerializationFailure() | errors.DeadlockDetected() | errors.UniqueViolation():
            return Outdated(_line(error))
        case errors.LockNotAvailable():
            return DatabaseLocked(_line(error))
        case errors.QueryCanceled():
            return Interrupted(_line(error))
        case errors.InvalidTextRepresentation():  # a damaged document: bound values are checked before
            return Damaged("a record that the query reads is damaged")
        case errors.DiskFull():
            return DiskFull(_line(error))
        case errors.DataCorrupted() | errors.IndexCorrupted():
            return StorageBroken(_line(error))
        case errors.ReadOnlySqlTransaction():  # the primary that it was is a standby now
            return DatabaseGone(_line(error))
        case psycopg.OperationalError():
            return DatabaseGone(_line(error))
        case _ if type(error) is psycopg.DatabaseError:  # not the database's: what came over the wire makes no sense
            return DatabaseGone(_line(error))
        case _:
            return error


def _line(error: psycopg.Error) -> str:
    """Return the database's message in one line; drivers add hosts and hints."""
    return " ".join(str(error).split())
