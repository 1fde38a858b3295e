"""Checks of `headway doctor` on a file: the file, its disk, its schema, and with `--verify` every row."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import apsw

from headway.ids import Signer
from headway.kernel.run import FINAL
from headway.private import exposed
from headway.store import checkup as checkup_of
from headway.store.checkup import Check
from headway.store.location import kept_secret, key_path_of
from headway.store.sqlite.backup import rescued
from headway.store.sqlite.dialect import SQLITE
from headway.store.sqlite.integrity import DataLoss, check_unserved, log_path_of, looking
from headway.store.sqlite.open_errors import place, why
from headway.store.sqlite.secret import misfit
from headway.store.sqlite.verify import verify as verify_rows
from headway.store.verify import RowCheck

WAL_LARGE = 256 * 1024 * 1024
"""A write-ahead log of this size says that something reads without end."""
FREE_LEAST = 256 * 1024 * 1024
PROBE_BYTES = 1024 * 1024
"""Bytes that are written and removed to see that the disk can be written."""
FILE_LARGE = 50 * 1024**3
"""Size from which copying and checking the file takes the better part of an hour."""
PACE_HIGH = 1_000
"""Runs that end in a second, over an hour. One writer is measured at 16,000 that do nothing and at 2,000 of three steps
each (benchmarks/RESULTS.md); the rest is for the minutes that are busier than the hour."""
PACE_OVER_MS = 3_600_000

_LAST_END = "SELECT max(finished_at) FROM runs WHERE state = ? AND finished_at IS NOT NULL"
_ENDED_SINCE = "SELECT count(*) FROM runs WHERE state = ? AND finished_at > ?"


def checkup(
    path: Path, *, verify: bool, checks: Sequence[RowCheck] = (), secret: str = "", earlier: Sequence[bytes] = ()
) -> Iterator[Check]:
    """Check a store without changing it, also while a server uses it; `secret` and `earlier` are from the settings."""
    broken = False
    for check in _checks(path, verify=verify, checks=checks, secret=secret, earlier=earlier):
        broken = broken or (check[0] == "store" and not check[1])
        yield check
    for copy in rescued(path):
        yield (
            "rescued",
            not broken,
            _way_back(path, copy) if broken else f"a server has saved {copy} from lost files of this store",
        )


def _checks(
    path: Path, *, verify: bool, checks: Sequence[RowCheck], secret: str, earlier: Sequence[bytes]
) -> Iterator[Check]:
    yield "sqlite", True, apsw.sqlite_lib_version()
    try:
        check_unserved(path)
    except DataLoss as error:
        yield "store", False, str(error)
        return
    except (apsw.Error, OSError) as error:
        yield "store", False, why(path, error)
        return
    if not path.is_file():
        yield "store", False, _no_store(path)
        return
    yield _access(path)
    yield _disk(path)
    yield _log(path)
    try:
        connection = looking(path)
    except apsw.Error as error:
        yield "store", False, why(path, error)
        return
    try:
        done = {number for (number,) in connection.execute("SELECT number FROM migrations")}
        check, readable = checkup_of.schema(SQLITE, done)
        yield check
        if readable:
            yield _key(connection, path, secret, earlier)
            yield from _contents(connection, path, _signers(path, secret, earlier), verify=verify, checks=checks)
    except apsw.Error as error:
        yield "store", False, why(path, error)
    finally:
        connection.close()


def _way_back(path: Path, copy: Path) -> str:
    return (
        f"a server has saved {copy} when the files of this store were lost: move what is left of {path} and"
        f" {log_path_of(path).name} away, then: headway restore {copy} --store sqlite:///{path}"
    )


def _no_store(path: Path) -> str:
    if key_path_of(path).exists():
        return f"there is no store at {path}, but {key_path_of(path).name} is there: if it was lost, restore a backup"
    return f"there is no store at {path}; `headway serve` makes one"


def _key(connection: apsw.Connection, path: Path, secret: str, earlier: Sequence[bytes]) -> Check:
    """Check the secret as a server does when it starts."""
    try:
        kept = kept_secret(path, secret)
    except ValueError as error:
        return "key", False, str(error)
    if refusal := misfit(connection, path, kept, earlier):
        return "key", False, refusal
    if kept is None:
        return "key", True, f"there is no {key_path_of(path).name} yet; the next start makes it"
    return "key", True, "HEADWAY_SECRET is set" if secret else f"{key_path_of(path)} is a key of this store"


def _access(path: Path) -> Check:
    mode = exposed(path.stat())
    if mode is not None:
        return "access", False, f"others may read {path} (mode {mode}); chmod 600 it"
    return "access", True, f"only its owner may read {path}"


def _disk(path: Path) -> Check:
    if wrong := place(path, PROBE_BYTES):
        return "disk", False, wrong
    disk = os.statvfs(path.parent)
    free = disk.f_bavail * disk.f_frsize
    return "disk", free >= FREE_LEAST, f"{free // 2**20:,} MiB free, the store has {path.stat().st_size // 2**20:,} MiB"


def _log(path: Path) -> Check:
    size = _log_bytes(path)
    advice = "" if size < WAL_LARGE else "; something holds a read open: look for long backups"
    return "log", size < WAL_LARGE, f"the write-ahead log has {size // 2**20:,} MiB{advice}"


def _signers(path: Path, secret: str, earlier: Sequence[bytes]) -> list[Signer]:
    with suppress(ValueError):  # that is said already
        return checkup_of.signers(kept_secret(path, secret), earlier)
    return []


def _contents(
    connection: apsw.Connection, path: Path, signers: Sequence[Signer], *, verify: bool, checks: Sequence[RowCheck]
) -> Iterator[Check]:
    yield checkup_of.runs(connection.execute(checkup_of.STATES))
    yield _room(path.stat().st_size, _log_bytes(path), _pace(connection))
    if verify:
        yield from checkup_of.rows(lambda: verify_rows(connection, signers, checks), apsw.Error)


def _pace(connection: apsw.Connection) -> float:
    """Return how many runs ended in a second, over the hour before the newest end that is still kept."""
    ends = (connection.execute(_LAST_END, (state,)).fetchone() for state in FINAL)
    newest = max((int(str(row[0])) for row in ends if row and row[0] is not None), default=None)
    if newest is None:
        return 0.0
    since = newest - PACE_OVER_MS
    counts = (connection.execute(_ENDED_SINCE, (state, since)).fetchone() for state in FINAL)
    return sum(int(str(row[0])) for row in counts if row) * 1000 / PACE_OVER_MS


def _room(store_bytes: int, log_bytes: int, a_second: float) -> Check:
    """Say whether one file is still the right place. That it is not is nothing wrong."""
    reasons = []
    if store_bytes >= FILE_LARGE:
        reasons.append(f"with {_size(store_bytes)} a backup or a check takes long")
    if log_bytes >= WAL_LARGE:
        reasons.append("its write-ahead log does not get time to be written back")
    if a_second >= PACE_HIGH:
        reasons.append(f"{a_second:,.0f} runs end in a second, and one writer does 2,000 of three steps each")
    if reasons:
        return "room", True, f"it is time to think of PostgreSQL (headway migrate-store): {'; '.join(reasons)}"
    much, often = _size(FILE_LARGE), f"{PACE_HIGH:,}"
    size = f"one file is enough: {_size(store_bytes)} (think of PostgreSQL from {much})"
    return "room", True, f"{size}, {a_second:,.1f} runs a second in the hour before the newest end (from {often})"


def _log_bytes(path: Path) -> int:
    log = log_path_of(path)
    return log.stat().st_size if log.exists() else 0


def _size(size: int) -> str:
    return f"{size // 2**20:,} MiB" if size < 2**30 else f"{size / 2**30:,.3g} GiB"
