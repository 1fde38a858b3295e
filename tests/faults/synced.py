"""Appends to a file, and notes each sync that has come back: what a disk promises, with nothing of Headway's in between.

python -m tests.faults.synced FILE LEDGER     until a sync or a write fails
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.faults.ledger import Ledger

BYTES = 4_152
"""As long as a frame of SQLite's log, which begins in no page of its own."""


class Sync(NamedTuple):
    """A sync that has said that it was done, in nanoseconds of the machine's monotonic clock."""

    number: int
    began: int
    ended: int


def block(number: int) -> bytes:
    """Return what is written the n-th time."""
    return number.to_bytes(8, "little") * (BYTES // 8)


def append(path: Path, ledger: Ledger) -> None:
    """Write, sync and note until that is refused."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    number = 0
    try:
        while True:
            os.pwrite(file, block(number), number * BYTES)
            began = time.monotonic_ns()
            os.fdatasync(file)
            ledger.note("synced", number=number, began=began, ended=time.monotonic_ns())
            number += 1
    except OSError as error:
        ledger.note("refused", error=error.errno)


def syncs(ledger: Ledger) -> list[Sync]:
    """Return those that have come back."""
    return [Sync(line["number"], line["began"], line["ended"]) for line in ledger.lines("synced")]


def missing(path: Path, done: list[Sync]) -> list[Sync]:
    """Return those of them whose data are not in the file."""
    data = path.read_bytes() if path.exists() else b""
    return [one for one in done if data[one.number * BYTES : (one.number + 1) * BYTES] != block(one.number)]


if __name__ == "__main__":
    append(Path(sys.argv[1]), Ledger(Path(sys.argv[2])))
