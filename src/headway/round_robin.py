"""Fair use of a few slots: waiting requests by organisation, served round robin, with limits for one and for all of them."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")

Lane = int | None
"""An organisation's number; None: the server itself, its loops and workers."""


class RoundRobin(Generic[T]):
    """Queues of waiting requests and counts of running ones, by organisation; the server's own come first.

    Not thread-safe: on several threads the owner holds a lock.
    """

    def __init__(self, slots: int, *, shared: int, each: int) -> None:
        """All organisations together use at most `shared` of the slots, and one organisation `each`."""
        self._slots = slots
        self._shared = shared
        self._each = each
        self._busy: Counter[Lane] = Counter()
        self._waiting: OrderedDict[Lane, deque[T]] = OrderedDict()
        """The organisation at the front is the next one."""

    @property
    def busy(self) -> int:
        """Number of running requests."""
        return self._busy.total()

    def waiting(self, lane: Lane) -> int:
        """Return the number of an organisation's waiting requests."""
        return len(self._waiting.get(lane, ()))

    def begin(self, lane: Lane, request: T) -> bool:
        """Return True if the request may begin now; else queue it."""
        if lane not in self._waiting and self._has_room(lane):
            self._busy[lane] += 1
            return True
        self._waiting.setdefault(lane, deque()).append(request)
        return False

    def end(self, lane: Lane) -> T | None:
        """Count a running request as ended; return the next one, now counted as running, or None."""
        self._busy[lane] -= 1
        if not self._busy[lane]:
            del self._busy[lane]
        # The server's own requests first; a stable sort keeps the order of the others.
        for each in sorted(self._waiting, key=lambda waiting: waiting is not None):
            if self._has_room(each):
                return self._take(each)
        return None

    def forget(self, lane: Lane, request: T) -> bool:
        """Remove a request from its queue; return whether it was waiting."""
        waiting = self._waiting.get(lane)
        if waiting is None or request not in waiting:
            return False
        waiting.remove(request)
        if not waiting:
            del self._waiting[lane]
        return True

    def _take(self, lane: Lane) -> T:
        waiting = self._waiting[lane]
        request = waiting.popleft()
        if waiting:
            self._waiting.move_to_end(lane)
        else:
            del self._waiting[lane]
        self._busy[lane] += 1
        return request

    def _has_room(self, lane: Lane) -> bool:
        busy = self._busy.total()
        if lane is None:
            return busy < self._slots
        return self._busy[lane] < self._each and busy - self._busy[None] < self._shared and busy < self._slots
