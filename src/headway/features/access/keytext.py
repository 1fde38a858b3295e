"""The text of a key, `hw_ID_SECRET`: how one is made, read and known again."""

from __future__ import annotations

import re
import secrets
from typing import Final, NamedTuple

from headway.ids import Signer

PREFIX: Final = "hw"
"""What scanners for leaked secrets can look for."""
PURPOSE: Final = "key"
LENT: Final = "local"
"""How ids of keys begin that servers make for their own workers; other ids are hexadecimal."""
_TEXT: Final = re.compile(r"hw_([0-9a-z]{4,40})_([A-Za-z0-9_-]{20,200})")


class KeyText(NamedTuple):
    """A key as it is shown."""

    id: str
    secret: str

    def __str__(self) -> str:
        """Return it in one word."""
        return f"{PREFIX}_{self.id}_{self.secret}"

    def __repr__(self) -> str:
        """Return it without its secret: this is what would be logged."""
        return f"KeyText({self.id!r}, …)"


def new(key_id: str | None = None) -> KeyText:
    """Return a new key, or a new secret of 256 bits for one that is there."""
    return KeyText(key_id or new_id(), secrets.token_urlsafe(32))


def new_id() -> str:
    """Return a public id: 80 random bits, short enough to be read out."""
    return secrets.token_hex(10)


def lent(signer: Signer) -> KeyText:
    """Return a key for a server's own workers, which proves itself: every server of the store knows it, and is kept nowhere.

    So such a worker may outlive its server and go on at the next one, as what it executes must not be lost with either.
    """
    key_id = f"{LENT}{secrets.token_hex(10)}"
    return KeyText(key_id, signer.sign(LENT, key_id))


def is_lent(signer: Signer, key: KeyText) -> bool:
    """Tell whether a server of this store has made the key for its workers."""
    return key.id.startswith(LENT) and signer.verify(LENT, key.id, key.secret)


def read(text: str) -> KeyText | None:
    """Return the key that a text is, or None."""
    found = _TEXT.fullmatch(text)
    return None if found is None else KeyText(found[1], found[2])


def digest(signer: Signer, key: KeyText) -> str:
    """Return what is kept of a secret: its HMAC-SHA256 under the secret of the store, bound to the key's id."""
    return signer.sign(PURPOSE, f"{key.id}\0{key.secret}")
