"""Fair scheduling of reads on threads: round robin among organisations, with one thread reserved for the server."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")

Lane = int | None
"""An organisation's number; None: the server itself, its loops and workers."""


class Turns(Generic[T]):
    """Queues of waiting reads and counts of running ones, by organisation. Not thread-safe: its owner holds a lock."""

    def __init__(self, threads: int) -> None:
        """All organisations together use at most `threads - 1`, one organisation `threads - 2`; each at least 1."""
        self._all = threads
        self._shared = max(1, threads - 1)
        self._each = max(1, threads - 2)
        self._busy: Counter[Lane] = Counter()
        self._waiting: OrderedDict[Lane, deque[T]] = OrderedDict()
        """In round-robin order."""

    @property
    def busy(self) -> int:
        """How many reads are under way."""
        return self._busy.total()

    def begin(self, lane: Lane, read: T) -> bool:
        """Return True if the read may begin now; else queue it."""
        if lane not in self._waiting and self._has_room(lane):
            self._busy[lane] += 1
            return True
        self._waiting.setdefault(lane, deque()).append(read)
        return False

    def end(self, lane: Lane) -> T | None:
        """Note that a read has ended; return the next one, now counted as running, or None."""
        self._busy[lane] -= 1
        if not self._busy[lane]:
            del self._busy[lane]
        # The server's own reads first; a stable sort keeps the order of the others.
        for each in sorted(self._waiting, key=lambda waiting: waiting is not None):
            if self._has_room(each):
                return self._take(each)
        return None

    def forget(self, lane: Lane, read: T) -> bool:
        """Remove a read from its queue; return whether it was waiting."""
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
