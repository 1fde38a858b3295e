"""Terms of a schedule: conversion of requests into the schedule's fields, in canonical spelling, and their checks."""

from __future__ import annotations

from typing import Final

from msgspec import UNSET

from headway.config import Settings
from headway.errors import InvalidSchedule
from headway.features.schedules.model import SLOT_LABEL, CatchUp, Overlap, Schedule
from headway.features.schedules.rules import occurrence
from headway.ids import canonical_id
from headway.protocol import schedules as wire
from headway.protocol.values import duration, invalid, timestamp
from headway.runs.inputs import canonical

_DURATIONS: Final = {
    "catch_up_window": "catch_up_window_ms", "late_after": "late_after_ms", "jitter": "jitter_ms",
}  # fmt: skip
"""Duration fields of requests, which are texts, with the names of their fields in milliseconds."""
_INSIDE: Final = {inside: name for name, inside in _DURATIONS.items()}
_TIMES: Final = ("starts_at", "ends_at")
_WORDS: Final = {"overlap": Overlap, "catch_up": CatchUp}
_PLAIN: Final = (
    "name", "description", "task", "occurrence", "timezone", "queue_max", "catch_up_max", "labels", "key", "priority",
    "queue", "max_attempts",
)  # fmt: skip


def said(spec: wire.ScheduleDeclaration | wire.PatchSchedule, settings: Settings) -> dict[str, object]:
    """Return the fields of the schedule that a request sets; raise InvalidInput with the field's pointer."""
    given = {name: value for name in spec.__struct_fields__ if (value := getattr(spec, name)) is not UNSET}
    changes: dict[str, object] = {name: given[name] for name in _PLAIN if name in given}
    for name, inside in _DURATIONS.items():
        if name in given:
            changes[inside] = duration(given[name], f"/{name}")
    for name in _TIMES:
        if name in given:
            changes[name] = None if given[name] is None else timestamp(given[name], f"/{name}")
    for name, kind in _WORDS.items():
        if name in given:
            changes[name] = kind(given[name])
    if bytes(spec.input):
        changes["input"], _ = canonical(
            spec.input, bytes_max=settings.input_max, depth_max=settings.depth_max, pointer="/input"
        )
    return changes


def checked(schedule: Schedule) -> Schedule:
    """Return the schedule in canonical spelling; raise InvalidInput, or InvalidSchedule for one without possible slots."""
    if canonical_id(schedule.name) is not None:
        raise invalid("/name", "the name looks like an id: take another")
    if SLOT_LABEL in schedule.labels:
        raise invalid(f"/labels/{SLOT_LABEL}", "the label is set from the run's slot: take another name")
    try:
        return occurrence.checked(schedule)
    except InvalidSchedule as error:
        raise as_on_the_wire(error) from None


def spelled(name: str) -> str:
    """Return the name that requests use for a field: durations are texts there."""
    return _INSIDE.get(name, name)


def as_on_the_wire(error: InvalidSchedule) -> InvalidSchedule:
    """Return the error with its fields named as in requests."""
    errors = [part | {"pointer": part["pointer"].removesuffix("_ms")} for part in error.errors]
    detail = error.detail
    for name, inside in _DURATIONS.items():
        detail = detail.replace(f"{inside}:", f"{name}:")
    return InvalidSchedule(detail, errors=errors)
