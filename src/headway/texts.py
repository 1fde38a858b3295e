"""Text files written by people: UTF-8, with or without a byte order mark."""

from __future__ import annotations

import codecs
from typing import Final

_OTHERS: Final = {
    # UTF-32 first: its little-endian mark begins with that of UTF-16.
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def decoded(data: bytes) -> str:
    """Return the text without its byte order mark; raise ValueError, with advice, for bytes that are not UTF-8."""
    for mark, name in _OTHERS.items():
        if data.startswith(mark):
            raise ValueError(f"it is {name}; save it as UTF-8")
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8, from byte {error.start} on; save it as UTF-8") from None
