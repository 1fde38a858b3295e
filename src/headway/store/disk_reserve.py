"""The reserve: disk space held back, so that running work can finish when the disk is full.

A file of fixed size lies beside the store. When a write finds no space, the file is removed and only what finishes runs
is let through; when there is space again, the file is written anew and starts are taken again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

MARGIN = 2
"""The reserve is restored when this many times its size are free, so that full and not full do not alternate."""

_TEXT: Final = (
    b"This file only holds back disk space, so that Headway can finish what runs when the disk is full. Headway removes it\n"
    b"then, and makes it again when there is space. HEADWAY_RESERVE_BYTES says how large it is; 0 is for none.\n"
)


class DiskReserve:
    """One file of held-back space."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.made = False
        """True if the file was made, and not there before."""
        self._size = size

    def hold(self) -> bool:
        """Take the space, if the disk has more than enough; return whether it is held."""
        if self.held:
            return True
        if self._free() < self._size * MARGIN:
            return False
        descriptor = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._size)
            os.pwrite(descriptor, _TEXT[: self._size], 0)
        except OSError:
            self.path.unlink(missing_ok=True)
            return False
        finally:
            os.close(descriptor)
        self.made = True
        return True

    @property
    def held(self) -> bool:
        """Whether the space is held."""
        try:
            return self.path.stat().st_size >= self._size
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Give the space back."""
        self.path.unlink(missing_ok=True)

    def _free(self) -> int:
        disk = os.statvfs(self.path.parent)
        return disk.f_bavail * disk.f_frsize
