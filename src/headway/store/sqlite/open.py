"""Opens the embedded store: one file, held by one server at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import apsw
from msgspec.structs import asdict

from headway.clock import Clock
from headway.ids import IdSource
from headway.kernel.organisation import first
from headway.store.database import DatabaseLocked, DiskFull, StorageBroken
from headway.store.disk_reserve import DiskReserve
from headway.store.sqlite.connection import SqliteDatabase
from headway.store.sqlite.dialect import SQLITE
from headway.store.sqlite.integrity import check
from headway.store.sqlite.lock import hold
from headway.store.sqlite.migrate import migrate
from headway.store.sqlite.open_errors import is_full, why
from headway.store.sqlite.reading import SqliteReading
from headway.store.sqlite.watch import Watch
from headway.store.store import Store

READERS: Final = 4
"""Maximum number of reading threads, each with its connection; `round_robin` shares them among organisations."""


def open_file(
    path: Path,
    clock: Clock,
    *,
    reserve_bytes: int,
    claim: Callable[[apsw.Connection], object] = lambda connection: None,
) -> Store:
    """Open, create or upgrade the file; raise StoreInUse, SchemaTooNew or StorageBroken with what to do.

    New files are readable by their owner only. `claim` is called when the schema is there; what it raises closes the file.
    """
    reserve = DiskReserve(path.with_name(path.name + ".reserve"), reserve_bytes) if reserve_bytes else None
    try:
        return _open(path, clock, reserve, claim)
    except StorageBroken:
        if reserve is None or not is_full(path.parent) or not reserve.held:
            raise
        reserve.release()  # so that active runs can finish, as on a disk that fills up while it is served
        return _open(path, clock, reserve, claim)


def _open(path: Path, clock: Clock, reserve: DiskReserve | None, claim: Callable[[apsw.Connection], object]) -> Store:
    lock: int | None = None
    try:
        lock = hold(path)
        check(path)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        writing = SqliteDatabase(str(path), writer=True)
        watch = Watch(path, lock, clock, writing.connection)
        make_ready(writing, clock.now_ms())
        claim(writing.connection)
        writing.watch = watch
        watch.committed()
        return Store(
            clock=clock,
            dialect=SQLITE,
            writing=writing,
            near=SqliteReading(str(path)),
            far=lambda: SqliteReading(str(path)),
            readers=READERS,
            reserve=reserve,
            look=watch.look,
            on_close=watch.close,
        )
    except BaseException as error:
        if lock is not None:
            os.close(lock)
        if isinstance(error, (apsw.Error, OSError, DatabaseLocked, DiskFull, StorageBroken)):
            raise StorageBroken(why(path, error)) from error
        raise


def open_memory(clock: Clock) -> Store:
    """Open a store that lives as long as its object; everything happens on the caller's thread."""
    database = SqliteReading(":memory:", writer=True)
    make_ready(database, clock.now_ms())
    return Store(clock=clock, dialect=SQLITE, writing=database, near=database, far=None, threaded=False)


def make_ready(database: SqliteDatabase, now_ms: int) -> None:
    """Bring the schema up to date; a new store begins with one organisation."""
    migrate(database.connection, now_ms)
    database.run("first_organisation", **asdict(first(IdSource().new(now_ms), now_ms)))
