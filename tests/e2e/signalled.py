"""An app whose tasks leave orphans, or wait for a file."""

import asyncio
import os
import subprocess
import time
from pathlib import Path

import headway

app = headway.App()
FOLDER = Path(os.environ["HEADWAY_TEST_LEDGER"]).parent


@app.task
def orphans(number: int) -> int:
    """Start processes whose parents end before them."""
    for _ in range(number):
        subprocess.run(["sh", "-c", "sleep 0.1 & exit 0"], check=True)
    return number


@app.task
async def gated() -> int:
    (FOLDER / "begun").touch()
    while not (FOLDER / "gate").exists():
        print("the gate is closed", flush=True)
        await asyncio.sleep(0.02)
    return os.getpid()


@app.task
async def blocks() -> None:
    """Block the event loop."""
    (FOLDER / "blocked").touch()
    time.sleep(60)  # noqa: ASYNC251 - that is what it is for
