"""How far a run is, how fast it goes, and when it may be finished."""

from __future__ import annotations

from msgspec.structs import replace

from headway.model.run import Run

SMOOTHING_MS = 10_000
"""The rate forgets: a step of this length counts for about two thirds."""


def advance(run: Run, done: int, total: int | None, message: str, now_ms: int) -> Run:
    """Return the run with the new progress; the rate is smoothed exponentially over time, not over reports."""
    rate = run.progress_rate
    since = run.progress_at if run.progress_at is not None else run.started_at
    if since is not None and now_ms > since and done >= run.progress_done:
        elapsed = now_ms - since
        now_rate = (done - run.progress_done) * 1000 / elapsed
        weight = elapsed / (elapsed + SMOOTHING_MS / 2)
        rate = now_rate if rate is None else rate + (now_rate - rate) * weight
    return replace(
        run,
        progress_done=done,
        progress_total=total,
        progress_message=message,
        progress_rate=rate,
        progress_at=now_ms,
        updated_at=now_ms,
    )


def percent(done: int, total: int | None) -> float | None:
    """Return 0 to 100 with one decimal, or None if the total is not known."""
    if total is None:
        return None
    return 100.0 if total == 0 else min(100.0, round(done * 100 / total, 1))


def eta(run: Run) -> int | None:
    """Return when the run may be finished (milliseconds UTC), or None if that cannot be told."""
    if run.final or run.progress_total is None or not run.progress_rate or run.progress_at is None:
        return None
    left = max(0, run.progress_total - run.progress_done)
    return run.progress_at + min(round(left * 1000 / run.progress_rate), 10 * 365 * 86_400_000)
