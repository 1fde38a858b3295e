"""Copies a store while it is in use, and makes a store from a copy."""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from headway.storage.database import StorageBroken

PAGES_AT_ONCE = 2_000
"""Pages copied before the writer may have its turn."""


def backup(source: Path, destination: Path) -> int:
    """Copy the store to a new file, consistent as of one commit; return its bytes.

    The server goes on writing meanwhile. The copy is complete and synced, or it is not there.
    Raises FileNotFoundError, FileExistsError, or StorageBroken if the source cannot be read or the copy does not check
    out.
    """
    if not source.is_file():
        raise FileNotFoundError(f"there is no store at {source}")
    if destination.exists():
        raise FileExistsError(f"{destination} exists; give a backup a new name")
    if not destination.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {destination.parent}")
    draft = destination.with_name(destination.name + ".part")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_CREAT | os.O_WRONLY, 0o600))
    try:
        _copy(source, draft)
        _check(draft)
        draft.rename(destination)
        _sync(destination)
    except apsw.Error as error:
        raise StorageBroken(f"{source} cannot be copied: {error}") from None
    finally:
        for left in (draft, draft.with_name(draft.name + "-wal"), draft.with_name(draft.name + "-shm")):
            left.unlink(missing_ok=True)
    return destination.stat().st_size


def restore(source: Path, destination: Path) -> None:
    """Make a store from a backup; the destination must not exist, its folder may not. Raises as `backup` does."""
    if not source.is_file():
        raise FileNotFoundError(f"there is no backup at {source}")
    for left in (destination, destination.with_name(destination.name + "-wal")):  # the log of another store is poison
        if left.exists():
            raise FileExistsError(f"{left} exists: stop the server that uses it and move that store away first")
    destination.parent.mkdir(parents=True, exist_ok=True)
    backup(source, destination)


def _copy(source: Path, draft: Path) -> None:
    reading = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READWRITE)
    writing = apsw.Connection(str(draft))
    try:
        reading.execute("PRAGMA busy_timeout = 10000")
        # One read transaction over the whole copy: the backup API would begin anew after every commit of the server.
        reading.execute("BEGIN").execute("SELECT count(*) FROM sqlite_master").fetchall()
        with writing.backup("main", reading, "main") as copying:
            while not copying.done:
                copying.step(PAGES_AT_ONCE)
        reading.execute("COMMIT")
        writing.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it
    except apsw.NotADBError:
        raise StorageBroken(f"{source} is not a store") from None
    finally:
        writing.close()
        reading.close()


def _check(path: Path) -> None:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check(10)")]
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    finally:
        connection.close()
    if found != ["ok"]:
        raise StorageBroken(f"the copy is damaged: {found[0]}")
    if not {"runs", "events", "migrations"} <= tables:
        raise StorageBroken("the file is a database, but not a store of Headway")


def _sync(path: Path) -> None:
    for target in (path, path.parent):
        descriptor = os.open(target, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
