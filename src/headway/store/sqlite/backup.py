"""Copies a store while it is in use, and makes a store from a copy."""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import stat
import tempfile
from pathlib import Path

import apsw

from headway.store.database import StorageBroken
from headway.store.location import aside
from headway.store.sqlite.integrity import check_unserved, log_path_of, looking
from headway.store.sqlite.lock import forget, hold
from headway.store.sqlite.open_errors import place

log = logging.getLogger("headway")

PAGES_AT_ONCE = 2_000
"""Pages copied before the writer may have its turn."""

MARGIN_BYTES = 1024 * 1024
"""Approximate bytes in the WAL that are not in the file yet."""


def backup(source: Path, destination: Path) -> int:
    """Copy the store to a new file, consistent as of one commit; return its bytes.

    The server goes on writing meanwhile. The copy is complete and synced, or it is not there.
    Raises FileNotFoundError, FileExistsError, or StorageBroken if the source cannot be read or the copy does not check
    out.
    """
    check_unserved(source)
    if not source.is_file():
        raise FileNotFoundError(f"there is no store at {source}")
    if destination.exists():
        raise FileExistsError(f"{destination} exists; give a backup a new name")
    if not destination.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {destination.parent}")
    with contextlib.closing(looking(source)) as reading:
        try:
            return _write(reading, destination)
        except apsw.NotADBError:
            raise StorageBroken(f"{source} is not a store") from None
        except (apsw.Error, OSError) as error:
            reason = place(destination, source.stat().st_size + MARGIN_BYTES, error) or str(error)
            raise StorageBroken(f"{source} cannot be copied: {reason}") from None


def rescue(connection: apsw.Connection, path: Path, now_ms: int, *, whole: bool) -> None:
    """Copy a store whose files were deleted or replaced from its open connection, and log the path of the copy.

    `whole`: nothing of these files was cut, so that all of it can be read.
    """
    what = "all that was acknowledged" if whole else "what could still be read"
    for folder in (path.parent, Path(tempfile.gettempdir())):
        destination = aside(folder / path.name, "rescued", now_ms)
        try:
            _write(connection, destination)
        except (apsw.Error, OSError, StorageBroken) as error:
            log.critical("storage.not_rescued file=%s error=%s", destination, error)
            continue
        log.critical(
            "storage.rescued file=%s: %s is in it; move what is left of %s away, then: headway restore %s --store sqlite:///%s",
            destination, what, path, destination, path,
        )  # fmt: skip
        return


def rescued(path: Path) -> list[Path]:
    """Return the copies of a store that `rescue` has made, newest first.

    Anyone can put a file of such a name into the folder for temporary files: only files of this user, and of the owner of the
    store's folder, are copies.
    """
    folders = [folder for folder in dict.fromkeys((path.parent, Path(tempfile.gettempdir()))) if folder.is_dir()]
    owners = {os.geteuid(), *([path.parent.stat().st_uid] if path.parent in folders else [])}
    named = (each for folder in folders for each in folder.glob(f"{glob.escape(path.name)}.rescued-*Z"))
    found = [each for each in named if stat.S_ISREG((at := each.lstat()).st_mode) and at.st_uid in owners]
    return sorted(found, key=lambda copy: copy.name, reverse=True)


def _write(reading: apsw.Connection, destination: Path) -> int:
    draft = destination.with_name(destination.name + ".part")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_CREAT | os.O_WRONLY, 0o600))
    try:
        _copy(reading, draft)
        _check(draft)
        draft.rename(destination)
        _sync(destination)
    finally:
        for left in (draft, draft.with_name(draft.name + "-wal"), draft.with_name(draft.name + "-shm")):
            left.unlink(missing_ok=True)
    return destination.stat().st_size


def restore(source: Path, destination: Path) -> None:
    """Make a store from a backup; the destination must not exist, its folder must. Raises as `backup` does."""
    if not source.is_file():
        raise FileNotFoundError(f"there is no backup at {source}")
    for left in (destination, log_path_of(destination)):  # SQLite would apply another store's WAL to it
        if left.exists():
            raise FileExistsError(f"{left} exists: stop the server that uses it and move that store away first")
    lock = hold(destination)
    try:
        backup(source, destination)
        forget(lock)
    finally:
        os.close(lock)


def _copy(reading: apsw.Connection, draft: Path) -> None:
    with contextlib.closing(apsw.Connection(str(draft))) as writing:
        # One read transaction over the whole copy: the backup API would begin anew after every commit of the server.
        reading.execute("BEGIN").execute("SELECT count(*) FROM sqlite_master").fetchall()
        with writing.backup("main", reading, "main") as copying:
            while not copying.done:
                copying.step(PAGES_AT_ONCE)
        reading.execute("COMMIT")
        writing.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it


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
