"""Connections to external databases: few, short-lived when they fail, and on threads of their own.

Each database has its own threads and its own pool, so that one which does not answer keeps nobody else waiting; and every
call ends in time, whatever the database does.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from headway.errors import ExternalFailed, ExternalRefused, HeadwayError
from headway.features.tables.external.cancellation import Statements
from headway.features.tables.external.drivers import limit_mysql, prepare_postgresql, prepare_sqlite
from headway.features.tables.external.policy import Rules, checked_address, checked_file, parsed, port_of
from headway.features.tables.external.thread_pool import DaemonThreadPool
from headway.store.query_context import QUERY_CONTEXT

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Connection, Engine
    from sqlalchemy.pool import Pool

T = TypeVar("T")
log = logging.getLogger("headway.external")

CONNECTIONS: Final = 4
"""Maximum number of connections to one database."""
DATABASES: Final = 50
"""Maximum number of databases with open connections; the least recently used one is closed first."""
WAITING_MAX: Final = 32
"""Calls to one database that may wait."""
CONNECT_S: Final = 5
RECYCLE_S: Final = 300
CLIENT_ERRORS: Final = range(2000, 3000)
"""MySQL error numbers that the client raises, not the server."""
NOWHERE: Final = "/nonexistent"
"""A path that does not exist, given for files that libpq would read by default."""


class Far:
    """One database: its pool and its threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.hands = DaemonThreadPool(CONNECTIONS, "headway-external")
        self.waiting = 0
        self.reached = False
        """Whether a database answered."""

    def close(self) -> None:
        """Let go of it; what is still under way there ends by itself."""
        self.hands.close()
        self.engine.dispose()


class Databases:
    """All external databases of a server."""

    def __init__(self, rules: Rules, timeout_ms: int, own: Iterable[Path] = ()) -> None:
        """`own` are files of ours, which are no external databases."""
        self._rules = rules
        self._timeout_s = timeout_ms / 1000
        self._own = tuple(own)
        self._known: OrderedDict[str, Far] = OrderedDict()

    def shown(self, text: str) -> str:
        """Return the URL without its password; raise ExternalRefused for a URL that is not allowed."""
        try:
            return parsed(text, self._rules, self._own).render_as_string(hide_password=True)
        except ImportError:
            raise _missing() from None

    async def call(self, text: str, work: Callable[[Connection], T], *, reads: bool = False) -> T:
        """Return the result of `work` on a connection, in a transaction of that database.

        What only reads ends with ClientDisconnected when the client leaves. Raises ExternalFailed if it is not possible in time,
        with words that say why and without the password. What nobody waits for any more is ended in the database.
        """
        far = self._far(text)
        if far.waiting >= WAITING_MAX:
            raise ExternalFailed("too many calls wait for the database")
        far.waiting += 1
        statements = Statements()
        job = far.hands.submit(functools.partial(_carry_out, far.engine, work, statements))
        future = asyncio.wrap_future(job)
        future.add_done_callback(functools.partial(_over, far))
        waiting = asyncio.shield(future)
        query_context = QUERY_CONTEXT.get()
        if reads and query_context is not None:
            query_context.wait_for(waiting)
        try:
            return await asyncio.wait_for(waiting, self._timeout_s + CONNECT_S)
        except TimeoutError:
            if not far.reached:
                raise _unreached(far.engine.url) from None
            raise ExternalFailed("the database does not answer") from None
        finally:
            if not job.done():
                ending = functools.partial(statements.end, job.done, functools.partial(self._kill, text))
                threading.Thread(target=ending, name="headway-external-end", daemon=True).start()

    def _kill(self, text: str, query: int) -> None:
        """End the query of a MySQL connection with KILL QUERY on another connection."""
        from sqlalchemy.pool import NullPool  # noqa: PLC0415

        far = self._new(parsed(text, self._rules, self._own), NullPool)
        with far.engine.connect() as connection:
            connection.exec_driver_sql(f"KILL QUERY {int(query)}")

    def _far(self, text: str) -> Far:
        far = self._known.get(text)
        if far is None:
            try:
                far = self._new(parsed(text, self._rules, self._own))
            except ImportError:
                raise _missing() from None
            self._known[text] = far
            while len(self._known) > DATABASES:
                self._known.popitem(last=False)[1].close()
        self._known.move_to_end(text)
        return far

    def _new(self, url: URL, pool: type[Pool] | None = None) -> Far:
        """Return a way to the database; without another `pool` a few connections are kept."""
        from sqlalchemy import create_engine, event  # noqa: PLC0415 - an extra, and slow to import
        from sqlalchemy.pool import QueuePool  # noqa: PLC0415

        kept: dict[str, Any] = {"pool_size": CONNECTIONS, "max_overflow": 0, "pool_timeout": self._timeout_s}
        kept |= {"pool_pre_ping": True, "pool_recycle": RECYCLE_S}
        made = create_engine(
            url,
            poolclass=pool or QueuePool,
            **({} if pool else kept),
            connect_args=self._arguments(url),
            hide_parameters=True,
        )
        far = Far(made)
        if url.drivername == "sqlite":
            far.reached = True  # errors about a file are shown as they are
            event.listen(made, "do_connect", functools.partial(self._find, url), named=False)
            event.listen(made, "connect", prepare_sqlite)
        else:
            event.listen(made, "do_connect", functools.partial(self._connect, far), named=False)
        if url.drivername == "mysql+pymysql":
            event.listen(made, "connect", functools.partial(limit_mysql, self._seconds))
        return far

    @property
    def _seconds(self) -> int:
        """The timeout of a statement, in whole seconds, as databases take it."""
        return max(1, round(self._timeout_s))

    def _arguments(self, url: URL) -> dict[str, Any]:
        seconds = self._seconds
        if url.drivername == "sqlite":
            return {"timeout": seconds, "uri": True, "check_same_thread": False}
        if url.drivername == "mysql+pymysql":
            # Later than the limit that `limit_mysql` sets: who stops reading leaves the query to the database.
            return {"connect_timeout": CONNECT_S, "read_timeout": seconds + CONNECT_S, "write_timeout": seconds}
        return {
            "connect_timeout": CONNECT_S,
            "options": f"-c statement_timeout={seconds * 1000} -c idle_in_transaction_session_timeout={seconds * 1000}",
            "keepalives_idle": 5, "keepalives_interval": 3, "keepalives_count": 3, "tcp_user_timeout": seconds * 1000,
            "application_name": "headway",
            # Else libpq would send credentials of the server's environment to a host that a user has named.
            "password": url.password or "", "passfile": NOWHERE, "sslcert": NOWHERE, "gssencmode": "disable",
        }  # fmt: skip

    def _find(self, url: URL, _dialect: Any, _record: Any, arguments: list[Any], _named: dict[str, Any]) -> None:
        """Check the file's path, and open that path."""
        path = checked_file(url.database or "", self._rules, self._own)
        if not path.is_file():
            raise ExternalRefused(f"there is no file {path.name!r}")
        arguments[0] = f"{path.as_uri()}?mode=rw"

    def _connect(self, far: Far, dialect: Any, _record: Any, arguments: list[Any], named: dict[str, Any]) -> Any:
        """Check the address, connect to it, and return the connection; only a database's own errors are shown."""
        url = far.engine.url
        address = checked_address(url.host or "", port_of(url), self._rules)
        named["port"] = port_of(url)
        named["hostaddr" if url.drivername == "postgresql+psycopg" else "host"] = address
        try:
            connection = dialect.connect(*arguments, **named)
        except Exception as error:  # noqa: BLE001 - whatever a driver stumbles over that speaks with no database
            log.info("external.unreached host=%s port=%d error=%s", url.host, port_of(url), error)
            said = _refusal(error) if isinstance(error, dialect.loaded_dbapi.Error) else None
            raise (_unreached(url) if said is None else ExternalFailed(_says(far.engine, said))) from None
        far.reached = True
        if url.drivername == "postgresql+psycopg":
            prepare_postgresql(connection)
        return connection

    def close(self) -> None:
        """Let go of all of them."""
        while self._known:
            self._known.popitem()[1].close()


def _carry_out(engine: Engine, work: Callable[[Connection], T], statements: Statements) -> T:
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    try:
        with engine.begin() as connection, statements.on(connection):
            return work(connection)
    except HeadwayError:
        raise
    except SQLAlchemyError as error:
        raise _plainly(engine, error) from None
    except Exception as error:
        # A driver that is told nonsense fails with whatever it stumbled over, and so would a mistake of ours.
        log.warning("external.unreadable", exc_info=True)
        raise ExternalFailed(f"the database gives no answer that can be read: {type(error).__name__}") from None


def _plainly(engine: Engine, error: Exception) -> HeadwayError:
    """Return the driver's message, in one line and without the password."""
    from sqlalchemy.exc import DataError, IntegrityError  # noqa: PLC0415

    said = str(getattr(error, "orig", None) or error)
    if isinstance(error, (IntegrityError, DataError)):
        return ExternalRefused(_says(engine, said, "the database refuses it"))
    return ExternalFailed(_says(engine, said))


def _says(engine: Engine, said: str, who: str = "the database says") -> str:
    line = " ".join(said.split())[:300]
    password = engine.url.password
    return f"{who}: {line.replace(str(password), '***') if password else line}"


def _refusal(error: Exception) -> str | None:
    """Return a database's own error on connecting; None if the service may not be a database."""
    number = error.args[0] if error.args else None
    if isinstance(number, int):  # MySQL
        return None if number in CLIENT_ERRORS else str(error)
    words = str(error)
    if "FATAL:" in words:  # PostgreSQL; before that libpq says which address it has dialled
        return words[words.index("FATAL:") :]
    asked = getattr(error, "pgconn", None)
    return (
        words.rpartition("failed: ")[2] if asked is not None and (asked.needs_password or asked.used_password) else None
    )


def _unreached(url: URL) -> ExternalFailed:
    """Return the error for a port that is closed, filtered, silent or not a database's: no port scans."""
    kind = "MySQL" if url.drivername == "mysql+pymysql" else "PostgreSQL"
    return ExternalFailed(
        f"the database cannot be reached: nothing answers as {kind} does at {url.host}, port {port_of(url)};"
        " look at host, port, firewall and TLS"
    )


def _over(far: Far, future: asyncio.Future[Any]) -> None:
    far.waiting -= 1
    if not future.cancelled():
        future.exception()  # who waited may have gone


def _missing() -> ExternalFailed:
    return ExternalFailed("external tables need SQLAlchemy and the database's driver: install headway[external]")
