"""Gives up what is lost for good, when somebody says so: afterwards the store can be served again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from headway.clock import Clock
from headway.storage.database import StoreRefused
from headway.storage.sqlite.connection import SqliteDatabase
from headway.storage.sqlite.open import hold, make_ready
from headway.storage.sqlite.secret import renew


def accept_loss(path: Path, clock: Clock, *, secret: str, earlier: Sequence[bytes]) -> Iterator[str]:
    """Yield what was given up; what is no use any more is kept beside the store. Raises StoreRefused if it is served."""
    if not path.is_file():
        raise StoreRefused(f"there is no store at {path}")
    lock = hold(path)
    try:
        database = SqliteDatabase(str(path))
        try:
            make_ready(database, clock.now_ms())
            if said := renew(database.connection, path, secret, earlier, clock.now_ms()):
                yield said
        finally:
            database.close()
    finally:
        os.close(lock)
