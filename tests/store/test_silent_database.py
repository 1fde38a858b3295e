"""A database that stands still, its connections open: its kernel answers for it, and only we can end the wait."""

import contextlib
import threading

import psycopg
import pytest
from tests.faults.proxy import Wire
from tests.faults.waiting import until
from tests.harness import START

from headway.clock import ManualClock
from headway.store.database import DatabaseGone
from headway.store.postgres import connection, listener
from headway.store.postgres.connection import PostgresDatabase, translated
from headway.store.postgres.listener import Listener
from headway.store.postgres.open import prepare

PATIENCE_S = 0.5


@pytest.fixture
def wire(postgres_store, monkeypatch):
    """The way to a store, which can be cut so that nobody notices."""
    monkeypatch.setattr(connection, "ANSWER_WITHIN_S", {"reading": PATIENCE_S, "writing": PATIENCE_S})
    monkeypatch.setattr(listener, "ANSWER_WITHIN_S", PATIENCE_S)
    prepare(postgres_store, ManualClock(START))
    asked = psycopg.conninfo.conninfo_to_dict(postgres_store)
    with Wire(int(asked["port"])) as way:
        way.store = f"postgresql://{asked['user']}@127.0.0.1:{way.port}/{asked['dbname']}?connect_timeout=2"
        yield way


def read(database):
    database.rows("read_servers")


def read_a_list(database):
    database.select_within(1_000, "SELECT generate_series(1, 3)", {})


def write(database):
    database.begin()
    try:
        database.rows("read_servers")
        database.commit()
    except BaseException:
        database.rollback()
        raise


def commit(database):
    """It stands still when all is said but the commit."""
    database.begin()
    try:
        database.rows("read_servers")
        database.silence()
        database.commit(["x"])
    except BaseException:
        database.rollback()
        raise


@pytest.mark.parametrize("work", [read, read_a_list, write, commit])
def test_nobody_waits_for_ever_for_a_database_that_stands_still(wire, work):
    database = PostgresDatabase(wire.store, writes=work in (write, commit))
    database.silence = lambda: None
    work(database)
    if work is commit:
        database.silence = lambda: wire.cut("full")
    else:
        wire.cut("full")
    patience = threading.Timer(20 * PATIENCE_S, wire.heal)  # for who waits for ever: it is answered, and has failed
    patience.start()
    with pytest.raises(DatabaseGone):
        work(database)
    patience.cancel()
    with pytest.raises(DatabaseGone):
        work(database)
    with pytest.raises(DatabaseGone):
        database.reopen()
    wire.heal()
    database.silence = lambda: None
    database.reopen()
    work(database)
    database.close()


def test_an_answer_that_takes_a_while_is_waited_for(wire):
    database = PostgresDatabase(wire.store)
    assert [("",)] == database.select(f"SELECT pg_sleep({PATIENCE_S / 4})::text", {})
    database.close()


def test_who_listens_notices_that_nobody_speaks_any_more(wire, postgres_cluster, monkeypatch):
    """The old primary stands still, the new one speaks: without a look of its own it would listen to the old one for ever."""
    monkeypatch.setattr(listener, "LOOK_S", 0.05)
    heard = []
    ears = Listener(wire.store, "server", heard.append)
    ears.start()
    until(lambda: heard == [None], 10, "it listens")
    wire.cut("full")
    threading.Event().wait(2 * PATIENCE_S)
    wire.heal()
    until(lambda: heard[1:] == [None], 10, "it has come back, and knows that it may have missed something")
    with contextlib.closing(PostgresDatabase(wire.store)) as other:
        other.select("SELECT pg_notify('headway', 'now')", {})
    until(lambda: heard[2:] == ["now"], 10, "it hears")
    ears.stop()


def test_who_listens_tries_on_whatever_goes_wrong(wire, monkeypatch, caplog):
    heard = []

    def fail_once(text):
        heard.append(text)
        if len(heard) == 1:
            raise ZeroDivisionError("nobody has thought of this")

    ears = Listener(wire.store, "server", fail_once)
    ears.start()
    until(lambda: len(heard) == 2, 10, "it listens again")
    assert "nobody has thought of this" in caplog.text
    ears.stop()


def test_what_makes_no_sense_on_the_wire_is_a_lost_connection(wire, monkeypatch):
    nonsense = psycopg.DatabaseError('lost synchronization with server: got message type "1"')
    assert isinstance(translated(nonsense), DatabaseGone)

    def execute(*_):
        raise nonsense

    monkeypatch.setattr(connection.Connection, "execute", execute)
    with pytest.raises(DatabaseGone):
        PostgresDatabase(wire.store)
