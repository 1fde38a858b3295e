"""Values of requests: durations and timestamps read from text, and the error for a value that is not accepted."""

from __future__ import annotations

from typing import Final

from headway.durations import parse_ms
from headway.errors import InvalidInput
from headway.protocol.times import from_text

FURTHEST_MS: Final = 253_402_300_799_000
"""The last second of the year 9999: the latest time that can be written down."""


def invalid(pointer: str, message: str, code: str = "value") -> InvalidInput:
    """Return the error for one member of a request; `pointer` is a JSON pointer (RFC 6901), the empty one the whole body."""
    where = pointer[1:].replace("/", ".") or "the body"
    return InvalidInput(f"{where}: {message}", errors=[{"pointer": pointer, "code": code, "message": message}])


def duration(text: str, pointer: str) -> int:
    """Return the milliseconds of a duration in a request; raise InvalidInput with its pointer."""
    try:
        return parse_ms(text)
    except ValueError as error:
        raise invalid(pointer, str(error)) from None


def timestamp(text: str, pointer: str) -> int:
    """Return the milliseconds of a time in a request, 1970 to 9999; raise InvalidInput with its pointer."""
    try:
        found = from_text(text)
    except (ValueError, OverflowError) as error:
        raise invalid(pointer, str(error)) from None
    if not 0 <= found <= FURTHEST_MS:
        raise invalid(pointer, "it is before 1970 or after 9999")
    return found
