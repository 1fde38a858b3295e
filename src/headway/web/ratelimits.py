"""Rate limit headers: limits of a caller's key and organisation, and the requests that are left."""

from __future__ import annotations

from headway.features.access.access import Admission
from headway.features.access.meters import UNLIMITED
from headway.features.access.rules import DAY_MS, MINUTE_MS, Window

Headers = tuple[tuple[bytes, bytes], ...]


def seconds_left(window: Window, now_ms: int) -> int:
    """Return the seconds until the window ends, 1 at least."""
    return max(1, -(-(window.ends_at - now_ms) // 1000))


def tightest(windows: tuple[Window, ...], period: int) -> Window:
    """Return the window of a period with the fewest requests left."""
    mine, all_of_us = windows[::2] if period == MINUTE_MS else windows[1::2]
    return (
        mine
        if mine.limit - mine.mine - mine.others <= all_of_us.limit - all_of_us.mine - all_of_us.others
        else all_of_us
    )


def limits(admission: Admission, now_ms: int) -> Headers:
    """Return the headers of the tightest limits of a caller with windows. Most headers are cached for a second."""
    second = now_ms // 1000
    if (
        admission.said_at != second
        or admission.windows[2].limit != UNLIMITED
        or admission.windows[3].limit != UNLIMITED
    ):
        admission.said_at = second
        of_minute, of_day = admission.tight = (
            tightest(admission.windows, MINUTE_MS),
            tightest(admission.windows, DAY_MS),
        )
        admission.said = (
            *minute_headers(of_minute, now_ms),
            (b"x-ratelimit-daily-limit", b"%d" % of_day.limit),
            (b"x-daily-ratelimit-reset", b"%d" % (of_day.ends_at // 1000)),
            (b"x-daily-retry-after", b"%d" % seconds_left(of_day, now_ms)),
        )
    assert admission.tight is not None
    of_minute, of_day = admission.tight
    return (
        *admission.said,
        remaining_header(of_minute),
        (b"x-ratelimit-daily-remaining", b"%d" % max(0, of_day.limit - of_day.mine - of_day.others)),
    )


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
