"""Admission: room under limits, rates, and dedupe keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Final

from headway.kernel.run import PARKED, Run, State
from headway.kernel.task import Limit, Task
from headway.kernel.worker import Queue

Live = dict[tuple[str, str, str | None], int]
"""Number of live leases by (task, queue, key)."""

UNLIMITED: Final = 1 << 30


class Headroom:
    """Number of runs that each limit still admits, counted down as runs are claimed.

    Built from live leases, never stored.
    """

    def __init__(self, live: Live, now_ms: int) -> None:
        self._live = live
        self._now_us = now_ms * 1000
        self._tasks: dict[str, int] = {}
        self._queues: dict[str, int] = {}
        self._keys: dict[tuple[str, str], int] = {}
        self._rates: dict[tuple[str, str], int] = {}
        self.spent: dict[tuple[str, str], int] = {}
        """Rates that were drawn on, to be saved."""
        for (task, queue, key), count in live.items():
            self._tasks[task] = self._tasks.get(task, 0) + count
            self._queues[queue] = self._queues.get(queue, 0) + count
            if key is not None:
                self._keys[task, key] = self._keys.get((task, key), 0) + count

    def know(self, rates: Mapping[tuple[str, str], int]) -> None:
        """Add the next start on time, in microseconds, of (task, key); the key of a task's own rate is ""."""
        for rate, next_at_us in rates.items():
            self._rates.setdefault(rate, next_at_us)

    def of_lane(self, task: Task, queue: Queue) -> int:
        """Return the number of runs of the task that may start from the queue now, by the limits of task and queue."""
        room = UNLIMITED
        if queue.concurrency is not None:
            room = min(room, queue.concurrency - self._queues.get(queue.name, 0))
        if task.concurrency is not None:
            room = min(room, task.concurrency - self._tasks.get(task.name, 0))
        if task.rate is not None:
            room = min(room, starts_now(task.rate, self._rate(task.rate, task.name, ""), self._now_us))
        return max(0, room)

    def opens_at_ms(self, task: Task) -> int | None:
        """Return the time at which the task's own rate admits the next run; None if it admits one now."""
        return None if task.rate is None else self._opens_at_ms(task.rate, task.name, "")

    def park_until(self, task: Task, run: Run) -> int | None:
        """Return the time until which a limit of the run's key refuses it (PARKED: until a slot frees), or None."""
        if run.key is None:
            return None
        if task.concurrency_per_key is not None and self._keys.get((task.name, run.key), 0) >= task.concurrency_per_key:
            return PARKED
        if task.rate_per_key is not None:
            return self._opens_at_ms(task.rate_per_key, task.name, run.key)
        return None

    def of_key(self, task: Task, key: str) -> int:
        """Return the number of runs of the key that may start now."""
        if task.concurrency_per_key is None:
            return UNLIMITED
        return max(0, task.concurrency_per_key - self._keys.get((task.name, key), 0))

    def take(self, task: Task, run: Run) -> None:
        """Count a run that starts."""
        self._tasks[task.name] = self._tasks.get(task.name, 0) + 1
        self._queues[run.queue] = self._queues.get(run.queue, 0) + 1
        if run.key is not None:
            self._keys[task.name, run.key] = self._keys.get((task.name, run.key), 0) + 1
        if task.rate is not None:
            self._draw(task.rate, task.name, "")
        if task.rate_per_key is not None and run.key is not None:
            self._draw(task.rate_per_key, task.name, run.key)

    def _rate(self, limit: Limit, task: str, key: str) -> int:
        """Return the next start on time.

        A time more than a period away is void: the wall clock was set back, or the limit changed.
        """
        next_at_us = self._rates.get((task, key), 0)
        return next_at_us if next_at_us <= self._now_us + limit.period_ms * 1000 else 0

    def _draw(self, limit: Limit, task: str, key: str) -> None:
        due = max(self._rate(limit, task, key), self._now_us) + interval_us(limit)
        self._rates[task, key] = self.spent[task, key] = due

    def _opens_at_ms(self, limit: Limit, task: str, key: str) -> int | None:
        opens_us = self._rate(limit, task, key) - limit.period_ms * 1000 + interval_us(limit)
        return None if opens_us <= self._now_us else -(-opens_us // 1000)


def in_fair_order(runs: Iterable[Run], served: Mapping[int, int]) -> list[Run]:
    """Return ready runs in the order in which they go first: by priority, and of equal ones each organisation's in turn.

    `served` says when each organisation had its last turn: the longest wait comes first. Of one organisation's own runs the
    one that has been due longest goes first, so that a backlog keeps nobody waiting but whom it belongs to.
    """
    rounds: Counter[tuple[int, int]] = Counter()
    ordered: list[tuple[tuple[int, int, int, int, str], Run]] = []
    for run in sorted(runs, key=lambda run: (run.run_at, run.id)):
        level = run.organisation, run.priority
        turn = served.get(run.organisation, 0)
        ordered.append(((-run.priority, rounds[level], turn, run.run_at, run.id), run))
        rounds[level] += 1
    return [run for _, run in sorted(ordered, key=itemgetter(0))]


def interval_us(limit: Limit) -> int:
    """Return the time between two starts at the steady rate."""
    return max(1, limit.period_ms * 1000 // limit.count)


def starts_now(limit: Limit, next_at_us: int, now_us: int) -> int:
    """Return the number of starts that the rate admits now.

    GCRA (ITU-T I.371): a period's worth may start in a burst; after that, one per interval.
    """
    credit = limit.period_ms * 1000 - max(0, next_at_us - now_us)
    return max(0, min(limit.count, credit // interval_us(limit)))


def duplicates(scope: str, until: int | None, first: Run | None, now_ms: int) -> bool:
    """Return whether an earlier run with the same dedupe key still counts; `first` is None if it was removed."""
    match scope:
        case "active":
            return first is not None and not first.final
        case "window":
            return until is not None and now_ms < until
        case _:
            return True


def may_debounce(first: Run) -> bool:
    """Return whether the first run has not begun, so that its input and its time may still be replaced."""
    return first.state in (State.SCHEDULED, State.QUEUED) and first.epoch == 0
