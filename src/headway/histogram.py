"""Histogram of durations for Prometheus: counts in buckets, cheap enough for every request."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate
from typing import Final

BOUNDS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Histogram:
    """Histogram of durations in seconds. One thread writes, any thread reads."""

    __slots__ = ("bounds", "counts", "seconds")

    def __init__(self, bounds: tuple[float, ...] = BOUNDS_S) -> None:
        self.bounds = bounds
        """Upper bounds of the buckets except the last, in seconds."""
        self.counts = [0] * (len(bounds) + 1)
        """Number of durations in each bucket."""
        self.seconds = 0.0
        """Sum of all durations."""

    def note(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.seconds += seconds

    def and_of(self, others: Iterable[Histogram]) -> Histogram:
        """Return the sum of this histogram and others."""
        together = Histogram(self.bounds)
        for each in (self, *others):
            together.seconds += each.seconds
            together.counts = [mine + its for mine, its in zip(together.counts, each.counts, strict=True)]
        return together

    def cumulated(self) -> list[tuple[str, float]]:
        """Return (bound, number of durations up to it), the last bound being infinite."""
        return list(zip((*map(str, self.bounds), "+Inf"), accumulate(self.counts), strict=True))
