"""The key that a client shows: the one given, or the environment's, which no list of processes shows."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

from headway import texts
from headway.config import ClientSettings
from headway.errors import BadParameter
from headway.private import exposed
from headway.setting import setting

log = logging.getLogger("headway")

VARIABLE: Final = setting(ClientSettings, "key").variable
FILE_VARIABLE: Final = setting(ClientSettings, "key_file").variable


def key(given: str | None = None, file: str | None = None) -> str | None:
    """Return the key that was given, else that in the file, else the environment's; None for none."""
    text = given or (_read(file) if file else None) or os.environ.get(VARIABLE)
    if not text and (named := os.environ.get(FILE_VARIABLE)):
        text = _read(named)
    text = (text or "").strip()
    if any(not "!" <= sign <= "~" for sign in text):
        raise BadParameter("a key is one word of visible characters: hw_…")
    return text or None


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            mode, text = exposed(os.fstat(file.fileno())), texts.decoded(file.read())
        if mode is not None:
            log.warning("key.exposed others may read %s (mode %s): chmod 600 it", path, mode)
    except (OSError, ValueError) as error:
        raise BadParameter(f"the key cannot be read from {path}: {error}") from None
    if not text.strip():
        raise BadParameter(f"the key file {path} is empty: put the key into it, hw_…, or leave the file out")
    return text.strip()
