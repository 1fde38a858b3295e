"""Many readers of event streams in one process: `readers.py PORT`, told what to do by lines of JSON on standard input.

    {"connect": [PATH, …], "lanes": 50}             open a stream each; answers when each has had its snapshot
    {"watch": "event: run.changed", "count": 1000}  from now on, note deliveries of what has this text
    {"collect": SECONDS}                            answers when so many have come, or time is up, with the monotonic
                                                    nanoseconds of each
    {"close": true}                                 close all

A reader is a protocol object with a counter, so that what it costs does not hide what the server costs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from typing import Any, cast

import uvloop


class Deliveries:
    """What has come so far."""

    def __init__(self) -> None:
        self.marker = b"event: run."
        self.at_ns: list[int] = []
        self.lost = 0
        self.wanted = 0
        self.done = asyncio.Event()

    def note(self, count: int, now_ns: int) -> None:
        """Count deliveries that came in one piece."""
        self.at_ns += [now_ns] * count
        if len(self.at_ns) >= self.wanted:
            self.done.set()


class Reader(asyncio.Protocol):
    """One open stream."""

    __slots__ = ("_all", "_greeted", "_request", "_tail", "opened", "transport")

    def __init__(self, deliveries: Deliveries, request: bytes) -> None:
        self._all = deliveries
        self._request = request
        self._greeted = False
        self._tail = b""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Look for what is waited for; the first is the snapshot."""
        now_ns = time.monotonic_ns()
        if not self._greeted:
            self._tail += data
            if b"event: snapshot" in self._tail:
                self._greeted = True
                self._tail = b""
                self.opened.set_result(None)
            elif not self._tail.startswith(b"HTTP/1.1 200"[: len(self._tail)]):
                self.opened.set_exception(RuntimeError(self._tail[:500].decode()))
            return
        if count := data.count(self._all.marker):
            self._all.note(count, now_ns)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it: nobody told the stream to end, or its run is over."""
        self._all.lost += 1
        if not self.opened.done():
            self.opened.set_exception(exc or ConnectionResetError("closed before the snapshot"))


async def main(port: int) -> None:
    """Do what is asked, line after line."""
    loop = asyncio.get_running_loop()
    deliveries = Deliveries()
    readers: list[Reader] = []
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        asked: dict[str, Any] = json.loads(line)
        answer: dict[str, Any] = {}
        if "connect" in asked:
            paths = iter(asked["connect"])

            async def lane(paths: Iterator[str] = paths) -> None:
                for path in paths:
                    request = (
                        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n\r\n".encode()
                    )
                    _, reader = await loop.create_connection(
                        lambda request=request: Reader(deliveries, request), "127.0.0.1", port
                    )
                    readers.append(reader)
                    await reader.opened

            begun = time.monotonic()
            await asyncio.gather(*(lane() for _ in range(asked["lanes"])))
            answer = {"opened": len(readers), "took_s": time.monotonic() - begun}
        elif "watch" in asked:
            deliveries.marker, deliveries.wanted, deliveries.at_ns = asked["watch"].encode(), asked["count"], []
            deliveries.done.clear()
        elif "collect" in asked:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(deliveries.done.wait(), asked["collect"])
            answer = {"at_ns": deliveries.at_ns, "lost": deliveries.lost}
        elif "close" in asked:
            for reader in readers:
                reader.transport.close()
            readers.clear()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
