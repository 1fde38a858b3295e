"""Usage: requests of keys and organisations in this minute and on this day, exact here and shared with other servers."""

from __future__ import annotations

from collections.abc import Iterable

from headway.features.access.model import Usage
from headway.web.ratelimits import DAY_MS, MINUTE_MS, UNLIMITED, Window, Windows


class UsageWindows:
    """The windows of all subjects (keys and organisations) with requests since this server began."""

    def __init__(self, server_id: str, *, shared: bool) -> None:
        """`shared`: other servers count too, and minutes are saved as well as days."""
        self._server_id = server_id
        self._periods = (MINUTE_MS, DAY_MS) if shared else (DAY_MS,)
        self._windows: dict[str, Windows] = {}
        self._before: dict[tuple[str, int, int], tuple[int, int]] = {}
        """(subject, period, start) → counts that were saved by this server and by the others."""

    def of(self, subject: str, per_minute: int | None, per_day: int | None) -> Windows:
        """Return the windows of a subject, with these limits."""
        found = self._windows.get(subject)
        if found is None:
            found = self._windows[subject] = (Window(MINUTE_MS, 0), Window(DAY_MS, 0))
        for window, limit in zip(found, (per_minute, per_day), strict=True):
            window.limit = UNLIMITED if limit is None else limit
        return found

    def resume(self, subject: str, now_ms: int) -> None:
        """Add the saved counts of a subject to its windows."""
        for window in self._windows[subject]:
            window.left(now_ms)
            known = self._before.get((subject, window.period, window.started_at))
            if known is not None:
                window.resume(window.started_at, *known)

    def take(self, usages: Iterable[Usage], now_ms: int) -> None:
        """Replace the saved counts by those of all servers."""
        self._before.clear()
        for usage in usages:
            place = (usage.subject, usage.period, usage.started_at)
            mine, others = self._before.get(place, (0, 0))
            if usage.server_id == self._server_id:
                self._before[place] = (mine + usage.count, others)
            else:
                self._before[place] = (mine, others + usage.count)
        for subject in self._windows:
            self.resume(subject, now_ms)

    def unsaved(self) -> list[Usage]:
        """Return the counts that changed since they were saved."""
        return [
            Usage(subject, window.period, window.started_at, self._server_id, window.mine)
            for subject, windows in self._windows.items()
            for window in windows
            if window.mine != window.saved and window.period in self._periods
        ]

    def mark_saved(self, usages: Iterable[Usage]) -> None:
        """Note that these counts were saved."""
        for usage in usages:
            for window in self._windows.get(usage.subject, ()):
                if (window.period, window.started_at) == (usage.period, usage.started_at):
                    window.saved = usage.count
