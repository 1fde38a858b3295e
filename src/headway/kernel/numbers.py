"""Numbers in JSON that are slow to parse."""

from __future__ import annotations

from typing import Final

FAR_MAX: Final = 10_000
"""Maximum count of numbers beyond 2**960 in one JSON text: each takes up to 30 µs to parse, others 30 ns."""
FEW_MAX: Final = 5 * FAR_MAX
"""Size of a JSON text, in bytes, that cannot have more of them: each is at least `1e308` and a comma."""
_ALIKE: Final = bytes.maketrans(b"123456789E", b"000000000e")


def without_texts(data: bytes) -> bytes:
    """Return JSON without its strings, in linear time; after an unclosed string the rest is missing."""
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(data.split(b'"')[::2])


def too_many_far(data: bytes) -> bool:
    """Return whether JSON has more than FAR_MAX numbers like 1e308, by counting exponents of three digits.

    From 2**960 on msgspec parses numbers with big-integer arithmetic, which holds the GIL and the event loop.
    """
    if len(data) <= FEW_MAX or _count(data) <= FAR_MAX:
        return False
    return _count(without_texts(data)) > FAR_MAX


def _count(data: bytes) -> int:
    return data.translate(_ALIKE, b"+").count(b"e000")
