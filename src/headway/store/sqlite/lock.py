"""The lock file of a SQLite store: held by one process, which notes its last commit in it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from headway.store.database import StoreRefused
from headway.store.sqlite.wal import NOTE_BYTES, LastCommit, read_note


class StoreInUse(StoreRefused):
    """Another server has the file."""


def hold(path: Path) -> int:
    """Take the file for this process, or raise StoreInUse. The lock goes with the process, however it ends."""
    descriptor = os.open(lock_path_of(path), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreInUse(
            f"{path} is in use by another server; stop it first, or give this one another --store"
        ) from None
    return descriptor


def note_of(path: Path) -> LastCommit | None:
    """Return the last commit that was noted, or None if the store was closed as it should be."""
    try:
        return read_note(lock_path_of(path).read_bytes())
    except FileNotFoundError:
        return None


def forget(lock: int) -> None:
    """Take the note back. It is synced, else a power cut could bring back a note of another log."""
    if os.fstat(lock).st_size:
        os.pwrite(lock, bytes(NOTE_BYTES), 0)
        os.fsync(lock)


def lock_path_of(path: Path) -> Path:
    """Return which file is locked: one, by whatever links the store is reached."""
    return Path(f"{path.resolve()}.lock")
