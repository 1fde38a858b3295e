"""Connections to external databases: few, short-lived when they fail, and on threads of their own.

Each database has its own threads and its own pool, so that one which does not answer keeps nobody else waiting; and every
call ends in time, whatever the database does.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from headway.errors import ExternalFailed, ExternalRefused, HeadwayError
from headway.storage.external.hands import Hands
from headway.storage.external.target import PORTS, Rules, checked_address, checked_file, parsed

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Connection, Engine

T = TypeVar("T")
log = logging.getLogger("headway.external")

CONNECTIONS: Final = 4
"""At once, to one database."""
DATABASES: Final = 50
"""That are kept connected to; the one that was used longest ago goes first."""
WAITING_MAX: Final = 32
"""Calls to one database that may wait."""
CONNECT_S: Final = 5
RECYCLE_S: Final = 300


class Far:
    """One database: its pool and its threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.hands = Hands(CONNECTIONS, "headway-external")
        self.waiting = 0

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
        """Return the URL without its password; raise ExternalRefused for one that may not be connected to."""
        try:
            return parsed(text, self._rules, self._own).render_as_string(hide_password=True)
        except ImportError:
            raise _missing() from None

    async def call(self, text: str, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns on a connection, in a transaction of that database.

        Raises ExternalFailed if that is not possible in time, with words that say why and without the password.
        """
        far = self._far(text)
        if far.waiting >= WAITING_MAX:
            raise ExternalFailed("too many calls wait for the database")
        far.waiting += 1
        future = asyncio.wrap_future(far.hands.submit(functools.partial(_carry_out, far.engine, work)))
        future.add_done_callback(functools.partial(_over, far))
        try:
            return await asyncio.wait_for(asyncio.shield(future), self._timeout_s + CONNECT_S)
        except TimeoutError:
            raise ExternalFailed("the database does not answer") from None

    def _far(self, text: str) -> Far:
        far = self._known.get(text)
        if far is None:
            try:
                far = Far(self._engine(parsed(text, self._rules, self._own)))
            except ImportError:
                raise _missing() from None
            self._known[text] = far
            while len(self._known) > DATABASES:
                self._known.popitem(last=False)[1].close()
        self._known.move_to_end(text)
        return far

    def _engine(self, url: URL) -> Engine:
        from sqlalchemy import create_engine, event  # noqa: PLC0415 - an extra, and slow to import
        from sqlalchemy.pool import QueuePool  # noqa: PLC0415

        made = create_engine(
            url,
            poolclass=QueuePool,
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_timeout=self._timeout_s,
            pool_pre_ping=True,
            pool_recycle=RECYCLE_S,
            connect_args=self._arguments(url),
            hide_parameters=True,
        )
        event.listen(made, "do_connect", functools.partial(self._dial, url), named=False)
        if url.drivername == "sqlite":
            event.listen(made, "connect", _harden)
        return made

    def _arguments(self, url: URL) -> dict[str, Any]:
        seconds = max(1, round(self._timeout_s))
        if url.drivername == "sqlite":
            return {"timeout": seconds, "uri": True, "check_same_thread": False}
        if url.drivername == "mysql+pymysql":
            return {"connect_timeout": CONNECT_S, "read_timeout": seconds, "write_timeout": seconds}
        return {
            "connect_timeout": CONNECT_S,
            "options": f"-c statement_timeout={seconds * 1000} -c idle_in_transaction_session_timeout={seconds * 1000}",
            "keepalives_idle": 5, "keepalives_interval": 3, "keepalives_count": 3, "tcp_user_timeout": seconds * 1000,
            "application_name": "headway",
        }  # fmt: skip

    def _dial(self, url: URL, _dialect: Any, _record: Any, arguments: list[Any], named: dict[str, Any]) -> None:
        """Look at the address, and let just that be dialled."""
        if url.drivername == "sqlite":
            path = checked_file(url.database or "", self._rules, self._own)
            if not path.is_file():
                raise ExternalRefused(f"there is no file {path.name!r}")
            arguments[0] = f"{path.as_uri()}?mode=rw"
            return
        address = checked_address(url.host or "", url.port or PORTS[url.drivername], self._rules)
        named["hostaddr" if url.drivername == "postgresql+psycopg" else "host"] = address

    def close(self) -> None:
        """Let go of all of them."""
        while self._known:
            self._known.popitem()[1].close()


def _carry_out(engine: Engine, work: Callable[[Connection], T]) -> T:
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    try:
        with engine.begin() as connection:
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
    """Return what the driver says, in one line and without the password."""
    from sqlalchemy.exc import DataError, IntegrityError  # noqa: PLC0415

    said = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
    password = engine.url.password
    if password:
        said = said.replace(str(password), "***")
    if isinstance(error, (IntegrityError, DataError)):
        return ExternalRefused(f"the database refuses it: {said}")
    return ExternalFailed(f"the database says: {said}")


def _over(far: Far, future: asyncio.Future[Any]) -> None:
    far.waiting -= 1
    if not future.cancelled():
        future.exception()  # who waited may have gone


def _harden(connection: Any, _record: Any) -> None:
    """A file may come from anyone: its views and triggers call no functions that have effects."""
    connection.execute("PRAGMA trusted_schema = OFF")


def _missing() -> ExternalFailed:
    return ExternalFailed("external tables need SQLAlchemy and the database's driver: install headway[external]")
