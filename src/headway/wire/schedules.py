"""Schedules on the wire: what makes one, how one is shown, and what became of its slots."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Raw, UnsetType

from headway.wire.runs import Because, Duration, Key, Label, Name, Noun, Open, Priority, Strict, Text, Timestamp, raw

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
"""One less than a run may have: `slot` is the schedule's own."""
Attempts = Annotated[int, Meta(ge=1, le=1000)]


class ScheduleDeclaration(Strict, frozen=True, kw_only=True):
    """A schedule as code declares it beside its task: all that can be said about one."""

    name: Name
    task: Name
    occurrence: Occurrence
    """A word (Daily), a cron expression, an RRULE, or an interval (every 90m)."""
    timezone: Zone = "UTC"
    """The IANA name of the zone whose clocks count."""
    starts_at: Timestamp | None = None
    """There is no slot before; words, RRULEs and intervals count from here."""
    ends_at: Timestamp | None = None
    """There is no slot after."""
    overlap: OverlapName = "skip"
    """What becomes of a slot while an earlier run is not finished."""
    queue_max: Count = 100
    """With `queue`: a slot that comes while so many runs are unfinished makes none."""
    catch_up: CatchUpName = "latest"
    """What becomes of slots that passed while nobody looked, or while the schedule was paused."""
    catch_up_max: Count = 100
    """With `all`: how many of the newest run."""
    catch_up_window: Duration = "1d"
    """With `all`: older ones are missed."""
    late_after: Duration = "1m"
    """With `skip`: how late a slot may be noticed and still run."""
    jitter: Duration = "0s"
    """Each run starts up to so much after its slot, always the same for the same slot."""
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
    """Check everything, keep nothing (AIP-163)."""


class PatchSchedule(Strict, frozen=True, kw_only=True):
    """PATCH /v1/schedules/{id}: what is absent stays as it is."""

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
    """POST /v1/schedules:preview: when something would fire."""

    occurrence: Occurrence
    timezone: Zone = "UTC"
    starts_at: Timestamp | None = None
    ends_at: Timestamp | None = None
    after: Timestamp | None = None
    """From now on, if absent."""
    count: Annotated[int, Meta(ge=1, le=100)] = 10


class ResumeSchedule(Because, frozen=True, kw_only=True):
    """POST /v1/schedules/{id}:resume."""

    catch_up: CatchUpName | None = None
    """What becomes of the slots that passed meanwhile; as the schedule says, if absent."""


class TriggerSchedule(Because, frozen=True, kw_only=True):
    """POST /v1/schedules/{id}:trigger: a run now, beside the slots."""

    overlap: OverlapName | None = None
    """What to do while an earlier run is not finished; as the schedule says, if absent."""


class BackfillSchedule(Strict, frozen=True, kw_only=True, rename={"first": "from", "last": "to"}):
    """POST /v1/schedules/{id}:backfill: runs for slots that have passed and have none."""

    first: Timestamp
    """From the slot at this time or after it,"""
    last: Timestamp
    """up to and including the one at this time. At most 1,000 slots."""
    overlap: Literal["queue", "allow"] | None = None
    """queue: one after the other; allow: all at once. If absent, `allow` if the schedule allows that, or else `queue`."""
    dry_run: bool = False
    """Say which slots these are, and run none."""


class ScheduleQuery(Strict, frozen=True, kw_only=True):
    """GET /v1/schedules: in the order of names."""

    task: Name | None = None
    page_size: Annotated[int, Meta(ge=1)] = 50
    page_token: str = ""


class SlotQuery(Strict, frozen=True, kw_only=True):
    """GET /v1/schedules/{id}/slots: the newest first."""

    outcome: OutcomeName | None = None
    page_size: Annotated[int, Meta(ge=1)] = 50
    page_token: str = ""


class PreviewQuery(Strict, frozen=True, kw_only=True):
    """GET /v1/schedules/{id}/preview."""

    count: Annotated[int, Meta(ge=1, le=100)] = 10


class ScheduleOut(Noun, frozen=True, kw_only=True):
    """A schedule as the API shows it."""

    id: str
    object: str = "schedule"
    name: str
    description: str
    task: str
    state: Literal["active", "paused", "ended"]
    """ended: there is no slot any more."""
    problem: str | None
    """Why it was paused, if nobody asked for that."""
    occurrence: str
    explanation: str
    """When it fires, in a sentence."""
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
    """Code declares it; what becomes of that is said where a worker registers."""
    differs: list[str]
    """Of a declared one: in what it is not as the code says, since somebody has changed it."""
    decided_until: str
    """Up to here it is decided what became of slots."""
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
    """What became of a slot."""

    slot: str
    """Its time. With the schedule's id it names at most one run."""
    until: str | None
    """The last of several that were missed and are kept as one."""
    outcome: OutcomeName
    why: str
    message: str
    """Why, in a sentence."""
    run_id: str | None
    decided_at: str


class SlotList(Open, frozen=True, kw_only=True):
    """A page of slots."""

    data: list[SlotOut]
    next_page_token: str
    has_more: bool


class ComingSlot(Open, frozen=True, kw_only=True):
    """A slot to come."""

    slot: str
    local: str
    """As clocks in the schedule's zone will read it."""
    run_at: str
    """When its run will start: with the jitter."""


class PreviewOut(Open, frozen=True, kw_only=True):
    """The next slots."""

    occurrence: str
    """In its one spelling."""
    explanation: str
    timezone: str
    data: list[ComingSlot]


class BackfilledSlot(Open, frozen=True, kw_only=True):
    """A slot that has got a run afterwards."""

    slot: str
    run_id: str | None
    """Null if it was only asked which these would be."""


class BackfillOut(Open, frozen=True, kw_only=True):
    """What a back-fill has started, from the oldest slot on."""

    dry_run: bool
    data: list[BackfilledSlot]
