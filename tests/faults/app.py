"""The tasks of the fault tests: some note what they do in the ledger outside, some do harm."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
from functools import cache
from pathlib import Path

from tests.faults.ledger import Ledger

import headway

app = headway.App()

STUBBORN = {"max_crashes": 100}
"""These are killed with their workers many times, through no fault of their own."""


@cache
def ledger() -> Ledger:
    return Ledger(Path(os.environ["HEADWAY_TEST_LEDGER"]))


def note(what: str, ctx, **line) -> None:
    ledger().note(what, run_id=ctx.run_id, epoch=ctx.fencing_token, attempt=ctx.attempt, pid=os.getpid(), **line)


def gate(name: str) -> bool:
    """Whether the test has let this go on."""
    return (ledger().path.parent / f"gate-{name}").exists()


@app.task
async def noop(n: int = 0) -> int:
    return n


@app.task(**STUBBORN)
async def effect(ctx: headway.Context, n: int = 0, ms: int = 0) -> int:
    note("effect", ctx, n=n)
    await asyncio.sleep(ms / 1000)
    return n


@app.task(executor="thread", **STUBBORN)
def effect_in_thread(ctx: headway.SyncContext, n: int = 0, ms: int = 0) -> int:
    note("effect", ctx, n=n)
    time.sleep(ms / 1000)
    return n


@app.task(executor="process", **STUBBORN)
def effect_in_process(ctx: headway.SyncContext, n: int = 0, ms: int = 0) -> int:
    note("effect", ctx, n=n)
    time.sleep(ms / 1000)
    return n


@app.task(**STUBBORN)
async def steps(ctx: headway.Context, n: int = 0, ms: int = 0) -> list[int]:
    """Each step has a side effect; what was recorded is not done again."""

    async def one(number: int) -> int:
        note("step", ctx, number=number)
        await asyncio.sleep(ms / 1000)
        return ctx.fencing_token

    return [await ctx.step(f"step {number}", one, number) for number in range(3)]


@app.task(**STUBBORN)
async def gated(ctx: headway.Context, name: str) -> int:
    """Go on when the test says so, and say everything that a late worker could say."""
    note("begun", ctx)
    while not gate(name):  # noqa: ASYNC110 - another process opens it
        await asyncio.sleep(0.02)
    note("effect", ctx)
    ctx.progress(ctx.fencing_token, 100, f"epoch {ctx.fencing_token}")
    ctx.log(f"epoch {ctx.fencing_token}")
    ctx.publish(ctx.fencing_token)
    return ctx.fencing_token


@app.task
async def innocent(ctx: headway.Context, name: str) -> None:
    """Go on when the test says so; with as much patience for crashes as any other task."""
    note("begun", ctx)
    while not gate(name):  # noqa: ASYNC110 - another process opens it
        await asyncio.sleep(0.02)


@app.task(executor="process", timeout="60s", **STUBBORN)
def gated_in_process(ctx: headway.SyncContext, name: str) -> str:
    note("begun", ctx)
    while not gate(name):
        time.sleep(0.02)
    return name


@app.task(**STUBBORN)
async def chatty(ctx: headway.Context, lines: int, ms: int) -> int:
    for number in range(lines):
        ctx.log(f"line {number}")
        await asyncio.sleep(ms / 1000)
    return lines


# -- stopping ----------------------------------------------------------------------------------------------------------


@app.task(grace="5s")
async def polite(ctx: headway.Context) -> None:
    """Ends when it is asked to."""
    note("begun", ctx)
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        note("cancelled", ctx)
        raise


def deaf(ctx: headway.SyncContext) -> None:
    note("begun", ctx)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        ctypes.CDLL(None).usleep(20_000)


@app.task(executor="process", grace="500ms")
def deaf_in_process(ctx: headway.SyncContext) -> None:
    deaf(ctx)


@app.task(executor="thread", grace="500ms")
def deaf_in_thread(ctx: headway.SyncContext) -> None:
    deaf(ctx)


@app.task(executor="inline", grace="500ms")
async def deaf_on_the_loop(ctx: headway.Context) -> None:
    deaf(ctx)


# -- poison ------------------------------------------------------------------------------------------------------------

ONCE = headway.Retry(max_attempts=1)


@app.task(retry=ONCE)
async def segfault(ctx: headway.Context) -> None:
    note("begun", ctx)
    os.kill(os.getpid(), signal.SIGSEGV)


@app.task(executor="thread", retry=ONCE)
def leave(ctx: headway.SyncContext) -> None:
    note("begun", ctx)
    os._exit(3)


@app.task(executor="process", memory_limit="300MiB", retry=ONCE)
def eat() -> int:
    return len(bytearray(2 << 30))


@app.task(executor="process", retry=ONCE)
def flood(megabytes: int) -> str:
    line = "x" * 1023 + "\n"
    for _ in range(megabytes * 1024):
        sys.stdout.write(line)
    return "done"


@app.task(retry=ONCE)
async def not_json() -> object:
    return object()


@app.task(retry=ONCE)
async def not_a_number() -> float:
    return float("nan")


@app.task(retry=ONCE)
async def huge() -> str:
    return "x" * (9 << 20)


@app.task(retry=ONCE)
async def surrogate() -> str:
    return "\ud800"


@app.task(executor="process", retry=ONCE)
def fork_bomb(children: int = 30) -> None:
    for _ in range(children):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
async def blocks_the_loop(ctx: headway.Context, ms: int) -> int:
    """Give nothing else on this loop a chance for longer than a lease."""
    note("effect", ctx)
    time.sleep(ms / 1000)  # noqa: ASYNC251 - that is the harm
    return ctx.attempt


def tried(ctx, kind: str) -> None:
    note("try", ctx, kind=kind)
    if not gate("mended"):
        raise ConnectionError(kind)


def begin(ctx, kind: str) -> None:
    note("first", ctx, kind=kind)


@app.task(retry=ONCE, **STUBBORN)
async def retried_step(ctx: headway.Context, wait: str) -> str:
    await ctx.step("begin", begin, ctx, wait)
    policy = headway.Retry(max_attempts=4, backoff=wait, factor=1, jitter=0)
    await ctx.step("flaky", tried, ctx, wait, retry=policy)
    return wait
