"""The run: one execution of a task, and the states it can be in."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec
from msgspec.structs import replace


class State(StrEnum):
    """Where a run is in its life. Closed: clients may switch on it."""

    # Enum's own hash is Python code over the member's name; every table of this product is keyed by states.
    __hash__ = str.__hash__

    SCHEDULED = "scheduled"
    """Waits for its time: a delayed start, a retry's back-off, a sleep. The stager takes it to *queued*."""
    QUEUED = "queued"
    """May run as soon as a worker has room and no limit stands against it. A claim takes it to *running*."""
    RUNNING = "running"
    """A worker holds its lease."""
    SUSPENDED = "suspended"
    """Waits for the blockers in `blocked_on`; holds no lease. A signal, a child's end or a person resumes it."""
    STOPPING = "stopping"
    """Was asked to stop; the worker still holds the lease and has the grace period to confirm."""
    SUCCEEDED = "succeeded"
    """The function returned. Final."""
    FAILED = "failed"
    """The attempts are spent, or the error is not retried. Final."""
    TERMINATED = "terminated"
    """Someone stopped it; `reason` says who and why. Final."""


FINAL: Final = frozenset({State.SUCCEEDED, State.FAILED, State.TERMINATED})
"""The states that nothing leaves."""

LEASED: Final = frozenset({State.RUNNING, State.STOPPING})
"""The states in which a worker holds the run's lease; each such run occupies one slot of every limit on it."""


class Run(msgspec.Struct, frozen=True):
    """One execution of a task, as the store keeps it; fields are in the order of the table's columns.

    Times are integer milliseconds UTC. JSON documents (`input`, `output`, `error`, `reason`, `labels`, `blocked_on`)
    are kept as JSON text and are not parsed on the way through.
    """

    id: str
    task: str
    task_version: str
    name: str
    state: State
    queue: str
    priority: int
    key: str | None
    """What per-key limits count by: a customer, an account, a host."""
    attempt: int
    """Attempts begun. A suspended, slept or handed-back attempt is given back."""
    max_attempts: int
    crashes: int
    """Attempts that ended with the worker; they have their own limit."""
    epoch: int
    """The lease epoch: raised by each claim, never lowered. Only writes that carry it are taken."""
    worker_id: str | None
    """Who holds the lease; set exactly in the LEASED states."""
    input: str
    output: str | None
    error: str | None
    reason: str | None
    labels: str
    blocked_on: str
    progress_done: int
    progress_total: int | None
    progress_message: str
    progress_rate: float | None
    """Units a second, smoothed."""
    progress_at: int | None
    run_type: str
    """What started it: api, child, retry, bulk …"""
    parent_id: str | None
    root_id: str
    previous_id: str | None
    """The finished run that this one repeats."""
    schedule_id: str | None
    protected: int
    created_at: int
    run_at: int
    """When it may run. Together with priority, its place in the queue."""
    started_at: int | None
    finished_at: int | None
    expires_at: int | None
    """When retention removes it."""
    keep_ms: int | None
    """How long it is kept after its end; None: as its task says; KEEP: for ever."""
    deadline_at: int | None
    """Of a running run: when its attempt is too long; of a stopping run: when the stop is taken for granted; of a
    suspended run: when its wait times out."""
    parked_until: int | None
    """Of a queued run: a per-key limit stands against it until then (PARKED: until a slot frees)."""
    updated_at: int
    seq: int
    """The number of its last event."""
    version: int
    """Raised by every change; the ETag."""
    organisation: int = 1
    """Whose run it is. Task, queue and key are kept with the organisation in them (see `model.space`)."""

    @property
    def final(self) -> bool:
        """Whether nothing will change its outcome."""
        return self.state in FINAL


class DamagedRun(Run, frozen=True):
    """A run with fields that were damaged on disk: it can be shown and removed, but is not executed."""

    damaged: tuple[str, ...] = ()
    """Names of the fields that cannot be read. Their texts are not valid JSON, also after they are written again."""

    def without(self) -> DamagedRun:
        """Return the run with empty values for the documents that cannot be read."""
        return replace(self, **{name: _NEUTRAL[name] for name in self.damaged if name in _NEUTRAL})


_NEUTRAL: Final = {
    "input": "null", "output": None, "error": None, "reason": None, "labels": "{}", "blocked_on": "[]",
}  # fmt: skip

PARKED: Final = 1 << 62
"""`parked_until` of a run that waits for a slot of its key, not for a time."""


KEEP: Final = -1
"""`keep_ms` of a run that retention does not touch."""

TOKEN_WAIT: Final = "token:"  # noqa: S105 - no secret: a part of a name
"""Before the name of a token: the signal that completing it sends, which callers cannot send."""


class Blocker(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that a suspended run waits for."""

    kind: str
    """signal, run, hold (a person's suspend), or schedule (earlier runs of its schedule)."""
    name: str = ""
    """Of a signal: its name. Of a hold: the reason."""
    number: int = 0
    """Of a signal: which of that name, counting from 1."""
    run_id: str = ""
    """Of a run: which."""


BEHIND: Final = Blocker(kind="schedule")
"""Of a run that waits for earlier ones of its schedule."""


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a run is where it is, when that was not its own doing."""

    code: str
    message: str = ""
    actor: str = ""


class RunError(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong in a run's own code, or with its worker."""

    code: str
    """exception, timeout, heartbeat_timeout, crashed, poison, damaged, invalid_output, output_too_large, task_missing …"""
    type: str = ""
    """The exception's class."""
    message: str = ""
    retryable: bool = True
    details: str = ""
    """A traceback, for the run's owner."""
    node: str | None = None
