"""Connections to external databases: a bounded pool of connections and threads for each database.

A database that does not answer blocks its own threads only, and each call ends within a time limit.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from headway.config import Settings
from headway.errors import ExternalFailed, ExternalRefused, HeadwayError
from headway.features.tables.external.cancellation import Statements
from headway.features.tables.external.drivers import limit_mysql, prepare_postgresql, prepare_sqlite
from headway.features.tables.external.policy import DatabasePolicy, allowed_address, allowed_file, parse_url, port_of
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


class DatabasePool:
    """Connections and threads of one database."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.threads = DaemonThreadPool(CONNECTIONS, "headway-external")
        self.waiting = 0
        self.reached = False
        """Whether a database answered."""

    def close(self) -> None:
        """Close idle threads and connections; statements under way end by themselves."""
        self.threads.close()
        self.engine.dispose()


class ExternalDatabases:
    """The pools of all external databases of a server."""

    def __init__(self, policy: DatabasePolicy, timeout_ms: int, own: Iterable[Path] = ()) -> None:
        """`own` are files of the server, which are refused as external databases."""
        self._policy = policy
        self._timeout_s = timeout_ms / 1000
        self._own = tuple(own)
        self._pools: OrderedDict[str, DatabasePool] = OrderedDict()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the databases that the settings allow, the server's own store excepted.

        Raises ValueError for an unreadable host or network.
        """
        own = settings.store.removeprefix("sqlite:///") if settings.store.startswith("sqlite:///") else ""
        files = [Path(own).resolve()] if own and own != ":memory:" else []
        policy = DatabasePolicy.of(settings.external_allow, settings.external_ports, settings.external_folders)
        return cls(policy, settings.external_timeout_ms, files)

    def shown(self, text: str) -> str:
        """Return the URL without its password; raise ExternalRefused for a URL that is not allowed."""
        try:
            return parse_url(text, self._policy, self._own).render_as_string(hide_password=True)
        except ImportError:
            raise _missing() from None

    async def call(self, text: str, work: Callable[[Connection], T], *, reads: bool = False) -> T:
        """Return the result of `work` on a connection, in a transaction of that database.

        With `reads`, raises ClientDisconnected when the client disconnects. Raises ExternalFailed, with a reason and without the
        password, if there is no result in time. A statement without a waiting caller is cancelled in the database.
        """
        pool = self._pool(text)
        if pool.waiting >= WAITING_MAX:
            raise ExternalFailed("too many calls wait for the database")
        pool.waiting += 1
        statements = Statements()
        job = pool.threads.submit(functools.partial(_carry_out, pool.engine, work, statements))
        future = asyncio.wrap_future(job)
        future.add_done_callback(functools.partial(_over, pool))
        waiting = asyncio.shield(future)
        query_context = QUERY_CONTEXT.get()
        if reads and query_context is not None:
            query_context.wait_for(waiting)
        try:
            return await asyncio.wait_for(waiting, self._timeout_s + CONNECT_S)
        except TimeoutError:
            if not pool.reached:
                raise _unreached(pool.engine.url) from None
            raise ExternalFailed("the database does not answer") from None
        finally:
            if not job.done():
                ending = functools.partial(statements.end, job.done, functools.partial(self._kill, text))
                threading.Thread(target=ending, name="headway-external-end", daemon=True).start()

    def _kill(self, text: str, query: int) -> None:
        """End the query of a MySQL connection with KILL QUERY on another connection."""
        from sqlalchemy.pool import NullPool  # noqa: PLC0415

        pool = self._new(parse_url(text, self._policy, self._own), NullPool)
        with pool.engine.connect() as connection:
            connection.exec_driver_sql(f"KILL QUERY {int(query)}")

    def _pool(self, text: str) -> DatabasePool:
        pool = self._pools.get(text)
        if pool is None:
            try:
                pool = self._new(parse_url(text, self._policy, self._own))
            except ImportError:
                raise _missing() from None
            self._pools[text] = pool
            while len(self._pools) > DATABASES:
                self._pools.popitem(last=False)[1].close()
        self._pools.move_to_end(text)
        return pool

    def _new(self, url: URL, kind: type[Pool] | None = None) -> DatabasePool:
        """Return a pool for the database; `kind` is SQLAlchemy's class, by default a queue of a few connections."""
        from sqlalchemy import create_engine, event  # noqa: PLC0415 - an extra, and slow to import
        from sqlalchemy.pool import QueuePool  # noqa: PLC0415

        kept: dict[str, Any] = {"pool_size": CONNECTIONS, "max_overflow": 0, "pool_timeout": self._timeout_s}
        kept |= {"pool_pre_ping": True, "pool_recycle": RECYCLE_S}
        made = create_engine(
            url,
            poolclass=kind or QueuePool,
            **({} if kind else kept),
            connect_args=self._arguments(url),
            hide_parameters=True,
        )
        pool = DatabasePool(made)
        if url.drivername == "sqlite":
            pool.reached = True  # errors about a file are shown as they are
            event.listen(made, "do_connect", functools.partial(self._find, url), named=False)
            event.listen(made, "connect", prepare_sqlite)
        else:
            event.listen(made, "do_connect", functools.partial(self._connect, pool), named=False)
        if url.drivername == "mysql+pymysql":
            event.listen(made, "connect", functools.partial(limit_mysql, self._seconds))
        return pool

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
        path = allowed_file(url.database or "", self._policy, self._own)
        if not path.is_file():
            raise ExternalRefused(f"there is no file {path.name!r}")
        arguments[0] = f"{path.as_uri()}?mode=rw"

    def _connect(
        self, pool: DatabasePool, dialect: Any, _record: Any, arguments: list[Any], named: dict[str, Any]
    ) -> Any:
        """Check the address, connect to it, and return the connection; only a database's own errors are shown."""
        url = pool.engine.url
        address = allowed_address(url.host or "", port_of(url), self._policy)
        named["port"] = port_of(url)
        named["hostaddr" if url.drivername == "postgresql+psycopg" else "host"] = address
        try:
            connection = dialect.connect(*arguments, **named)
        except Exception as error:  # noqa: BLE001 - whatever a driver stumbles over that speaks with no database
            log.info("external.unreached host=%s port=%d error=%s", url.host, port_of(url), error)
            said = _refusal(error) if isinstance(error, dialect.loaded_dbapi.Error) else None
            raise (_unreached(url) if said is None else ExternalFailed(_says(pool.engine, said))) from None
        pool.reached = True
        if url.drivername == "postgresql+psycopg":
            prepare_postgresql(connection)
        return connection

    def close(self) -> None:
        """Close all pools."""
        while self._pools:
            self._pools.popitem()[1].close()


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


def _over(pool: DatabasePool, future: asyncio.Future[Any]) -> None:
    pool.waiting -= 1
    if not future.cancelled():
        future.exception()  # who waited may have gone


def _missing() -> ExternalFailed:
    return ExternalFailed("external tables need SQLAlchemy and the database's driver: install headway[external]")
