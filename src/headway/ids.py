"""Sortable ids (RFC 9562, UUID version 7), and the signed tokens that carry a capability or a cursor."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Final, NewType

RunId = NewType("RunId", str)
WorkerId = NewType("WorkerId", str)

_DASHED: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TAG_BYTES: Final = 32
_PLAIN: Final = re.compile(r"[0-9a-f]{32}")


class IdSource:
    """Source of UUIDv7s that sort in the order in which they were made, also within one millisecond."""

    def __init__(self, entropy: Callable[[int], bytes] = os.urandom) -> None:
        """`entropy` returns the requested number of random bytes; a simulation passes its own, for reproducible ids."""
        self._entropy = entropy
        self._last_ms = 0
        self._count = 0
        self._random: list[int] = []
        self._lock = threading.Lock()

    def new(self, now_ms: int) -> str:
        """Return a new id: 48 bits of time, 12 of count within the millisecond, 62 random."""
        with self._lock:
            if now_ms > self._last_ms:
                self._last_ms, self._count = now_ms, 0
            else:
                self._count += 1
                if self._count > 0xFFF:  # noqa: PLR2004 - more than 4,096 in one millisecond borrow from the next
                    self._last_ms, self._count = self._last_ms + 1, 0
            ms, count = self._last_ms, self._count
            if not self._random:  # drawn in blocks: a call for each id would cost as much as the rest
                self._random = list(struct.unpack("128Q", self._entropy(1024)))
            low = self._random.pop() & 0x3FFF_FFFF_FFFF_FFFF | 1 << 63
        high = ms << 16 | 0x7000 | count
        return f"{high >> 32:08x}-{high >> 16 & 0xFFFF:04x}-{high & 0xFFFF:04x}-{low >> 48:04x}-{low & 0xFFFF_FFFF_FFFF:012x}"


def random_names(prefix: bytes) -> Iterator[bytes]:
    """Yield ids of 96 random bits, which do not reveal their number; drawn in blocks, as that is cheap."""
    while True:
        block = os.urandom(12 * 256).hex().encode()
        for at in range(0, len(block), 24):
            yield prefix + block[at : at + 24]


def time_of(uuid: str) -> int:
    """Return the time at which the id was made, in milliseconds UTC."""
    return int(uuid[:8] + uuid[9:13], 16)


def canonical_id(text: str) -> str | None:
    """Return the 36-character spelling of a UUID written with or without dashes, or None for other texts."""
    text = text.lower()
    if _DASHED.fullmatch(text):
        return text
    if _PLAIN.fullmatch(text):
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
    return None


class Signer:
    """Signatures of short texts with the server's secret, so that an altered text is refused."""

    def __init__(self, secret: bytes, scope: str = "") -> None:
        """Take at least 32 random bytes. Signatures of one scope are invalid in another."""
        assert len(secret) >= 32, "the secret is too short"  # noqa: PLR2004 - 256 bits
        self.secret = secret
        self._scope = scope

    def within(self, scope: str) -> Signer:
        """Return a signer with the same secret, of another scope."""
        return Signer(self.secret, scope)

    def sign(self, purpose: str, text: str) -> str:
        """Return the 256-bit signature of `text` for `purpose`, URL-safe, 43 characters."""
        return base64.urlsafe_b64encode(self._digest(purpose, text)).rstrip(b"=").decode()

    def _digest(self, purpose: str, text: str) -> bytes:
        return hmac.digest(self.secret, f"{self._scope}{purpose}\0{text}".encode(), hashlib.sha256)

    def verify(self, purpose: str, text: str, signature: str) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self.sign(purpose, text).encode(), signature.encode("utf-8", "replace"))

    def seal(self, purpose: str, text: str) -> str:
        """Return a signed token that carries `text` in base64, which every holder can read."""
        body = base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
        return f"{body}.{self.sign(purpose, text)}"

    def conceal(self, purpose: str, text: str) -> str:
        """Return a token that carries `text` encrypted; the same text makes the same token.

        The signature is the nonce of the key stream (a synthetic initialisation vector), so no stream is used for two texts.
        """
        tag, raw = self._digest(f"{purpose}, concealed", text), text.encode()
        return base64.urlsafe_b64encode(tag + self._veiled(tag, raw)).rstrip(b"=").decode()

    def reveal(self, purpose: str, token: str) -> str | None:
        """Return the text of a token that `conceal` made for the same purpose, or None."""
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            text = self._veiled(raw[:_TAG_BYTES], raw[_TAG_BYTES:]).decode()
        except ValueError:
            return None
        return text if hmac.compare_digest(self.conceal(purpose, text).encode(), token.encode()) else None

    def _veiled(self, tag: bytes, raw: bytes) -> bytes:
        """Return the bytes XORed with the tag's key stream: this both encrypts and decrypts."""
        key = hmac.digest(self.secret, b"key stream\0" + tag, hashlib.sha256)
        return bytes(one ^ other for one, other in zip(raw, hashlib.shake_256(key).digest(len(raw)), strict=True))

    def unseal(self, purpose: str, token: str) -> str | None:
        """Return the text of a token that `seal` made for the same purpose, or None."""
        body, _, signature = token.partition(".")
        try:
            text = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)).decode()
        except ValueError:
            return None
        return text if self.verify(purpose, text, signature) else None
