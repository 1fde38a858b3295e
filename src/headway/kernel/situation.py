"""Explanation of a run that runs or has ended: its worker, its progress, its error, and what a retry would do."""

from __future__ import annotations

from typing import Any

import msgspec

from headway.durations import format_ms, span
from headway.kernel.lifecycle import ABANDON_MS
from headway.kernel.run import Run, State
from headway.kernel.task import Task
from headway.kernel.waiting import Cause, error_line, moment
from headway.kernel.worker import WorkerHealth

_decode = msgspec.json.Decoder().decode
_UNHEARD = "its worker is heard by another server, which knows its last sign of life"


class CurrentAttempt(msgspec.Struct, frozen=True):
    """The present or last attempt of a run, and its worker."""

    worker_id: str
    worker: str
    """Name of the worker; empty if it is another organisation's or forgotten, or if the caller may not see workers."""
    since: int
    """Time of the attempt's start."""
    health: WorkerHealth | None
    """None if another server receives the worker's heartbeats."""


def running(run: Run, task: Task, work: CurrentAttempt, now_ms: int) -> list[Cause]:
    """Return the state of a run that a worker executes: running or stopping."""
    attempt = f"attempt {run.attempt} of {run.max_attempts}"
    message = f"{_worker(work)} has executed it for {span((now_ms - work.since) / 1000)}: {attempt}"
    found = [Cause("running", message, since=work.since, worker_id=work.worker_id)]
    if run.state is State.STOPPING:
        until = None if run.deadline_at is None else run.deadline_at - ABANDON_MS
        left = "" if until is None else f": its function has until {moment(until)} to end"
        found.append(Cause("stopping", f"it was asked to stop{_reason(run)}{left}", until=until))
    found.append(_heard(work, now_ms))
    if work.health is not None and work.health.blocked is not None:
        found.append(_blocked(run, work.health, now_ms))
    found.append(_progress(run, now_ms))
    if run.state is State.RUNNING and run.deadline_at is not None:
        limit = "" if task.timeout_ms is None else f", by its timeout of {format_ms(task.timeout_ms)}"
        until = run.deadline_at - task.grace_ms - ABANDON_MS  # when its worker ends it; the deadline is the server's
        found.append(Cause("deadline", f"this attempt is ended at {moment(until)}{limit}", until=until))
    if task.heartbeat_timeout_ms is not None:
        silence = format_ms(task.heartbeat_timeout_ms)
        found.append(Cause("heartbeat", f"it is ended when its function gives no sign of life for {silence}"))
    return found


def _worker(work: CurrentAttempt) -> str:
    return f"the worker {work.worker}" if work.worker else "a worker that is not named here"


def _heard(work: CurrentAttempt, now_ms: int) -> Cause:
    if work.health is None:
        return Cause("heard", _UNHEARD, worker_id=work.worker_id)
    heard_at = work.health.heard_at
    message = f"its worker was last heard from {span((now_ms - heard_at) / 1000)} ago"
    silent = 2 * (now_ms - heard_at) >= work.health.lapses_at - heard_at
    if silent:
        message += f"; if it stays silent, others get its runs at {moment(work.health.lapses_at)}"
    until = work.health.lapses_at if silent else None
    return Cause("heard", message, since=heard_at, until=until, worker_id=work.worker_id)


def _blocked(run: Run, health: WorkerHealth, now_ms: int) -> Cause:
    blocked = health.blocked
    assert blocked is not None, "asked by the caller"
    if blocked.run_id == run.id:
        by = "by this run"
    elif blocked.task:
        by = f"by the task {blocked.task!r}" + (f" (run {blocked.run_id})" if blocked.run_id else "")
    else:
        by = "by something else"
    where = f", at {blocked.where}" if blocked.where else ""
    message = (
        f"the event loop of its worker has been blocked for {span((now_ms - blocked.since) / 1000)} {by}{where}: "
        "no async task goes on there until then"
    )
    return Cause(
        "loop_blocked", message, since=blocked.since, run_id=blocked.run_id or None, name=blocked.task or None,
        details=blocked.stack or None,
    )  # fmt: skip


def _progress(run: Run, now_ms: int) -> Cause:
    if run.progress_at is None:
        return Cause("progress", "it has reported no progress")
    far = f"{run.progress_done:,}" if run.progress_total is None else f"{run.progress_done:,} of {run.progress_total:,}"
    said = f" ({run.progress_message})" if run.progress_message else ""
    ago = span((now_ms - run.progress_at) / 1000)
    return Cause("progress", f"its last progress was {far}{said}, {ago} ago", since=run.progress_at)


def ended(run: Run, task: Task, work: CurrentAttempt | None, *, goes_on: bool) -> list[Cause]:
    """Return the outcome of a run and, if it can be retried, the effect of a retry.

    `goes_on` is whether the run has steps after which a retry continues.
    """
    found = []
    if run.state is State.SUCCEEDED:
        found.append(Cause("succeeded", f"it succeeded at {moment(run.finished_at or run.updated_at)}"))
    elif run.state is State.TERMINATED:
        found.append(Cause("terminated", f"it was stopped{_reason(run)}", since=run.finished_at))
    if run.state is State.FAILED:
        found += _failed(run, task)
    if work is not None:
        found.append(Cause("last_worker", f"{_worker(work)} had it last", since=work.since, worker_id=work.worker_id))
    if run.state is not State.SUCCEEDED:
        how = (
            "goes on from the steps that succeeded, unless it is to start from scratch" if goes_on
            else "starts at its beginning, since no step succeeded from which it could go on"
        )  # fmt: skip
        found.append(Cause("retry", f"a retry is a new run with the same input: it {how}"))
    return found


def _failed(run: Run, task: Task) -> list[Cause]:
    error: dict[str, Any] = _decode(run.error or "null") or {}
    code = error.get("code", "")
    found = [
        Cause(
            "error", error_line(error), since=run.finished_at, name=code or None, details=error.get("details") or None
        )
    ]
    if code == "poison":
        why = f"its workers died under it {run.crashes} times, of at most {task.max_crashes}"
    elif run.attempt >= run.max_attempts:
        why = (
            "its only attempt is used up"
            if run.max_attempts == 1
            else f"all its {run.max_attempts} attempts are used up"
        )
    else:
        why = f"its error is one that is not tried again; it had {_attempts(run.attempt)} of {run.max_attempts}"
    found.append(Cause("attempts", why, limit=run.max_attempts))
    return found


def _attempts(number: int) -> str:
    return "1 attempt" if number == 1 else f"{number} attempts"


def _reason(run: Run) -> str:
    reason: dict[str, Any] = _decode(run.reason or "null") or {}
    by = f" by {reason['actor']}" if reason.get("actor") else ""
    return f"{by}: {reason['message']}" if reason.get("message") else by
