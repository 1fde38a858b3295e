"""Watches the files of a store while it is served, and notes its last commit.

Linux lets a file be deleted, moved or replaced while it is open: later writes to it are lost. So the paths
are checked after each commit, before the commit is acknowledged. The commit is noted in the lock file, so that the next
start can tell whether the WAL still has everything that was acknowledged. A note is not synced: after a power cut it may be
older than the log, never newer, since the log was synced before.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

import apsw

from headway.clock import Clock
from headway.store.database import StorageBroken
from headway.store.sqlite.integrity import log_path_of
from headway.store.sqlite.lock import forget, lock_path_of
from headway.store.sqlite.wal import (
    FRAME_BYTES,
    HEADER_BYTES,
    INDEX_BYTES,
    NOTE_BYTES,
    Index,
    LastCommit,
    read_frame,
    read_index,
)

Known = tuple[str, tuple[int, int], bool]
"""A file: its path, its device and inode, and whether it has data of the store."""


class FilesGone(StorageBroken):
    """A file of the store is not where it was, or was cut: later writes would be lost."""

    def __init__(self, why: str, *, data: bool, whole: bool = True) -> None:
        """`data`: the files on disk are incomplete, so the store has to be saved from the open connections.

        `whole`: the open connections still have all of it.
        """
        super().__init__(f"{why} while it was served")
        self.data = data
        self.whole = whole


class Watch:
    """Watches the files of one store for as long as its writer has it open."""

    def __init__(self, path: Path, lock: int, clock: Clock, connection: apsw.Connection) -> None:
        """Begin, with the connection that writes; `lock` is the descriptor of the lock, in whose file notes are kept."""
        self.path = path = path.absolute()
        self.clock = clock
        self.gone: FilesGone | None = None
        """The first fault found; every commit after it fails with this error."""
        self._lock = lock
        self._seen = b""
        self._noted: LastCommit | None = None
        self._log_bytes = 0
        self._store, self._log_path, index_path = str(path), str(log_path_of(path)), f"{path.resolve()}-shm"
        connection.execute("BEGIN IMMEDIATE")  # creates all files, and keeps others from appending to the WAL
        # Closing the index would drop SQLite's locks on it, so it stays open until its connections are closed.
        self._log, self._index_file = os.open(self._log_path, os.O_RDWR), os.open(index_path, os.O_RDONLY)
        self._index = mmap.mmap(self._index_file, INDEX_BYTES, access=mmap.ACCESS_READ)
        self._data = [_known(name, data=True) for name in (self._store, self._log_path)]
        self._aside = [_known(name, data=False) for name in (index_path, str(lock_path_of(path)))]
        self._keep(bytes(NOTE_BYTES))
        self.committed()
        self._cut_torn()
        connection.execute("ROLLBACK")
        os.fsync(lock)  # else a power cut could bring back a note of another log

    def _cut_torn(self) -> None:
        """Truncate the rest of a commit that a kill or a power cut has interrupted, and that was not acknowledged.

        Left where it is, it could be taken for a damaged commit later.
        """
        if os.fstat(self._log).st_size > max(self._log_bytes, HEADER_BYTES):
            os.ftruncate(self._log, max(self._log_bytes, HEADER_BYTES))
            os.fsync(self._log)

    def committed(self) -> None:
        """Note the last commit; raise FilesGone if a file of the store is missing, replaced or cut."""
        raw = self._index[:INDEX_BYTES]
        if raw != self._seen and (index := read_index(raw)) is not None:
            self._note(index)
            self._seen = raw
        self.gone = self.gone or self._missing(self._data)
        if self.gone is not None:
            raise self.gone

    def look(self) -> bool:
        """Tell whether every file is in place, while nothing is written; if not, the next commit raises FilesGone.

        The lock file and the shared memory are checked too: without them another process could open the store. A commit
        that goes on meanwhile may make the log shorter, so whether a file was cut is decided by the next commit alone.
        """
        self.gone = self.gone or self._missing(self._data + self._aside, sizes=False)
        return self.gone is None and self._missing(self._data) is None

    def _note(self, index: Index) -> None:
        frame_bytes = FRAME_BYTES + index.page_bytes
        if self._noted is not None and self._noted.salt == index.salt:
            # SQLite appends at the old end even if the frames before it were overwritten, so compare the last one.
            raw = os.pread(self._log, FRAME_BYTES, self._log_bytes - frame_bytes)
            if len(raw) < FRAME_BYTES or read_frame(raw).checksum != self._noted.checksum:
                self.gone = FilesGone(f"{self._log_path} was emptied or written over", data=True, whole=False)
        self._log_bytes = HEADER_BYTES + index.frames * frame_bytes if index.frames else 0
        frame = os.pread(self._log, frame_bytes, self._log_bytes - frame_bytes) if index.frames else b""
        if len(frame) == frame_bytes:
            page = int.from_bytes(frame[:4], "big")
            self._noted = LastCommit(index.salt, index.frames, index.checksum, page, zlib.crc32(frame[FRAME_BYTES:]))
            with contextlib.suppress(OSError):  # the disk is full: an older note detects less, but is not wrong
                self._keep(self._noted.packed())

    def _keep(self, note: bytes) -> None:
        os.pwrite(self._lock, note, 0)

    def _missing(self, files: Iterable[Known], *, sizes: bool = True) -> FilesGone | None:
        for name, known, data in files:
            try:
                found = os.stat(name)  # noqa: PTH116 - for each commit: a Path takes longer than the call
            except OSError as error:
                return FilesGone(f"{name} was deleted or moved ({error.strerror})", data=data)
            if (found.st_dev, found.st_ino) != known:
                return FilesGone(f"{name} was replaced by another file", data=data)
            if sizes and found.st_size < (self._log_bytes if name == self._log_path else 1):
                return FilesGone(f"{name} was emptied or cut to {found.st_size:,} bytes", data=True, whole=False)
        return None

    def forget(self) -> None:
        """Clear the note: the WAL was written back to the file."""
        forget(self._lock)

    def close(self) -> None:
        """Close the descriptors and release the lock; call it after every connection is closed."""
        self._index.close()
        for descriptor in (self._log, self._index_file, self._lock):
            os.close(descriptor)


def _known(name: str, *, data: bool) -> Known:
    found = Path(name).stat()
    return name, (found.st_dev, found.st_ino), data
