"""Control of single runs within a transaction: terminate, suspend, resume, signal, retry, protect, patch, delete."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from headway.errors import AlreadyCompleted, Damaged, InvalidState, Protected, TaskInactive, UnknownTask
from headway.kernel.lifecycle import Held, Rescheduled, Resumed, expires_at
from headway.kernel.namespace import Namespace
from headway.kernel.run import FINAL, TOKEN_WAIT, Blocker, DamagedRun, Reason, Run, State
from headway.protocol.runs import PatchRun
from headway.runs import continuing, stopping
from headway.runs.claiming import free_key
from headway.runs.reporting import SIGNAL
from headway.runs.starting import new_run
from headway.runs.transitions import change, move, unblock
from headway.store.unit_of_work import UnitOfWork, as_rows, label_rows

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
_decode_labels: Final = msgspec.json.Decoder(dict[str, str]).decode


def terminate(uow: UnitOfWork, run: Run, reason: Reason, grace_ms: int | None = None, *, cascade: bool = True) -> Run:
    """Ask the run to stop; raise InvalidState for a run that succeeded or failed."""
    if run.state in (State.SUCCEEDED, State.FAILED):
        raise InvalidState(f"the run has {run.state}; there is nothing to stop", state=str(run.state))
    return stopping.terminate(uow, run, reason, grace_ms, cascade=cascade)


def suspend(uow: UnitOfWork, run: Run, reason: Reason) -> Run:
    """Suspend the run until it is resumed; a run that a person has suspended stays as it is."""
    held = run.state is State.SUSPENDED and any(blocker["kind"] == "hold" for blocker in _decode(run.blocked_on))
    return run if held else move(uow, run, Held(reason))


def resume(uow: UnitOfWork, run: Run, reason: Reason) -> Run:
    """Queue a suspended run; raise InvalidState for others."""
    return move(uow, run, Resumed(reason))


def protect(uow: UnitOfWork, run: Run, reason: Reason, *, protected: bool) -> Run:
    """Protect the run from removal, or end its protection."""
    if bool(run.protected) == protected:
        return run
    line = _encode({"changed": ["protected"], "protected": protected, "reason": reason}).decode()
    return change(uow, run, replace(run, protected=int(protected)), "run.changed", line)


def delete(uow: UnitOfWork, run: Run) -> Run:
    """Remove a finished run; raise InvalidState for an unfinished one, Protected for a protected one."""
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
    task, name = uow.task(run.task), Namespace.unqualify(run.task)
    if not Namespace(run.organisation).may_start(task):
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
    """Send the run a message, which ends a wait for it; raise InvalidState for a finished run."""
    if run.state in FINAL:
        raise InvalidState(f"the run has {run.state} and takes no signals", state=str(run.state))
    number = uow.count_steps(run.id, f"{SIGNAL}{name}#") + 1
    uow.add_step(run.id, f"{SIGNAL}{name}#{number}", payload)
    line = _encode({"name": name, "number": number, "payload": msgspec.Raw(payload.encode())}).decode()
    run = change(uow, run, run, "run.signal", line)
    return unblock(uow, run, Blocker(kind="signal", name=name, number=number))


def complete_token(uow: UnitOfWork, run: Run, name: str, payload: str) -> Run:
    """Complete the wait of a token of the run, or of the newest retry that goes on from it; raise AlreadyCompleted."""
    waited, run = f"{TOKEN_WAIT}{name}", continuing.latest(uow, run)
    if uow.step(run.id, f"{SIGNAL}{waited}#1") is not None:
        raise AlreadyCompleted
    return signal(uow, run, waited, payload)


def patch(uow: UnitOfWork, run: Run, patch: PatchRun, run_at: int | UnsetType, keep_ms: int | UnsetType) -> Run:
    """Change fields of the run; raise InvalidState for fields that cannot change in its state.

    `run_at` and `keep_ms` are the patch's times in milliseconds.
    """
    if patch == PatchRun():
        return run
    changes: dict[str, Any] = {
        name: value
        for name, value in (("name", patch.name), ("priority", patch.priority), ("queue", patch.queue))
        if value is not UNSET
    }
    _check_unclaimed(run, changes.keys() - {"name"}, (State.SCHEDULED, State.QUEUED, State.SUSPENDED))
    if run_at is not UNSET:
        _check_unclaimed(run, {"run_at"}, (State.SCHEDULED, State.QUEUED))
    if "queue" in changes:
        changes["queue"] = Namespace(run.organisation).qualify(str(changes["queue"]))
        uow.queue(changes["queue"])
    if patch.labels is not UNSET:
        changes["labels"] = _encode(patch.labels).decode()
        uow.later("delete_run_labels", ids=f'["{run.id}"]')
        uow.later("insert_labels", rows=as_rows(label_rows(run, patch.labels)))
    if keep_ms is not UNSET:
        changes["keep_ms"] = keep_ms
    after = replace(run, **changes)
    if after.finished_at is not None:
        after = replace(after, expires_at=expires_at(after, after.state, uow.task(run.task), after.finished_at))
    if run.state is State.QUEUED and changes.keys() & {"priority", "queue"}:  # its place among the ready runs is new
        after = replace(after, parked_until=None)
        free_key(uow, run)
    line = _encode({"changed": sorted([*changes, *(("run_at",) if run_at is not UNSET else ())])}).decode()
    after = change(uow, run, after, "run.changed", line)
    return after if run_at is UNSET or run_at == run.run_at else move(uow, after, Rescheduled(run_at))


def _check_unclaimed(run: Run, names: AbstractSet[str], states: tuple[State, ...]) -> None:
    if names and run.state not in states:
        raise InvalidState(
            f"{', '.join(sorted(names))} cannot change while the run is {run.state}", state=str(run.state)
        )
