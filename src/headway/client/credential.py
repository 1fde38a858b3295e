"""Key of a client: the argument, or the environment's, which no list of processes shows."""

from __future__ import annotations

import os
from typing import Final

from headway.config import ClientSettings
from headway.errors import BadParameter
from headway.private import key_text
from headway.setting import setting

VARIABLE: Final = setting(ClientSettings, "key").variable
FILE_VARIABLE: Final = setting(ClientSettings, "key_file").variable


def key(given: str | None = None, file: str | None = None) -> str | None:
    """Return the given key, else the file's, else the environment's, else None; raise BadParameter if malformed."""
    text = given or (_read(file) if file else None) or os.environ.get(VARIABLE)
    if not text and (named := os.environ.get(FILE_VARIABLE)):
        text = _read(named)
    text = (text or "").strip()
    if any(not "!" <= sign <= "~" for sign in text):
        raise BadParameter("a key is one word of visible characters: hw_…")
    return text or None


def _read(path: str) -> str:
    try:
        return key_text(path)
    except ValueError as error:
        raise BadParameter(str(error)) from None
