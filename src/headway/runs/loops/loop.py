"""Loop: repeated ticks of one job, with wake-ups, back-off and restart."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

from headway.clock import Clock
from headway.errors import Unavailable
from headway.notify.events import CommitEvent, Dispatcher, LaneClosed, Timer

log = logging.getLogger("headway.loops")

LONGEST_S: Final = 30.0
"""Longest sleep in seconds, by the monotonic clock; bounds delays after the wall clock was set ahead."""
BACK_OFF_S: Final = 1.0
"""Pause after a failed tick, doubled up to a minute unless the store is unavailable."""


class Ticking(Protocol):
    """Job of a loop."""

    name: str
    wakes_on: tuple[type[CommitEvent], ...]
    """After-commit events that may make a tick due."""

    async def tick(self) -> int | None:
        """Do all due work; return the milliseconds until the next tick, or None to wait for a wake-up."""
        ...


class Loop:
    """Calls `tick` when it is due, and earlier when woken. A failed tick is logged and repeated later.

    The loop runs until it is stopped, whatever a tick raises and even if the loop itself fails.
    """

    def __init__(self, ticking: Ticking, *, longest_s: float = LONGEST_S, back_off_max_s: float = 60.0) -> None:
        """`longest_s` is the longest interval of ticks, `back_off_max_s` the longest pause after failures, in seconds."""
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
        """Subscribe to the events in `wakes_on`: timers wake the loop at their time, others at once."""

        def wake(event: CommitEvent) -> None:
            self.wake(event.at_ms - clock.now_ms() if isinstance(event, Timer | LaneClosed) else 0)

        for kind in self.ticking.wakes_on:
            events.subscribe(kind, wake)

    def wake(self, in_ms: int = 0) -> None:
        """Tick in `in_ms` milliseconds at the latest."""
        at = asyncio.get_running_loop().time() + max(0, in_ms) / 1000
        if self._sleeps_until is None or at < self._sleeps_until:
            self._sleeps_until = at
            self._woken.set()

    async def stop(self) -> None:
        """Cancel the loop; a tick in progress is finished by its transaction or not at all."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Restart the loop, unless it was stopped."""
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
        """Tick; the cancellation of an awaited future, instead of this task, becomes a RuntimeError."""
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
            self._sleeps_until = loop.time() + self._longest_s  # wake-ups during the tick lower it
            try:
                next_ms = await self._tick()
                back_off = BACK_OFF_S
                available = True
            except Unavailable as error:  # logged once
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
