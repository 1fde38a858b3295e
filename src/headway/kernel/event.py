"""Event: one line of a run's history; lists, streams and attempts are read from events."""

from __future__ import annotations

import msgspec


class Event(msgspec.Struct, frozen=True):
    """One line of history, as the store keeps it; fields are in the order of the table's columns."""

    position: int
    """Position in the feed of all runs; rises, with gaps."""
    run_id: str
    seq: int
    """Number in the history of its run: 1, 2, 3 … without gaps."""
    type: str
    """run.state, run.log, run.step, run.step_failed, run.result, run.signal, run.changed."""
    time: int
    data: str
    """JSON. Of a run.state: the state, the cause (an engine event), and what the cause carries."""


class Result(msgspec.Struct, frozen=True):
    """A value that a run published."""

    run_id: str
    number: int
    """1, 2, 3 … within the run."""
    name: str
    value: str
    created_at: int


class Step(msgspec.Struct, frozen=True):
    """A recorded unit of a run: it is executed once, across all attempts."""

    run_id: str
    name: str
    value: str
    created_at: int


class Tombstone(msgspec.Struct, frozen=True):
    """Record of a removed run."""

    run_id: str
    removed_at: int
    policy: str
    """retention, or deleted."""
    organisation: int = 1
