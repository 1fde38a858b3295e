"""The worker's standing with the server: under which id it is known, and until when its leases can be trusted."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Final

from headway.client.errors import ConnectionLost, UnexpectedAnswer
from headway.clock import Clock
from headway.errors import HeadwayError, TooManyRequests, Unavailable
from headway.protocol.workers import RegisterWorker
from headway.worker.protocol.link import Link

TRANSIENT: Final = (ConnectionLost, Unavailable, TooManyRequests, OSError)
"""Errors that a later try may not meet."""


def may_pass(error: Exception) -> bool:
    """Tell whether the same request may be answered differently later: the server's trouble, not a fault of the request."""
    if isinstance(error, UnexpectedAnswer):
        return False  # that is no server of ours
    return isinstance(error, TRANSIENT) or (isinstance(error, HeadwayError) and error.status >= 500)  # noqa: PLR2004


class Backoff:
    """Delays that double, with jitter, so that a crowd of workers does not come back as a crowd."""

    def __init__(self, first_s: float = 0.05, longest_s: float = 5.0) -> None:
        """Begin with about `first_s`."""
        self._first_s = first_s
        self._longest_s = longest_s
        self._next_s = first_s

    def next_s(self) -> float:
        """Return the next delay: between half and the whole of the present step."""
        step, self._next_s = self._next_s, min(self._longest_s, self._next_s * 2)
        return step * (0.5 + os.urandom(1)[0] / 510)

    def reset(self) -> None:
        """Begin again with the first delay, after a success."""
        self._next_s = self._first_s


class ClaimNumbers:
    """The numbers of the claims under way: what a heartbeat has to say, so that the server knows what has never arrived."""

    def __init__(self) -> None:
        """None yet."""
        self._last = 0
        self._now: tuple[int, ...] = ()

    def begin(self) -> int:
        """Return the number of a request that is sent now; an earlier request for the same claim does not count any more."""
        self._last += 1
        self._now = (self._last,)
        return self._last

    def end(self) -> None:
        """Note the end of the claim: its runs are among the held leases, and it takes no more."""
        self._now = ()

    @property
    def now(self) -> list[int]:
        """Numbers of the claims under way; to be read before `held`."""
        return list(self._now)


class Session:
    """One registration after the other; all threads of the worker ask here."""

    def __init__(
        self, link: Link, hello: RegisterWorker, clock: Clock, stopping: threading.Event, say: Callable[[str], None]
    ) -> None:
        """Keep the parts, without a registration yet."""
        self._link = link
        self._hello = hello
        self._clock = clock
        self._stopping = stopping
        self._say = say
        self._lock = threading.Lock()
        self.id = ""
        self.lease_ms = 15_000
        self.heartbeat_ms = 5_000
        self.claiming = ClaimNumbers()
        self.beat = 0
        """The number of the last heartbeat that was answered, as the server counts them."""
        self.heard_ms = clock.monotonic_ms()
        """Monotonic time at which the last answered heartbeat was *sent*: leases are good for `lease_ms` from then."""

    def begin(self) -> bool:
        """Register, however long it takes; return False if the worker is to end instead. Raises what will not change."""
        backoff = Backoff()
        told = False
        while not self._stopping.is_set():
            sent_ms = self._clock.monotonic_ms()
            try:
                known = self._link.register(self._hello)
            except (HeadwayError, OSError) as error:
                if not may_pass(error):
                    raise
                if not told:
                    self._say(f"waiting for the server: {error}")
                told = True
                self._stopping.wait(backoff.next_s())
                continue
            self.id, self.lease_ms, self.heartbeat_ms = known.id, known.lease_ms, known.heartbeat_ms
            self.heard_ms = sent_ms
            for notice in known.notices:
                self._say(notice)
            return True
        return False

    def renew(self, unknown_id: str, lose_all: Callable[[], None]) -> None:
        """Register again after the server said that it does not know `unknown_id`: everything held under it is lost."""
        with self._lock:
            if self.id != unknown_id:
                return  # another thread was quicker
            lose_all()
            self._say("the server does not know this worker any more; it registers again")
            try:
                self.begin()
            except HeadwayError as error:
                self._say(f"the server refused the worker: {error}")
                self._stopping.wait(5)

    def heard(self, sent_ms: int, beat: int) -> None:
        """Note an answered heartbeat."""
        self.heard_ms = max(self.heard_ms, sent_ms)
        self.beat = beat

    def tell_lapse(self, held: int) -> None:
        """Tell people that `held` leases can no longer be trusted: it is why their functions end in the middle."""
        runs = "the run" if held == 1 else f"the {held:,} runs"
        self._say(f"no answer from the server for {self.lease_ms / 1000:g} s: {runs} in hand may be another's by now")

    def lapses_ms(self) -> int:
        """Return when leases can no longer be trusted, unless another heartbeat is answered before."""
        return self.heard_ms + self.lease_ms
