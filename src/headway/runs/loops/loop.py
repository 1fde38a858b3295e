"""Start, tick, stop: the one shape that all loops have."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from headway.clock import Clock
from headway.errors import Unavailable
from headway.notify.events import CommitEvent, Dispatcher, LaneClosed, Timer

log = logging.getLogger("headway.loops")

LONGEST_S = 30.0
"""Loops sleep by the monotonic clock: if the wall clock jumps ahead, what has come due with it waits no longer than this."""
BACK_OFF_S = 1.0
"""After a tick that failed; doubled up to a minute, unless it is only the store that is not available."""


class Ticking(Protocol):
    """What a loop does."""

    name: str
    wakes_on: tuple[type[CommitEvent], ...]
    """After-commit events after which there may be something to do."""

    async def tick(self) -> int | None:
        """Do what is due; return in how many milliseconds there is more to do, or None if only a wake-up will tell."""
        ...


class Loop:
    """Calls `tick` when it is due, and earlier when woken. A tick that fails is logged and tried again later.

    It goes on until it is stopped: whatever a tick raises, and if the loop itself fails.
    """

    def __init__(self, ticking: Ticking, *, longest_s: float = LONGEST_S, back_off_max_s: float = 60.0) -> None:
        """It ticks once in `longest_s` at least; after failures it waits no longer than `back_off_max_s`."""
        self.ticking = ticking
        self._longest_s = longest_s
        self._back_off_max_s = back_off_max_s
        self.ticks = 0
        self.failures = 0
        self._woken = asyncio.Event()
        self._sleeps_until: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"headway-{self.ticking.name}")
        self._task.add_done_callback(self._ended)

    def subscribe(self, events: Dispatcher, clock: Clock) -> None:
        """Be woken by the events of the loop: by timers at their moment, by others at once."""

        def wake(event: CommitEvent) -> None:
            self.wake(event.at_ms - clock.now_ms() if isinstance(event, Timer | LaneClosed) else 0)

        for kind in self.ticking.wakes_on:
            events.subscribe(kind, wake)

    def wake(self, in_ms: int = 0) -> None:
        """Tick in `in_ms` at the latest."""
        at = asyncio.get_running_loop().time() + max(0, in_ms) / 1000
        if self._sleeps_until is None or at < self._sleeps_until:
            self._sleeps_until = at
            self._woken.set()

    async def stop(self) -> None:
        """End; a tick that is under way is finished by its transaction or not at all."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Begin again, unless somebody has told it to end."""
        if task.cancelled():
            return
        log.critical("loops.ended loop=%s: it begins again", self.ticking.name, exc_info=task.exception())
        self.failures += 1
        self._task = None
        asyncio.get_running_loop().call_later(BACK_OFF_S, self._begin_again)

    def _begin_again(self) -> None:
        if not self._stopped:
            self.start()

    async def _tick(self) -> int | None:
        """Tick; if what it waits for was cancelled, it is not this loop that is to end."""
        try:
            return await self.ticking.tick()
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise RuntimeError("what it waited for was cancelled") from error

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        back_off = BACK_OFF_S
        available = True
        while True:
            self._woken.clear()
            self._sleeps_until = loop.time() + self._longest_s  # what wakes us while we tick sets this lower
            try:
                next_ms = await self._tick()
                back_off = BACK_OFF_S
                available = True
            except Unavailable as error:  # no fault of this loop's; said once
                if available:
                    log.warning("loops.later loop=%s error=%s", self.ticking.name, error)
                available = False
                self.failures += 1
                next_ms = round(BACK_OFF_S * 1000)
            except Exception:
                log.exception("%s failed", self.ticking.name)
                self.failures += 1
                next_ms = round(back_off * 1000)
                back_off = min(back_off * 2, self._back_off_max_s)
            self.ticks += 1
            if next_ms is not None:
                self._sleeps_until = min(self._sleeps_until, loop.time() + max(0, next_ms) / 1000)
            while (left := self._sleeps_until - loop.time()) > 0:
                self._woken.clear()
                try:
                    async with asyncio.timeout(left):
                        await self._woken.wait()
                except TimeoutError:
                    break
