"""Executor on the worker's event loop: async functions, and plain ones with `executor="inline"`."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque

from headway.clock import Clock
from headway.worker.attempts.attempt import Attempt
from headway.worker.attempts.executor import StartClock


class InlineExecutor:
    """Attempts on the worker's loop, handed over from the claimer's thread in batches."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._incoming: deque[Attempt] = deque()
        self._start_clock: StartClock = Attempt.start_clock
        self.loop: asyncio.AbstractEventLoop | None = None
        """The loop, once the worker has begun."""
        self.thread = 0
        """Identifier of the loop's thread."""
        self.begun = threading.Event()
        """Set while the loop has taken up all attempts handed to it."""
        self.begun.set()
        self._turned = threading.Event()
        """Set by the loop at its next turn after it was cleared."""
        self._turned.set()
        self._asked_ms = 0

    def bind(self, loop: asyncio.AbstractEventLoop, start_clock: StartClock) -> None:
        """Take the loop, which is this thread's."""
        self._start_clock = start_clock
        self.thread = threading.get_ident()
        self.loop = loop

    @property
    def here(self) -> bool:
        """True on the loop's thread."""
        return self.loop is not None and threading.get_ident() == self.thread

    def put(self, attempt: Attempt) -> None:
        """Add an attempt to the batch that `start` hands over."""
        self._incoming.append(attempt)

    def start(self) -> None:
        """Have the loop take up the batch, at its next turn."""
        if self._incoming:
            assert self.loop is not None, "bound before the first claim"
            self.begun.clear()
            self.loop.call_soon_threadsafe(self._begin)

    def withdraw(self) -> Attempt | None:
        """Take back an attempt that the loop has not taken up; None if there is none."""
        try:
            return self._incoming.popleft()
        except IndexError:
            return None

    def held_ms(self) -> int:
        """Return for how long the loop has not turned, and have it turn again; for any thread but the loop's."""
        now_ms = self._clock.monotonic_ms()
        if self.loop is not None and self._turned.is_set():
            self._asked_ms = now_ms
            self._turned.clear()
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self.loop.call_soon_threadsafe(self._turned.set)
        return now_ms - self._asked_ms if self.loop is not None else 0

    def _begin(self) -> None:
        assert self.loop is not None, "bound before the first claim"
        incoming, create_task = self._incoming, self.loop.create_task
        while incoming:
            try:
                attempt = incoming.popleft()
            except IndexError:  # taken back in this moment
                break
            if attempt.task.timed:
                self._start_clock(attempt)
            attempt.loop = self.loop
            create_task(attempt.run_async())
        self.begun.set()
