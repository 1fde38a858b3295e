"""What schedules cost: of an idle server, of one whose schedules are spread over the day, and when very many fire at once.

    idle.none, idle.cpu      % of one core that a server uses without schedules, and with N of which none is due (100,000)
    daily.cpu, daily.rate    the same while N daily schedules, spread over the seconds of the day, fire; slots a second
    burst.rate               slots decided a second when N/10 schedules fire in the same second: from then to the last run
    create                   schedules made a second over HTTP, one connection

No worker takes the runs: what is measured is the server's part.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import apsw
from kit import Bench, Served, cpu_s, serving

from headway.clock import SystemClock
from headway.config import Settings
from headway.features.schedules import store as kept
from headway.features.schedules.model import Schedule
from headway.features.schedules.scheduler import with_next
from headway.ids import Signer
from headway.runs.service import Service
from headway.server import FEATURES
from headway.store.command import Command
from headway.store.sqlite.open import open_file
from headway.store.unit_of_work import UnitOfWork

DAY_MS = 86_400_000
CHUNK = 5_000


@dataclass
class InsertSchedules(Command[None]):
    """Insertion of schedules."""

    made: list[Schedule]

    def apply(self, uow: UnitOfWork) -> None:
        """Insert them."""
        for schedule in self.made:
            kept.insert(uow, schedule)


def main() -> None:
    """Measure."""
    bench = Bench("schedules", __doc__ or "", ("--n", {"type": int, "help": "schedules (100,000)"}))
    count = bench.options.n or (10_000 if bench.quick else 100_000)
    seconds = 10 if bench.quick else 30
    if bench.wanted("idle"):
        bench.emit("idle.none", "%", [_cpu(bench, 0, _later, seconds)[0] for _ in bench.repeat()], n=0)
        bench.emit("idle.cpu", "%", [_cpu(bench, count, _later, seconds)[0] for _ in bench.repeat()], n=count)
    if bench.wanted("daily"):
        found = [_cpu(bench, count, _spread, seconds) for _ in bench.repeat()]
        bench.emit("daily.cpu", "%", [cpu for cpu, _ in found], n=count)
        bench.emit("daily.rate", "1/s", [rate for _, rate in found], n=count)
    if bench.wanted("burst"):
        bench.emit("burst.rate", "1/s", [_burst(bench, count // 10) for _ in bench.repeat()], n=count // 10)
    if bench.wanted("create"):
        made = 200 if bench.quick else 2_000
        bench.emit("create", "1/s", [_create(bench, made) for _ in bench.repeat()], n=made)


def _later(number: int, count: int, now_ms: int) -> int:
    """Return a time of day from which on a daily schedule has its next slot in some hours."""
    return now_ms - DAY_MS + 6 * 3_600_000 + number * (12 * 3_600_000 // count)


def _spread(number: int, count: int, now_ms: int) -> int:
    return now_ms - DAY_MS + number * DAY_MS // count


def _fill(path: Path, count: int, starts: Callable[[int, int, int], int], occurrence: str = "Daily") -> None:
    """Make schedules, and their task, as the service does, in few transactions."""
    clock = SystemClock()

    async def fill() -> None:
        store = open_file(path, clock, reserve_bytes=0)
        store.start()
        service = Service(store, Signer(b"x" * 32), Settings(), features=FEATURES)
        now_ms = clock.now_ms()
        for begin in range(0, count, CHUNK):
            made = [
                with_next(
                    Schedule(
                        id=service.ids.new(now_ms), name=f"s{n:06}", task="noop", occurrence=occurrence,
                        starts_at=starts(n, count, now_ms) // 1000 * 1000, last_slot=now_ms, created_at=now_ms,
                        updated_at=now_ms,
                    )
                )
                for n in range(begin, min(begin + CHUNK, count))
            ]  # fmt: skip
            await store.write(InsertSchedules(made))
        await store.close()

    asyncio.run(fill())


def _slots(path: Path) -> int:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return int(connection.execute("SELECT count(*) FROM slots").fetchall()[0][0])
    finally:
        connection.close()


def _cpu(bench: Bench, count: int, starts: Callable[[int, int, int], int], seconds: int) -> tuple[float, float]:
    with bench.folder() as folder:
        path = folder / "headway.db"
        _fill(path, count, starts)
        with serving(folder) as served:
            served.declare("noop")
            time.sleep(5)
            used, slots, begun = cpu_s(served.processes), _slots(path), time.monotonic()
            time.sleep(seconds)
            took = time.monotonic() - begun
            return (cpu_s(served.processes) - used) / took * 100, (_slots(path) - slots) / took


def _burst(bench: Bench, count: int) -> float:
    with bench.folder() as folder:
        path = folder / "headway.db"
        at_ms = (SystemClock().now_ms() // 1000 + 20) * 1000
        _fill(path, count, lambda _, __, ___: at_ms, "Yearly")
        with serving(folder) as served:
            served.declare("noop")
            assert SystemClock().now_ms() < at_ms, "they were made too late: take fewer"
            while SystemClock().now_ms() < at_ms:
                time.sleep(0.001)
            begun = time.monotonic()
            while _slots(path) < count:
                time.sleep(0.005)
            return count / (time.monotonic() - begun)


def _create(bench: Bench, count: int) -> float:
    with bench.folder() as folder, serving(folder) as served:
        served.declare("noop")
        return _made(served, count)


def _made(served: Served, count: int) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", served.port)
    begun = time.monotonic()
    for number in range(count):
        body = {"name": f"s{number}", "task": "noop", "occurrence": "30 2 * * *", "timezone": "Europe/Berlin"}
        connection.request("POST", "/v1/schedules", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 201, answer.status
    return count / (time.monotonic() - begun)


if __name__ == "__main__":
    main()
