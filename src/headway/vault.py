"""Secrets at rest: sealed with AES-256-GCM under a key that is not in the database, each bound to what it belongs to.

A sealed text is `v1.<key id>.<nonce and ciphertext>`. The key is derived (HKDF-SHA-256) from the store's secret, so that a
copy of the database alone gives nothing away. What a text belongs to ("smtp:default", "table:17:url") is authenticated
with it: moved to another row it does not open, so a user with write access to rows cannot have the password sent elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION: Final = "v1"
NONCE_BYTES: Final = 12
SECRET_BYTES_MIN: Final = 32

_KEY_FILE: Final = re.compile(r"[0-9a-f]{64}")


class NotOpened(Exception):
    """The text is not what this vault sealed for that place; its message holds nothing of the content."""


class Vault:
    """Sealing with one key, and opening with it or with earlier ones."""

    def __init__(
        self, secret: bytes, earlier: Iterable[bytes] = (), entropy: Callable[[int], bytes] = os.urandom
    ) -> None:
        """`secret` is the store's present one, `earlier` are former ones, needed while a text is sealed with them."""
        self._secrets = (secret, *earlier)
        assert all(len(each) >= SECRET_BYTES_MIN for each in self._secrets), "a secret is too short"
        self._entropy = entropy

    @cached_property
    def _keys(self) -> dict[str, AESGCM]:
        """Keys by name, derived when first needed, since most servers seal nothing."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - see above

        return {_id_of(key): AESGCM(key) for key in map(_derive, reversed(self._secrets))}

    @cached_property
    def _key_id(self) -> str:
        return _id_of(_derive(self._secrets[0]))

    def seal(self, belongs_to: str, text: str) -> str:
        """Return `text` sealed; it opens with the same `belongs_to` only. The same text never looks the same twice."""
        nonce = self._entropy(NONCE_BYTES)
        ciphertext = self._keys[self._key_id].encrypt(nonce, text.encode(), _bound(self._key_id, belongs_to))
        return f"{VERSION}.{self._key_id}.{base64.urlsafe_b64encode(nonce + ciphertext).rstrip(b'=').decode()}"

    def open(self, belongs_to: str, sealed: str) -> str:
        """Return the text; raise NotOpened, with what to do, if it was changed, moved, or sealed with a key not given."""
        version, _, rest = sealed.partition(".")
        key_id, _, body = rest.partition(".")
        if version != VERSION:
            raise NotOpened(f"the secret of {belongs_to} is not sealed in a form that this version knows")
        key = self._keys.get(key_id)
        if key is None:
            raise NotOpened(
                f"the secret of {belongs_to} was sealed with another key ({key_id[:16]!r}): "
                f"name the store's earlier secret, or set the secret anew"
            )
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - as for the keys

        try:
            raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
            return key.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _bound(key_id, belongs_to)).decode()
        except (InvalidTag, ValueError):
            raise NotOpened(
                f"the secret of {belongs_to} was changed or moved since it was sealed: set it anew"
            ) from None

    def is_current(self, sealed: str) -> bool:
        """Return whether the text is sealed with the present key.

        Other texts have to be sealed again before the earlier secret is dropped.
        """
        return sealed.startswith(f"{VERSION}.{self._key_id}.")


def as_secrets(texts: Iterable[str]) -> list[bytes]:
    """Return the secrets that settings name: each as given, and as bytes too if it may be the content of a key file."""
    secrets = []
    for text in texts:
        if len(text) < SECRET_BYTES_MIN:
            raise ValueError("an earlier secret is too short: give it as it was, at least 32 characters")
        secrets.append(text.encode())
        if _KEY_FILE.fullmatch(text):
            secrets.append(bytes.fromhex(text))
    return secrets


def _derive(secret: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - as for the keys
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"headway vault v1").derive(secret)


def _id_of(key: bytes) -> str:
    """Return the name of a key: eight bytes of a digest, which say nothing of the key."""
    return hashlib.sha256(b"headway vault key id\0" + key).digest()[:8].hex()


def _bound(key_id: str, belongs_to: str) -> bytes:
    return f"{VERSION}\0{key_id}\0{belongs_to}".encode()
