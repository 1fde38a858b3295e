"""Retention: time of removal of finished runs."""

from __future__ import annotations

from headway.kernel.run import KEEP, Run, State
from headway.kernel.task import Task


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
