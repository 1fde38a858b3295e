"""Starts at a rate that nobody holds back, in a process of its own: `python -m tests.faults.storm PORT RATE SECONDS FIRST PID`.

Each is sent when its time has come, whatever became of those before, on a connection that is free; who is not answered in
time gives up and goes. PID is the server, whose time on the processor is looked at meanwhile. What was acknowledged goes to the ledger (HEADWAY_TEST_LEDGER), figures to
standard output as JSON. RATE 0 is a closed loop: CLIENTS of them, each of which sends when it is answered.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import psutil
import uvloop
from tests.faults.ledger import Ledger

PATIENCE_S = 10.0
CONNECTIONS_MAX = 3_000
CLIENTS = 64
TICK_S = 0.005
WARM_S = 3.0
"""How long the rate lasts before what becomes of it counts: an overload is a state, not the moment in which it begins."""
AT_ONCE = 200
"""The most that is sent at one tick."""
_ID = re.compile(rb'"id":"([0-9a-f-]{36})"')


class Storm:
    """All of it."""

    def __init__(self, port: int, server: int, ledger: Ledger) -> None:
        """Nothing is sent yet."""
        self.port, self.server, self.ledger = port, psutil.Process(server), ledger
        self.free: dict[Client, None] = {}
        self.sent: deque[tuple[float, int, Client]] = deque()
        """What waits for an answer, or has been answered, in order."""
        self.all: set[Client] = set()
        self.counts: Counter[str] = Counter()
        self.took_ms: list[float] = []
        self.accepted: list[tuple[int, str]] = []
        self.number = 0
        self.closed_loop = False
        self.took_s = self.cpu_s = 0.0
        self.in_time = 0
        """How many were accepted while it lasted."""

    @contextmanager
    def lasting(self) -> Iterator[None]:
        """Count what is accepted, and the server's time on the processor, while all are connected and come."""
        began_s, before_s, before = time.monotonic(), self.server_s(), len(self.accepted)
        yield
        self.took_s, self.cpu_s = time.monotonic() - began_s, self.server_s() - before_s
        self.in_time = len(self.accepted) - before

    def server_s(self) -> float:
        """Return how long the server was on a processor."""
        times = self.server.cpu_times()
        return times.user + times.system

    async def connected(self) -> Client:
        """Return a new connection that the server has taken: until then the kernel holds it, and what is sent on it."""
        _, made = await asyncio.get_running_loop().create_connection(lambda: Client(self), "127.0.0.1", self.port)
        made.transport.write(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await made.taken
        return made

    async def open_loop(self, rate: float, seconds: float) -> None:
        """Send at that rate; what this process is too slow to send in its time counts as sent and not answered."""
        wanted = min(CONNECTIONS_MAX, int(rate * 3) + 1)
        while len(self.free) < wanted:
            made = await asyncio.gather(*(self.connected() for _ in range(min(100, wanted - len(self.free)))))
            self.free |= dict.fromkeys(made)
        await self.send(rate, WARM_S)
        with self.lasting():
            await self.send(rate, seconds)
        await self.quiet()

    async def send(self, rate: float, seconds: float) -> None:
        """Send at that rate for so long."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        sent = 0
        while (now := loop.time()) < began + seconds:
            due = int((now - began) * rate)
            self.counts["not sent"] += max(0, due - sent - AT_ONCE)
            sent = max(sent, due - AT_ONCE)
            while sent < due:
                sent += 1
                if self.free:
                    self.number += 1
                    self.free.popitem()[0].start(self.number)
                else:
                    self.counts["not sent"] += 1
            self.give_up(now)
            await asyncio.sleep(TICK_S)

    def give_up(self, now: float) -> None:
        """Close what has waited too long."""
        while self.sent and self.sent[0][0] + PATIENCE_S < now:
            _, number, client = self.sent.popleft()
            if client.busy and client.number == number:
                self.counts["gave up"] += 1
                client.busy = False
                client.transport.abort()

    async def hammer(self, seconds: float) -> None:
        """Send as fast as answers come."""
        clients = [await self.connected() for _ in range(CLIENTS)]
        self.closed_loop = True
        with self.lasting():
            for client in clients:
                self.number += 1
                client.start(self.number)
            await asyncio.sleep(seconds)
        self.closed_loop = False
        await self.quiet()

    async def quiet(self) -> None:
        """Wait for the last answers."""
        while any(client.busy for client in self.all):
            self.give_up(asyncio.get_running_loop().time())
            await asyncio.sleep(TICK_S)


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, storm: Storm) -> None:
        self.storm = storm
        self.busy = False
        self.began = 0.0
        self.number = 0
        self.taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be one of them."""
        self.transport = cast(asyncio.Transport, transport)
        self.storm.all.add(self)

    def start(self, number: int) -> None:
        """Send a start."""
        self.busy, self.began, self.number, self._got = True, time.monotonic(), number, b""
        self.storm.sent.append((self.began, number, self))
        body = b'{"task":"noop","input":{"n":%d}}' % number
        self.transport.write(
            b"POST /v1/runs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nIdempotency-Key: n-%d\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (number, len(body), body)
        )

    def data_received(self, data: bytes) -> None:
        """Read an answer."""
        self._got += data
        head, found, body = self._got.partition(b"\r\n\r\n")
        if not found:
            return
        length = re.search(rb"content-length: (\d+)", head)
        if length is None or len(body) < int(length[1]):
            return
        if not self.taken.done():
            self.taken.set_result(None)
            self._got = b""
            return
        self._answered(head[9:12].decode(), head, body)

    def _answered(self, status: str, head: bytes, body: bytes) -> None:
        storm = self.storm
        storm.counts[status] += 1
        self.busy = False
        if status == "202":
            storm.took_ms.append((time.monotonic() - self.began) * 1000)
            run_id = _ID.search(body)
            assert run_id is not None
            storm.accepted.append((self.number, run_id[1].decode()))
        elif status in {"429", "503"} and b"retry-after: " not in head:
            storm.counts["without Retry-After"] += 1
        if b"connection: close" in head:
            self.transport.close()
        elif storm.closed_loop:
            storm.number += 1
            self.start(storm.number)
        else:
            storm.free[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Be gone."""
        self.storm.all.discard(self)
        self.storm.free.pop(self, None)
        if self.busy:
            self.busy = False
            self.storm.counts["lost"] += 1


async def main(port: int, rate: float, seconds: float, first: int, server: int) -> dict[str, Any]:
    """Do it, and return what came of it."""
    ledger = Ledger(Path(os.environ["HEADWAY_TEST_LEDGER"]))
    storm = Storm(port, server, ledger)
    storm.number = first
    if rate:
        await storm.open_loop(rate, seconds)
    else:
        await storm.hammer(seconds)
    for number, run_id in storm.accepted:
        ledger.note("acknowledged", n=number, run_id=run_id)
    storm.took_ms.sort()
    return {
        "counts": storm.counts, "took_s": storm.took_s, "last": storm.number, "per_s": storm.in_time / storm.took_s,
        "per_cpu_s": storm.in_time / storm.cpu_s, "cpu_s": storm.cpu_s,
        "p50_ms": storm.took_ms[len(storm.took_ms) // 2] if storm.took_ms else None,
        "p99_ms": storm.took_ms[len(storm.took_ms) * 99 // 100] if storm.took_ms else None,
    }  # fmt: skip


if __name__ == "__main__":
    port, rate, seconds, first, server = sys.argv[1:]
    print(json.dumps(uvloop.run(main(int(port), float(rate), float(seconds), int(first), int(server)))))
