"""Numbers in JSON that are slow to parse."""

from __future__ import annotations

import re
from typing import Final

FAR_MAX: Final = 10_000
"""Numbers beyond 2**960 in one JSON text: each takes up to 30 µs to parse, others 30 ns."""
_ALIKE: Final = bytes.maketrans(b"123456789E", b"000000000e")
TEXT: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""A JSON string, or the rest of the text if it is not closed: linear time."""


def too_many_far(data: bytes) -> bool:
    """Tell whether JSON has more than FAR_MAX numbers like 1e308, by counting exponents of three digits.

    From 2**960 on msgspec parses numbers with big-integer arithmetic, which holds the GIL and the event loop.
    """
    if len(data) <= 5 * FAR_MAX or _count(data) <= FAR_MAX:
        return False
    return _count(TEXT.sub(b"", data)) > FAR_MAX


def _count(data: bytes) -> int:
    return data.translate(_ALIKE, b"+").count(b"e000")
