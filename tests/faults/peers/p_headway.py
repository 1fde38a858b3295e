"""Headway: python p_headway.py submit SERVER; its worker is `headway.worker SERVER p_headway:app`."""

import os
import sys

import witness

import headway

app = headway.App()


@app.task
async def task(n: int) -> None:
    await witness.work_async(n)


if __name__ == "__main__":
    client = headway.Client(sys.argv[2], timeout=5)
    witness.submit(lambda n: client.runs.start("task", n=n, idempotency_key=f"{os.getpid()}-{n}"))
