"""The tasks that the seeds' snippets name: they count records, succeed, fail, or wait until the test lets them go on."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import headway

app = headway.App()
ONCE = headway.Retry(max_attempts=1)

RECORDS = 4
COUNTING = (
    "task_abc123", "task_1_data_cleanup", "task_2_send_emails", "task_3_generate_reports", "task_1", "task_2", "task_3",
    "task_nightly_processing", "task_sync_customers", "task_sync_orders", "task_sync_products", "task_idle",
)  # fmt: skip
STATISTICS = {"online": 25, "pownstring": "p" * 25, "pownarray": [1] * 25, "latencies": [1104, 1417]}


async def count(ctx: headway.Context, records: int = RECORDS) -> int:
    """Go through the records."""
    async for _ in ctx.track(range(records)):
        await asyncio.sleep(0.01)
    return records


for name in COUNTING:
    app.task(name=name, description=f"Counts {RECORDS} records.")(count)


@app.task(retry=ONCE)
async def task_failing() -> None:
    raise RuntimeError("the third record has no address")


@app.task
async def backup(folder: str, name: str = "Default", tag: str = "") -> dict[str, object]:
    return {"total_coins": 7, "file_name": f"{folder}/{name}{tag}.bin"}


@app.task
async def join(name: str = "Default") -> str:
    return "OK"


@app.task
async def health() -> dict[str, object]:
    return STATISTICS


@app.task(retry=ONCE)
async def locker(name: str, amount: int) -> None:
    raise LookupError(f"there are no {amount} coins in {name}")


@contextlib.contextmanager
def gate_at(name: str) -> Iterator[asyncio.Event]:
    """Make a named pipe; its event is set once the test has opened it for writing (`: <> PIPE` in a shell)."""
    path = Path(os.environ["HEADWAY_TEST_GATES"], name)
    with contextlib.suppress(FileExistsError):  # by an earlier attempt
        os.mkfifo(path)
    opened, loop, reading = asyncio.Event(), asyncio.get_running_loop(), os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    loop.add_reader(reading, opened.set)
    try:
        yield opened
    finally:
        loop.remove_reader(reading)
        os.close(reading)


@app.task
async def gated(ctx: headway.Context, gate: str, records: int = 10) -> str:
    """Do half, and the rest when the test opens the gate."""
    with gate_at(gate) as opened:
        ctx.progress(records // 2, records, "half of it")
        ctx.publish("ppppppppppppp____________", name="pownstring")
        await opened.wait()
    ctx.progress(records, records)
    return "OK"
