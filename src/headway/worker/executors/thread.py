"""Executor in a pool of threads: plain functions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from headway.worker.attempts.attempt import Attempt
from headway.worker.attempts.executor import StartClock


class ThreadExecutor:
    """Attempts in threads of the worker's process."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._threads = ThreadPoolExecutor(capacity, "headway-task")

    def start(self, attempt: Attempt, start_clock: StartClock) -> None:
        """Execute the attempt in the next free thread."""
        attempt.future = self._threads.submit(_run, attempt, start_clock)

    def close(self) -> None:
        """Start no more attempts; threads of user code are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _run(attempt: Attempt, start_clock: StartClock) -> None:
    start_clock(attempt)
    attempt.run_blocking()
