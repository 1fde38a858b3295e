"""Tasks that misbehave; child processes load them by name."""

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

from headway.worker.declaration.app import App

app = App(capture_logging=False)


def process(function):
    return app.task(executor="process", grace="1s")(function)


@process
def add(ctx, a: int, b: int = 1) -> int:
    ctx.progress(1, 2)
    ctx.log("adding")
    return ctx.step("sum", lambda: a + b)


@process
async def add_async(ctx, a: int) -> int:
    child = await ctx.start("other")
    return [await ctx.step("sum", lambda: a + 1), child.id, os.getpid()]


@process
def abort():
    os.abort()


@process
def leave():
    os._exit(7)


@process
def fork():
    pid = os.fork()
    if pid == 0:
        sys.exit(0)
    return pid


@process
def orphan():
    subprocess.Popen(["sleep", "60"])
    os._exit(0)


@process
def flood():
    line = "x" * 1023 + "\n"
    for _ in range(20_000):
        sys.stdout.write(line)
    return "done"


@app.task(executor="process", memory_limit="600MiB")
def eat() -> int:
    return len(bytearray(2 << 30))


@process
def ignore_the_end(ctx):
    ctx.log("begun")
    while True:
        ctypes.CDLL(None).usleep(50_000)


@process
def heed_the_end(ctx):
    while True:
        ctx.progress(0)
        time.sleep(0.01)


@process
def wait_long(ctx):
    ctx.log("begun")
    ctx.sleep(1.9)


@app.task(name="inline_poison")
async def inline_poison(ctx):
    return os.getpid()


@app.task(name="slow", executor="process", timeout="200ms", grace="100ms")
def slow(ctx):
    while True:
        ctypes.CDLL(None).usleep(50_000)


@process
def surroundings():
    umask = os.umask(0)
    os.umask(umask)
    return [str(Path.cwd()), os.environ.get("LEFT_BEHIND"), umask, "/left/behind" in sys.path]
