"""A database that fails when it is told to: the port that every backend stands behind, so no mock of our own code."""

from __future__ import annotations

from tests.harness import START, Harness, opened

from headway.clock import ManualClock
from headway.config import Settings
from headway.store.database import DatabaseGone
from headway.store.postgres.connection import PostgresDatabase
from headway.store.postgres.dialect import POSTGRES
from headway.store.sqlite.dialect import SQLITE
from headway.store.sqlite.open import open_memory
from headway.store.store import Store


class FaultyConnection:
    """Passes everything on, until the countdown is over.

    A connection to PostgreSQL that is to be lost is cut off by the server, and what is asked next finds that out for
    itself; all other errors are raised here, in a transaction that is undone.
    """

    def __init__(self, inner):
        self.inner = inner
        self.left = None
        self.fired = 0
        self.error = None
        self.only = None
        self.answered = False
        self.turns = 0
        self.log = []
        self.sever = None
        """Cuts the connection, where there is one."""

    def arm(self, after, error, only=None, *, answered=False):
        """Raise `error` at the `after`-th call (of the kind `only`); `answered`: when it was carried out."""
        self.left, self.error, self.only, self.answered, self.fired = after, error, only, answered, 0

    def arm_in_turn(self, error, turns):
        """Raise `error` at the first call of the next transaction, at the second of the one after it, so many times."""
        self.arm(None, error)
        self.turns = turns

    def disarm(self):
        self.left, self.turns = None, 0

    def _count(self, kind):
        self.log.append(kind)
        if kind == "begin" and self.turns > self.fired:
            self.left = self.fired + 1
        if self.left is None or (self.only is not None and kind != self.only):
            return
        self.left -= 1
        if self.left == 0:
            self.left = None
            self.fired += 1
            if not self.answered:
                self._fail(begun=kind != "begin")

    def _fail(self, *, begun=True):
        if self.sever is not None and isinstance(self.error, DatabaseGone):
            self.sever()
            return
        if begun:  # as SQLite does on a full disk
            self.inner.rollback()
        raise self.error

    def begin(self):
        self._count("begin")
        self.inner.begin()

    def settle(self):
        self.inner.settle()

    def commit(self, tell=()):
        before = self.fired
        self._count("commit")
        self.inner.commit(tell)
        if self.answered and self.fired > before:
            raise self.error

    def reopen(self):
        self.inner.reopen()

    def rollback(self):
        self.inner.rollback()

    def rows(self, name, /, **binds):
        self._count(name)
        return self.inner.rows(name, **binds)

    def run(self, name, /, **binds):
        self._count(name)
        return self.inner.run(name, **binds)

    def must(self, count, name, /, **binds):
        self._count(name)
        return self.inner.must(count, name, **binds)

    def select(self, sql, binds):
        return self.inner.select(sql, binds)

    def close(self):
        self.inner.close()

    def abandon(self):
        self.inner.abandon()


def faulty_world(url=None):
    """Return a harness in memory, or on the PostgreSQL of the URL, and the database under it; all on the caller's thread."""
    clock = ManualClock(START)
    made = open_memory(clock) if url is None else opened(url, clock, threaded=False)
    return faulty(made, clock, SQLITE if url is None else POSTGRES, path=url, threaded=False)


def faulty(made, clock, dialect, *, path, threaded):
    """Return a harness on what was opened, with the connection that writes put behind one that fails."""
    database = FaultyConnection(made._connections[0])
    apart = threaded and dialect is POSTGRES  # a connection is one thread's
    store = Store(
        clock=clock, dialect=dialect, writing=database, near=None if apart else made.read.near,
        far=(lambda: PostgresDatabase(path)) if apart else None, threaded=threaded, peers=made.peers,
        on_close=made._on_close,
    )  # fmt: skip
    harness = Harness(store, clock, Settings(), path, threaded=threaded)
    if isinstance(made._connections[0], PostgresDatabase):
        database.sever = lambda: harness.sql(
            "SELECT pg_terminate_backend(?, 10000)", made._connections[0].connection.info.backend_pid
        )
    return harness, database
