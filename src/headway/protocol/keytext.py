"""Text of API keys, `hw_ID_SECRET`: creation and reading."""

from __future__ import annotations

import re
import secrets
from typing import Final, NamedTuple

PREFIX: Final = "hw"
"""Prefix that scanners for leaked secrets can look for."""
_TEXT: Final = re.compile(r"hw_([0-9a-z]{4,40})_([A-Za-z0-9_-]{20,200})")


class KeyText(NamedTuple):
    """A key as its holder shows it: public id and secret."""

    id: str
    secret: str

    def __str__(self) -> str:
        """Return the text, with the secret."""
        return f"{PREFIX}_{self.id}_{self.secret}"

    def __repr__(self) -> str:
        """Return the id without the secret, since this form is logged."""
        return f"KeyText({self.id!r}, …)"


def new(key_id: str | None = None) -> KeyText:
    """Return a new key, or a new secret of 256 bits for an existing one."""
    return KeyText(key_id or new_id(), secrets.token_urlsafe(32))


def new_id() -> str:
    """Return a public id: 80 random bits, short enough to be read out."""
    return secrets.token_hex(10)


def read(text: str) -> KeyText | None:
    """Return the key of a text, or None for a text that is no key."""
    found = _TEXT.fullmatch(text)
    return None if found is None else KeyText(found[1], found[2])
