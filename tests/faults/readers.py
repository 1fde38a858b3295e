"""Thousands of readers of event streams in one process, each of which resumes after the last event that it has seen."""

from __future__ import annotations

import asyncio
import random
import re
import socket
import time
from typing import cast

_NUMBERED = re.compile(rb"(?:^|\n)id: (\d+)\nevent: (run\.[a-z]+)\n")
SMALL: int = 4096
"""What the kernel may hold for who does not read."""


class Reader(asyncio.Protocol):
    """One reader, over all its connections. A slow one reads nothing until it is woken."""

    def __init__(self, port: int, run_id: str, *, slow: bool = False, again_s: float = 0.5) -> None:
        """It comes back within `again_s`, at a moment of its own, as the server asks of a crowd."""
        self._port, self._run_id, self._again_s = port, run_id, again_s
        self._slow, self._asleep = slow, False
        self._tail = b""
        self._transport: asyncio.Transport | None = None
        self._begun = False
        self.seen = 0
        """The number of the last event."""
        self.wrong: list[str] = []
        self.lives = 0
        self.greeted_s: float | None = None
        """When it was last told how the run is."""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self) -> None:
        """Come, again and again until somebody is there."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self._connect(loop)
            except OSError:
                await asyncio.sleep(random.uniform(0.05, self._again_s))
            else:
                return

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> None:
        made = socket.socket()
        made.setblocking(False)
        if self._slow:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        try:
            await loop.sock_connect(made, ("127.0.0.1", self._port))
            await loop.create_connection(lambda: self, sock=made)
        except BaseException:  # also when all is over while this is on its way
            made.close()
            raise

    def wake(self) -> None:
        """Read what has come, and from now on everything at once."""
        self._slow = False
        if self._asleep and self._transport is not None:
            self._asleep = False
            self._transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for what comes after what was seen."""
        self._transport = cast(asyncio.Transport, transport)
        self._tail, self._begun = b"", False
        self.lives += 1
        self._transport.write(
            f"GET /v1/runs/{self._run_id}/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n"
            f"Last-Event-ID: {self.seen}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """Look at every event: each has to be the next."""
        if not self._begun:
            if not data.startswith(b"HTTP/1.1 20"):
                self.wrong.append(repr(data[:300]))
            self._begun = True
        if data.startswith(b"HTTP/1.1 204"):
            self._end()
        *frames, self._tail = (self._tail + data).split(b"\n\n")
        for frame in frames:
            if found := _NUMBERED.search(frame):
                self._saw(int(found[1]), found[2])
            elif b"event: snapshot" in frame:
                self.greeted_s = time.monotonic()
                if self._slow and self._transport is not None:
                    self._asleep = True
                    self._transport.pause_reading()
            elif b"event: end" in frame:
                self._end()

    def _saw(self, number: int, kind: bytes) -> None:
        if kind == b"run.progress":
            return
        if number != self.seen + 1:
            self.wrong.append(f"{number} came after {self.seen}")
        self.seen = number

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Come back, unless it was the end."""
        self._transport, self._asleep = None, False
        if not self.ended.done():
            loop = asyncio.get_running_loop()
            loop.call_later(random.uniform(0, self._again_s), lambda: _kept(loop.create_task(self.connect())))

    def close(self) -> None:
        """Leave."""
        self._end()
        if self._transport is not None:
            self._transport.abort()


_coming: set[asyncio.Task[None]] = set()


def _kept(task: asyncio.Task[None]) -> None:
    _coming.add(task)
    task.add_done_callback(_coming.discard)
