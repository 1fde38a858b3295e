"""Error messages for a SQLite store that cannot be opened or written: SQLite itself mostly says "disk I/O error"."""

from __future__ import annotations

import contextlib
import errno
import getpass
import os
import tempfile
from pathlib import Path
from typing import Final

import apsw

NEEDED_BYTES: Final = 8 * 1024 * 1024
"""Bytes of disk that a start needs at most: shared memory for a long log, and the first commits."""
NEEDED_FILES: Final = 16
"""Approximate number of files that a store has open."""
_NETWORK: Final = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "fuse.sshfs")


def why(path: Path, error: Exception) -> str:
    """Return why a file cannot be opened, read or written, and what to do about it."""
    cause = error if isinstance(error, (apsw.Error, OSError)) else error.__cause__
    match cause:
        case None:  # its message is complete
            return str(error)
        case apsw.CorruptError() | apsw.NotADBError():
            return (
                f"{path} is damaged or is no store ({error}): keep a copy, and restore a backup with `headway restore`"
            )
        case apsw.BusyError() | apsw.LockedError():
            return f"{path} is locked by another program: close it and start again"
        case _:
            said = place(path, NEEDED_BYTES, cause) or f"{path} cannot be read or written: look at its disk (dmesg)"
            return f"{said} ({_said(cause)})"


def place(path: Path, needed_bytes: int, cause: BaseException | None = None) -> str | None:
    """Return the fault of a file's folder, disk or owner, found by trying to create files there."""
    folder = path.parent
    match _tried(folder, needed_bytes) or _number_of(cause):
        case errno.ENOENT | errno.ENOTDIR:
            return f"there is no folder {folder}: make it, or mount the disk that it is on"
        case errno.ENOSPC:
            return (
                f"the disk of {folder} is full: {_free(folder)}, and up to {needed_bytes / 2**20:,.1f} MiB are needed; make room "
                "there and try again"
            )
        case errno.EDQUOT:
            return (
                f"the quota of {_user()} on the disk of {folder} is used up: up to {needed_bytes / 2**20:,.1f} MiB are needed; "
                "make room or raise it, and try again"
            )
        case errno.EROFS:
            return f"the disk of {folder} can only be read: look why (dmesg), mount it to be written, and try again"
        case errno.EACCES | errno.EPERM:
            return f"{_user()} may not write in {folder}: give the folder to whoever runs the server"
        case errno.EMFILE | errno.ENFILE:
            return (
                "too many files are open: raise the limit (ulimit -n, or LimitNOFILE= of a systemd unit) and try again"
            )
    for name in ("", "-wal", "-shm", ".lock"):
        file = Path(f"{path.resolve()}{name}")
        if file.exists() and not os.access(file, os.R_OK | os.W_OK):
            return f"{_user()} may not read and write {file}: give it to whoever runs the server"
    if cause is not None and (kind := file_system(folder)).startswith(_NETWORK):
        return f"{path} is on {kind}, a network file system, where SQLite's log does not work: use a local disk or PostgreSQL"
    return None


def is_full(folder: Path) -> bool:
    """Tell whether a disk has too little space for a start."""
    return _tried(folder, NEEDED_BYTES) == errno.ENOSPC


def _tried(folder: Path, needed_bytes: int) -> int:
    """Return the errno of creating files of so many bytes in a folder, which are removed at once; 0 if that works."""
    try:
        with contextlib.ExitStack() as taken:
            file = taken.enter_context(tempfile.TemporaryFile(dir=folder))
            os.posix_fallocate(file.fileno(), 0, needed_bytes)
            for _ in range(NEEDED_FILES):
                taken.callback(os.close, os.dup(file.fileno()))
    except OSError as error:
        return error.errno or 0
    return 0


def _number_of(cause: BaseException | None) -> int:
    """Return the errno of an error, whose cause may be gone by now."""
    if isinstance(cause, apsw.FullError):
        return errno.ENOSPC
    return cause.errno or 0 if isinstance(cause, OSError) else 0


def _said(cause: BaseException) -> str:
    return (cause.strerror or str(cause)) if isinstance(cause, OSError) else str(cause)


def _free(folder: Path) -> str:
    disk = os.statvfs(folder)
    if disk.f_files and not disk.f_favail:
        return "it has no room for another file (inodes)"
    return f"{disk.f_bavail * disk.f_frsize / 2**20:,.1f} MiB are free"


def _user() -> str:
    with contextlib.suppress(Exception):
        return getpass.getuser()
    return f"user {os.getuid()}"


def file_system(folder: Path) -> str:
    """Return the kind of file system of a folder, in Linux's terms."""
    with contextlib.suppress(OSError):
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
        there = folder.absolute()
        fits = [(len(point), kind) for point, kind in mounts if there.is_relative_to(point)]
        return max(fits, default=(0, ""))[1]
    return ""
