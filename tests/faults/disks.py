"""A disk whose power can be cut: a file system of the test's own, in a file, on a loop device.

The cut is the file system's own SHUTDOWN: from one moment to the next nothing reaches the disk any more, and what was
written and not synced is gone, as when the machine loses its power. What was synced is there when it is mounted again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import pytest
from tests.faults.waiting import until

SHUTDOWN: Final = 0x8004587D
"""The ioctl, _IOR('X', 125, __u32): the same for ext4, xfs and f2fs."""
NOTHING_MORE: Final = struct.pack("I", 2)
"""Not even the file system's own log."""
MAKE: Final = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
}
BYTES: Final = 768 << 20


class Disk:
    """A file system of its own; `path` is where it is."""

    def __init__(self, kind: str = "ext4") -> None:
        """Make it; skip the test where that is not possible."""
        self.kind = kind
        if os.geteuid() != 0:
            pytest.skip("only root can mount a disk whose power it cuts")
        if shutil.which(MAKE[kind][0]) is None:
            pytest.skip(f"there is no {MAKE[kind][0]} here (apt-get install {kind.replace('ext4', 'e2fs')}progs)")
        # Not in the test's own folder: PostgreSQL runs as a user who cannot get there.
        self._folder = Path(tempfile.mkdtemp(prefix="headway-disk-"))
        self._folder.chmod(0o755)
        self.path = self._folder / "disk"
        self.path.mkdir()
        self._image = self._folder / "image"
        with self._image.open("wb") as image:
            image.truncate(BYTES)
        subprocess.run([*MAKE[kind], self._image], check=True, capture_output=True)
        mounted = self._mount()
        if mounted.returncode:
            shutil.rmtree(self._folder)
            pytest.skip(f"a loop device cannot be mounted here: {mounted.stderr.strip()}")
        self.path.chmod(0o755)

    def _mount(self) -> subprocess.CompletedProcess[str]:
        command = ["mount", "-o", "loop", self._image, self.path]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def sync(self) -> None:
        """Bring to the disk what nobody has synced, such as a database that was made in a hurry."""
        subprocess.run(["sync", "--file-system", self.path], check=True)

    def cut(self) -> None:
        """Cut the power: who uses the disk gets errors from now on. Whoever acknowledges things has to be dead by then."""
        opened = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(opened, SHUTDOWN, NOTHING_MORE)
        finally:
            os.close(opened)

    def restore(self) -> None:
        """Mount it again, with what had reached it. Nobody may use it any more."""
        self._unmount()
        self._mount().check_returncode()

    def _unmount(self) -> None:
        def gone() -> bool:
            done = subprocess.run(["umount", self.path], capture_output=True, text=True, check=False)
            assert not done.returncode or "busy" in done.stderr, done.stderr
            return not done.returncode

        until(gone, 20, "nobody uses the disk")

    def close(self) -> None:
        """Remove it, whoever uses it."""
        subprocess.run(["umount", "--lazy", self.path], check=True)
        shutil.rmtree(self._folder)
