"""Checks, before SQLite opens a store, that its files belong together and contain every acknowledged commit.

`serve` does not start if this check fails, `backup` and `migrate-store` do not copy, and `doctor` reports it.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from pathlib import Path
from typing import Final

import apsw

from headway.store.database import StorageBroken
from headway.store.sqlite.lock import StoreInUse, hold, note_of
from headway.store.sqlite.wal import HEADER_BYTES, INDEX_BYTES, LastCommit, Log, continues, read_index

WAY_OUT: Final = (
    "restore a backup with `headway restore`, or go on without what is lost: `headway doctor --accept-loss`"
)
COMMITS_TORN: Final = 2
"""Whole commits after an unreadable frame that prove damage: a power cut tears one commit at most."""


class DataLoss(StorageBroken):
    """An acknowledged commit is missing, or opening the store would damage it."""

    def __init__(self, trouble: str, *, foreign: bool = False) -> None:
        """`foreign`: the WAL belongs to another store than the file beside it."""
        super().__init__(trouble)
        self.foreign = foreign


def check(path: Path) -> None:
    """Raise DataLoss, with what happened and what to do, if opening a store that is not served would lose data."""
    if trouble := _foreign_wal(path):
        raise DataLoss(trouble, foreign=True)
    if trouble := _loss(path, note_of(path)):
        raise DataLoss(trouble)


def check_unserved(path: Path) -> None:
    """Check a store unless a server has it: what the server is just writing could look damaged."""
    try:
        check(path)
    except (DataLoss, FileNotFoundError):
        try:
            lock = hold(path)
        except StoreInUse:
            return
        try:
            check(path)
        finally:
            os.close(lock)


def log_path_of(path: Path) -> Path:
    """Return where the write-ahead log of a file is: beside the file itself, if `path` is a link."""
    return Path(f"{path.resolve()}-wal")


def _foreign_wal(path: Path) -> str | None:
    """Say why the WAL does not belong to the file beside it; SQLite would delete it, or write it over the file."""
    log_path = log_path_of(path)
    if _size(log_path) == 0:
        return None
    if _size(path) == 0:
        what = "is empty" if path.exists() else "is not there"
        return (
            f"{path} {what}, but its write-ahead log {log_path.name} is: the store was lost or moved without it; put both back, "
            f"or move the log away too and restore a backup with `headway restore`"
        )
    if _head(path)[18:20] == b"\1\1":  # a copy that was never served: its first server gives it a log
        return (
            f"{path} is a copy that was never served, and {log_path.name} is the log of another store: move the log away, as it "
            f"would be written over the copy"
        )
    return None


def _loss(path: Path, note: LastCommit | None) -> str | None:
    """Say which acknowledged commits the WAL does not contain."""
    if note is not None and not path.exists():
        return f"{path} is not there, and the server that used it last did not close it: put it back, or {WAY_OUT}"
    if not path.exists():
        return None
    log_path, page_bytes = log_path_of(path), _page_bytes(path)
    if _size(log_path) <= HEADER_BYTES:
        return None if note is None or _written_back(path, note, page_bytes) else _without_log(log_path)
    readable = _readable(path)
    with contextlib.closing(Log(log_path, page_bytes)) as log:
        if log.commits_after(readable) >= COMMITS_TORN:
            return (
                f"{log_path} is damaged: the first {readable:,} of its {log.count:,} frames can be read, and what follows are "
                f"further commits that were acknowledged; {WAY_OUT}"
            )
        if note is None:
            return None
        if log.salt is None:
            whole = _written_back(path, note, page_bytes)
            return None if whole else f"{log_path} is damaged: nothing of it can be read; {WAY_OUT}"
        if log.salt == note.salt:
            if readable >= note.frames and log.frame(note.frames).checksum == note.checksum:
                return None
            return (
                f"{log_path} is damaged or was cut: {note.frames:,} of its frames were acknowledged, and the first {readable:,} "
                f"can be read; {WAY_OUT}"
            )
        if continues(log.salt, note):
            return None
        return f"{log_path} is not the log that the last server wrote, but another or an older one; {WAY_OUT}"


def _without_log(log_path: Path) -> str:
    return (
        f"{log_path} is gone or empty, and the last commit that was acknowledged is not in the store: put the log back, or {WAY_OUT}. "
        f"(If another program has changed the store since, or a copy was put in its place by hand, nothing else is lost)"
    )


def _written_back(path: Path, note: LastCommit, page_bytes: int) -> bool:
    """Tell whether the file has the last page of the noted commit: then another program has checkpointed the WAL."""
    with path.open("rb") as file:
        file.seek((note.page - 1) * page_bytes)
        return zlib.crc32(file.read(page_bytes)) == note.crc


def _readable(path: Path) -> int:
    """Return how many frames of the WAL SQLite can read; the WAL is not changed."""
    with contextlib.ExitStack() as later, contextlib.closing(looking(path)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        # Closed before the connection it would take that one's locks with it.
        file = later.enter_context(Path(f"{path.resolve()}-shm").open("rb"))
        index = read_index(file.read(INDEX_BYTES))
    return 0 if index is None else index.frames


def looking(path: Path) -> apsw.Connection:
    """Return a connection that does not checkpoint on close, as that could remove the WAL; if there is none, it may."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    if _size(log_path_of(path)) > 0:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.execute("PRAGMA busy_timeout = 5000")
    return connection


def _page_bytes(path: Path) -> int:
    size = int.from_bytes(_head(path)[16:18], "big")
    return 65_536 if size == 1 else size or 4_096


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(100)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
