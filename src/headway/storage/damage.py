"""Values that were damaged on disk: a text that is none, or no JSON any more, spoils nothing but what it belongs to.

A database hands out what its pages say. A text with bytes that are no UTF-8 is read with U+FFFD before it and in place of
these bytes, so that as JSON it is none, also after it was written again.
"""

from __future__ import annotations

from typing import Final

import msgspec

MARK: Final = "\ufffd"
DAMAGED: Final = '{"damaged":true}'
"""What stands in a history in place of a document that cannot be read."""
_whole: Final = msgspec.json.Decoder(msgspec.Raw).decode


def legible(data: bytes) -> str:
    """Return a text, as much of it as can be read."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return MARK + data.decode(errors="replace")


def is_json(text: str) -> bool:
    """Tell whether a document is whole."""
    try:
        _whole(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
