"""An event loop on which time is a number and chance is a seed: what happens, and in which order, is the same each time.

Nothing here waits. When no callback is ready, time moves to the next timer; timers of one moment fire in an order that
the seed draws. Callbacks that are ready run in the order in which they came, as asyncio promises.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import random
from asyncio import events
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

STEPS_MAX = 300_000
"""A seed has a few thousand."""

ALIVE: ContextVar[SimulatedProcess | None] = ContextVar("ALIVE", default=None)
"""The process that a callback belongs to; what nobody's death ends has none."""


class SimulatedProcess:
    """One process, from its start to its kill -9: whatever was begun within it ends with it, without another step."""

    def __init__(self, loop: VirtualLoop, name: str) -> None:
        self.name = name
        self.dead = False
        self.late: list[asyncio.Handle] | None = None
        """While the process stands still: what it would have done meanwhile."""
        self._loop = loop
        self._tasks: list[asyncio.Task[Any]] = []
        self._context = copy_context()
        self._context.run(ALIVE.set, self)

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begin a task of this process."""
        assert not self.dead, self.name
        return self._loop.create_task(coroutine, context=self._context)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in this process."""
        return self._context.copy().run(function, *arguments)

    def own(self, task: asyncio.Task[Any]) -> None:
        """Take in a task that was begun within."""
        if len(self._tasks) > 200:
            self._tasks = [known for known in self._tasks if not known.done()]
        self._tasks.append(task)

    def stop(self) -> None:
        """Let it stand still, as SIGSTOP does: time goes on, and it does not know."""
        if self.late is None:
            self.late = []

    def go_on(self) -> None:
        """Let it go on, with everything that has waited for it."""
        late, self.late = self.late or [], None
        self._loop._ready.extend(late)

    def kill(self) -> None:
        """End it. Its coroutines are closed only so that they do not complain of it; whatever they touch is gone too."""
        self.dead, self.late = True, None
        for task in self._tasks:
            if not task.done():
                task._log_destroy_pending = False
                coroutine = task.get_coro()
                if not coroutine.cr_running:
                    with contextlib.suppress(BaseException):  # the last words of the dead
                        coroutine.close()
        self._tasks.clear()


class Deadlock(AssertionError):
    """Nothing is ready and nothing is due: somebody waits for what will never come."""


class VirtualLoop(asyncio.BaseEventLoop):
    """One thread, virtual time."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng
        self._now = 0.0
        self._timers: list[tuple[float, float, asyncio.TimerHandle]] = []
        self.steps = 0
        self.failures: list[dict[str, Any]] = []
        """What nobody has caught."""
        self.set_task_factory(self._begin)
        self.set_exception_handler(lambda loop, context: self.failures.append(context))

    def _begin(self, loop: asyncio.AbstractEventLoop, coroutine: Any, context: Context | None = None) -> Any:
        task = asyncio.Task(coroutine, loop=loop, context=context)
        life = ALIVE.get() if context is None else context.get(ALIVE)
        if life is not None:
            life.own(task)
        return task

    # -- what asyncio asks of a loop -----------------------------------------------------------------------------------

    def time(self) -> float:
        """Return seconds since the beginning."""
        return self._now

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call at a moment; of several at one moment the seed says which is first."""
        timer = events.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, self._rng.random(), timer))
        return timer

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call after so many seconds."""
        return self.call_at(self._now + max(0.0, delay), callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Leave it where it is: it is passed over when its time comes."""

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        """When a generator is collected is not the seed's to say: nothing is done then."""

    def _write_to_self(self) -> None:
        """There is no other thread to be woken from."""

    def _process_events(self, event_list: Any) -> None:
        """There are no sockets."""

    def _run_once(self) -> None:
        while not self._ready:
            if not self._timers:
                raise Deadlock(f"nothing is left to happen at {self._now:.3f} s")
            when, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled():
                self._now = max(self._now, when)
                self._ready.append(timer)
        handle = self._ready.popleft()
        if handle.cancelled():
            return
        life = handle._context.get(ALIVE)
        if life is not None:
            if life.dead:
                return
            if life.late is not None:
                life.late.append(handle)
                return
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Deadlock(f"{STEPS_MAX} steps, and no end: something goes round in a circle")
        handle._run()
