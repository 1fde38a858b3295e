"""Run: one execution of a task, and its states."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec
from msgspec.structs import replace


class State(StrEnum):
    """State of a run. Closed set: clients may switch on it."""

    # Enum's own hash is Python code over the member's name; every table of this product is keyed by states.
    __hash__ = str.__hash__

    SCHEDULED = "scheduled"
    """Waiting until a time: a delayed start, a retry's back-off, a sleep. The stager moves it to *queued*."""
    QUEUED = "queued"
    """Waiting for a worker and for its limits. A claim moves it to *running*."""
    RUNNING = "running"
    """A worker holds its lease."""
    SUSPENDED = "suspended"
    """Waiting for the blockers in `blocked_on`, without a lease. A signal, a child's end or a person resumes it."""
    STOPPING = "stopping"
    """Asked to stop; the worker still holds the lease and has the grace period to confirm."""
    SUCCEEDED = "succeeded"
    """The function returned. Final."""
    FAILED = "failed"
    """The attempts are spent, or the error is not retried. Final."""
    TERMINATED = "terminated"
    """Stopped by a person or a program, named in `reason`. Final."""


FINAL: Final = frozenset({State.SUCCEEDED, State.FAILED, State.TERMINATED})
"""States without a transition out of them."""

LEASED: Final = frozenset({State.RUNNING, State.STOPPING})
"""States in which a worker holds the run's lease; each such run occupies one slot of every limit on it."""


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
    """Key that per-key limits count by: a customer, an account, a host."""
    attempt: int
    """Attempts begun. A suspended, slept or handed-back attempt is given back."""
    max_attempts: int
    crashes: int
    """Attempts that ended with the worker; they have their own limit."""
    epoch: int
    """The lease epoch: raised by each claim, never lowered. Only writes that carry it are taken."""
    worker_id: str | None
    """Worker that holds the lease; set exactly in the LEASED states."""
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
    """Units per second, smoothed."""
    progress_at: int | None
    run_type: str
    """Origin: api, child, retry, bulk …"""
    parent_id: str | None
    root_id: str
    previous_id: str | None
    """Finished run that this one repeats."""
    schedule_id: str | None
    protected: int
    created_at: int
    run_at: int
    """Earliest start. With the priority, it is the run's place in the queue."""
    started_at: int | None
    finished_at: int | None
    expires_at: int | None
    """Time of removal by retention."""
    keep_ms: int | None
    """Retention after the end; None: the task's; KEEP: for ever."""
    deadline_at: int | None
    """Deadline: a running run's attempt, a stopping run's confirmation, or a suspended run's wait."""
    parked_until: int | None
    """Time until which a per-key limit keeps a queued run from starting (PARKED: until a slot frees)."""
    updated_at: int
    seq: int
    """Number of the last event."""
    version: int
    """ETag, raised by every change."""
    organisation: int = 1
    """Owner. Stored names of task, queue and key contain the organisation (see `kernel.namespace`)."""

    @property
    def final(self) -> bool:
        """Whether the outcome is final."""
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
"""Value of `parked_until` for a run that waits for a slot of its key, not for a time."""


KEEP: Final = -1
"""Value of `keep_ms` for a run that retention does not remove."""

TOKEN_WAIT: Final = "token:"  # noqa: S105 - no secret: a part of a name
"""Prefix of the signal that completing a token sends; callers cannot send such a signal."""


class Blocker(msgspec.Struct, frozen=True, omit_defaults=True):
    """Condition that a suspended run waits for."""

    kind: str
    """signal, run, hold (a person's suspend), or schedule (earlier runs of its schedule)."""
    name: str = ""
    """Name of a signal, or the reason of a hold."""
    number: int = 0
    """Number of a signal among those of its name, from 1."""
    run_id: str = ""
    """Id of a run."""


BEHIND: Final = Blocker(kind="schedule")
"""Blocker of a run that waits for earlier runs of its schedule."""


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """Reason of a state that the run's code did not cause."""

    code: str
    message: str = ""
    actor: str = ""


class RunError(msgspec.Struct, frozen=True, omit_defaults=True):
    """Error of a run's code or of its worker."""

    code: str
    """exception, timeout, heartbeat_timeout, crashed, poison, damaged, invalid_output, output_too_large, task_missing …"""
    type: str = ""
    """Class of the exception."""
    message: str = ""
    retryable: bool = True
    details: str = ""
    """Traceback, for the run's owner."""
    node: str | None = None
