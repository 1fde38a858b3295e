"""How many starts are let in at once: as many as are answered soon, whatever it is that holds them up.

An overload that is let in is an overload for everybody: each waits behind all others, and what is done at last is done for
callers who have lost patience. So starts that come to a crowd are refused before anything is done for them, which costs
little, and workers' reports and reads find a server that is busy, not buried. How large a crowd may be is learnt from how
long answers take, as TCP learns how much a network carries.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

from headway.errors import Overloaded

SOON_S: Final = 1.0
"""Within this a start is to be answered."""
LIMITS: Final = (100, 10_000)
"""How many starts may be under way in any case, and at most."""
FIRST: Final = 500
"""How many before anything is learnt."""
LESS: Final = 0.7
MORE: Final = 0.1
"""What a late answer, once in a while, leaves of the limit, and what each answer in time adds to one that is nearly reached."""


class Crowd:
    """The starts that are under way."""

    def __init__(self) -> None:
        """Nobody is there."""
        self.limit: float = FIRST
        self.inside = 0
        self._learns_s = 0.0
        """When a late answer counts again: those that were let in together are late together."""

    def check(self) -> None:
        """Raise Overloaded if there are as many as are answered soon."""
        if self.inside >= self.limit:
            raise Overloaded

    def enter(self) -> float:
        """Count one more; return when that was."""
        self.inside += 1
        return monotonic()

    def leave(self, entered_s: float) -> None:
        """Learn from how long it took."""
        now_s = monotonic()
        if now_s - entered_s > SOON_S:
            if now_s >= self._learns_s:
                self.limit = max(LIMITS[0], min(self.limit, self.inside) * LESS)
                self._learns_s = now_s + SOON_S
        elif self.inside * 2 > self.limit:
            self.limit = min(LIMITS[1], self.limit + MORE)
        self.inside -= 1
