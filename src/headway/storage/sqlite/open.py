"""Opens the embedded store: one file, held by one server at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import apsw
from msgspec.structs import asdict

from headway.clock import Clock
from headway.ids import IdSource
from headway.model.organisation import first
from headway.storage.database import DatabaseLocked, DiskFull, StorageBroken, StoreRefused
from headway.storage.reserve import Reserve
from headway.storage.sqlite.connection import SqliteDatabase
from headway.storage.sqlite.dialect import SQLITE
from headway.storage.sqlite.migrate import migrate
from headway.storage.sqlite.reading import SqliteReading
from headway.storage.store import Store

READERS: Final = 4
"""Threads that read, each with a connection of its own, as they are needed; see `storage.turns` for who has how many."""


class StoreInUse(StoreRefused):
    """Another server has the file."""


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
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = hold(path)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        writing = SqliteDatabase(str(path), writer=True)
        make_ready(writing, clock.now_ms())
        claim(writing.connection)
        return Store(
            clock=clock,
            dialect=SQLITE,
            writing=writing,
            near=SqliteReading(str(path)),
            far=lambda: SqliteReading(str(path)),
            readers=READERS,
            reserve=Reserve(path.with_name(path.name + ".reserve"), reserve_bytes) if reserve_bytes else None,
            on_close=lambda: os.close(lock),
        )
    except (apsw.Error, DatabaseLocked, DiskFull, StorageBroken) as error:
        os.close(lock)
        raise StorageBroken(_why(path, error)) from error
    except BaseException:
        os.close(lock)
        raise


def _why(path: Path, error: Exception) -> str:
    """Say what to do about a file that cannot be opened."""
    match error if isinstance(error, apsw.Error) else error.__cause__:
        case apsw.CorruptError() | apsw.NotADBError():
            return (
                f"{path} is damaged or is no store ({error}): keep a copy, and restore a backup with `headway restore`"
            )
        case apsw.FullError():
            return f"the disk of {path} is full: make room and start again"
        case apsw.BusyError() | apsw.LockedError():
            return f"{path} is locked by another program: close it and start again"
        case _:
            return f"{path} cannot be read or written ({error}): look at its disk and its permissions"


def open_memory(clock: Clock) -> Store:
    """Open a store that lives as long as its object; everything happens on the caller's thread."""
    database = SqliteReading(":memory:", writer=True)
    make_ready(database, clock.now_ms())
    return Store(clock=clock, dialect=SQLITE, writing=database, near=database, far=None, threaded=False)


def make_ready(database: SqliteDatabase, now_ms: int) -> None:
    """Bring the schema up to date; a new store begins with one organisation."""
    migrate(database.connection, now_ms)
    database.run("first_organisation", **asdict(first(IdSource().new(now_ms), now_ms)))


def hold(path: Path) -> int:
    """Take the file for this process, or raise StoreInUse. The lock goes with the process, however it ends."""
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreInUse(
            f"{path} is in use by another server; stop it first, or give this one another --store"
        ) from None
    return descriptor
