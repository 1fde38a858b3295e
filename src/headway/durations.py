"""Durations in human spelling: "30s", "5 minutes", "1h30m", ISO 8601 "PT30S"; integer milliseconds inside."""

from __future__ import annotations

import re
from typing import Final

_UNITS_MS: Final = {
    "ms": 1, "millisecond": 1, "milliseconds": 1,
    "s": 1_000, "sec": 1_000, "second": 1_000, "seconds": 1_000,
    "m": 60_000, "min": 60_000, "minute": 60_000, "minutes": 60_000,
    "h": 3_600_000, "hour": 3_600_000, "hours": 3_600_000,
    "d": 86_400_000, "day": 86_400_000, "days": 86_400_000,
    "w": 604_800_000, "week": 604_800_000, "weeks": 604_800_000,
}  # fmt: skip
_PART: Final = re.compile(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*([a-z]+)\s*")
_ISO: Final = re.compile(
    r"P(?:(\d{1,6})W)?(?:(\d{1,6})D)?(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,12}(?:\.\d{1,6})?)S)?)?"
)
TEXT_MAX: Final = 100
LONGEST_MS: Final = 100 * 365 * 86_400_000
"""Maximum duration, a hundred years: longer ones are mistakes."""


def parse_ms(text: str) -> int:
    """Return the duration in milliseconds; raise ValueError with the accepted form."""
    if len(text) > TEXT_MAX:
        raise ValueError(f"a duration has {TEXT_MAX} characters at most")
    found = _iso_ms(text) if text[:1] == "P" else _words_ms(text.lower())
    if found is None or found > LONGEST_MS:
        raise ValueError(f'{text[:40]!r} is not a duration; write "30s", "5m", "1h30m", "3 days" or "PT30S"')
    return found


def _iso_ms(text: str) -> int | None:
    match = _ISO.fullmatch(text)
    if match is None or not any(match.groups()):
        return None
    units = (604_800_000, 86_400_000, 3_600_000, 60_000, 1_000)
    return round(sum(float(part) * unit for part, unit in zip(match.groups(), units, strict=True) if part))


def _words_ms(text: str) -> int | None:
    total, position = 0.0, 0
    while position < len(text):
        match = _PART.match(text, position)
        if match is None or match[2] not in _UNITS_MS:
            return None
        total += float(match[1]) * _UNITS_MS[match[2]]
        position = match.end()
    return round(total) if text.strip() else None


def format_ms(ms: int) -> str:
    """Return the shortest spelling that `parse_ms` reads back to the same number."""
    for unit in ("w", "d", "h", "m", "s"):
        if ms and ms % _UNITS_MS[unit] == 0:
            return f"{ms // _UNITS_MS[unit]}{unit}"
    return f"{ms}ms"


def span(value: float) -> str:
    """Return a duration in seconds as people read it, in at most two units: "2.0 s", "1 m 05 s", "3 d 4 h"."""
    value = max(0.0, value)
    if value < 60:  # noqa: PLR2004
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"  # noqa: PLR2004
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:  # noqa: PLR2004
        return f"{minutes} m {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} m" if hours < 48 else f"{hours // 24} d {hours % 24} h"  # noqa: PLR2004
