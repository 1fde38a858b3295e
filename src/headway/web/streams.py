"""Quotas of event streams, by key and organisation.

A server holds a limited number of streams. From the first key on, a key may have half as many as are still free, and an
organisation twice as many, so that there is room for the next caller however many one has opened. A part is reserved
for workers' signals streams, since without one a worker is late to learn which runs it must stop.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from headway.errors import Overloaded, TooManyRequests
from headway.kernel.authority import Principal

KEPT: Final = 8
"""A KEPT-th part of all streams is reserved for workers."""
OF_KEY: Final = 0.5
OF_ORGANISATION: Final = 2
"""Streams that a key or an organisation may hold for each free one: alone, a third or two thirds of all."""
AGAIN_S: Final = 5


class Streams:
    """Open streams of a server, with their quotas."""

    def __init__(self, streams_max: int) -> None:
        """`streams_max` is the limit, workers' streams included."""
        self._max = streams_max
        self._watching_max = streams_max - streams_max // KEPT
        self._watching = 0
        self._held: Counter[tuple[bool, str | int]] = Counter()
        """Open streams by (whether a worker's, id of the key or number of the organisation)."""
        self.open = 0

    def enter(self, principal: Principal, *, worker: bool, shared: bool) -> None:
        """Count a new stream; raise Overloaded if all are taken, TooManyRequests if the caller's quota is used up.

        `worker`: a worker's signals stream. `shared`: keys exist, so quotas apply.
        """
        free = self._max - self.open
        if not worker:
            free = min(free, self._watching_max - self._watching)
        if free <= 0:
            raise Overloaded("the maximum number of event streams is open")
        if shared:
            self._check("key", self._held[worker, principal.key_id or ""], OF_KEY * free)
            self._check("organisation", self._held[worker, principal.organisation], OF_ORGANISATION * free)
        self._count(principal, 1, worker=worker)

    def leave(self, principal: Principal, *, worker: bool) -> None:
        """Count a stream that has ended."""
        self._count(principal, -1, worker=worker)

    @staticmethod
    def _check(holder: str, held: int, share: float) -> None:
        if held >= share:
            detail = f"the {holder} has {held:,} event streams open, and may have no more at present"
            raise TooManyRequests(detail, retry_after_s=AGAIN_S)

    def _count(self, principal: Principal, one: int, *, worker: bool) -> None:
        self.open += one
        self._watching += 0 if worker else one
        for holder in ((worker, principal.key_id or ""), (worker, principal.organisation)):
            self._held[holder] += one
            if not self._held[holder]:
                del self._held[holder]
