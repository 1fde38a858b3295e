"""Folders that servers live in, which end with whoever has made them: in memory where there is room."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.postgres import keeper
from tests.postgres.installation import Account, PostgresUnavailable

MEMORY = "/dev/shm"
ROOM = 2 << 30
"""Where files lie in memory, and how many bytes have to be free there; a cluster has some hundred million at most."""


class AccountFolder:
    """A new folder that belongs to the account. At the end its servers are killed and it is removed, be it by its keeper."""

    def __init__(self, account: Account, *, on_disk: bool = False, below: Path | None = None) -> None:
        """Make it, and start the process that watches over it."""
        self.folder = _new(account, on_disk=on_disk, below=below)
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__, self.folder], cwd="/", stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    @property
    def environment(self) -> dict[str, str]:
        """What servers that live here are given."""
        return {"PATH": os.defpath, "HOME": str(self.folder), "LC_ALL": "C.UTF-8", "TZ": "UTC"}

    def close(self) -> None:
        """Kill what still runs here, and remove everything."""
        _, said = self._keeper.communicate(b"\n")
        assert self._keeper.returncode == 0, said.decode(errors="replace")


def _new(account: Account, *, on_disk: bool, below: Path | None) -> Path:
    """Return a new folder for the account alone, in a place that it can get to and short enough for sockets."""
    memory = () if on_disk or not _has_room(MEMORY) else (MEMORY,)
    anywhere = (*memory, tempfile.gettempdir(), "/tmp", "/var/tmp")
    for above in (below,) if below else dict.fromkeys(anywhere):
        folder = Path(tempfile.mkdtemp(prefix="headway-pg-", dir=above))
        account.own(folder)
        looked = subprocess.run(["test", "-w", folder], check=False, **account.becoming())
        if looked.returncode == 0 and len(str(folder)) < 80:
            return folder
        folder.rmdir()
    raise PostgresUnavailable(f"there is no temporary folder that user {account.uid} can use: set TMPDIR")


def _has_room(folder: str) -> bool:
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    # Programs may have to be copied there.
    return found.f_bavail * found.f_frsize >= ROOM and not found.f_flag & os.ST_NOEXEC and os.access(folder, os.W_OK)
