"""Fail points: named points at which a test can kill the process, as by kill -9. Off unless armed by the environment.

`HEADWAY_FAIL_POINT=writer.before_commit:3` kills the process when that point is passed for the third time.
"""

from __future__ import annotations

import os
import signal
from typing import Final

POINTS: Final = (
    "writer.before_begin",
    "writer.after_work",
    "writer.before_commit",
    "writer.after_commit",
    "writer.before_answer",
    "scheduler.before_save",
    "migration.before_commit",
    "migration.after_commit",
    "moving.before_commit",
    "moving.after_commit",
)
"""All points; the fault tests try each against each operation."""

_name, _, _count = os.environ.get("HEADWAY_FAIL_POINT", "").partition(":")
_left = int(_count or "1")
ARMED: Final = _name != ""
"""Whether a point is armed; hot paths check this first."""

assert not ARMED or _name in POINTS, f"HEADWAY_FAIL_POINT names no point: {_name}"


def point(name: str) -> None:
    """Kill the process if this is the armed point and its count is reached."""
    global _left  # noqa: PLW0603 - one process, one countdown
    if name == _name:
        _left -= 1
        if _left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
