"""Executor: a place where attempts run, as the running attempts see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from headway.worker.attempts.attempt import Attempt

StartClock = Callable[[Attempt], None]
"""Callback at the start of an attempt, from the thread that executes it: its timeouts count from then."""


class Executor(Protocol):
    """Port of the executors beside the event loop: threads, child processes, a Ray cluster."""

    @property
    def capacity(self) -> int:
        """Most attempts at once at present; 0 while the executor cannot be used."""
        ...

    def start(self, attempt: Attempt, start_clock: StartClock) -> None:
        """Execute the attempt, now or as soon as there is a place, and hand its outcome to `attempt.ended`."""
        ...
