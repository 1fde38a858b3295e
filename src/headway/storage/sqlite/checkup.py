"""What `headway doctor` looks at: the file, its disk, its schema, and with `--verify` every row."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import apsw

from headway.storage.sqlite.dialect import SQLITE
from headway.storage.sqlite.verify import verify as verify_rows
from headway.storage.statements import migrations

Check = tuple[str, bool, str]
"""What was looked at, whether it is well, and what was seen or is to be done."""

WAL_LARGE = 256 * 1024 * 1024
"""A write-ahead log of this size says that something reads without end."""
FREE_LEAST = 256 * 1024 * 1024


def checkup(path: Path, *, verify: bool) -> Iterator[Check]:
    """Look at a store, also while a server uses it; nothing is changed."""
    yield "sqlite", True, apsw.sqlite_lib_version()
    if not path.is_file():
        yield "store", False, f"there is no store at {path}; `headway serve` makes one"
        return
    yield _access(path)
    yield _disk(path)
    yield _log(path)
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    except apsw.Error as error:
        yield "store", False, f"{path} cannot be opened: {error}"
        return
    try:
        connection.execute("PRAGMA busy_timeout = 5000")
        yield from _contents(connection, verify=verify)
    except apsw.Error as error:
        yield "store", False, f"{path} cannot be read: {error}; restore a backup with `headway restore`"
    finally:
        connection.close()


def _access(path: Path) -> Check:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return "access", False, f"others may read {path} (mode {mode:o}); chmod 600 it"
    return "access", True, f"only its owner may read {path}"


def _disk(path: Path) -> Check:
    disk = os.statvfs(path.parent)
    free = disk.f_bavail * disk.f_frsize
    return "disk", free >= FREE_LEAST, f"{free // 2**20:,} MiB free, the store has {path.stat().st_size // 2**20:,} MiB"


def _log(path: Path) -> Check:
    log = path.with_name(path.name + "-wal")
    size = log.stat().st_size if log.exists() else 0
    advice = "" if size < WAL_LARGE else "; something holds a read open: look for long backups"
    return "log", size < WAL_LARGE, f"the write-ahead log has {size // 2**20:,} MiB{advice}"


def _contents(connection: apsw.Connection, *, verify: bool) -> Iterator[Check]:
    known = {number for number, _, _ in migrations(SQLITE)}
    done = {number for (number,) in connection.execute("SELECT number FROM migrations")}
    if not done:
        yield "schema", False, "it is a database, but not a store of Headway"
        return
    if done - known:
        yield "schema", False, f"it was written by a newer Headway (migration {max(done)}); install that"
        return
    missing = known - done
    yield "schema", True, f"migration {max(done)}" + (f"; {len(missing)} more when a server starts" if missing else "")
    if missing:
        return
    states = connection.execute(
        "SELECT state, sum(count) FROM counters GROUP BY state HAVING sum(count) > 0"
    ).fetchall()
    yield "runs", True, ", ".join(f"{count:,} {state}" for state, count in states) or "none yet"
    if verify:
        found = list(_verified(connection))
        for finding in found[:50]:
            yield "verify", False, finding
        if not found:
            yield "verify", True, "every row agrees with every other"


def _verified(connection: apsw.Connection) -> Iterator[str]:
    try:
        yield from map(str, verify_rows(connection))
    except apsw.Error:
        raise
    except Exception as error:  # noqa: BLE001 - what stands in a damaged row may break anything
        yield f"a row cannot be read: {type(error).__name__}: {error}"
