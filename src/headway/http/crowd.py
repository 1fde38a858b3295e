"""How many starts are let in at once: as many as are answered soon, whatever it is that holds them up.

An overload that is let in is an overload for everybody: each waits behind all others, and what is done at last is done for
callers who have lost patience. So starts that come to a crowd are refused before anything is done for them, which costs
little, and workers' reports and reads find a server that is busy, not buried; lists and exports wait until starts are let
in again. How large a crowd may be is learnt from how
long answers take, as TCP learns how much a network carries.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Final

from headway.model.access import Scope

SOON_S: Final = 1.0
"""Within this a start is to be answered."""
LIMITS: Final = (200, 10_000)
"""How many starts may be under way in any case, and at most."""
FIRST: Final = 500
"""How many before anything is learnt."""
LESS: Final = 0.7
MORE: Final = 0.1
"""What a late answer, once in a while, leaves of the limit, and what each answer in time adds to one that is nearly reached."""


class Crowd:
    """The starts that are under way."""

    def __init__(self, excused: Callable[[], bool] = lambda: False) -> None:
        """`excused` tells whether the current request is slow because of its own work, and so says nothing about the load."""
        self.limit: float = FIRST
        self.inside = 0
        self.expected = 0
        """Who was let in at the door and is not here yet: in one turn of the event loop many may come."""
        self.pressed = False
        """Whether the limit was nearly reached not long ago, so that whoever comes has to be looked at."""
        self._pressed_s = 0.0
        self._refusing_s = 0.0
        """Until then starts are known to be refused."""
        self._learns_s = 0.0
        """When a late answer counts again: those that were let in together are late together."""
        self._excused = excused

    @property
    def full(self) -> bool:
        """Whether there are as many as are answered soon."""
        return self.inside + self.expected >= self.limit

    def has_room(self, scope: Scope, *, gives_way: bool) -> bool:
        """Whether a request for a route of the scope is let in: starts as long as it is not full, what gives way as long as they are.

        To be asked only while it is pressed.
        """
        if scope == "run:start":
            if not self.full:
                return True
            self._refusing_s = monotonic() + SOON_S
            return False
        return not (gives_way and monotonic() < self._refusing_s)

    def visit(self) -> Visit:
        """Count one more, for as long as the block lasts."""
        return Visit(self)

    def enter(self) -> float:
        """Count one more; return when that was."""
        now_s = monotonic()
        self.inside += 1
        if self.inside * 2 > self.limit:
            self.pressed, self._pressed_s = True, now_s
        return now_s

    def leave(self, entered_s: float) -> None:
        """Learn from how long it took."""
        now_s = monotonic()
        if now_s - entered_s > SOON_S:
            if now_s >= self._learns_s and not self._excused():
                self.limit = max(LIMITS[0], min(self.limit, self.inside) * LESS)
                self._learns_s = now_s + SOON_S
        elif self.inside * 2 > self.limit:
            self.limit = min(LIMITS[1], self.limit + MORE)
        self.inside -= 1
        if self.pressed and now_s - self._pressed_s > SOON_S:
            self.pressed = False


class Visit:
    """One start that is under way."""

    __slots__ = ("_crowd", "_entered_s")

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd

    def __enter__(self) -> None:
        self._entered_s = self._crowd.enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._crowd.leave(self._entered_s)
