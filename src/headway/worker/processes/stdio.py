"""Passing a process's output on, with a limit: a function that prints a gigabyte fills no log and stops no worker."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Final

from headway.clock import Clock

BYTES_PER_S: Final = 256 * 1024
READ_BYTES: Final = 65_536
REPEATED_MAX: Final = 65_536
"""Longer output is always shown."""


class Throttle:
    """Passes at most so many bytes a second on and says how many it dropped."""

    def __init__(
        self,
        write: Callable[[bytes], None],
        clock: Clock,
        limit: int = BYTES_PER_S,
        shape: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """`write` gets what passes. With `shape`, only whole lines do, and it makes one of the words about what was dropped."""
        self._write = write
        self._shape = shape
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
        cut = min(room, len(chunk))
        if self._shape is not None and cut < len(chunk):
            cut = chunk.rfind(b"\n", 0, cut) + 1
        if cut > 0:
            self._write(chunk[:cut])
        self._passed += cut
        self._dropped += len(chunk) - cut

    def finish(self) -> None:
        """Report the number of dropped bytes, if any were."""
        if self._dropped:
            words = f"[headway: {self._dropped} bytes of output were dropped]".encode()
            self._write(b"\n%b\n" % words if self._shape is None else self._shape(words))
            self._dropped = 0


class Repetition:
    """Keeps a process's output back as long as it repeats, byte for byte, that of its last life, which failed."""

    def __init__(self) -> None:
        self._before = b""
        self._output = bytearray()
        self.shown = True
        """True if the output of this life differs from that of the last, and passes."""

    def begin(self) -> None:
        """Begin a life."""
        self._output.clear()
        self.shown = not self._before

    def feed(self, chunk: bytes) -> bytes:
        """Take some output; return the bytes to show now."""
        if len(self._output) <= REPEATED_MAX:
            self._output += chunk
        if self.shown:
            return chunk
        self.shown = not self._before.startswith(self._output)
        return bytes(self._output) if self.shown else b""

    def end(self, *, failed: bool) -> bytes:
        """End the life; return the bytes that remain to be shown.

        After a failure, the next life's output is compared with this one's.
        """
        held = b"" if self.shown or failed else bytes(self._output)
        self._before = bytes(self._output) if failed and len(self._output) <= REPEATED_MAX else b""
        return held


def to_stderr(chunk: bytes) -> None:
    """Write to this process's standard error; a terminal or pipe that is gone is not worth a failure."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
        os.write(2, chunk)


def to_stdout(chunk: bytes) -> None:
    """Write to this process's standard output, past Python's buffers, as far as it takes it."""
    try:
        sys.stdout.flush()
        os.write(1, chunk)
    except OSError:
        pass  # the reader has closed the stream: lost output is not an error
