"""Opens the store on PostgreSQL, which any number of servers share."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from typing import Any, Final

import psycopg
from msgspec.structs import asdict

from headway.clock import Clock
from headway.ids import IdSource
from headway.kernel.organisation import first
from headway.store.database import StoreRefused
from headway.store.peers import Peers
from headway.store.postgres.connection import STATEMENTS, PostgresDatabase, connect, translated
from headway.store.postgres.dialect import EVENTS_BITS, POSTGRES
from headway.store.postgres.listener import Listener
from headway.store.postgres.migrate import migrate
from headway.store.store import Store

VERSION_LEAST: Final = 15
DURABLE: Final = ("fsync", "full_page_writes", "synchronous_commit")
READERS: Final = 6
"""Maximum number of reading threads, each with its connection; `round_robin` shares them among organisations."""
POSITIONS: Final = "position_base"
TURNS: Final = ("servers", "limits")
"""Rows that servers lock to do something one after the other."""
MOVING: Final = "moving"
"""Said as long as a store is on its way into this database; see `store.transfer`."""
SECRET: Final = "secret"  # noqa: S105 - the name under which one is kept


Connection = psycopg.Connection[tuple[Any, ...]]


def open_postgres(
    url: str, clock: Clock, *, accept_loss: bool = False, threaded: bool = True, server_id: str, host: str, pid: int,
    version: str,
) -> Store:  # fmt: skip
    """Open, create or upgrade the store; raise DatabaseGone if it cannot be reached, StoreRefused with what to do.

    Not threaded, everything happens on the caller's thread and one connection, and no other server is heard (for tests).
    """
    base = prepare(url, clock, accept_loss=accept_loss)
    peers = Peers(server_id, host=host, pid=pid, version=version)
    with contextlib.ExitStack() as failing:

        def writes() -> PostgresDatabase:
            made = PostgresDatabase(url, position_base=base, writes=True)
            failing.callback(made.close)
            return made

        writing = writes()
        if threaded:
            listener = Listener(url, server_id, peers.hear)
            peers.start, peers.stop = listener.start, listener.stop
        store = Store(
            clock=clock,
            dialect=POSTGRES,
            writing=writing,
            reporting=writes() if threaded else None,
            near=None if threaded else writing,
            far=(lambda: PostgresDatabase(url, position_base=base)) if threaded else None,
            readers=READERS,
            threaded=threaded,
            peers=peers,
        )
        failing.pop_all()
        return store


def prepare(url: str, clock: Clock, *, accept_loss: bool = False) -> int:
    """See that the database is one to rely on, bring its schema up to date, and return its base of positions."""
    with connect(url) as connection, explained():
        _refuse_half_moved(connection)
        make_ready(connection, clock, accept_loss=accept_loss)
        now_ms = clock.now_ms()
        connection.execute(STATEMENTS["first_organisation"], asdict(first(IdSource().new(now_ms), now_ms)))
        return _position_base(connection)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Say in our words what the database refuses, or that it is gone."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise StoreRefused(f"the database refuses this user something that Headway needs: {_said(error)}") from error
    except (psycopg.errors.DuplicateTable, psycopg.errors.UndefinedColumn) as error:
        raise StoreRefused(
            f"the database has tables of another program: make one for Headway alone ({_said(error)})"
        ) from error
    except psycopg.OperationalError as error:
        raise translated(error) from error


def _said(error: psycopg.Error) -> str:
    """Return the database's message, without its statement."""
    return error.diag.message_primary or str(error).partition("\n")[0]


def make_ready(connection: Connection, clock: Clock, *, accept_loss: bool) -> None:
    """See that the database is one to rely on, and bring its schema up to date."""
    _check(connection, accept_loss=accept_loss)
    migrate(connection, clock.now_ms())
    for turn in TURNS:
        _fact(connection, turn, "")


def _refuse_half_moved(connection: Connection) -> None:
    """A store is served when all of it is there. This comes before the schema is touched: a move goes on with its own."""
    if half_moved(connection):
        raise StoreRefused(
            "a store is being moved into this database: let  headway migrate-store  come to its end, start it again "
            "if it was stopped, or drop the database"
        )


def half_moved(connection: Connection) -> bool:
    """Tell whether the database has a part of a store that `headway migrate-store` has not brought over whole."""
    row = connection.execute("SELECT to_regclass('store') IS NOT NULL").fetchone()
    if row is None or not row[0]:
        return False
    return connection.execute("SELECT 1 FROM store WHERE name = %s", (MOVING,)).fetchone() is not None


def secret_in(url: str, given: str) -> bytes:
    """Return the secret for tokens and cursors: the given one, else that of the store."""
    if given:
        if len(given) < 32:  # noqa: PLR2004 - 256 bits if it is random text
            raise ValueError("the secret is too short: give at least 32 random characters")
        return given.encode()
    with connect(url) as connection:
        made = secrets.token_hex(32)
        return bytes.fromhex(_fact(connection, SECRET, made))


def _check(connection: Connection, *, accept_loss: bool) -> None:
    if connection.info.server_version < VERSION_LEAST * 10_000:
        found = connection.info.server_version // 10_000
        raise StoreRefused(f"this is PostgreSQL {found}; Headway needs {VERSION_LEAST} or newer")
    row = connection.execute("SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()")
    encoding = (row.fetchone() or ("?",))[0]
    if encoding != "UTF8":
        raise StoreRefused(f"the database has the encoding {encoding}; create one with UTF8")
    for setting in [] if accept_loss else losing(connection):
        raise StoreRefused(
            f"the database runs with {setting}, so what was acknowledged can be lost; "
            f"set it to on, or start with --accept-loss"
        )


def losing(connection: Connection) -> list[str]:
    """Return the settings, as `name = value`, with which the database confirms what a crash or a failover may take back."""

    def shown(name: str) -> str:
        return str((connection.execute(f"SHOW {name}").fetchone() or ("?",))[0])

    found = [f"{name} = off" for name in DURABLE if shown(name) == "off"]
    # Without standbys it is as good as `on`. With them it waits for none, and the one that is promoted may not have it.
    if shown("synchronous_commit") == "local" and shown("synchronous_standby_names"):
        found.append("synchronous_commit = local")
    return found


def _position_base(connection: Connection) -> int:
    """Return the offset that lifts new positions above the present ones; see `dialect.position`."""
    with connection.transaction():
        base = int(_fact(connection, POSITIONS, "0"))
        row = connection.execute(
            "SELECT coalesce(max(position), 0), pg_current_xact_id()::text::bigint FROM events"
        ).fetchone()
        assert row is not None
        last, now = int(row[0]), int(row[1]) << EVENTS_BITS
        if last > base + now:  # these events were added where transactions had other numbers
            base = last - now + (1 << EVENTS_BITS)
            connection.execute(STATEMENTS["save_fact"], {"name": POSITIONS, "value": str(base)})
        return base


def _fact(connection: Connection, name: str, value: str) -> str:
    """Return an entry of the store about itself; it becomes `value` if it is absent."""
    connection.execute(STATEMENTS["insert_fact"], {"name": name, "value": value})
    row = connection.execute(STATEMENTS["lock_fact"], {"name": name}).fetchone()
    assert row is not None
    return str(row[0])
