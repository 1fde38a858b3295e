"""The load of `headway bench`, in a process of its own: `python -m headway.bench.load HOST PORT SCENARIO SECONDS`.

It speaks HTTP over bare connections, because on a small machine every microsecond that the load takes is one that the
server does not get. Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from typing import Any, cast

BATCH = 1000
END_TO_END_RUNS = 5_000
LATENCY_RUNS = 300
PARKED = "bench-parked"
"""Name of a paused queue, so that starts are measured without the runs themselves."""


class Connection(asyncio.Protocol):
    """One kept-alive connection with one request in flight."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[tuple[int, bytes]] | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(exc or ConnectionResetError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Collect the answer; it is whole once `Content-Length` bytes follow the head."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._buffer) >= end + 4 + length and self._waiter is not None:
            body, self._buffer = self._buffer[end + 4 : end + 4 + length], b""
            self._waiter.set_result((int(head[9:12]), body))

    async def ask(self, method: str, path: str, body: object = None, headers: str = "") -> Any:
        """Send a request and return the JSON of a successful answer."""
        sent = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        assert self._transport is not None
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n{headers}"
            f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n\r\n".encode()
            + sent
        )
        status, answer = await self._waiter
        if status >= 300:  # noqa: PLR2004
            raise SystemExit(f"{method} {path}: {status} {answer[:500]!r}")
        return answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Load:
    """Address of the server and duration, for all scenarios."""

    def __init__(self, host: str, port: int, seconds: float) -> None:
        self.host, self.port, self.seconds = host, port, seconds

    async def connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: Connection(f"{self.host}:{self.port}"), self.host, self.port
        )
        return connection

    async def hammer(self, clients: int, ask: Callable[[Connection], Awaitable[Any]]) -> dict[str, float]:
        """Send one request after the other from a number of clients for the given time; return rate and latencies."""
        connections = [await self.connect() for _ in range(clients)]
        took: list[float] = []

        async def client(connection: Connection, end: float) -> None:
            while (start := time.perf_counter()) < end:
                await ask(connection)
                took.append(time.perf_counter() - start)

        await asyncio.gather(*(client(connection, time.perf_counter() + 0.3) for connection in connections))  # warm up
        took.clear()
        begun = time.perf_counter()
        await asyncio.gather(*(client(connection, begun + self.seconds) for connection in connections))
        lasted = time.perf_counter() - begun
        for connection in connections:
            connection.close()
        return {"per_s": len(took) / lasted, **percentiles(took)}


def percentiles(took: list[float]) -> dict[str, float]:
    """Return the median and the 99th percentile, in milliseconds."""
    ordered = sorted(took)
    return {f"p{p}_ms": 1000 * ordered[min(len(ordered) - 1, len(ordered) * p // 100)] for p in (50, 99)}


async def starts(load: Load, clients: int) -> dict[str, float]:
    """Start single runs, each acknowledged when it is durable."""
    body = json.dumps({"task": "noop", "queue": PARKED, "input": {}}).encode()
    return await load.hammer(clients, lambda connection: connection.ask("POST", "/v1/runs", body))


async def bulk(load: Load) -> dict[str, float]:
    """Start runs a thousand at a time."""
    body = json.dumps({"runs": [{"task": "noop", "queue": PARKED}] * BATCH}).encode()
    found = await load.hammer(1, lambda connection: connection.ask("POST", "/v1/runs:batch", body))
    return {"per_s": found["per_s"] * BATCH}


async def reads(load: Load, clients: int) -> dict[str, float]:
    """Read the state of a run."""
    connection = await load.connect()
    run = json.loads(await connection.ask("POST", "/v1/runs", {"task": "noop", "queue": PARKED}))
    return await load.hammer(clients, lambda connection: connection.ask("GET", run["url"]))


async def end_to_end(load: Load) -> dict[str, float]:
    """Start no-op runs and wait until a worker has finished them all."""
    connection = await load.connect()
    body = json.dumps({"runs": [{"task": "noop"}] * BATCH}).encode()

    async def finished() -> int:
        return int(json.loads(await connection.ask("GET", "/v1/tasks/noop"))["counts"].get("succeeded", 0))

    goal = await finished() + END_TO_END_RUNS
    begun = time.perf_counter()
    for _ in range(END_TO_END_RUNS // BATCH):
        await connection.ask("POST", "/v1/runs:batch", body)
    while await finished() < goal:  # noqa: ASYNC110 (another process is waited for)
        await asyncio.sleep(0.02)
    return {"per_s": END_TO_END_RUNS / (time.perf_counter() - begun), "runs": END_TO_END_RUNS}


async def latency(load: Load) -> dict[str, float]:
    """Time from the request to the first line of the function, one run after the other."""
    connection = await load.connect()
    took = []
    for turn in count():
        begun_ns = time.time_ns()
        run = json.loads(await connection.ask("POST", "/v1/runs", {"task": "stamp"}))
        while not run["final"]:
            run = json.loads(await connection.ask("GET", f"{run['url']}?wait_for=final", headers="Prefer: wait=10\r\n"))
        if turn >= 20:  # noqa: PLR2004 (the first ones warm up)
            took.append((run["output"] - begun_ns) / 1e9)
        if len(took) == LATENCY_RUNS:
            return percentiles(took)
    raise AssertionError


async def prepare(load: Load) -> dict[str, float]:
    """Wait until the worker has declared its tasks, and pause the queue of runs that are only started."""
    connection = await load.connect()
    await connection.ask("PATCH", f"/v1/queues/{PARKED}", {"concurrency": None})  # a queue exists from its first use
    await connection.ask("POST", f"/v1/queues/{PARKED}:pause", {})
    return {}


SCENARIOS: dict[str, Callable[[Load], Coroutine[Any, Any, dict[str, float]]]] = {
    "prepare": prepare,
    "end_to_end": end_to_end,
    "latency": latency,
    "starts_1": lambda load: starts(load, 1),
    "starts_50": lambda load: starts(load, 50),
    "bulk": bulk,
    "reads_1": lambda load: reads(load, 1),
    "reads_50": lambda load: reads(load, 50),
}


def main(host: str, port: str, scenario: str, seconds: str) -> None:
    """Run one scenario and print its figures."""
    load = Load(host, int(port), float(seconds))
    print(json.dumps(asyncio.run(SCENARIOS[scenario](load))))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
