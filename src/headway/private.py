"""Checks of file permissions: files with secrets must be readable and writable by their owner only."""

from __future__ import annotations

import os
import stat
from typing import Final

ROOT: Final = 0


def exposed(status: os.stat_result) -> str | None:
    """Return the mode of a file that others than its owner may read or change, such as "644"; None if they may not.

    A file of root may be read by a group: so are secrets handed to containers (mode 0440), where the server is in that group.
    """
    mode = stat.S_IMODE(status.st_mode)
    others = mode & (0o037 if status.st_uid == ROOT else 0o077)
    return f"{mode:o}" if others and os.name == "posix" else None
