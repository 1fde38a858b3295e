"""Runs in the HTTP API."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Text = Annotated[str, Meta(max_length=1000, pattern=r"^[^\x00]*$")]
Key = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]
Duration = Annotated[str, Meta(max_length=40, examples=["30s", "5m", "PT30S"])]
Timestamp = Annotated[str, Meta(max_length=40, examples=["2026-12-01T02:00:00Z"])]
Priority = Annotated[int, Meta(ge=0, le=10)]
Id = Annotated[str, Meta(pattern=r"^[^\x00]*$")]
"""An id that is looked up as it was sent: not every store takes a text with NUL."""
Label = Annotated[str, Meta(min_length=1, max_length=63, pattern=r"^[^\x00]*$")]
Labels = Annotated[dict[Label, Annotated[str, Meta(max_length=255, pattern=r"^[^\x00]*$")]], Meta(max_length=32)]
if TYPE_CHECKING:
    RawOrNull = Raw | None
else:
    RawOrNull = Raw  # msgspec cannot decode `Raw | None` (it takes null only); a null that is decoded is Raw(b"null")
StateName = Literal["scheduled", "queued", "running", "suspended", "stopping", "succeeded", "failed", "terminated"]


def raw(text: bytes) -> Any:
    """Return the default of a payload that is not parsed; made anew each time, because a schema cannot show a Raw."""
    return msgspec.field(default_factory=partial(Raw, text))


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all requests: unknown fields are refused, so that a typing error is not an option lost."""


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all answers: later versions may add fields, and readers ignore unknown ones."""


class Noun(Open, frozen=True, kw_only=True):
    """Base of answers that show an object, which are brief for a key that may change it and not read it."""

    brief: bool | UnsetType = UNSET
    """true: the key may not read the object, and only its id, state and version are present."""


class Dedupe(Strict, frozen=True, kw_only=True):
    """Deduplication: at most one run per task and business key."""

    key: Key
    scope: Literal["active", "window", "forever"] = "active"
    """active: while the first run is not finished; window: for `ttl` from its start; forever: as long as it is
    remembered.
    """
    ttl: Duration | None = None
    on_conflict: Literal["return", "reject", "replace", "debounce"] = "return"
    """return: answer with the first run; reject: 409; replace: terminate the first run and start this one; debounce:
    start `ttl` from now, and until then each further start replaces the input and waits `ttl` again.
    """


class StartRun(Strict, frozen=True, kw_only=True):
    """POST /v1/runs."""

    task: Name
    input: Raw = raw(b"{}")
    name: Text | None = None
    """Name for people; default: the task's name."""
    priority: Priority | None = None
    queue: Name | None = None
    key: Key | None = None
    run_at: Timestamp | None = None
    delay: Duration | None = None
    labels: Labels = {}
    dedupe: Dedupe | None = None
    protect: bool = False
    parent_id: str | None = None
    max_attempts: Annotated[int, Meta(ge=1, le=1000)] | None = None
    retention: Duration | None = None
    """Overrides the task's retention, whatever the outcome."""
    validate_only: bool = False
    """Check the request and start nothing (AIP-163)."""


class StartBatch(Strict, frozen=True, kw_only=True):
    """POST /v1/runs:batch, up to 1,000."""

    runs: Annotated[list[StartRun], Meta(min_length=1, max_length=1000)]
    atomic: bool = False
    """All or nothing."""


class ProgressOut(Open, frozen=True, kw_only=True):
    """Progress of a run."""

    done: int
    total: int | None
    percent: float | None
    message: str
    rate: float | None
    """Units per second, smoothed."""
    eta: str | None
    """Estimated end at this rate."""


class RunOut(Noun, frozen=True, kw_only=True):
    """A run as the API shows it."""

    id: str
    object: str = "run"
    task: str
    task_version: str
    name: str
    state: str
    final: bool
    reason: RawOrNull
    priority: int
    queue: str
    key: str | None
    attempt: int
    max_attempts: int
    crashes: int
    progress: ProgressOut
    input: Raw
    output: RawOrNull
    error: RawOrNull
    labels: Raw
    blocked_on: Raw
    run_type: str
    parent_id: str | None
    root_id: str
    previous_id: str | None
    schedule_id: str | None
    worker_id: str | None
    protected: bool
    created_at: str
    updated_at: str
    run_at: str
    started_at: str | None
    finished_at: str | None
    expires_at: str | None
    version: int
    durability: str = "full"
    url: str
    damaged: list[str] | UnsetType = UNSET
    """Fields that were damaged on the server's disk and cannot be read; absent if there are none. Documents among
    them are shown empty.
    """


class BatchItem(Open, frozen=True, kw_only=True, omit_defaults=True):
    """One outcome of a batch, in the order of the request."""

    status: int
    run: RunOut | None = None
    error: dict[str, Any] | None = None


class BatchOut(Open, frozen=True, kw_only=True):
    """The outcomes of a batch."""

    data: list[BatchItem]


class RunList(Open, frozen=True, kw_only=True):
    """A page of runs. An empty `next_page_token` is the only sign of the end.

    A page may be shorter than requested, even empty, if runs are large, or if few runs match several filters
    together, as a page examines a limited number of runs.
    """

    data: list[RunOut]
    next_page_token: str
    has_more: bool


class RunFilters(Strict, frozen=True, kw_only=True):
    """Filters of runs: ANDed across fields, ORed within one."""

    state: list[StateName] = []
    task: list[Name] = []
    queue: list[Name] = []
    labels: Labels = {}
    parent_id: str | None = None
    root_id: str | None = None
    key: Key | None = None
    created_after: Timestamp | None = None
    created_before: Timestamp | None = None
    finished_after: Timestamp | None = None
    finished_before: Timestamp | None = None


OrderBy = Literal[
    "created_at", "created_at desc", "created_at asc", "finished_at", "finished_at desc", "finished_at asc"
]


class RunQuery(RunFilters, frozen=True, kw_only=True):
    """POST /v1/runs:query: the filters of the list in a body, for long ones."""

    order_by: OrderBy | None = None
    """Default: newest first, by `finished_at` if the list is filtered by that, with or without `state`, `task` and
    `queue`; else by `created_at`. A list by `finished_at` has finished runs only.
    """
    page_size: Annotated[int, Meta(ge=1)] = 50
    page_token: str = ""


class CountOut(Open, frozen=True, kw_only=True):
    """GET /v1/runs:count."""

    counts: dict[str, int]
    total: int


class PatchRun(Strict, frozen=True, kw_only=True):
    """PATCH /v1/runs/{id}: priority, run_at and queue can change while a run waits, the other fields at any time."""

    name: Text | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    queue: Name | UnsetType = UNSET
    run_at: Timestamp | UnsetType = UNSET
    labels: Labels | UnsetType = UNSET
    retention: Duration | UnsetType | None = UNSET
    """Retention from now on; of a finished run, from its end. null: for ever."""


class Terminate(Strict, frozen=True, kw_only=True):
    """POST /v1/runs/{id}:terminate."""

    reason: Text = ""
    actor: Text = ""
    grace: Duration | None = None
    """Time for running code to stop by itself before it is killed; default: the task's grace."""
    children: Literal["cascade", "leave"] = "cascade"


class Because(Strict, frozen=True, kw_only=True):
    """Body of verbs with a reason only; it may be absent."""

    reason: Text = ""
    actor: Text = ""


class RetryRun(Because, frozen=True, kw_only=True):
    """POST /v1/runs/{id}:retry; the body may be absent."""

    from_scratch: bool = False
    """Start from the beginning. Otherwise the new run continues after the steps that succeeded: received signals are
    not awaited again, and children that succeeded are not started again; failed ones are.
    """


class SignalRun(Strict, frozen=True, kw_only=True):
    """POST /v1/runs/{id}:signal."""

    name: Name
    payload: Raw = raw(b"null")


class CompleteToken(Strict, frozen=True, kw_only=True):
    """POST /v1/tokens/{token}:complete."""

    value: Raw = raw(b"null")


class BulkAction(Strict, frozen=True, kw_only=True):
    """POST /v1/runs:bulk."""

    filter: RunQuery
    action: Literal["terminate", "retry", "suspend", "resume", "protect", "unprotect", "delete"]
    reason: Text = ""
    from_scratch: bool = False
    """Make `retry` start from the beginning, as in RetryRun."""
    dry_run: bool = False


class BulkPreview(Open, frozen=True, kw_only=True):
    """Number of runs that a bulk action would change."""

    count: int
    action: str
    dry_run: bool = True


class EventOut(Open, frozen=True, kw_only=True):
    """One event of a run: the same envelope in lists, streams and webhooks."""

    seq: int
    type: str
    time: str
    run_id: str
    data: Raw


class EventList(Open, frozen=True, kw_only=True):
    """A page of events, shorter if they are large; continue with `after` = `next_after` while `has_more`."""

    data: list[EventOut]
    next_after: int
    has_more: bool


class LogOut(Open, frozen=True, kw_only=True):
    """A log line of a run's code."""

    seq: int
    time: str
    level: str
    message: str
    attempt: int
    fields: dict[str, Any]


class LogList(Open, frozen=True, kw_only=True):
    """A page of log lines, shorter if they are large; continue with `after` = `next_after` while `has_more`."""

    data: list[LogOut]
    next_after: int
    has_more: bool


class ResultOut(Open, frozen=True, kw_only=True):
    """A value that a run published."""

    number: int
    name: str
    value: Raw
    created_at: str


class ResultList(Open, frozen=True, kw_only=True):
    """A page of results; the list grows while the run runs. Continue with `after` = `next_after`."""

    data: list[ResultOut]
    next_after: int
    has_more: bool


class AttemptOut(Open, frozen=True, kw_only=True):
    """One attempt of a run on a worker, as the history has it."""

    number: int
    epoch: int
    worker_id: str
    started_at: str
    finished_at: str | None
    outcome: str
    """running, succeeded, errored, crashed, suspended, held, slept, released, stopped, abandoned."""
    error: RawOrNull
    clock_set_back: bool = False
    """Whether the server's wall clock was set back during the attempt, so that it took longer than its times say."""


class AttemptList(Open, frozen=True, kw_only=True):
    """All attempts of a run, oldest first."""

    data: list[AttemptOut]


class OutputOut(Open, frozen=True, kw_only=True):
    """GET /v1/runs/{id}/output."""

    run_id: str
    state: str
    output: RawOrNull
    error: RawOrNull


class WaitingCause(Open, frozen=True, kw_only=True, omit_defaults=True):
    """A reason why a run waits, or a fact about a run that runs or has ended."""

    code: str
    message: str
    position: int | None = None
    limit: int | None = None
    until: str | None = None
    run_id: str | None = None
    name: str | None = None
    since: str | None = None
    worker_id: str | None = None
    details: str | None = None
    """Longer text: a traceback, or the stack of the code that blocks the worker."""


class WaitingWorker(Open, frozen=True, kw_only=True):
    """Present or last worker of a run."""

    id: str
    name: str | None
    """Name, host and process; null if the worker is forgotten, or another organisation's."""
    heard_at: str | None
    """Time of the last heartbeat; null if another server receives the heartbeats."""


class WaitingOut(Open, frozen=True, kw_only=True):
    """GET /v1/runs/{id}/waiting: the reasons why the run waits, or facts about how it runs or ended."""

    run_id: str
    state: str
    causes: list[WaitingCause]
    worker: WaitingWorker | None = None
    """null if no worker ever had the run."""
