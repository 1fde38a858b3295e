"""Schedules in the HTTP API."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Raw, UnsetType

from headway.protocol.runs import (
    Because,
    Duration,
    Key,
    Label,
    Name,
    Noun,
    Open,
    Priority,
    Strict,
    Text,
    Timestamp,
    raw,
)

Occurrence = Annotated[
    str,
    Meta(min_length=1, max_length=1000, examples=["Daily", "0 9 * * MON-FRI", "FREQ=MONTHLY;BYDAY=-1FR", "every 90m"]),
]
Zone = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00]+$", examples=["Europe/Berlin"])]
Count = Annotated[int, Meta(ge=1, le=10_000)]
OverlapName = Literal["skip", "queue", "cancel_running", "allow"]
CatchUpName = Literal["latest", "all", "skip"]
OutcomeName = Literal["ran", "skipped", "missed"]
ScheduleLabels = Annotated[
    dict[Label, Annotated[str, Meta(max_length=255, pattern=r"^[^\x00]*$")]], Meta(max_length=31)
]
"""Labels of a schedule's runs: one fewer than a run may have, since the schedule sets `slot`."""
Attempts = Annotated[int, Meta(ge=1, le=1000)]


class ScheduleDeclaration(Strict, frozen=True, kw_only=True):
    """A schedule as code declares it beside its task."""

    name: Name
    task: Name
    occurrence: Occurrence
    """A word (Daily), a cron expression, an RRULE, or an interval (every 90m)."""
    timezone: Zone = "UTC"
    """IANA name of the time zone."""
    starts_at: Timestamp | None = None
    """Earliest slot; words, RRULEs and intervals count from here."""
    ends_at: Timestamp | None = None
    """Latest slot."""
    overlap: OverlapName = "skip"
    """Policy for a slot while an earlier run is unfinished."""
    queue_max: Count = 100
    """Limit of unfinished runs with `queue`; above it, slots make no run."""
    catch_up: CatchUpName = "latest"
    """Policy for slots that passed during an outage or a pause."""
    catch_up_max: Count = 100
    """Number of newest slots that run with `all`."""
    catch_up_window: Duration = "1d"
    """Age above which slots are missed with `all`."""
    late_after: Duration = "1m"
    """Lateness up to which a slot still runs with `skip`."""
    jitter: Duration = "0s"
    """Longest delay of a run after its slot; a slot always has the same delay."""
    input: Raw = raw(b"{}")
    labels: ScheduleLabels = {}
    key: Key | None = None
    priority: Priority | None = None
    queue: Name | None = None
    max_attempts: Attempts | None = None
    description: Text = ""


class CreateSchedule(ScheduleDeclaration, frozen=True, kw_only=True):
    """POST /v1/schedules."""

    paused: bool = False
    validate_only: bool = False
    """Check the request and keep nothing (AIP-163)."""


class PatchSchedule(Strict, frozen=True, kw_only=True):
    """PATCH /v1/schedules/{schedule}; absent members stay."""

    name: Name | UnsetType = UNSET
    task: Name | UnsetType = UNSET
    occurrence: Occurrence | UnsetType = UNSET
    timezone: Zone | UnsetType = UNSET
    starts_at: Timestamp | UnsetType | None = UNSET
    ends_at: Timestamp | UnsetType | None = UNSET
    overlap: OverlapName | UnsetType = UNSET
    queue_max: Count | UnsetType = UNSET
    catch_up: CatchUpName | UnsetType = UNSET
    catch_up_max: Count | UnsetType = UNSET
    catch_up_window: Duration | UnsetType = UNSET
    late_after: Duration | UnsetType = UNSET
    jitter: Duration | UnsetType = UNSET
    input: Raw = raw(b"")
    labels: ScheduleLabels | UnsetType = UNSET
    key: Key | UnsetType | None = UNSET
    priority: Priority | UnsetType | None = UNSET
    queue: Name | UnsetType | None = UNSET
    max_attempts: Attempts | UnsetType | None = UNSET
    description: Text | UnsetType = UNSET


class PreviewSchedule(Strict, frozen=True, kw_only=True):
    """POST /v1/schedules:preview: the slots of a schedule that does not exist yet."""

    occurrence: Occurrence
    timezone: Zone = "UTC"
    starts_at: Timestamp | None = None
    ends_at: Timestamp | None = None
    after: Timestamp | None = None
    """Default: now."""
    count: Annotated[int, Meta(ge=1, le=100)] = 10


class ResumeSchedule(Because, frozen=True, kw_only=True):
    """POST /v1/schedules/{schedule}:resume."""

    catch_up: CatchUpName | None = None
    """Policy for the slots of the pause; default: the schedule's."""


class TriggerSchedule(Because, frozen=True, kw_only=True):
    """POST /v1/schedules/{schedule}:trigger: a run now, beside the slots."""

    overlap: OverlapName | None = None
    """Policy while an earlier run is unfinished; default: the schedule's."""


class BackfillSchedule(Strict, frozen=True, kw_only=True, rename={"first": "from", "last": "to"}):
    """POST /v1/schedules/{schedule}:backfill: runs for past slots without one."""

    first: Timestamp
    """Time of the earliest slot, inclusive."""
    last: Timestamp
    """Time of the latest slot, inclusive. At most 1,000 slots."""
    overlap: Literal["queue", "allow"] | None = None
    """queue: one run after the other; allow: all at once. Default: `allow` if the schedule has it, else `queue`."""
    dry_run: bool = False
    """Return the slots and start no run."""


class ScheduleQuery(Strict, frozen=True, kw_only=True):
    """GET /v1/schedules: ordered by name."""

    task: Name | None = None
    page_size: Annotated[int, Meta(ge=1)] = 50
    page_token: str = ""


class SlotQuery(Strict, frozen=True, kw_only=True):
    """GET /v1/schedules/{schedule}/slots: newest first."""

    outcome: OutcomeName | None = None
    page_size: Annotated[int, Meta(ge=1)] = 50
    page_token: str = ""


class PreviewQuery(Strict, frozen=True, kw_only=True):
    """GET /v1/schedules/{schedule}/preview."""

    count: Annotated[int, Meta(ge=1, le=100)] = 10


class ScheduleOut(Noun, frozen=True, kw_only=True):
    """A schedule as the API shows it."""

    id: str
    object: str = "schedule"
    name: str
    description: str
    task: str
    state: Literal["active", "paused", "ended"]
    """ended: no slot is left."""
    problem: str | None
    """Cause of a pause that no caller requested."""
    occurrence: str
    explanation: str
    """Sentence about the schedule's times."""
    timezone: str
    starts_at: str | None
    ends_at: str | None
    overlap: OverlapName
    queue_max: int
    catch_up: CatchUpName
    catch_up_max: int
    catch_up_window: str
    late_after: str
    jitter: str
    input: Raw
    labels: dict[str, str]
    key: str | None
    priority: int | None
    queue: str | None
    max_attempts: int | None
    declared: bool
    """Whether code declares the schedule; registration of a worker describes the effect."""
    differs: list[str]
    """Members of a declared schedule that a caller changed, so that they differ from the code."""
    decided_until: str
    """Time of the newest decided slot."""
    next_slot_at: str | None
    created_at: str
    updated_at: str
    version: int
    url: str


class ScheduleList(Open, frozen=True, kw_only=True):
    """A page of schedules. An empty `next_page_token` is the only sign of the end."""

    data: list[ScheduleOut]
    next_page_token: str
    has_more: bool


class SlotOut(Open, frozen=True, kw_only=True):
    """Decided slot."""

    slot: str
    """Time of the slot. With the schedule's id it names at most one run."""
    until: str | None
    """Last of several missed slots that are stored as one."""
    outcome: OutcomeName
    why: str
    message: str
    """Explanation, in a sentence."""
    run_id: str | None
    decided_at: str


class SlotList(Open, frozen=True, kw_only=True):
    """A page of slots."""

    data: list[SlotOut]
    next_page_token: str
    has_more: bool


class ComingSlot(Open, frozen=True, kw_only=True):
    """Future slot."""

    slot: str
    local: str
    """Local time in the schedule's zone."""
    run_at: str
    """Start of the run, with the jitter."""


class PreviewOut(Open, frozen=True, kw_only=True):
    """Next slots of a schedule."""

    occurrence: str
    """Canonical spelling."""
    explanation: str
    timezone: str
    data: list[ComingSlot]


class BackfilledSlot(Open, frozen=True, kw_only=True):
    """Past slot that got a run by a back-fill."""

    slot: str
    run_id: str | None
    """Null in a dry run."""


class BackfillOut(Open, frozen=True, kw_only=True):
    """Slots of a back-fill, oldest first."""

    dry_run: bool
    data: list[BackfilledSlot]
