"""Detection of values damaged on disk (text that is not UTF-8 or not JSON), which must affect only their own row.

A database returns whatever its pages contain. Text with invalid UTF-8 is read with U+FFFD before it and in place of the
invalid bytes, so that it never parses as JSON, also after it was written again.
"""

from __future__ import annotations

from typing import Final

import msgspec

MARK: Final = "\ufffd"
DAMAGED: Final = '{"damaged":true}'
"""Replacement in a history for a document that cannot be read."""
INVALID_JSON: Final = (msgspec.DecodeError, RecursionError)
"""Errors of `parse`."""
parse: Final = msgspec.json.Decoder(msgspec.Raw).decode
"""Check that a text is one JSON value; a built-in function, which costs less than a call of `is_json`."""


def decode_text(data: bytes) -> str:
    """Decode UTF-8; if it is invalid, return MARK and the text with replacement characters."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return MARK + data.decode(errors="replace")


def is_json(text: str) -> bool:
    """Tell whether a text is valid JSON."""
    try:
        parse(text)
    except INVALID_JSON:
        return False
    return True
