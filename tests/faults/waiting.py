"""Waiting for something observable, with a deadline: the only way in which these tests let time pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

EVERY_S = 0.02


def until(look: Callable[[], T], within_s: float = 10.0, what: str | Callable[[], str] = "it") -> T:
    """Return the first true thing that `look` returns; fail if there is none in time.

    What is called says how it is then: a text that was made before says how it was.
    """
    between, deadline = threading.Event(), time.monotonic() + within_s
    while not (found := look()):
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {within_s:g} s: {what if isinstance(what, str) else what()}")
        between.wait(EVERY_S)
    return found


def pause(seconds: float) -> None:
    """Let a load run for a while: how long is the test's own choice, not something it hopes to be enough."""
    threading.Event().wait(seconds)


def under_way(server):
    """Return how many runs are not final: all of them, also those of other servers on the store, and just now."""
    return sum(server.under_way().values())


def all_final(server):
    return under_way(server) == 0


def all_end(server, stuck_s=60):
    """Wait until all runs are final: as long as one after the other comes to its end, none is stuck."""
    while left := under_way(server):

        def fewer(left=left):
            return under_way(server) < left

        until(fewer, stuck_s, lambda: f"one of those under way ends: {server.under_way()}")


def more_than(number, deployment):
    """Wait until more than so many starts were acknowledged: how fast they are is the machine's affair."""
    until(lambda: len(deployment.ledger.lines("acknowledged")) > number, 120, f"{number} starts are acknowledged")


def begun(deployment, run_id, epoch, within_s=20):
    """Wait until an attempt has begun."""

    def look():
        return [line for line in deployment.ledger.lines("begun") if (line["run_id"], line["epoch"]) == (run_id, epoch)]

    return until(look, within_s, f"attempt {epoch} of {run_id} has begun")[0]


def works(server, name):
    """Whether a worker of that name is heard."""
    return any(worker["name"] == name and worker["state"] == "active" for worker in server.get("/v1/workers")["data"])
