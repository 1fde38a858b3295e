"""Attempts derived from a run's history, so that no second record of them can differ."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from headway.kernel.event import Event

_decode = msgspec.json.Decoder().decode


class Attempt(msgspec.Struct, frozen=True):
    """One attempt of a run on a worker."""

    number: int
    epoch: int
    worker_id: str
    started_at: int
    finished_at: int | None
    outcome: str
    """running, or the cause of its end: succeeded, errored, crashed, suspended, slept, released, held, stopped …"""
    error: Any
    clock_set_back: bool = False
    """Whether the wall clock was set back during the attempt, so that it took longer than its times say."""


ENDS = frozenset({"succeeded", "errored", "crashed", "suspended", "slept", "released", "held", "stopped", "abandoned"})
"""Causes that end an attempt."""


def attempts(events: Iterable[Event]) -> list[Attempt]:
    """Return the attempts in a run's events (of type run.state, in order)."""
    found: list[Attempt] = []
    for event in events:
        data = _decode(event.data)
        cause = data.get("cause")
        if cause == "claimed":
            found.append(Attempt(data["attempt"], data["epoch"], data["worker_id"], event.time, None, "running", None))
        elif cause in ENDS and found and found[-1].finished_at is None:
            found[-1] = msgspec.structs.replace(
                found[-1],
                finished_at=event.time,
                outcome=cause,
                error=data.get("error"),
                clock_set_back="clock_set_back_ms" in data,
            )
    return found
