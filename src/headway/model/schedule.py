"""The schedule: when a task runs by itself, and what happens when it could not."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

DAY_MS: Final = 86_400_000


class CatchUp(StrEnum):
    """What becomes of slots that passed while nobody looked: the server was down, or its clock was set forward."""

    LATEST = "latest"
    """The newest runs, however late; the others are missed."""
    ALL = "all"
    """Each runs, as far as they are young enough and not too many."""
    SKIP = "skip"
    """All are missed. The newest still runs if it is hardly late at all."""


class Overlap(StrEnum):
    """What becomes of a slot while an earlier run of the schedule is not finished."""

    SKIP = "skip"
    """It makes no run."""
    QUEUE = "queue"
    """Its run waits until the earlier ones are finished."""
    CANCEL_RUNNING = "cancel_running"
    """The earlier runs are stopped, and its run starts."""
    ALLOW = "allow"
    """Its run starts beside them."""


class Outcome(StrEnum):
    """What became of a slot."""

    RAN = "ran"
    """It made a run; that one says the rest."""
    SKIPPED = "skipped"
    """It made none, because of another run, or because the task could not be started."""
    MISSED = "missed"
    """It made none, because it was noticed too late."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """When a task runs by itself: an occurrence in a time zone, its bounds, and its policies; and what is started then.

    Times are integer milliseconds UTC. `engine.schedules.occurrence.checked` says whether it can be kept to.
    """

    id: str
    organisation: int = 1
    name: str = ""
    """What people call it; an organisation has one of that name."""
    description: str = ""
    task: str = ""
    """What is started, and with what:"""
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
    """There is no slot before; words, RRULEs and intervals count from here. None: from Monday 1 January 2001, 00:00."""
    ends_at: int | None = None
    """There is no slot after; one at this very moment counts."""
    overlap: Overlap = Overlap.SKIP
    queue_max: int = 100
    """With `overlap: queue`: slots that come while so many runs are unfinished make none."""
    catch_up: CatchUp = CatchUp.LATEST
    catch_up_max: int = 100
    """With `catch_up: all`: how many of the newest slots run."""
    catch_up_window_ms: int = DAY_MS
    """With `catch_up: all`: slots that are older than this are missed."""
    late_after_ms: int = 60_000
    """With `catch_up: skip`: how late a slot may be noticed and still run."""
    jitter_ms: int = 0
    """Each run starts up to this much after its slot, always the same for the same slot."""
    paused: bool = False
    problem: str = ""
    """Why it was paused, if nobody asked for that."""
    last_slot: int = 0
    """The newest slot that was decided; before the first, when the schedule was made. It never goes back."""
    next_at: int | None = None
    """The slot after that; none of one that is paused or has come to its end."""
    declared: bool = False
    """Code declares it."""
    declaration: str = ""
    """What code said last, as JSON; also when it does not any more. Empty: it was made by hand."""
    declared_at: int = 0
    """When the code was started that said so."""
    created_at: int = 0
    updated_at: int = 0
    version: int = 1
    """Raised by every change that somebody makes; slots that pass do not raise it."""


class PastSlot(msgspec.Struct, frozen=True):
    """What became of a slot; fields in the order of the columns."""

    schedule_id: str
    nominal: int
    """The slot's time. With the schedule's id it names at most one run."""
    until: int | None
    """The last of several slots that were missed and are kept as one; those among them that ran have their own."""
    outcome: Outcome
    why: str
    detail: str
    """What else there is to say, for people."""
    run_id: str | None
    decided_at: int


SLOT_LABEL: Final = "slot"
"""The label by which a run of a schedule says for which slot it runs."""
