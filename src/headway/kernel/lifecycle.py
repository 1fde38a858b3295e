"""The life of a run.

Every state change of every run is decided here and nowhere else. Two rules hold the file together:

1. The table says what may happen: state, event, and the states that may follow. `decide` picks among them from data,
   and asserts that its pick is in the table.
2. Nothing here depends on the caller. The store, the loops, the API and the tests all apply the same events.

What follows from the promises: each claim raises the epoch; waiting is not failing, so an attempt that only waited is
given back; a crash keeps its attempt and has a limit of its own; in `stopping` every word from the lease holder
confirms the stop; a final run does not change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias, assert_never

import msgspec
from msgspec.structs import replace

from headway.errors import InvalidState
from headway.kernel import retry
from headway.kernel.run import KEEP, Blocker, Reason, Run, RunError, State
from headway.kernel.task import Task

SCHEDULED, QUEUED, RUNNING, SUSPENDED, STOPPING, SUCCEEDED, FAILED, TERMINATED = State

ABANDON_MS: Final = 10_000
"""Time after the grace in which the worker has to confirm that it killed the run; then the stop counts as confirmed."""


class FellDue(msgspec.Struct, frozen=True):
    """The scheduled time arrived."""


class Rescheduled(msgspec.Struct, frozen=True):
    """The scheduled time was changed."""

    run_at: int


class Claimed(msgspec.Struct, frozen=True):
    """A worker claimed the run."""

    worker_id: str


class Succeeded(msgspec.Struct, frozen=True):
    """The function returned; `output` is JSON."""

    output: str


class Errored(msgspec.Struct, frozen=True):
    """The function raised, or took too long."""

    error: RunError
    retry_after_ms: int | None = None
    jitter: float = 0.5


class Crashed(msgspec.Struct, frozen=True):
    """The worker vanished, or the process that executed the run died.

    A worker has vanished if its connection broke, or if it was silent for a lease in which the server could hear it.
    """

    message: str = "the worker was not heard from any more"


class Suspended(msgspec.Struct, frozen=True):
    """The function waits for others and has released the worker."""

    blockers: tuple[Blocker, ...]
    timeout_ms: int | None = None


class Slept(msgspec.Struct, frozen=True):
    """The function sleeps and has released the worker."""

    until: int


class Released(msgspec.Struct, frozen=True):
    """The worker returned the run undone, the lease never arrived, or a worker without answers gave up.

    This is not a crash.
    """


class Held(msgspec.Struct, frozen=True):
    """A person suspended the run, or another run has to come first."""

    reason: Reason
    blocker: Blocker | None = None
    """Condition to wait for; without one, a person resumes the run."""


class Unblocked(msgspec.Struct, frozen=True):
    """A condition that the run waits for was met."""

    blocker: Blocker


class Resumed(msgspec.Struct, frozen=True):
    """A person resumed the run, or its wait timed out."""

    reason: Reason


class StopAsked(msgspec.Struct, frozen=True):
    """A stop was requested."""

    reason: Reason
    grace_ms: int | None = None


class Stopped(msgspec.Struct, frozen=True):
    """The worker confirms that no code of the run is left running."""


class Abandoned(msgspec.Struct, frozen=True):
    """The worker did not confirm in time."""


Event: TypeAlias = (
    FellDue
    | Rescheduled
    | Claimed
    | Succeeded
    | Errored
    | Crashed
    | Suspended
    | Slept
    | Released
    | Held
    | Unblocked
    | Resumed
    | StopAsked
    | Stopped
    | Abandoned
)

TRANSITIONS: Final[Mapping[State, Mapping[type[Event], tuple[State, ...]]]] = {
    SCHEDULED: {
        FellDue: (QUEUED,),
        Rescheduled: (SCHEDULED, QUEUED),  # to come, or already there
        Held: (SUSPENDED,),
        StopAsked: (TERMINATED,),
    },
    QUEUED: {
        Claimed: (RUNNING,),
        Rescheduled: (SCHEDULED, QUEUED),
        Held: (SUSPENDED,),
        StopAsked: (TERMINATED,),
    },
    RUNNING: {
        Succeeded: (SUCCEEDED,),
        Errored: (SCHEDULED, FAILED),  # again later, or spent
        Crashed: (QUEUED, FAILED),  # again at once, or poison
        Suspended: (SUSPENDED,),
        Slept: (SCHEDULED,),
        Released: (QUEUED,),
        Held: (SUSPENDED,),
        StopAsked: (STOPPING,),
    },
    SUSPENDED: {Unblocked: (SUSPENDED, QUEUED), Resumed: (QUEUED,), StopAsked: (TERMINATED,)},
    STOPPING: {
        Succeeded: (TERMINATED,),
        Errored: (TERMINATED,),
        Crashed: (TERMINATED,),
        Suspended: (TERMINATED,),
        Slept: (TERMINATED,),
        Released: (TERMINATED,),
        Stopped: (TERMINATED,),
        Abandoned: (TERMINATED,),
    },
    SUCCEEDED: {},
    FAILED: {},
    TERMINATED: {},
}

FENCED: Final = frozenset({Succeeded, Errored, Suspended, Slept, Released, Stopped})
"""Events that only the holder of the lease can bring about: they need the run's epoch."""

CAUSES: Final[Mapping[type[Event], str]] = {
    FellDue: "fell_due",
    Rescheduled: "rescheduled",
    Claimed: "claimed",
    Succeeded: "succeeded",
    Errored: "errored",
    Crashed: "crashed",
    Suspended: "suspended",
    Slept: "slept",
    Released: "released",
    Held: "held",
    Unblocked: "unblocked",
    Resumed: "resumed",
    StopAsked: "stop_asked",
    Stopped: "stopped",
    Abandoned: "abandoned",
}
"""Spelling of each event in the history."""

_encode = msgspec.json.Encoder().encode
_decode_blockers = msgspec.json.Decoder(tuple[Blocker, ...]).decode


def decide(run: Run, event: Event, task: Task, now_ms: int) -> Run:
    """Return the run as it is after `event`; raise InvalidState, changing nothing, if the table has no such arrow."""
    allowed = TRANSITIONS[run.state].get(type(event))
    if allowed is None:
        raise InvalidState(
            f"{CAUSES[type(event)].replace('_', ' ')} cannot happen to a run that is {run.state}", state=str(run.state)
        )
    after = _stopped(run, event, task, now_ms) if run.state is STOPPING else _moved(run, event, task, now_ms)
    assert after.state in allowed, (event, after.state, allowed)
    return after if now_ms >= run.updated_at else _in_order(run, after)


def _in_order(run: Run, after: Run) -> Run:
    """Return the run with times not before its last change, for a wall clock that was set back; future times stay."""
    at_ms = run.updated_at
    return replace(
        after,
        started_at=at_ms if after.started_at is not None and run.started_at is None else after.started_at,
        finished_at=None if after.finished_at is None else at_ms,
        updated_at=at_ms,
    )


def _moved(run: Run, event: Event, task: Task, now_ms: int) -> Run:
    match event:
        case Claimed(worker_id):
            return _claimed(run, worker_id, task, now_ms)
        case Succeeded(output):
            return _final(run, SUCCEEDED, task, now_ms, output=output, error=None)
        case Errored():
            return _errored(run, event, task, now_ms)
        case Crashed(message):
            return _crashed(run, message, task, now_ms)
        case Suspended(blockers, timeout_ms):
            deadline_at = None if timeout_ms is None else now_ms + timeout_ms
            return _waiting(run, SUSPENDED, now_ms, blockers=blockers, deadline_at=deadline_at)
        case Slept(until):
            return _waiting(run, SCHEDULED, now_ms, run_at=max(until, now_ms))
        case Released():
            return _waiting(run, QUEUED, now_ms)
        case Held(reason, blocker):
            blocker = blocker or Blocker(kind="hold", name=reason.message)
            return _waiting(run, SUSPENDED, now_ms, blockers=(blocker,), reason=reason)
        case FellDue():
            return replace(run, state=QUEUED, updated_at=now_ms)
        case Rescheduled(run_at):
            state = SCHEDULED if run_at > now_ms else QUEUED
            return replace(run, state=state, run_at=run_at, parked_until=None, updated_at=now_ms)
        case Unblocked(blocker):
            return _unblocked(run, blocker, now_ms)
        case Resumed():
            return _queued(run, now_ms)
        case StopAsked(reason, grace_ms) if run.state is RUNNING:
            grace_ms = task.grace_ms if grace_ms is None else grace_ms
            deadline_at = now_ms + grace_ms + ABANDON_MS
            return replace(run, state=STOPPING, reason=_json(reason), deadline_at=deadline_at, updated_at=now_ms)
        case StopAsked(reason):
            return _final(run, TERMINATED, task, now_ms, reason=_json(reason))
        case Stopped() | Abandoned():
            raise AssertionError("only a stopping run is confirmed")
        case _:
            assert_never(event)


def _stopped(run: Run, event: Event, task: Task, now_ms: int) -> Run:
    """Any report of the lease holder about a stopping run means that the run does not run any more."""
    match event:
        case Abandoned():
            return _final(run, TERMINATED, task, now_ms, error=_json(RunError(code="abandoned", retryable=False)))
        case Crashed():
            return _final(run, TERMINATED, task, now_ms, crashes=run.crashes + 1)
        case _:
            return _final(run, TERMINATED, task, now_ms)


def _claimed(run: Run, worker_id: str, task: Task, now_ms: int) -> Run:
    # The worker enforces the timeout; the server's deadline is the backstop for a worker that does not.
    deadline_at = None if task.timeout_ms is None else now_ms + task.timeout_ms + task.grace_ms + ABANDON_MS
    return replace(
        run,
        state=RUNNING,
        attempt=run.attempt + 1,
        epoch=run.epoch + 1,
        worker_id=worker_id,
        started_at=now_ms if run.started_at is None else run.started_at,
        deadline_at=deadline_at,
        parked_until=None,
        updated_at=now_ms,
    )


def _errored(run: Run, event: Errored, task: Task, now_ms: int) -> Run:
    error = event.error
    final = not error.retryable or (error.type != "" and error.type in task.retry.do_not_retry)
    if final or retry.spent(run.attempt, run.crashes, run.max_attempts):
        return _final(run, FAILED, task, now_ms, error=_json(error))
    delay = event.retry_after_ms
    if delay is None:
        delay = retry.delay_ms(task.retry, run.attempt - run.crashes, event.jitter)
    return replace(
        run,
        state=SCHEDULED,
        error=_json(error),
        run_at=now_ms + delay,
        worker_id=None,
        deadline_at=None,
        updated_at=now_ms,
    )


def _crashed(run: Run, message: str, task: Task, now_ms: int) -> Run:
    crashes = run.crashes + 1
    if crashes >= task.max_crashes:
        text = f"it took its worker down {crashes} times: {message}"
        error = RunError(code="poison", message=text, retryable=False)
        return _final(run, FAILED, task, now_ms, error=_json(error), crashes=crashes)
    error = RunError(code="crashed", message=message)
    return replace(
        run, state=QUEUED, crashes=crashes, error=_json(error), worker_id=None, deadline_at=None, updated_at=now_ms
    )


def _waiting(
    run: Run,
    state: State,
    now_ms: int,
    *,
    blockers: tuple[Blocker, ...] = (),
    deadline_at: int | None = None,
    run_at: int | None = None,
    reason: Reason | None = None,
) -> Run:
    """Waiting is not failing: an attempt that was under way is given back."""
    return replace(
        run,
        state=state,
        attempt=run.attempt - (run.worker_id is not None),
        worker_id=None,
        blocked_on=_encode(blockers).decode(),
        deadline_at=deadline_at,
        parked_until=None,
        run_at=run.run_at if run_at is None else run_at,
        reason=run.reason if reason is None else _json(reason),
        updated_at=now_ms,
    )


def _unblocked(run: Run, blocker: Blocker, now_ms: int) -> Run:
    blockers = _decode_blockers(run.blocked_on)
    left = tuple(other for other in blockers if other != blocker)
    if left or blocker not in blockers:  # the run waits for other blockers
        return replace(run, blocked_on=_encode(left).decode(), updated_at=now_ms)
    return _queued(run, now_ms)


def _queued(run: Run, now_ms: int) -> Run:
    return replace(run, state=QUEUED, blocked_on="[]", reason=None, deadline_at=None, run_at=now_ms, updated_at=now_ms)


def _final(
    run: Run,
    state: State,
    task: Task,
    now_ms: int,
    *,
    output: str | None = None,
    error: str | msgspec.UnsetType | None = msgspec.UNSET,
    reason: str | None = None,
    crashes: int | None = None,
) -> Run:
    return replace(
        run,
        state=state,
        output=output,
        error=run.error if error is msgspec.UNSET else error,
        reason=run.reason if reason is None else reason,
        crashes=run.crashes if crashes is None else crashes,
        worker_id=None,
        blocked_on="[]",
        deadline_at=None,
        parked_until=None,
        finished_at=now_ms,
        expires_at=expires_at(run, state, task, now_ms),
        updated_at=now_ms,
    )


def expires_at(run: Run, state: State, task: Task, finished_at: int) -> int | None:
    """Return the time at which a run that ends in `state` is removed; None is never."""
    keep_ms = run.keep_ms
    if keep_ms == KEEP:
        return None
    if keep_ms is None:
        kept = task.retention
        if state is State.SUCCEEDED:
            keep_ms = kept.succeeded_ms
        else:
            keep_ms = kept.failed_ms if state is State.FAILED else kept.terminated_ms
    return None if keep_ms is None else finished_at + keep_ms


def removable(run: Run, now_ms: int) -> bool:
    """Return whether retention may remove the run now."""
    return run.final and not run.protected and run.expires_at is not None and run.expires_at <= now_ms


def _json(noun: Reason | RunError) -> str:
    return _encode(noun).decode()
