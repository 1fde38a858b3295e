"""Files with secrets: the check that only their owner can read and write them, and the reading of a key's file."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import Final

from headway import texts

log = logging.getLogger("headway")

ROOT: Final = 0


def exposed(status: os.stat_result) -> str | None:
    """Return the mode of a file that others than its owner may read or change, such as "644"; else None.

    A file of root may be read by a group: so are secrets handed to containers (mode 0440), where the server is in
    that group.
    """
    mode = stat.S_IMODE(status.st_mode)
    others = mode & (0o037 if status.st_uid == ROOT else 0o077)
    return f"{mode:o}" if others and os.name == "posix" else None


def key_text(path: str) -> str:
    """Return the text of a key's file, and log a warning if others may read it; raise ValueError, without the text."""
    try:
        with Path(path).open("rb") as file:
            mode, text = exposed(os.fstat(file.fileno())), texts.decoded(file.read()).strip()
    except (OSError, ValueError) as error:
        raise ValueError(f"the key cannot be read from {path}: {getattr(error, 'strerror', None) or error}") from None
    if mode is not None:
        log.warning("key.exposed others may read %s (mode %s): chmod 600 it", path, mode)
    if not text:
        raise ValueError(f"the key file {path} is empty: put the key into it, hw_…, or leave the file out")
    return text
