"""How many event streams are open, and who may open another.

The server holds a limited number, which has to do for everybody. From the first key on, a key may have half as many as are
still free, and an organisation twice as many: whoever comes next finds room, however many one has opened. A part is kept for
what workers are told, since a worker without its stream hears late what it is to stop.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from headway.errors import Overloaded, TooManyRequests
from headway.model.access import Principal

KEPT: Final = 8
"""One part in so many is kept for workers."""
OF_KEY: Final = 0.5
OF_ORGANISATION: Final = 2
"""How many streams each may have for one that is free: alone, a third and two thirds of all."""
AGAIN_S: Final = 5


class Streams:
    """The open streams of a server."""

    def __init__(self, streams_max: int) -> None:
        """`streams_max` is how many there may be, those of workers among them."""
        self._max = streams_max
        self._watching_max = streams_max - streams_max // KEPT
        self._watching = 0
        self._held: Counter[tuple[bool, str | int]] = Counter()
        """How many each key, by its id, and each organisation, by its number, has; those of workers apart."""
        self.open = 0

    def enter(self, principal: Principal, *, worker: bool, shared: bool) -> None:
        """Count one more; raise Overloaded if there is no room, TooManyRequests if the caller has their share.

        `worker` says that it is what a worker is told, `shared` that callers are told apart, by their keys.
        """
        free = self._max - self.open
        if not worker:
            free = min(free, self._watching_max - self._watching)
        if free <= 0:
            raise Overloaded("as many event streams are open as the server will hold")
        if shared:
            self._check("key", self._held[worker, principal.key_id or ""], OF_KEY * free)
            self._check("organisation", self._held[worker, principal.organisation], OF_ORGANISATION * free)
        self._count(principal, 1, worker=worker)

    def leave(self, principal: Principal, *, worker: bool) -> None:
        """Count one less."""
        self._count(principal, -1, worker=worker)

    @staticmethod
    def _check(whose: str, held: int, share: float) -> None:
        if held >= share:
            detail = f"the {whose} has {held:,} event streams open, and may have no more at present"
            raise TooManyRequests(detail, retry_after_s=AGAIN_S)

    def _count(self, principal: Principal, one: int, *, worker: bool) -> None:
        self.open += one
        self._watching += 0 if worker else one
        for holder in ((worker, principal.key_id or ""), (worker, principal.organisation)):
            self._held[holder] += one
            if not self._held[holder]:
                del self._held[holder]
