"""Schedule: starts of a task by the clock, and policies for late and overlapping starts."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

DAY_MS: Final = 86_400_000


class CatchUp(StrEnum):
    """Policy for slots that passed unnoticed: the server was down, or its clock was set forward."""

    LATEST = "latest"
    """The newest slot runs, however late; the others are missed."""
    ALL = "all"
    """Each slot runs, within the limits of age and number."""
    SKIP = "skip"
    """All slots are missed, but the newest runs if it is hardly late."""


class Overlap(StrEnum):
    """Policy for a slot while an earlier run of the schedule is unfinished."""

    SKIP = "skip"
    """No run starts."""
    QUEUE = "queue"
    """The slot's run waits until the earlier ones are finished."""
    CANCEL_RUNNING = "cancel_running"
    """The earlier runs are stopped, and the slot's run starts."""
    ALLOW = "allow"
    """The slot's run starts beside the others."""


class Outcome(StrEnum):
    """Outcome of a slot."""

    RAN = "ran"
    """The slot has a run."""
    SKIPPED = "skipped"
    """No run: the overlap policy forbade it, or the task could not be started."""
    MISSED = "missed"
    """No run: the slot was noticed too late."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """Definition of a schedule: an occurrence in a time zone, its bounds and policies, and the run to start.

    Times are integer milliseconds UTC. `engine.schedules.occurrence.checked` validates it.
    """

    id: str
    organisation: int = 1
    name: str = ""
    """Name for people, unique in the organisation."""
    description: str = ""
    task: str = ""
    """Task to start, with the options below."""
    input: str = "{}"
    labels: dict[str, str] = {}
    key: str | None = None
    priority: int | None = None
    queue: str | None = None
    max_attempts: int | None = None
    occurrence: str
    """A word (Daily), a cron expression, an RRULE, or an interval (every 90m), in its canonical spelling."""
    timezone: str = "UTC"
    """The IANA name of the zone whose clocks count."""
    starts_at: int | None = None
    """Earliest slot; words, RRULEs and intervals count from here. None: from Monday 1 January 2001, 00:00."""
    ends_at: int | None = None
    """Latest slot, inclusive."""
    overlap: Overlap = Overlap.SKIP
    queue_max: int = 100
    """Limit of unfinished runs with `overlap: queue`; above it, slots are skipped."""
    catch_up: CatchUp = CatchUp.LATEST
    catch_up_max: int = 100
    """Number of newest slots that run with `catch_up: all`."""
    catch_up_window_ms: int = DAY_MS
    """Age above which slots are missed with `catch_up: all`."""
    late_after_ms: int = 60_000
    """Lateness up to which a slot still runs with `catch_up: skip`."""
    jitter_ms: int = 0
    """Longest delay of a run after its slot; a slot always has the same delay."""
    paused: bool = False
    problem: str = ""
    """Cause of a pause that no caller requested."""
    last_slot: int = 0
    """Newest decided slot, or the creation time before the first. It never goes back."""
    next_at: int | None = None
    """Slot after `last_slot`; None while paused and after the last slot."""
    declared: bool = False
    """Whether code declares the schedule."""
    declaration: str = ""
    """Last declaration by code, as JSON, even if code no longer declares it. Empty: made by a caller."""
    declared_at: int = 0
    """Start time of the worker whose code declared it."""
    created_at: int = 0
    updated_at: int = 0
    version: int = 1
    """ETag, raised by every change of the definition; slots do not raise it."""


class PastSlot(msgspec.Struct, frozen=True):
    """Decided slot; fields in the order of the columns."""

    schedule_id: str
    nominal: int
    """The slot's time. With the schedule's id it names at most one run."""
    until: int | None
    """Last of several missed slots that are stored as one; those among them that ran have rows of their own."""
    outcome: Outcome
    why: str
    detail: str
    """Further explanation, for people."""
    run_id: str | None
    decided_at: int


SLOT_LABEL: Final = "slot"
"""Label of a schedule's run with its slot."""
