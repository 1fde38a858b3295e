"""Counts and times of requests, cheap enough for every one of them."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

BOUNDS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Meters:
    """Per route: how many answers of each status, and how long they took."""

    def __init__(self, names: list[str]) -> None:
        """`names` are the routes', in the order of their slots."""
        self.names = names
        self.statuses: list[dict[int, int]] = [{} for _ in names]
        self.buckets = [[0] * (len(BOUNDS_S) + 1) for _ in names]
        self.seconds = [0.0] * len(names)

    def note(self, slot: int, status: int, seconds: float) -> None:
        """Count an answer."""
        statuses = self.statuses[slot]
        statuses[status] = statuses.get(status, 0) + 1
        self.buckets[slot][bisect_left(BOUNDS_S, seconds)] += 1
        self.seconds[slot] += seconds
