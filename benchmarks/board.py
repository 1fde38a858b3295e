"""Counts what happens inside workers: every worker process writes into a file of its own in /dev/shm.

So that a worker is timed by the code that it runs, on one clock, and nobody has to ask the server anything meanwhile.
`hit` is for the tasks, `Board` for who measures. The folder is named by HEADWAY_BENCH_BOARD.
"""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

CAP = 200_000
"""Latencies kept of one process; further hits are counted only."""
HEAD = struct.Struct("=QQQ")
"""Hits, the first, the last: nanoseconds of the monotonic clock, which all processes share."""


def folder() -> Path:
    """Return where the processes of one measurement count."""
    return Path(os.environ.get("HEADWAY_BENCH_BOARD", "/dev/shm/headway-board"))


class Slot:
    """The counter of this process."""

    def __init__(self) -> None:
        folder().mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder() / str(os.getpid()), os.O_CREAT | os.O_RDWR)
        os.ftruncate(descriptor, HEAD.size + 8 * CAP)
        self._map = mmap.mmap(descriptor, HEAD.size + 8 * CAP)
        os.close(descriptor)
        self._hits, self._first = HEAD.unpack_from(self._map)[:2]
        self._lock = threading.Lock()

    def hit(self, sent_ns: int) -> None:
        """Count, and note how long ago it was sent."""
        now = time.monotonic_ns()
        with self._lock:
            self._first = self._first or now
            if self._hits < CAP:
                struct.pack_into("=q", self._map, HEAD.size + 8 * self._hits, now - sent_ns if sent_ns else 0)
            self._hits += 1
            HEAD.pack_into(self._map, 0, self._hits, self._first, now)


_slot: Slot | None = None


def hit(sent_ns: int = 0) -> None:
    """Count one execution; `sent_ns` is the monotonic time of its start, or 0."""
    global _slot  # noqa: PLW0603 - one a process
    if _slot is None:
        _slot = Slot()
    _slot.hit(sent_ns)


def _forget() -> None:
    global _slot  # noqa: PLW0603 - a child counts in a file of its own
    _slot = None


os.register_at_fork(after_in_child=_forget)


class Board:
    """All counters of one measurement."""

    def __init__(self) -> None:
        os.environ["HEADWAY_BENCH_BOARD"] = f"/dev/shm/headway-board-{os.getpid()}"
        self.clear()

    def clear(self) -> None:
        """Begin anew; only while no worker runs."""
        shutil.rmtree(folder(), ignore_errors=True)
        folder().mkdir(parents=True)

    def close(self) -> None:
        """Remove the files."""
        shutil.rmtree(folder(), ignore_errors=True)

    def read(self) -> tuple[int, int, int]:
        """Return hits, and the times of the first and of the last."""
        heads = [HEAD.unpack(head) for file in folder().iterdir() if len(head := _begin(file)) == HEAD.size]
        heads = [head for head in heads if head[0]]
        if not heads:
            return 0, 0, 0
        return sum(head[0] for head in heads), min(head[1] for head in heads), max(head[2] for head in heads)

    def latencies_ms(self) -> list[float]:
        """Return how long each took from its start to its first line, where that was noted."""
        found: list[float] = []
        for file in folder().iterdir():
            content = file.read_bytes()
            hits = min(HEAD.unpack_from(content)[0], CAP)
            found += [ns / 1e6 for ns in struct.unpack_from(f"={hits}q", content, HEAD.size) if ns]
        return found

    def wait(self, hits: int, timeout_s: float, alive: Callable[[], bool] = lambda: True) -> None:
        """Wait until so many were counted; raise TimeoutError."""
        until = time.monotonic() + timeout_s
        while (counted := self.read()[0]) < hits:
            if time.monotonic() > until or not alive():
                raise TimeoutError(f"{counted} of {hits} runs were executed")
            time.sleep(0.005)


def _begin(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(HEAD.size)
