"""The tasks that run on the test's Ray cluster; what they do outside is noted in a ledger, whose path is their input."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from pathlib import Path

from tests.faults.ledger import Ledger

import headway

app = headway.App()

ONCE = headway.Retry(max_attempts=1)
AGAIN = headway.Retry(max_attempts=3, backoff="10ms")


@contextlib.contextmanager
def noting(path: str, ctx):
    """Give a function that adds lines to the ledger."""
    ledger = Ledger(Path(path))
    try:
        yield lambda what: ledger.note(
            what, run_id=ctx.run_id, epoch=ctx.fencing_token, pid=os.getpid(), parent=os.getppid()
        )
    finally:
        ledger.close()


def opened(path: str) -> bool:
    """Whether the test has opened the gate."""
    return Path(f"{path}-gate").exists()


@app.task(executor="ray", resources={"num_cpus": 1, "deployment": 0.5})
def whole(ctx: headway.SyncContext, ledger: str) -> dict[str, int]:
    """Use everything that a context has."""
    with noting(ledger, ctx) as note:
        first = ctx.step("first", lambda: 20)
        logging.getLogger("mine").warning("from logging")
        ctx.log("half way", number=first)
        ctx.publish({"at": first}, name="part")
        for number in ctx.track(range(first)):
            assert number < first
        second = ctx.step("second", lambda: first + 22)
        note("effect")
        return {"answer": second, "pid": os.getpid()}


@app.task(executor="ray")
async def whole_async(ctx: headway.Context) -> int:
    await asyncio.sleep(0)
    child = await ctx.start("quick", n=41)
    return await child.result() + await ctx.step("one", lambda: 1)


@app.task(executor="ray", resources={"num_cpus": 0.1})
def quick(n: int = 0) -> int:
    return n


@app.task(executor="ray", resources={"num_cpus": 0.1}, retry=ONCE)
def fails() -> None:
    """Raise from a function of its own."""

    def inner() -> None:
        raise KeyError("the customer")

    inner()


@app.task(executor="ray", grace="20s", resources={"num_cpus": 0.1})
def heeds_its_end(ctx: headway.SyncContext, ledger: str) -> None:
    with noting(ledger, ctx) as note:
        note("begun")
        try:
            while True:
                ctx.progress(1)
                time.sleep(0.02)
        except headway.Cancelled:
            note("cleaned up")
            raise


@app.task(executor="ray", grace="100ms", resources={"num_cpus": 0.1})
def ignores_its_end(ctx: headway.SyncContext, ledger: str) -> None:
    with noting(ledger, ctx) as note:
        note("begun")
        while True:
            with contextlib.suppress(BaseException):
                time.sleep(60)


@app.task(executor="ray", resources={"num_cpus": 0.1, "deployment": 1}, retry=AGAIN, max_crashes=3)
def gated(ctx: headway.SyncContext, ledger: str) -> int:
    """Wait until the test lets it go on; note when it begins, and what it does outside."""
    with noting(ledger, ctx) as note:
        note("begun")
        while not opened(ledger):
            time.sleep(0.02)
            ctx.progress(1)
        note("effect")
        return ctx.fencing_token


@app.task(executor="ray", resources={"num_cpus": 0.1}, retry=ONCE, max_crashes=1)
def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(executor="ray", resources={"num_cpus": 0.1})
def large(megabytes: int) -> str:
    return "x" * (megabytes << 20)


@app.task(executor="ray", resources={"nowhere": 1})
def placeless(ctx: headway.SyncContext, ledger: str) -> None:
    with noting(ledger, ctx) as note:
        note("begun")


@app.task(executor="ray", resources={"num_cpus": 0.1}, timeout="2s", grace="100ms", retry=ONCE)
def slow() -> None:
    time.sleep(60)


@app.task(executor="ray", resources={"num_cpus": 0.1}, heartbeat_timeout="700ms", grace="100ms", retry=ONCE)
def silent() -> None:
    time.sleep(60)
