"""A schedule that stands beside its function: what can be said about it, checked where it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from headway.client.encoding import Moment, Span, schedule_body
from headway.durations import parse_ms
from headway.errors import HeadwayError
from headway.features.schedules.model import Schedule
from headway.protocol.schedules import CatchUpName, OverlapName, ScheduleDeclaration
from headway.protocol.times import from_text
from headway.worker.context.interrupts import Fail


class ScheduleOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of `app.schedule`; None is the server's default."""

    name: str | None = None
    """The task's, if absent; a second schedule of a task needs a name of its own."""
    input: Mapping[str, Any] | None = None
    timezone: str = "UTC"
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    overlap: OverlapName | None = None
    queue_max: int | None = None
    catch_up: CatchUpName | None = None
    catch_up_max: int | None = None
    catch_up_window: Span | None = None
    late_after: Span | None = None
    jitter: Span | None = None
    labels: Mapping[str, str] | None = None
    key: str | None = None
    priority: int | None = None
    queue: str | None = None
    max_attempts: int | None = None
    description: str | None = None


def declare(
    task: str, bind: Callable[[Raw], object] | None, occurrence: str, options: ScheduleOptions
) -> ScheduleDeclaration:
    """Return the schedule as the worker declares it; raise TypeError for an invalid one.

    `bind` reads an input as the task's function does; None: the server checks the input, when the worker connects.
    """
    name = options.name or task
    given = {field: value for field, value in msgspec.structs.asdict(options).items() if value is not None}
    declared = given | {"name": name, "task": task, "occurrence": occurrence, "input": options.input or {}}
    try:
        # Read back as the server will read it, so that a wrong option is refused where it stands.
        declaration = msgspec.json.decode(msgspec.json.encode(schedule_body(declared)), type=ScheduleDeclaration)
        _check(declaration)
        if bind is not None:
            bind(Raw(bytes(declaration.input)))
    except (HeadwayError, Fail, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise TypeError(f"schedule {name}: {error}") from None
    return declaration


def _check(declared: ScheduleDeclaration) -> None:
    from headway.features.schedules.rules.occurrence import checked  # noqa: PLC0415 - only who has schedules pays for it

    checked(
        Schedule(
            id="",
            occurrence=declared.occurrence,
            timezone=declared.timezone,
            starts_at=None if declared.starts_at is None else from_text(declared.starts_at),
            ends_at=None if declared.ends_at is None else from_text(declared.ends_at),
            catch_up_window_ms=parse_ms(declared.catch_up_window),
            late_after_ms=parse_ms(declared.late_after),
            jitter_ms=parse_ms(declared.jitter),
        )
    )
