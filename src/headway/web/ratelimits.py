"""Rate limits: fixed windows of a minute and a day, and the headers that show callers their limits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000
UNLIMITED: Final = 1 << 62
"""Limit of a window that counts without a limit."""

Headers = tuple[tuple[bytes, bytes], ...]


class Window:
    """Count of requests between one full minute (or day, UTC) and the next.

    `mine` is exact. `others` is the last known count of other servers in the same window.
    """

    __slots__ = ("ends_at", "limit", "mine", "others", "period", "saved")

    def __init__(self, period: int, limit: int) -> None:
        self.period = period
        self.limit = limit
        self.ends_at = 0
        self.mine = 0
        self.others = 0
        self.saved = 0
        """Value of `mine` that was last written."""

    def left(self, now_ms: int) -> int:
        """Return the number of requests left; at the end of a window the next one begins."""
        if now_ms >= self.ends_at or now_ms < self.ends_at - self.period:  # a clock that was set back too
            self.ends_at = now_ms - now_ms % self.period + self.period
            self.mine = self.others = self.saved = 0
        return self.limit - self.mine - self.others

    @property
    def started_at(self) -> int:
        """Start of the window."""
        return self.ends_at - self.period

    def resume(self, started_at: int, mine: int, others: int) -> None:
        """Add the counts of before, by this server and by others, if they belong to the present window."""
        if started_at == self.started_at:
            self.mine = max(self.mine, mine)
            self.others = others


Windows = tuple[Window, Window]
"""Windows of a minute and of a day."""


def spent(windows: Iterable[Window], now_ms: int) -> Window | None:
    """Count one request in every window and return None, or, if a window is used up, return that window."""
    for window in windows:
        begun = window.ends_at - window.period <= now_ms < window.ends_at
        if (window.limit - window.mine - window.others if begun else window.left(now_ms)) <= 0:
            return window
    for window in windows:
        window.mine += 1
    return None


class RateLimits:
    """The limits of one caller: windows of the key, and of all keys of its organisation together."""

    __slots__ = ("_headers", "_second", "_tightest", "windows")

    def __init__(self, of_key: Windows, of_organisation: Windows) -> None:
        self.windows = (*of_key, *of_organisation)
        """Minute and day of the key, minute and day of the organisation."""
        self._headers: Headers = ()
        self._second = -1
        """Second in which `_headers` and `_tightest` were made."""
        self._tightest = of_key

    def tightest(self, period: int) -> Window:
        """Return the window of a period of which least is left."""
        mine, all_of_us = self.windows[::2] if period == MINUTE_MS else self.windows[1::2]
        return (
            mine
            if mine.limit - mine.mine - mine.others <= all_of_us.limit - all_of_us.mine - all_of_us.others
            else all_of_us
        )

    def headers(self, now_ms: int) -> Headers:
        """Return the headers of the tightest limits. Most of them are the same for a second."""
        second, windows = now_ms // 1000, self.windows
        if self._second != second or windows[2].limit != UNLIMITED or windows[3].limit != UNLIMITED:
            self._second = second
            of_minute, of_day = self._tightest = self.tightest(MINUTE_MS), self.tightest(DAY_MS)
            self._headers = (
                *minute_headers(of_minute, now_ms),
                (b"x-ratelimit-daily-limit", b"%d" % of_day.limit),
                (b"x-daily-ratelimit-reset", b"%d" % (of_day.ends_at // 1000)),
                (b"x-daily-retry-after", b"%d" % seconds_left(of_day, now_ms)),
            )
        of_minute, of_day = self._tightest
        return (
            *self._headers,
            remaining_header(of_minute),
            (b"x-ratelimit-daily-remaining", b"%d" % max(0, of_day.limit - of_day.mine - of_day.others)),
        )


def seconds_left(window: Window, now_ms: int) -> int:
    """Return the seconds until the window ends, 1 at least."""
    return max(1, -(-(window.ends_at - now_ms) // 1000))


def minute_headers(window: Window, now_ms: int) -> Headers:
    """Return the headers of a window of a minute, without the remaining requests."""
    return (
        (b"x-ratelimit-limit", b"%d" % window.limit),
        (b"x-ratelimit-reset", b"%d" % (window.ends_at // 1000)),
        (b"x-retry-after", b"%d" % seconds_left(window, now_ms)),
    )


def remaining_header(window: Window) -> tuple[bytes, bytes]:
    """Return the header with the remaining requests of a window of a minute."""
    return (b"x-ratelimit-remaining", b"%d" % max(0, window.limit - window.mine - window.others))
