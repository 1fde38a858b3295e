"""The tasks that are measured: they do nothing, and count themselves on the board."""

from __future__ import annotations

from board import hit

import headway

app = headway.App()


@app.task
async def noop(ts: int = 0) -> None:
    """Do nothing."""
    hit(ts)


def plus(x: int) -> int:
    """Do next to nothing."""
    return x + 1


@app.task
async def three(ctx: headway.Context, x: int = 0) -> int:
    """Do next to nothing in three steps, each durable before the next."""
    for name in ("a", "b", "c"):
        x = await ctx.step(name, plus, x)
    hit(0)
    return x
