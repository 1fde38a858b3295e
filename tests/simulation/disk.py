"""What outlives the server: a database in memory, and the connection through which a server reaches it and may fail.

The port of `store/database.py` is the outermost that the product knows of a disk, so faults are put there. A death
between two statements leaves what was committed before; one after the commit leaves that as well.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from tests.simulation.chance import FaultRates

from headway.store.database import DatabaseLocked, DiskFull, StorageBroken
from headway.store.sqlite.open import make_ready
from headway.store.sqlite.reading import SqliteReading


class Crash(BaseException):
    """The process dies here: nothing above may go on."""


class Disk:
    """One database, for the life of a simulation."""

    def __init__(self, now_ms: int) -> None:
        self.database = SqliteReading(":memory:", writer=True)
        self.database.connection.execute("PRAGMA cache_size = -2000")
        make_ready(self.database, now_ms)

    def cut(self) -> None:
        """Forget what was not committed, as a power cut does."""
        self.database.rollback()


class Mounted:
    """The disk as one server has it, until that dies."""

    def __init__(
        self, disk: Disk, rates: FaultRates, rng: random.Random, committed: Callable[[], None], say: Callable[..., None]
    ) -> None:
        """`committed` is called when the disk has a transaction, before anyone is told."""
        self._inner = disk.database
        self._weather, self._rng, self._committed, self._say = rates, rng, committed, say
        self._in: str | None = None
        """What will happen to this transaction."""
        self._statements = 0
        self.gone = False

    def begin(self) -> None:
        """Take the lock, and draw what will happen to the transaction."""
        self._alive()
        if self._weather.hits(self._rng, "locked"):
            self._say("locked")
            raise DatabaseLocked("simulated")
        self._in, self._statements = None, self._rng.randrange(1, 12)
        for fault in ("full", "broken", "death_at_statement", "death_before_commit", "death_after_commit"):
            if self._weather.hits(self._rng, fault):
                self._in = fault
                break
        self._inner.begin()

    def _alive(self) -> None:
        if self.gone:
            raise Crash

    def _statement(self) -> None:
        self._alive()
        if self._in is None or self._in in {"death_before_commit", "death_after_commit"}:
            return
        self._statements -= 1
        if self._statements <= 0:
            self._fail()

    def _fail(self) -> None:
        fault, self._in = self._in, None
        self._say(str(fault))
        self._inner.rollback()
        if fault == "full":
            raise DiskFull("simulated")
        if fault == "broken":
            raise StorageBroken("simulated")
        self.gone = True
        raise Crash

    def settle(self) -> None:
        """A file has carried out what it was asked for."""

    def commit(self, tell: Sequence[str] = ()) -> None:
        """Make it durable, or fail before or after that."""
        self._alive()
        fault = self._in
        if fault in {"full", "death_at_statement", "death_before_commit"} or (
            fault == "broken" and self._rng.random() < 0.5
        ):
            self._fail()
        self._inner.commit(tell)
        self._committed()
        if fault == "broken":  # the sync has failed and the data are there all the same: nobody may rely on either
            self._say("broken after the commit")
            raise StorageBroken("simulated")
        if fault == "death_after_commit":
            self._say(fault)
            self.gone = True
            raise Crash

    def must(self, count: int, name: str, /, **binds: Any) -> None:
        """Pass it on, or fail."""
        self._statement()
        self._inner.must(count, name, **binds)

    def reopen(self) -> None:
        """A file is always there."""

    def rollback(self) -> None:
        """Undo; the dead undo nothing."""
        if not self.gone:
            self._inner.rollback()

    def rows(self, name: str, /, **binds: Any) -> list[tuple[Any, ...]]:
        """Pass it on, or fail."""
        self._statement()
        return self._inner.rows(name, **binds)

    def run(self, name: str, /, **binds: Any) -> None:
        """Pass it on, or fail."""
        self._statement()
        self._inner.run(name, **binds)

    def select(self, sql: str, binds: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Pass it on, or fail."""
        self._statement()
        return self._inner.select(sql, binds)

    def abandon(self) -> None:
        """The disk stays."""

    def close(self) -> None:
        """The disk stays."""
