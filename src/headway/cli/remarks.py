"""Remarks on the state of a watched run: a failed attempt and when the next begins, a wait, the reason of a stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headway.cli import show
from headway.durations import span
from headway.kernel.run import TOKEN_WAIT
from headway.protocol import times
from headway.protocol.runs import RunOut

_LOST = "crashed"
"""Cause of an attempt that ended with its process or its worker."""


class Remarks:
    """Remarks on one run, with the number of its present attempt."""

    def __init__(self, run: RunOut) -> None:
        """`run` is the run before its history is followed."""
        self._run_id, self._attempt, self._attempts_max = run.id, run.attempt, run.max_attempts

    def of_run(self, run: RunOut, now_ms: int) -> str:
        """Return the remark on a run in its first known state; "" for none."""
        self._attempt = run.attempt
        at_ms = times.from_text(run.run_at) if run.state == "scheduled" else None
        waits = {"error": show.decoded(run.error), "blocked_on": show.decoded(run.blocked_on), "run_at": at_ms}
        return self._remark(run.state, waits | {"reason": show.decoded(run.reason)}, now_ms)

    def of_change(self, change: Mapping[str, Any], now_ms: int) -> str:
        """Return the remark on a change of state in the history; "" for none."""
        self._attempt = change.get("attempt") or self._attempt
        return self._remark(str(change.get("state", "")), change, now_ms)

    def _remark(self, state: str, change: Mapping[str, Any], now_ms: int) -> str:
        error, blockers, reason = (change.get(name) for name in ("error", "blocked_on", "reason"))
        later = _until(change.get("run_at"), now_ms)
        match state:
            case "scheduled" | "queued" if isinstance(error, dict):
                how = "was lost" if change.get("cause") == _LOST else "failed"
                said = f"attempt {self._attempt} of {self._attempts_max} {how}: {show.in_a_line(error)}"
                return f"{said}; the next {f'in {later}' if later else 'at once'}"
            case "scheduled" if later:
                return f"goes on in {later}" if change.get("cause") == "slept" else f"begins in {later}"
            case "suspended" if isinstance(blockers, list) and blockers:
                return f"waits for {', '.join(map(show.blocker, blockers))}{self._way_on(blockers)}"
            case "suspended" | "stopping" if isinstance(reason, dict):
                return " ".join(filter(None, [str(reason.get("message") or reason.get("code", "")), show.by(reason)]))
            case _:
                return ""

    def _way_on(self, blockers: list[dict[str, Any]]) -> str:
        """Return the command that sends the signal that the run waits for."""
        names = [str(blocker.get("name", "")) for blocker in blockers if blocker.get("kind") == "signal"]
        names = [name for name in names if not name.startswith(TOKEN_WAIT)]
        return f"; send it: headway runs signal {self._run_id} {names[0]}" if names else ""


def _until(at_ms: Any, now_ms: int) -> str:
    """Return the duration until a time; "" if it has passed."""
    return span((at_ms - now_ms) / 1000) if isinstance(at_ms, int) and at_ms > now_ms else ""
