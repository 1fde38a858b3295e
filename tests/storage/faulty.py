"""A database that fails when it is told to: the port that every backend stands behind, so no mock of our own code."""

from __future__ import annotations

from tests.world import START, World

from headway.clock import ManualClock
from headway.config import Settings
from headway.storage.sqlite.dialect import SQLITE
from headway.storage.sqlite.open import open_memory
from headway.storage.store import Store


class Faulty:
    """Passes everything on, until the countdown is over."""

    def __init__(self, inner):
        self.inner = inner
        self.left = None
        self.fired = False
        self.error = None
        self.only = None
        self.log = []

    def arm(self, after, error, only=None):
        """Raise `error` at the `after`-th call (of the kind `only`)."""
        self.left, self.error, self.only, self.fired = after, error, only, False

    def disarm(self):
        self.left = None

    def _count(self, kind):
        self.log.append(kind)
        if self.left is None or (self.only is not None and kind != self.only):
            return
        self.left -= 1
        if self.left == 0:
            self.fired = True
            if kind != "begin":  # as SQLite does on a full disk
                self.inner.rollback()
            raise self.error

    def begin(self):
        self._count("begin")
        self.inner.begin()

    def commit(self, tell=()):
        self._count("commit")
        self.inner.commit(tell)

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


def faulty_world():
    """Return a world in memory, and the database under it."""
    clock = ManualClock(START)
    inner = open_memory(clock).read.near
    database = Faulty(inner)
    store = Store(clock=clock, dialect=SQLITE, writing=database, near=inner, far=None, threaded=False)
    return World(store, clock, Settings()), database
