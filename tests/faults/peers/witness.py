"""What a peer's process writes down: the same for all of them, on the standard library alone.

WITNESS names the file, WORK_MS says how long a task takes, STORE where the system keeps its things.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable

STORE = os.environ["STORE"]
WORK_S = int(os.environ["WORK_MS"]) / 1000
_file = os.open(os.environ["WITNESS"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)


def note(what: str, n: int) -> None:
    """Add a line; it stays written, whatever becomes of the process."""
    os.write(_file, (json.dumps({"what": what, "n": n, "at": time.time()}) + "\n").encode())


def work(n: int) -> None:
    """Do a task, in a thread."""
    time.sleep(WORK_S)
    note("done", n)


async def work_async(n: int) -> None:
    """Do a task, on a loop."""
    await asyncio.sleep(WORK_S)
    note("done", n)


def submit(send: Callable[[int], object]) -> None:
    """Send the numbers that come on standard input, one by one; what is refused or breaks is not acknowledged."""
    for line in sys.stdin:
        n = int(line)
        try:
            send(n)
        except Exception as error:  # noqa: BLE001 - whatever a system raises says no
            sys.stderr.write(f"{n}: {error!r}\n"[:300])
            time.sleep(0.05)
        else:
            note("acknowledged", n)
