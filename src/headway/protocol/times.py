"""Timestamps in the HTTP API: RFC 3339, UTC, milliseconds, `Z`."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()


def to_text(ms: int) -> str:
    """Return `2026-11-22T01:46:57.123Z`."""
    seconds, rest = divmod(ms, 1000)
    return f"{_second(seconds)}.{rest:03d}Z"


def to_text_or_none(ms: int | None) -> str | None:
    return None if ms is None else to_text(ms)


def from_text(text: str) -> int:
    """Return milliseconds; raise ValueError unless `text` is RFC 3339 with a zone, between the years 1 and 9999."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is not a time; write 2026-12-01T02:00:00Z") from None
    if moment.tzinfo is None:
        raise ValueError(f"{text[:40]!r} has no time zone; write 2026-12-01T02:00:00Z")
    return round(moment.timestamp() * 1000)
