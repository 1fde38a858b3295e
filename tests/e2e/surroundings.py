"""An app whose tasks return everything that user code can read of the environments around it."""

import os
from pathlib import Path

import headway

app = headway.App()
WHEN_LOADED = dict(os.environ)


def read(path):
    try:
        return path.read_bytes().decode(errors="replace").split("\0")
    except OSError as error:
        return type(error).__name__


def seen():
    """Return the environment, and what the kernel shows of every process from this one to the first."""
    found, pid = {}, os.getpid()
    while pid > 1:
        deployment = Path(f"/proc/{pid}")
        found[pid] = {name: read(deployment / name) for name in ("environ", "cmdline")}
        pid = int((deployment / "stat").read_text().rpartition(")")[2].split()[1])
    return {"now": dict(os.environ), "when_loaded": WHEN_LOADED, "processes": found}


@app.task
async def inline() -> dict:
    return seen()


@app.task
def thread() -> dict:
    return seen()


@app.task(executor="process")
def process() -> dict:
    return seen()


@app.task
def started(other: str) -> str:
    try:
        return headway.Client(retries=0).runs.start(other).id
    except headway.HeadwayError as error:
        return error.code
