"""Mailbox: a Ray actor that queues messages between the driver and the functions, since neither of them can be called.

It lives on the driver's node, so that no other node's death harms runs elsewhere. It knows which leases the driver has
opened, lets one process into each, once, and takes nothing more for those that are closed. It imports nothing of Ray.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, Literal

from headway.clock import Clock, SystemClock
from headway.worker.context.report_buffer import Key

Kind = Literal["began", "mail", "ended"]
Item = tuple[Key, Kind, bytes]

POLL_S: Final = 5.0
"""Longest wait of one call for messages."""
DRIVER_SILENCE_MAX_MS: Final = 30_000
"""A driver that has not called for this long counts as dead: its functions are told to end."""
QUEUED_MAX: Final = 10_000
QUEUED_BYTES_MAX: Final = 32 << 20
"""Bytes queued for the driver beyond which senders wait."""


class _Inbox:
    """Messages for one function."""

    def __init__(self) -> None:
        self.entered = False
        self.down: list[bytes] = []
        self.changed = asyncio.Event()


class Mailbox:
    """Queues by lease. The driver calls open, deliver, withdraw, collect, close; functions call enter, send, fetch."""

    def __init__(self, clock: Clock | None = None) -> None:
        """Empty."""
        self._clock = clock or SystemClock()
        self._boxes: dict[Key, _Inbox] = {}
        self._up: list[Item] = []
        self._up_bytes = 0
        self._arrived = asyncio.Event()
        self._emptied = asyncio.Event()
        self._heard_ms = self._clock.monotonic_ms()

    # -- the driver ----------------------------------------------------------------------------------------------------

    async def open(self, key: Key) -> None:
        """Expect a process for this lease."""
        self._boxes[key] = _Inbox()

    async def deliver(self, key: Key, frame: bytes) -> None:
        """Keep a frame for the function until it fetches it."""
        box = self._boxes.get(key)
        if box is not None:
            box.down.append(frame)
            box.changed.set()

    async def withdraw(self, key: Key) -> bool:
        """Let no process in any more; return False if one is in already."""
        box = self._boxes.get(key)
        if box is None or box.entered:
            return False
        box.entered = True
        return True

    async def close(self, key: Key) -> None:
        """Take nothing more for this lease; its end is told behind everything that was sent for it before."""
        box = self._boxes.pop(key, None)
        if box is not None:
            box.changed.set()
            self._enqueue(key, "ended", b"")

    async def collect(self) -> list[Item]:
        """Return the messages since the last call, in order; wait up to POLL_S for the first."""
        self._heard_ms = self._clock.monotonic_ms()
        if not self._up:
            await _within(POLL_S, self._arrived)
        self._heard_ms = self._clock.monotonic_ms()
        found, self._up, self._up_bytes = self._up, [], 0
        self._arrived.clear()
        self._emptied.set()
        return found

    # -- the functions -------------------------------------------------------------------------------------------------

    async def enter(self, key: Key, node: str) -> bool:
        """Let a process on that node execute the lease: the first that asks, while it is wanted."""
        if not await self.withdraw(key):
            return False
        self._enqueue(key, "began", node.encode())
        return True

    async def send(self, key: Key, frames: list[bytes]) -> bool:
        """Queue frames of a function for the driver; return False if its lease is closed."""
        while key in self._boxes and self._full and not self._driver_silent:
            self._emptied.clear()
            await _within(POLL_S, self._emptied)
        if key not in self._boxes or self._driver_silent:
            return False
        for frame in frames:
            self._enqueue(key, "mail", frame)
        return True

    async def fetch(self, key: Key) -> list[bytes] | None:
        """Return the frames for a function, waiting up to POLL_S; None if it is to end at once."""
        box = self._boxes.get(key)
        if box is not None and not box.down:
            await _within(POLL_S, box.changed)
        if box is None or self._boxes.get(key) is not box or self._driver_silent:
            return None
        box.changed.clear()
        found, box.down = box.down, []
        return found

    @property
    def _driver_silent(self) -> bool:
        return self._clock.monotonic_ms() - self._heard_ms > DRIVER_SILENCE_MAX_MS

    @property
    def _full(self) -> bool:
        return len(self._up) >= QUEUED_MAX or self._up_bytes >= QUEUED_BYTES_MAX

    def _enqueue(self, key: Key, kind: Kind, text: bytes) -> None:
        self._up.append((key, kind, text))
        self._up_bytes += len(text)
        self._arrived.set()


async def _within(seconds: float, event: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
