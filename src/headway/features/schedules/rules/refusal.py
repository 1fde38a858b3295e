"""Refusals of schedules: the field, its value, and the accepted values."""

from __future__ import annotations

from headway.errors import InvalidSchedule


def refuse(field: str, message: str) -> InvalidSchedule:
    """Return the error for a field of a schedule, or for a part of what it says: `occurrence/hour`."""
    whole, _, part = field.partition("/")
    error = {"pointer": f"/{whole}", "code": "value", "message": message}
    return InvalidSchedule(f"{field.replace('/', ', ')}: {message}", errors=[error | {"part": part} if part else error])


def quote(text: str) -> str:
    """Return the given text, cut to the length of a message."""
    return repr(text if len(text) <= 40 else f"{text[:39]}…")  # noqa: PLR2004 - about what a line of a message bears
