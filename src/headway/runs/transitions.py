"""Transitions of runs: an event is applied, its line of history is written, and the hooks react, in one transaction."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec.structs import replace

from headway.kernel import lifecycle
from headway.kernel.lifecycle import CAUSES, Claimed, Unblocked, decide
from headway.kernel.run import FINAL, Blocker, Run, State
from headway.store.counters import CLAIMED, ENDED, POISONED, RETRIED
from headway.store.unit_of_work import UnitOfWork

_encode: Final = msgspec.json.Encoder().encode
_decode_blockers: Final = msgspec.json.Decoder(list[Blocker]).decode

SET_BACK_MS: Final = 1_000
"""Milliseconds behind a run's last change by which the wall clock counts as set back: clocks of servers differ a little."""
CHILD_RESULT: Final = "child-result:"
"""Prefix of the steps that hold results of children."""
SUCCEEDED_RESULT: Final = '{"state":"succeeded"'
"""Beginning of the value of such a step if the child succeeded."""


def move(uow: UnitOfWork, run: Run, event: lifecycle.Event, **detail: Any) -> Run:
    """Apply `event` to `run` and call the hooks; raise InvalidState, changing nothing, if the run's state does not allow it.

    `detail` are further fields of the line of history, besides state and cause.
    """
    after = decide(run, event, uow.task(run.task), uow.now_ms)
    after = replace(after, seq=run.seq + 1, version=run.version + 1)
    if run.updated_at - uow.now_ms > SET_BACK_MS:
        detail["clock_set_back_ms"] = run.updated_at - uow.now_ms
    line = _line(after, CAUSES[type(event)], detail)
    _measure(uow, run, after, event)
    if type(event) is Claimed and run.parked_until is None:
        uow.save(after, run, "save_claimed")
    elif run.worker_id is not None and after.state in FINAL:
        uow.save(after, run, "save_finished")
    else:
        uow.save(after, run)
    uow.record(after, "run.state", line)
    for concerns, react in uow.hooks[after.state]:
        if concerns(run):
            react(uow, run, after, event)
    return after


def _measure(uow: UnitOfWork, run: Run, after: Run, event: lifecycle.Event) -> None:
    """Add notes for the task's meters: the end of a wait, of an attempt, or of a run."""
    if type(event) is Claimed:
        since = (
            run.run_at if not run.attempt else max(run.run_at, run.updated_at)
        )  # the time at which it was queued again
        uow.notes.append((run.organisation, run.task, CLAIMED, after.updated_at - since))
        return
    took_ms = -1
    if after.finished_at is not None and after.started_at is not None:
        took_ms = after.finished_at - after.started_at
    if run.worker_id is not None and after.worker_id is None:
        outcome = CAUSES[type(event)]
        if run.state is State.STOPPING and outcome not in ("crashed", "abandoned"):
            outcome = "stopped"
        uow.notes.append((run.organisation, run.task, outcome, took_ms))
        if after.state is State.SCHEDULED and outcome == "errored":
            uow.notes.append((run.organisation, run.task, RETRIED, -1))
        elif after.state is State.FAILED and outcome == "crashed":
            uow.notes.append((run.organisation, run.task, POISONED, -1))
    elif took_ms >= 0:
        uow.notes.append((run.organisation, run.task, ENDED, took_ms))


def _line(run: Run, cause: str, detail: dict[str, Any]) -> str:
    """Return the data of a line of history; states, causes and worker ids need no escaping."""
    if cause == "claimed":
        claimed = (
            f'{{"state":"running","cause":"claimed","attempt":{run.attempt},"epoch":{run.epoch},'
            f'"worker_id":"{run.worker_id}"}}'
        )
        return claimed if not detail else _encode(msgspec.json.decode(claimed) | detail).decode()
    if cause == "succeeded" and run.state is State.SUCCEEDED and not detail:
        return '{"state":"succeeded","cause":"succeeded"}'
    data: dict[str, Any] = {"state": run.state, "cause": cause}
    if run.reason is not None:
        data["reason"] = msgspec.Raw(run.reason.encode())
    if run.error is not None and cause in ("errored", "crashed", "abandoned"):
        data["error"] = msgspec.Raw(run.error.encode())
    if run.state is State.SUSPENDED:
        data["blocked_on"] = msgspec.Raw(run.blocked_on.encode())
    if run.state is State.SCHEDULED:
        data["run_at"] = run.run_at
    return _encode(data | detail).decode()


def child_result(run: Run) -> str:
    """Return the result of a child, as JSON for its parent's step."""
    ended = {
        "state": run.state,
        "output": msgspec.Raw((run.output or "null").encode()),
        "error": msgspec.Raw((run.error or "null").encode()),
        "reason": msgspec.Raw((run.reason or "null").encode()),
    }
    return _encode(ended).decode()


def unblock(uow: UnitOfWork, run: Run, blocker: Blocker) -> Run:
    """Remove a blocker of the run, if the run waits for it; return the run."""
    if run.state is State.SUSPENDED and blocker in _decode_blockers(run.blocked_on):
        return move(uow, run, Unblocked(blocker), unblocked=blocker)
    return run


def change(uow: UnitOfWork, before: Run, after: Run, kind: str | None = None, data: str = "") -> Run:
    """Save a change that is no transition: a new version, and with `kind` a line of history."""
    assert after.state is before.state, "states change by events"
    after = replace(
        after,
        version=before.version + 1,
        seq=before.seq + (kind is not None),
        updated_at=max(uow.now_ms, before.updated_at),
    )
    uow.save(after, before)
    if kind is not None:
        uow.record(after, kind, data)
    return after
