"""Meters of runs since this server began, by task: how long they waited and took, and how their attempts ended.

A transaction notes what it does, and the notes count once it is committed. The number of tasks with meters of their own is
bounded, since each of them is some forty series of Prometheus; those beyond it share the meters of `OTHER`.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from typing import Final

from headway.histogram import Histogram

TASKS_MAX: Final = 500
"""Tasks with meters of their own, of all organisations."""
OF_ORGANISATION_MAX: Final = 100
"""Tasks of one organisation with meters of their own."""
OTHER: Final = "(other)"
"""Stands for the tasks without meters of their own."""
BOUNDS_S: Final = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
OUTCOMES: Final = (
    "succeeded", "errored", "crashed", "suspended", "slept", "released", "held", "stopped", "abandoned",
)  # fmt: skip
"""Ends of an attempt, in the words of the history."""
CLAIMED: Final = "claimed"
RETRIED: Final = "retried"
POISONED: Final = "poisoned"
ENDED: Final = "ended"

Note = tuple[int, str, str, int]
"""Organisation, task, what happened, and milliseconds: of `CLAIMED` the wait, else from the first start to the end of the
run, or -1 if it goes on."""


class TaskMeters:
    """The meters of one task."""

    __slots__ = ("counts", "durations", "waits")

    def __init__(self) -> None:
        self.waits = Histogram(BOUNDS_S)
        """From the time at which a run may start to its claim."""
        self.durations = Histogram(BOUNDS_S)
        """Of runs that ended, from their first start, with all attempts and waits between them."""
        self.counts = dict.fromkeys((*OUTCOMES, RETRIED, POISONED), 0)


class Meters:
    """The meters of all tasks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        """Held by a writer that adds: a server may have two."""
        self._tasks: dict[tuple[int, str], TaskMeters] = {}
        self._of: Counter[int] = Counter()

    def add(self, notes: Iterable[Note]) -> None:
        """Count what a committed transaction has noted."""
        known, name = None, ""
        with self._lock:
            for organisation, task, what, ms in notes:
                if task is not name or organisation != known:  # most notes of a transaction are of one task
                    meters = self._tasks.get((organisation, task)) or self._new(organisation, task)
                    known, name = organisation, task
                if what is CLAIMED:
                    meters.waits.note(max(0, ms) / 1000)
                    continue
                if what is not ENDED:
                    meters.counts[what] += 1
                if ms >= 0:
                    meters.durations.note(ms / 1000)

    def _new(self, organisation: int, task: str) -> TaskMeters:
        if len(self._tasks) >= TASKS_MAX or self._of[organisation] >= OF_ORGANISATION_MAX:
            task = OTHER
        found = self._tasks.get((organisation, task))
        if found is None:
            self._of[organisation] += 1
            found = self._tasks[organisation, task] = TaskMeters()
        return found

    def all(self) -> list[tuple[tuple[int, str], TaskMeters]]:
        """Return the meters by organisation and task, in order."""
        with self._lock:
            found = list(self._tasks.items())
        return sorted(found, key=lambda item: item[0])
