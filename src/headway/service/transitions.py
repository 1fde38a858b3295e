"""Carries out what the engine decides: one event, one line of history, and what follows from it, in one transaction."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec.structs import replace

from headway.engine import lifecycle
from headway.engine.lifecycle import CAUSES, Claimed, Held, StopAsked, Unblocked, decide
from headway.model.run import FINAL, LEASED, Blocker, Run, State
from headway.storage.meters import CLAIMED, ENDED, POISONED, RETRIED
from headway.storage.unit import Unit
from headway.wire.workers import StopAsked as StopMessage

_encode: Final = msgspec.json.Encoder().encode
_decode_blockers: Final = msgspec.json.Decoder(list[Blocker]).decode

SET_BACK_MS: Final = 1_000
"""How far behind a run's last change the wall clock has to be, to have been set back: those of servers differ a little."""
CHILD_RESULT: Final = "child-result:"
"""The step under which a parent finds how its child ended."""
SUCCEEDED_RESULT: Final = '{"state":"succeeded"'
"""The beginning of that step's value if the child succeeded."""


def move(unit: Unit, run: Run, event: lifecycle.Event, **detail: Any) -> Run:
    """Let `event` happen to `run`; raise InvalidState, changing nothing, if it cannot.

    `detail` is what the line of history carries besides state and cause.
    """
    after = decide(run, event, unit.task(run.task), unit.now_ms)
    after = replace(after, seq=run.seq + 1, version=run.version + 1)
    if run.updated_at - unit.now_ms > SET_BACK_MS:
        detail["clock_set_back_ms"] = run.updated_at - unit.now_ms
    if type(event) is Claimed and run.parked_until is None:
        unit.save(after, run, "save_claimed")
    elif run.worker_id is not None and after.state in FINAL:
        unit.save(after, run, "save_finished")
    else:
        unit.save(after, run)
    unit.record(after, "run.state", _line(after, CAUSES[type(event)], detail))
    _measure(unit, run, after, event)
    if run.worker_id is not None:
        _left_by_worker(unit, run, after, event)
    elif run.state is State.QUEUED and type(event) is not Claimed:
        passed_on(unit, run)
    if after.state in FINAL:
        _finished(unit, after)
    return after


def _measure(unit: Unit, run: Run, after: Run, event: lifecycle.Event) -> None:
    """Note what the meters of the task count: a wait that is over, an attempt that ended, a run that is final."""
    if type(event) is Claimed:
        since = run.run_at if not run.attempt else max(run.run_at, run.updated_at)  # it was queued again then
        unit.notes.append((run.organisation, run.task, CLAIMED, after.updated_at - since))
        return
    took_ms = -1
    if after.finished_at is not None and after.started_at is not None:
        took_ms = after.finished_at - after.started_at
    if run.worker_id is not None and after.worker_id is None:
        outcome = CAUSES[type(event)]
        if run.state is State.STOPPING and outcome not in ("crashed", "abandoned"):
            outcome = "stopped"
        unit.notes.append((run.organisation, run.task, outcome, took_ms))
        if after.state is State.SCHEDULED and outcome == "errored":
            unit.notes.append((run.organisation, run.task, RETRIED, -1))
        elif after.state is State.FAILED and outcome == "crashed":
            unit.notes.append((run.organisation, run.task, POISONED, -1))
    elif took_ms >= 0:
        unit.notes.append((run.organisation, run.task, ENDED, took_ms))


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


def _left_by_worker(unit: Unit, run: Run, after: Run, event: lifecycle.Event) -> None:
    """A leased run has moved: tell its worker what it may not know, and let others have the slot."""
    assert run.worker_id is not None
    if isinstance(event, StopAsked):
        grace_ms = unit.task(run.task).grace_ms if event.grace_ms is None else event.grace_ms
        unit.signal(
            run.worker_id,
            run.id,
            StopMessage(run_id=run.id, epoch=run.epoch, grace_ms=grace_ms, reason=event.reason.message),
        )
    elif isinstance(event, Held):
        unit.signal(run.worker_id, run.id, StopMessage(run_id=run.id, epoch=run.epoch, grace_ms=0, reason="suspended"))
    if after.state not in LEASED:
        slot_freed(unit, run)


def slot_freed(unit: Unit, run: Run) -> None:
    """A lease on the run has ended: whoever waited for its slot may start."""
    task = unit.task(run.task)
    if task.limited:
        if run.key is not None and task.limited_by_key:
            unit.free(run.task, run.key)
        for queue, name in unit.catalog.lanes_of(run.task):
            unit.open_lane(queue, name)
    if unit.queue(run.queue).concurrency is not None:
        for queue, name in unit.catalog.lanes_in(run.queue):
            unit.open_lane(queue, name)


def passed_on(unit: Unit, run: Run) -> None:
    """A queued run goes elsewhere: if it was let through for a slot of its key, the next may have that."""
    if run.key is not None and unit.task(run.task).concurrency_per_key is not None:
        unit.free(run.task, run.key)


def _finished(unit: Unit, run: Run) -> None:
    """A run is final: its parent learns how it ended, and goes on if it waited for that; so does who waits in its schedule."""
    if run.schedule_id is not None:
        unit.ended[run.schedule_id] = None
    if run.parent_id is None:
        return
    parent = unit.run(run.parent_id)
    if parent is None or parent.state in FINAL:
        return
    unit.add_step(parent.id, CHILD_RESULT + run.id, child_result(run))
    if parent.seq == 1:  # a claim looks for steps only where something has happened since the start
        line = _encode({"name": CHILD_RESULT + run.id, "attempt": parent.attempt}).decode()
        parent = change(unit, parent, parent, "run.step", line)
    unblock(unit, parent, Blocker(kind="run", run_id=run.id))


def child_result(run: Run) -> str:
    """Return how a child ended, as its parent's step keeps it."""
    ended = {
        "state": run.state,
        "output": msgspec.Raw((run.output or "null").encode()),
        "error": msgspec.Raw((run.error or "null").encode()),
        "reason": msgspec.Raw((run.reason or "null").encode()),
    }
    return _encode(ended).decode()


def unblock(unit: Unit, run: Run, blocker: Blocker) -> Run:
    """Take away something that the run waits for, if it does."""
    if run.state is State.SUSPENDED and blocker in _decode_blockers(run.blocked_on):
        return move(unit, run, Unblocked(blocker), unblocked=blocker)
    return run


def change(unit: Unit, before: Run, after: Run, kind: str | None = None, data: str = "") -> Run:
    """Keep a change that is no transition: a new version, and a line of history if `kind` names one."""
    assert after.state is before.state, "states change by events"
    after = replace(
        after,
        version=before.version + 1,
        seq=before.seq + (kind is not None),
        updated_at=max(unit.now_ms, before.updated_at),
    )
    unit.save(after, before)
    if kind is not None:
        unit.record(after, kind, data)
    return after
