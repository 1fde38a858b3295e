"""Counts and times of requests, cheap enough for every one of them."""

from __future__ import annotations

from headway.histogram import Histogram


class Meters:
    """Per route: how many answers of each status, and how long they took."""

    def __init__(self, names: list[str]) -> None:
        """`names` are the routes', in the order of their slots."""
        self.names = names
        self.statuses: list[dict[int, int]] = [{} for _ in names]
        self.times = [Histogram() for _ in names]

    def note(self, slot: int, status: int, seconds: float) -> None:
        """Count an answer."""
        statuses = self.statuses[slot]
        statuses[status] = statuses.get(status, 0) + 1
        self.times[slot].note(seconds)
