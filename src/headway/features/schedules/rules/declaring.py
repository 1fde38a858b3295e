"""Schedules declared in code, when the code is started again: kept, changed, paused or resumed.

The last declaration is kept beside the schedule. Fields that the code has changed since are changed; the others stay as they
are, changes by people included. Of several versions of the code the last started one counts.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from headway.features.schedules.model import Schedule

SAID: Final = (
    "name", "description", "task", "input", "labels", "key", "priority", "queue", "max_attempts", "occurrence", "timezone",
    "starts_at", "ends_at", "overlap", "queue_max", "catch_up", "catch_up_max", "catch_up_window_ms", "late_after_ms",
    "jitter_ms",
)  # fmt: skip
"""Fields of a schedule that code declares."""
GONE: Final = "the code of its task does not declare it any more"
"""Reason of a pause."""

_encode: Final = msgspec.json.Encoder().encode


def declared(schedule: Schedule, started_at: int) -> Schedule:
    """Return the schedule with its declaration, by code that was started at `started_at`."""
    text = _encode({name: getattr(schedule, name) for name in SAID}).decode()
    return replace(schedule, declared=True, declaration=text, declared_at=started_at)


def declared_name(schedule: Schedule) -> str:
    """Return the name of the schedule in the code, which may differ from its name now."""
    return _said(schedule).name


def differs(schedule: Schedule) -> list[str]:
    """Return the fields of a declared schedule that people have changed, so that they differ from the code."""
    if not schedule.declared:
        return []
    said = _said(schedule)
    return [name for name in SAID if getattr(schedule, name) != getattr(said, name)]


def declared_again(kept: Schedule, said: Schedule, now: int) -> tuple[Schedule, list[str]]:
    """Return the schedule after code has declared it that was started when `said` says; and what was overruled.

    A field is overruled if it was changed by hand, and the code has now changed it in another way. A schedule that was
    paused because the code had left it out, or had an invalid definition, goes on; slots of the pause are not missed.
    """
    if said.declared_at < kept.declared_at:
        return kept, []
    before = _said(kept)
    changes = {name: getattr(said, name) for name in SAID if getattr(said, name) != getattr(before, name)}
    if kept.declared and not changes:
        return kept, []
    overruled = [name for name in changes if getattr(kept, name) not in (getattr(before, name), changes[name])]
    after = replace(kept, **changes, declared=True, declaration=said.declaration, declared_at=said.declared_at)
    if kept.paused and kept.problem:
        after = replace(after, paused=False, problem="", last_slot=max(kept.last_slot, now))
    return after, overruled


def left(kept: Schedule, started_at: int) -> Schedule:
    """Return the schedule after code that was started then has not declared it: paused, until it does again."""
    if started_at < kept.declared_at:
        return kept
    gone = replace(kept, declared=False, declared_at=started_at)
    return gone if kept.paused else replace(gone, paused=True, problem=GONE)


def _said(schedule: Schedule) -> Schedule:
    return msgspec.convert(msgspec.json.decode(schedule.declaration) | {"id": schedule.id}, Schedule)
