"""Passing a process's output on, with a limit: a function that prints a gigabyte fills no log and stops no worker."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Final

from headway.clock import Clock

BYTES_PER_S: Final = 256 * 1024
READ_BYTES: Final = 65_536


class Throttle:
    """Passes at most so many bytes a second on and says how many it dropped."""

    def __init__(self, write: Callable[[bytes], None], clock: Clock, limit: int = BYTES_PER_S) -> None:
        """`write` gets what passes."""
        self._write = write
        self._clock = clock
        self._limit = limit
        self._second = 0
        self._passed = 0
        self._dropped = 0

    def feed(self, chunk: bytes) -> None:
        """Pass on, or drop."""
        second = self._clock.monotonic_ms() // 1000
        if second != self._second:
            self._second, self._passed = second, 0
            self.finish()
        room = self._limit - self._passed
        if room > 0:
            self._write(chunk[:room])
        self._passed += min(room, len(chunk))
        self._dropped += max(0, len(chunk) - room)

    def finish(self) -> None:
        """Say what was dropped, if anything."""
        if self._dropped:
            self._write(f"\n[headway: {self._dropped} bytes of output were dropped]\n".encode())
            self._dropped = 0


def to_stdout(chunk: bytes) -> None:
    """Write to this process's standard output, past Python's buffers, as far as it takes it."""
    try:
        sys.stdout.flush()
        os.write(1, chunk)
    except OSError:
        pass  # nobody reads it: output is not worth a failure
