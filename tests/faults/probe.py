"""Asks a server the same thing again and again, at a steady pace, and notes how long each answer took."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

from headway.client.errors import ConnectionLost
from headway.client.transport import Response


class Probe:
    """`ask` is called every `every_s` seconds in a thread of its own, for as long as the `with` lasts."""

    def __init__(self, ask: Callable[[], Response], every_s: float = 0.02) -> None:
        """Nothing is asked yet."""
        self._ask, self._every_s = ask, every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.took_ms: list[float] = []
        self.statuses: Counter[Any] = Counter()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._every_s, time.monotonic())
            began = time.monotonic()
            try:
                self.statuses[self._ask().status] += 1
            except ConnectionLost:
                self.statuses["lost"] += 1
            self.took_ms.append((time.monotonic() - began) * 1000)

    def percentile(self, share: float) -> float:
        """Return the time in milliseconds within which that share of all was answered."""
        ordered = sorted(self.took_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
