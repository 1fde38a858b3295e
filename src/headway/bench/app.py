"""Tasks of `headway bench`: they do nothing, so that Headway alone is measured."""

from __future__ import annotations

import time

import headway

app = headway.App()


@app.task
async def noop() -> None:
    """Do nothing."""


@app.task
async def stamp() -> int:
    """Return the time at which the first line of the function is executed, in nanoseconds."""
    return time.time_ns()
