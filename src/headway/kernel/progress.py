"""Progress of a run: share done, rate, and estimated end."""

from __future__ import annotations

from msgspec.structs import replace

from headway.kernel.run import Run

SMOOTHING_MS = 10_000
"""Time constant of the rate: a step of this length counts for about two thirds."""


def advance(run: Run, done: int, total: int | None, message: str, now_ms: int) -> Run:
    """Return the run with the new progress; the rate is smoothed exponentially over time, not over reports."""
    return replace(
        run,
        progress_done=done,
        progress_total=total,
        progress_message=message,
        progress_rate=_rate(run, done, now_ms),
        progress_at=now_ms,
        updated_at=now_ms,
    )


def _rate(run: Run, done: int, now_ms: int) -> float | None:
    """Return units per second; None until the first progress, because smoothing would start from zero."""
    began = run.started_at if run.epoch <= 1 else None  # of a later claim it is not kept when it was
    since = began if run.progress_at is None else run.progress_at
    if since is None or now_ms <= since or done < run.progress_done:
        return run.progress_rate
    elapsed, moved = now_ms - since, done - run.progress_done
    age = elapsed if began is None else max(elapsed, now_ms - began)
    if not run.progress_rate:
        return moved * 1000 / age or None
    weight = elapsed / (elapsed + SMOOTHING_MS / 2)
    if began is not None:  # at first it is the average since the start
        weight = max(weight, elapsed / age)
    return run.progress_rate + (moved * 1000 / elapsed - run.progress_rate) * weight


def percent(done: int, total: int | None) -> float | None:
    """Return 0 to 100 with one decimal, rounded down so that only completion is 100; None without a total."""
    if total is None:
        return None
    return 100.0 if total == 0 else min(100.0, done * 1000 // total / 10)


def eta(run: Run) -> int | None:
    """Return the estimated end (milliseconds UTC), or None if it is unknown."""
    if run.final or run.progress_total is None or not run.progress_rate or run.progress_at is None:
        return None
    left = max(0, run.progress_total - run.progress_done)
    return run.progress_at + min(round(left * 1000 / run.progress_rate), 10 * 365 * 86_400_000)
