"""Secrets of keys: digests for the store, and keys that servers make for their own workers."""

from __future__ import annotations

import secrets
from typing import Final

from headway.ids import Signer
from headway.protocol.keytext import KeyText

PURPOSE: Final = "key"
LOCAL_PREFIX: Final = "local"
"""Prefix of the ids of local keys; other ids are hexadecimal."""


def digest(signer: Signer, key: KeyText) -> str:
    """Return the digest that is stored: HMAC-SHA256 under the secret of the store, bound to the key's id."""
    return signer.sign(PURPOSE, f"{key.id}\0{key.secret}")


def local_key(signer: Signer) -> KeyText:
    """Return a key for a server's own workers: its secret is the signature of its id, so it is stored nowhere.

    Every server of the store accepts it: such a worker may outlive its server and go on at the next one, so that the
    runs that it executes are not lost.
    """
    key_id = f"{LOCAL_PREFIX}{secrets.token_hex(10)}"
    return KeyText(key_id, signer.sign(LOCAL_PREFIX, key_id))


def is_local(signer: Signer, key: KeyText) -> bool:
    """Whether a server of this store made the key for its workers."""
    return key.id.startswith(LOCAL_PREFIX) and signer.verify(LOCAL_PREFIX, key.id, key.secret)
