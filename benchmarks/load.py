"""Load from bare sockets, in a process of its own; the request's body comes on standard input, the figures go out as JSON.

    load.py PORT hammer CONNECTIONS SECONDS METHOD PATH      one request after the other on each connection
    load.py PORT each CONNECTIONS COUNT METHOD PATH          so many requests altogether
    load.py PORT paced PER_SECOND COUNT METHOD PATH          on one connection, at that pace
    load.py PORT sdk PER_SECOND COUNT TASK                   the same through headway.AsyncClient: starts of TASK(ts)

In the body, @NS is replaced by the monotonic clock's nanoseconds just before each request is sent.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from headway.bench.load import Connection, Load


def asking(method: str, path: str, body: bytes) -> Callable[[Connection], Awaitable[Any]]:
    """Return what makes one request."""
    if b"@NS" in body:
        return lambda connection: connection.ask(method, path, body.replace(b"@NS", b"%d" % time.monotonic_ns()))
    return lambda connection: connection.ask(method, path, body or None)


async def hammer(load: Load, clients: int, ask: Callable[[Connection], Awaitable[Any]]) -> dict[str, float]:
    """As fast as it goes, for a time."""
    return await load.hammer(clients, ask)


async def each(load: Load, clients: int, count: int, ask: Callable[[Connection], Awaitable[Any]]) -> dict[str, float]:
    """As fast as it goes, so many."""
    connections = [await load.connect() for _ in range(clients)]
    left = count

    async def client(connection: Connection) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await ask(connection)

    begun = time.monotonic_ns()
    await asyncio.gather(*map(client, connections))
    took = (time.monotonic_ns() - begun) / 1e9
    return {"per_s": count / took, "begun_ns": begun, "took_s": took}


async def paced(per_second: float, count: int, ask: Callable[[], Awaitable[Any]]) -> dict[str, float]:
    """One after the other, at a pace."""
    begun = time.monotonic()
    took = []
    for turn in range(count):
        await asyncio.sleep(max(0.0, begun + turn / per_second - time.monotonic()))
        asked = time.perf_counter()
        await ask()
        took.append((time.perf_counter() - asked) * 1000)
    took.sort()
    return {"p50_ms": took[count // 2], "p99_ms": took[count * 99 // 100]}


async def sdk(port: int, per_second: float, count: int, task: str) -> dict[str, float]:
    """Starts through the Python client."""
    import headway

    async with headway.AsyncClient(f"http://127.0.0.1:{port}") as client:
        return await paced(per_second, count, lambda: client.runs.start(task, ts=time.monotonic_ns()))


async def main(port: int, kind: str, *words: str) -> dict[str, float]:
    """Do what the command line says."""
    if kind == "sdk":
        return await sdk(port, float(words[0]), int(words[1]), words[2])
    ask = asking(words[2], words[3], sys.stdin.buffer.read())
    load = Load("127.0.0.1", port, float(words[1]))
    match kind:
        case "hammer":
            return await hammer(load, int(words[0]), ask)
        case "each":
            return await each(load, int(words[0]), int(words[1]), ask)
        case "paced":
            connection = await load.connect()
            return await paced(float(words[0]), int(words[1]), lambda: ask(connection))
    raise SystemExit(__doc__)


if __name__ == "__main__":
    print(json.dumps(uvloop.run(main(int(sys.argv[1]), *sys.argv[2:]))))
