"""Thread pool for calls that may never return: its threads do not delay the end of the process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class DaemonThreadPool:
    """Pool of daemon threads, started on demand.

    The standard library's pool joins its threads at the end of the process, so that a silent database would delay it.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._threads = 0
        self._idle = 0
        self._lock = threading.Lock()
        self._left: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Run a function as soon as a thread is free."""
        future: Future[T] = Future()
        with self._lock:
            self._left.put((future, work))
            if self._idle:
                self._idle -= 1
            elif self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._serve, name=self._name, daemon=True).start()
        return future

    def close(self) -> None:
        """Cancel waiting calls, and end each thread after its present call."""
        with self._lock:
            while not self._left.empty():
                left = self._left.get()
                if left is not None:
                    left[0].cancel()
            for _ in range(self._threads):
                self._left.put(None)

    def _serve(self) -> None:
        while (given := self._left.get()) is not None:
            future, work = given
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:  # noqa: BLE001 - it belongs to who asked
                    future.set_exception(error)
            del given, future, work
            with self._lock:
                if self._left.empty():
                    self._idle += 1
