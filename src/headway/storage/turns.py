"""Who reads next: organisations take turns at the threads, none of them gets all, and one is left for the server itself."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")

Lane = int | None
"""An organisation's number; None: the server itself, for its loops and workers."""


class Turns(Generic[T]):
    """Reads that wait for a thread, and how many are under way for whom. Not thread-safe: its owner holds a lock."""

    def __init__(self, threads: int) -> None:
        """Of so many threads organisations have all but one, and one organisation all but two, but one in any case."""
        self._all = threads
        self._shared = max(1, threads - 1)
        self._each = max(1, threads - 2)
        self._busy: Counter[Lane] = Counter()
        self._waiting: OrderedDict[Lane, deque[T]] = OrderedDict()
        """In the order of their turns."""

    @property
    def busy(self) -> int:
        """How many reads are under way."""
        return self._busy.total()

    def begin(self, lane: Lane, read: T) -> bool:
        """Return whether the read may begin now; else it waits for its turn."""
        if lane not in self._waiting and self._has_room(lane):
            self._busy[lane] += 1
            return True
        self._waiting.setdefault(lane, deque()).append(read)
        return False

    def end(self, lane: Lane) -> T | None:
        """Note that a read has ended; return the one whose turn it is, which has begun by that."""
        self._busy[lane] -= 1
        if not self._busy[lane]:
            del self._busy[lane]
        for each in sorted(
            self._waiting, key=lambda waiting: waiting is not None
        ):  # stable: the server itself is first
            if self._has_room(each):
                return self._take(each)
        return None

    def forget(self, lane: Lane, read: T) -> bool:
        """Let a read not begin any more; return whether it had been waiting."""
        waiting = self._waiting.get(lane)
        if waiting is None or read not in waiting:
            return False
        waiting.remove(read)
        if not waiting:
            del self._waiting[lane]
        return True

    def _take(self, lane: Lane) -> T:
        waiting = self._waiting[lane]
        read = waiting.popleft()
        if waiting:
            self._waiting.move_to_end(lane)
        else:
            del self._waiting[lane]
        self._busy[lane] += 1
        return read

    def _has_room(self, lane: Lane) -> bool:
        busy = self._busy.total()
        if lane is None:
            return busy < self._all
        return self._busy[lane] < self._each and busy - self._busy[None] < self._shared and busy < self._all
