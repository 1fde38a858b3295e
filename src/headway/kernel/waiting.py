"""Explanation of a run that waits: every cause, in words for its owner."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from headway.kernel.run import PARKED, TOKEN_WAIT, Run, State
from headway.kernel.task import Task
from headway.kernel.worker import Queue

_decode = msgspec.json.Decoder().decode


class Facts(msgspec.Struct, frozen=True):
    """Facts from which the explanation is made."""

    run: Run
    task: Task
    queue: Queue
    workers: int
    """Number of live workers that have the task and take from the queue."""
    full: int
    """Number of these workers at their capacity."""
    blocked: int
    """Number of the other workers that take no runs, since a task blocks their event loop."""
    running_of_task: int
    running_in_queue: int
    running_of_key: int
    ahead: int
    """Number of ready runs of the same queue and task that come first."""
    task_opens_at: int | None
    """Time at which the task's rate admits the next run, if it refuses one now."""


class Cause(msgspec.Struct, frozen=True):
    """A reason why a run waits, or a fact about a run that runs or has ended."""

    code: str
    message: str
    position: int | None = None
    limit: int | None = None
    until: int | None = None
    run_id: str | None = None
    name: str | None = None
    since: int | None = None
    worker_id: str | None = None
    details: str | None = None
    """Longer text, such as a stack."""


def causes(facts: Facts) -> list[Cause]:
    """Return the causes for which the run waits; an empty list if it runs or is finished."""
    run = facts.run
    match run.state:
        case State.SCHEDULED:
            return [Cause("scheduled", f"{_scheduled(run)} {moment(run.run_at)}", until=run.run_at)]
        case State.SUSPENDED:
            return [_blocker(blocker, run) for blocker in _decode(run.blocked_on)] or [
                Cause("timeout", "it waits for its time-out", until=run.deadline_at)
            ]
        case State.QUEUED:
            return _queued(facts)
        case _:
            return []


def _scheduled(run: Run) -> str:
    if run.error is not None and run.attempt:
        return f"its last attempt failed with {error_line(_decode(run.error))}; it is tried again at"
    return "it sleeps until" if run.started_at is not None else "it was asked to start at"


def error_line(error: dict[str, Any]) -> str:
    """Return the type, or the code, of an error and its message."""
    kind = error.get("type") or error.get("code")
    return ": ".join(filter(None, [kind, error.get("message")])) or "nothing is known of its error"


def moment(ms: int) -> str:
    """Return a time as in messages."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _blocker(blocker: dict[str, Any], run: Run) -> Cause:
    until = run.deadline_at
    match blocker["kind"]:
        case "signal":
            name = blocker.get("name", "")
            if name.startswith(TOKEN_WAIT):
                token = name.removeprefix(TOKEN_WAIT)
                return Cause("signal", f"it waits for the token {token!r}", name=name, until=until)
            return Cause("signal", f"it waits for the signal {name!r}", name=name, until=until)
        case "run":
            run_id = blocker.get("run_id")
            return Cause("child", f"it waits for the run {run_id} to end", run_id=run_id, until=until)
        case "schedule":
            return Cause("schedule", "earlier runs of its schedule are not finished")
        case _:
            who = (_decode(run.reason or "null") or {}).get("actor") or "someone"
            return Cause("held", f"{who} suspended it: {blocker.get('name') or 'no reason given'}", until=until)


def _runs(number: int) -> str:
    return "1 run" if number == 1 else f"{number} runs"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _queued(facts: Facts) -> list[Cause]:
    run, task, queue = facts.run, facts.task, facts.queue
    found = []
    if queue.paused:
        found.append(Cause("queue_paused", f"the queue {queue.name!r} is paused", name=queue.name))
    if not task.active:
        found.append(Cause("task_inactive", f"the task {task.name!r} is not active", name=task.name))
    if facts.workers == 0:
        found.append(
            Cause("no_worker", f"no worker that has the task {task.name!r} takes from the queue {queue.name!r}")
        )
    elif facts.full >= facts.workers:
        which = (
            "its only worker has as many runs as it"
            if facts.workers == 1
            else "all its workers have as many runs as they"
        )
        found.append(Cause("workers_full", f"{which} may: it starts when one of these ends", limit=facts.workers))
    elif facts.full + facts.blocked >= facts.workers:
        one = facts.workers == 1
        which = (
            "the event loop of its only worker is" if one else "the event loops of all its workers that have room are"
        )
        found.append(
            Cause("workers_blocked", f"{which} blocked by a task, and no run is taken meanwhile: see the workers")
        )
    if queue.concurrency is not None and facts.running_in_queue >= queue.concurrency:
        found.append(
            Cause(
                "queue_limit",
                f"{_runs(facts.running_in_queue)} of the queue {_are(facts.running_in_queue)} running",
                limit=queue.concurrency,
            )
        )
    if task.concurrency is not None and facts.running_of_task >= task.concurrency:
        found.append(
            Cause(
                "task_limit",
                f"{_runs(facts.running_of_task)} of the task {_are(facts.running_of_task)} running",
                limit=task.concurrency,
            )
        )
    if task.concurrency_per_key is not None and run.key and facts.running_of_key >= task.concurrency_per_key:
        found.append(
            Cause(
                "key_limit",
                f"{_runs(facts.running_of_key)} of the key {run.key!r} {_are(facts.running_of_key)} running",
                limit=task.concurrency_per_key,
                name=run.key,
            )
        )
    if facts.task_opens_at is not None:
        found.append(Cause("task_rate", "the task has started as often as its rate allows", until=facts.task_opens_at))
    if run.parked_until is not None and run.parked_until != PARKED:
        found.append(Cause("key_rate", "its key has started as often as its rate allows", until=run.parked_until))
    if facts.ahead:
        found.append(
            Cause(
                "position",
                f"{_runs(facts.ahead)} of the task come{'s' if facts.ahead == 1 else ''} first",
                position=facts.ahead + 1,
            )
        )
    if not found:
        found.append(Cause("next", "it is next: a worker takes it as soon as it has room", position=1))
    return found
