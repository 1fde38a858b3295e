"""`headway doctor --accept-loss`: gives up lost data or a lost secret, so that the store can be served again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import apsw

from headway.clock import Clock
from headway.store.database import DatabaseLocked, DiskFull, StorageBroken, StoreRefused
from headway.store.location import aside
from headway.store.sqlite.connection import SqliteDatabase
from headway.store.sqlite.integrity import DataLoss, check, log_path_of
from headway.store.sqlite.lock import forget, hold
from headway.store.sqlite.open import make_ready
from headway.store.sqlite.open_errors import why
from headway.store.sqlite.secret import renew


def accept_loss(path: Path, clock: Clock, *, secret: str, earlier: Sequence[bytes]) -> list[str]:
    """Return the losses; useless files are kept beside the store.

    Raises StoreRefused if it is served, and StorageBroken if it cannot be read or written.
    """
    if not path.parent.is_dir():
        raise StoreRefused(f"there is no folder {path.parent}")
    lock = hold(path)
    try:
        return list(_given_up(path, lock, clock.now_ms(), secret, earlier))
    except (apsw.Error, OSError, DatabaseLocked, DiskFull, StorageBroken) as error:
        raise StorageBroken(why(path, error)) from error
    finally:
        os.close(lock)


def _given_up(path: Path, lock: int, now_ms: int, secret: str, earlier: Sequence[bytes]) -> Iterator[str]:
    try:
        check(path)
    except DataLoss as error:
        yield _without_log(path, lock, now_ms, error)
    if not path.is_file():
        raise StoreRefused(f"there is no store at {path}")
    database = SqliteDatabase(str(path))
    try:
        make_ready(database, now_ms)
        if said := renew(database.connection, path, secret, earlier, now_ms):
            yield said
    finally:
        database.close()


def _without_log(path: Path, lock: int, now_ms: int, error: DataLoss) -> str:
    """Write back what can be read of the store's own WAL, and keep a copy of the WAL as it was found."""
    log_path = log_path_of(path)
    kept = aside(log_path, "damaged", now_ms)
    if error.foreign:
        log_path.rename(kept)
    elif log_path.exists():
        shutil.copy2(log_path, kept)
        SqliteDatabase(str(path)).close()  # the last connection writes the readable part of the log back
    forget(lock)
    return f"what was acknowledged and is not in the store any more ({error})" + (
        f"; the log is kept as {kept}" if kept.exists() else ""
    )
