"""What can be done to one run, within a transaction: the guards of each verb, and what it does. One place for one or many."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from headway.errors import Damaged, InvalidState, Protected, TaskInactive, UnknownTask
from headway.kernel.lifecycle import Held, Resumed
from headway.kernel.run import FINAL, Blocker, DamagedRun, Reason, Run, State
from headway.kernel.space import Space
from headway.runs import continuing, stopping
from headway.runs.reporting import SIGNAL
from headway.runs.starting import new_run
from headway.runs.transitions import change, move, unblock
from headway.store.unit_of_work import UnitOfWork

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
_decode_labels: Final = msgspec.json.Decoder(dict[str, str]).decode


def terminate(uow: UnitOfWork, run: Run, reason: Reason, grace_ms: int | None = None, *, cascade: bool = True) -> Run:
    """Ask the run to stop; raise InvalidState for one that ended otherwise."""
    if run.state in (State.SUCCEEDED, State.FAILED):
        raise InvalidState(f"the run has {run.state}; there is nothing to stop", state=str(run.state))
    return stopping.terminate(uow, run, reason, grace_ms, cascade=cascade)


def suspend(uow: UnitOfWork, run: Run, reason: Reason) -> Run:
    """Hold the run; one that is held stays as it is."""
    held = run.state is State.SUSPENDED and any(blocker["kind"] == "hold" for blocker in _decode(run.blocked_on))
    return run if held else move(uow, run, Held(reason))


def resume(uow: UnitOfWork, run: Run, reason: Reason) -> Run:
    """Queue a suspended run again."""
    return move(uow, run, Resumed(reason))


def protect(uow: UnitOfWork, run: Run, *, protected: bool) -> Run:
    """Keep the run from being removed, or let it go again."""
    if bool(run.protected) == protected:
        return run
    line = _encode({"changed": ["protected"], "protected": protected}).decode()
    return change(uow, run, replace(run, protected=int(protected)), "run.changed", line)


def delete(uow: UnitOfWork, run: Run) -> Run:
    """Remove a finished run; raise InvalidState for a live one, Protected for a protected one."""
    if run.state not in FINAL:
        raise InvalidState(f"the run is {run.state}; terminate it first", state=str(run.state))
    if run.protected:
        raise Protected
    uow.remove([run], "deleted")
    return run


def retry(uow: UnitOfWork, run: Run, new_id: str, reason: Reason, *, from_scratch: bool = False) -> Run:
    """Repeat a failed or terminated run under a new id, with the same input; its history begins with who wanted that, and why.

    It goes on from the steps that succeeded, unless it is of a built-in task or `from_scratch`. Raises InvalidState for a run
    that is neither failed nor terminated, or whose children stand in the way.
    """
    if run.state not in (State.FAILED, State.TERMINATED):
        raise InvalidState(f"only a failed or terminated run is retried; this one is {run.state}", state=str(run.state))
    if isinstance(run, DamagedRun):
        raise Damaged(f"the run's {', '.join(run.damaged)} cannot be read")
    task, name = uow.task(run.task), Space.outside(run.task)
    if not Space(run.organisation).may_start(task):
        raise UnknownTask(f"no worker has declared a task named {name!r}", task=name)
    if not task.active:
        raise TaskInactive(f"the task {name!r} is not active")
    planned = None if from_scratch or not continuing.continues(task) else continuing.plan(uow, run)
    again = new_run(
        new_id,
        task,
        uow.now_ms,
        name=run.name,
        queue=run.queue,
        priority=run.priority,
        key=run.key,
        max_attempts=run.max_attempts,
        input=run.input,
        labels=run.labels,
        run_type="retry",
        previous_id=run.id,
        keep_ms=run.keep_ms,
        organisation=run.organisation,
    )
    uow.queue(again.queue)
    uow.insert(again, _decode_labels(again.labels))
    line = {"state": again.state, "cause": "created", "run_type": "retry", "previous_id": run.id, "reason": reason}
    if planned is not None:
        line["inherited"] = continuing.inherit(uow, run, again, planned)
    uow.record(again, "run.state", _encode(line).decode())
    return again


def signal(uow: UnitOfWork, run: Run, name: str, payload: str) -> Run:
    """Give the run a message, and let it go on if that is what it waits for; raise InvalidState for a finished run."""
    if run.state in FINAL:
        raise InvalidState(f"the run has {run.state} and takes no signals", state=str(run.state))
    number = uow.count_steps(run.id, f"{SIGNAL}{name}#") + 1
    uow.add_step(run.id, f"{SIGNAL}{name}#{number}", payload)
    line = _encode({"name": name, "number": number, "payload": msgspec.Raw(payload.encode())}).decode()
    run = change(uow, run, run, "run.signal", line)
    return unblock(uow, run, Blocker(kind="signal", name=name, number=number))
