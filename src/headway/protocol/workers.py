"""The worker protocol on the wire: register, claim, report, signals; tasks, queues and workers as the API shows them.

A worker registers once, keeps one signals stream open (its liveness), claims batches of runs by long poll, and reports
in batches. Every report carries the run's lease epoch; a stale one gets status 409 and changes nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, get_args

from msgspec import UNSET, Meta, Raw, UnsetType

from headway.protocol.runs import (
    Duration,
    Id,
    Name,
    Noun,
    Open,
    Priority,
    RawOrNull,
    StartRun,
    Strict,
    Text,
    Timestamp,
    raw,
)
from headway.protocol.schedules import ScheduleDeclaration

Executor = Literal["inline", "thread", "process", "ray"]
"""Executor of a function at its worker: `ray` is a Ray cluster that the worker has joined."""
EXECUTORS: Final[tuple[Executor, ...]] = get_args(Executor)
"""Executors of workers; tasks with another are executed by the server itself."""


Number = Annotated[int, Meta(ge=0, le=9_007_199_254_740_991)]


class RateSpec(Strict, frozen=True, kw_only=True):
    """`limit` starts in `period` in the long run, and at most `limit` at once after a pause."""

    limit: Annotated[int, Meta(ge=1, le=1_000_000)]
    period: Duration


class RetrySpec(Strict, frozen=True, kw_only=True):
    """Retries of a failed attempt: number, and delays as durations."""

    max_attempts: Annotated[int, Meta(ge=1, le=1000)] = 3
    backoff: Duration = "1s"
    factor: Annotated[float, Meta(ge=1, le=100)] = 2.0
    max_backoff: Duration = "1h"
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.2
    do_not_retry: Annotated[list[Name], Meta(max_length=100)] = []


class RetentionDeclaration(Strict, frozen=True, kw_only=True):
    """Retention of finished runs by state, as durations; null is for ever."""

    succeeded: Duration | None = "30d"
    failed: Duration | None = "90d"
    terminated: Duration | None = "30d"


class TaskDeclaration(Strict, frozen=True, kw_only=True):
    """A task as its worker declares it."""

    name: Name
    title: Text = ""
    """A name for people, if it is not the task's name."""
    version: Name = "1"
    description: Annotated[str, Meta(max_length=10_000)] = ""
    executor: Executor = "inline"
    queue: Name = "default"
    priority: Priority = 5
    input_schema: Raw = raw(b"{}")
    output_schema: RawOrNull = None
    retry: RetrySpec = RetrySpec()
    max_crashes: Annotated[int, Meta(ge=1, le=100)] = 3
    timeout: Duration | None = None
    heartbeat_timeout: Duration | None = None
    grace: Duration = "30s"
    concurrency: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    concurrency_per_key: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    rate: RateSpec | None = None
    rate_per_key: RateSpec | None = None
    key: Name | None = None
    retention: RetentionDeclaration = RetentionDeclaration()
    resources: Annotated[dict[Name, Annotated[float, Meta(ge=0)]], Meta(max_length=100)] = {}
    """Resources of a `ray` task: `num_cpus`, `num_gpus`, `memory` in bytes, or custom ones."""
    shared: bool = False
    """Every organisation may start it; workers of the first organisation, which alone can share tasks, execute it."""


class RegisterWorker(Strict, frozen=True, kw_only=True):
    """POST /v1/workers."""

    name: Text = ""
    host: Text = ""
    pid: Annotated[int, Meta(ge=0, le=4_294_967_295)] = 0
    version: Text = ""
    queues: Annotated[list[Name], Meta(max_length=1000)] = []
    """Queues that the worker claims from; none means all."""
    capacity: Annotated[int, Meta(ge=1, le=100_000)] = 100
    tasks: Annotated[list[TaskDeclaration], Meta(max_length=10_000)] = []
    schedules: Annotated[list[ScheduleDeclaration], Meta(max_length=1000)] = []
    """Schedules that code declares for these tasks. Names are made if they are new; what changes in code is changed, and what
    somebody changed or paused since stays. Declared schedules of these tasks that are not here any more are paused."""
    started_at: Timestamp | None = None
    """Start of the worker's code; default: now. Of several versions at work the one that was started last counts."""


class BlockedOut(Open, frozen=True, kw_only=True):
    """A task that blocks the event loop of a worker, by its last heartbeat: nothing else runs there."""

    since: str
    task: str
    """The task that holds it; a function that belongs to no run, or nothing if neither is known."""
    run_id: str | None
    where: str
    """The line, such as "app.py:12 in crunch"."""
    stack: str


class WorkerOut(Noun, frozen=True, kw_only=True):
    """A worker as the API shows it; `lease_ms` and `heartbeat_ms` are the times that the worker must observe."""

    id: str
    object: str = "worker"
    name: str
    host: str
    pid: int
    version: str
    queues: list[str]
    tasks: list[str]
    capacity: int
    state: str
    leases: int
    created_at: str
    heard_at: str
    lease_ms: int
    heartbeat_ms: int
    blocked: BlockedOut | None = None
    """The task that blocks its event loop; null if none does, or if another server hears the worker."""
    notices: list[str] = []
    """Notices about the worker's schedules that do not count, with the reason, in the answer to its registration."""
    url: str


class WorkerList(Open, frozen=True, kw_only=True):
    """All workers."""

    data: list[WorkerOut]


class ClaimRuns(Strict, frozen=True, kw_only=True):
    """POST /v1/leases:claim: up to `max` runs, waiting up to `wait` for the first.

    `rooms` says of executors for how many more runs they have room, where that is less than `max`. A claim that waits with
    an executor that has no room comes back empty as soon as a run of the worker ends, to be made again with what is free.
    """

    worker_id: Id
    max: Annotated[int, Meta(ge=1, le=10_000)] = 1
    wait: Duration = "0s"
    rooms: dict[Executor, Annotated[int, Meta(ge=0, le=100_000)]] = {}
    number: Number = 0
    """Number of the claim in heartbeats: higher than those of all claims that were sent before, also if the claim is sent again. 0: nothing."""


class Lease(Open, frozen=True, kw_only=True, omit_defaults=True):
    """A run that is the worker's to execute, for as long as it is heard from."""

    run_id: str
    task: str
    epoch: int
    attempt: int
    max_attempts: int
    input: Raw
    crashes: int = 0
    """Above 0 the run took a worker down before: it is executed in a child process, unless it is on Ray anyway."""
    name: str = ""
    key: str | None = None
    parent_id: str | None = None
    root_id: str | None = None
    labels: Raw = raw(b"{}")
    created_at: int = 0
    steps: dict[str, Raw] = {}
    """Records of earlier attempts by step name; signals received are among them as `signal:NAME#N`."""


class Leases(Open, frozen=True, kw_only=True):
    """Leases of the claimed runs; none if the wait ran out."""

    leases: list[Lease]


class FunctionError(Strict, frozen=True, kw_only=True, omit_defaults=True):
    """Error of a function."""

    code: Text = "exception"
    type: Text = ""
    message: Annotated[str, Meta(max_length=100_000)] = ""
    retryable: bool = True
    details: Annotated[str, Meta(max_length=200_000)] = ""


class BlockerSpec(Strict, frozen=True, kw_only=True, omit_defaults=True):
    """One thing to wait for: a signal by name, or another run's end."""

    kind: Literal["signal", "run"]
    name: Text = ""
    number: Annotated[int, Meta(ge=1)] = 1
    """Number of the signal among those of the name, from 1."""
    run_id: Id = ""


class Report(Strict, frozen=True, kw_only=True, omit_defaults=True):
    """The root of all reports: which run, under which lease."""

    run_id: Id
    epoch: int


class ProgressReport(Report, frozen=True, kw_only=True, tag="progress", omit_defaults=True):
    """Progress of the run."""

    done: Annotated[int, Meta(ge=0, le=9_007_199_254_740_991)]
    total: Annotated[int, Meta(ge=0, le=9_007_199_254_740_991)] | None = None
    message: Text = ""


class LogReport(Report, frozen=True, kw_only=True, tag="log", omit_defaults=True):
    """A line of log."""

    message: Annotated[str, Meta(max_length=32_768)]
    level: Literal["debug", "info", "warning", "error"] = "info"
    fields: dict[str, Any] = {}


class ResultReport(Report, frozen=True, kw_only=True, tag="result", omit_defaults=True):
    """Publication of a result."""

    value: Raw
    name: Text = ""


class StepReport(Report, frozen=True, kw_only=True, tag="step", omit_defaults=True):
    """A step is done; a second report of the same name changes nothing."""

    name: Name
    value: Raw


class StepFailureReport(Report, frozen=True, kw_only=True, tag="step_failure", omit_defaults=True):
    """A try of a step has failed, which is no failure of the attempt; a second report of the same number changes nothing."""

    name: Name
    number: Annotated[int, Meta(ge=1, le=1000)]
    """Number of the try, from 1 over all attempts."""
    error: FunctionError
    retry_at: Timestamp | None = None
    """Time of the next try; null: there is none, the step has failed for good."""


class StepFailure(Open, frozen=True, kw_only=True, omit_defaults=True):
    """A failed try in `Lease.steps`, under `step-failure:NAME:NUMBER`; `retry_at` in milliseconds."""

    retry_at: int | None = None
    code: str = "exception"
    type: str = ""
    message: str = ""


class ChildReport(Report, frozen=True, kw_only=True, tag="child", omit_defaults=True):
    """Start a child run, once: a second report of the same name answers with the same child."""

    name: Name
    run: StartRun


class TokenReport(Report, frozen=True, kw_only=True, tag="token", omit_defaults=True):
    """Request for the token with which an outside system completes the wait of that name."""

    name: Name


class SucceededReport(Report, frozen=True, kw_only=True, tag="succeeded", omit_defaults=True):
    """The function returned."""

    output: Raw = raw(b"null")


class ErroredReport(Report, frozen=True, kw_only=True, tag="errored", omit_defaults=True):
    """The function raised, or was stopped for taking too long."""

    error: FunctionError
    retry_after: Duration | None = None


class SuspendedReport(Report, frozen=True, kw_only=True, tag="suspended", omit_defaults=True):
    """The function waits for others and has let go of the worker."""

    blockers: Annotated[list[BlockerSpec], Meta(max_length=1000)]
    timeout: Duration | None = None


class SleptReport(Report, frozen=True, kw_only=True, tag="slept", omit_defaults=True):
    """The function sleeps and has let go of the worker."""

    until: Timestamp


class ReleasedReport(Report, frozen=True, kw_only=True, tag="released", omit_defaults=True):
    """The worker hands the run back; the attempt does not count."""

    note: Text = ""
    """Reason, for the history."""


class StoppedReport(Report, frozen=True, kw_only=True, tag="stopped", omit_defaults=True):
    """The function has stopped, as it was asked to."""

    killed: bool = False


OutcomeReport = SucceededReport | ErroredReport | SuspendedReport | SleptReport | ReleasedReport | StoppedReport
"""Reports that end an attempt."""

AnyReport = (
    ProgressReport | LogReport | ResultReport | StepReport | StepFailureReport | ChildReport | TokenReport
    | OutcomeReport
)  # fmt: skip


class BlockedLoop(Strict, frozen=True, kw_only=True, omit_defaults=True):
    """A task that blocks the worker's event loop: for how many milliseconds, and where in the code."""

    for_ms: Number
    task: Text = ""
    run_id: Id = ""
    where: Text = ""
    stack: Annotated[str, Meta(max_length=20_000, pattern=r"^[^\x00]*$")] = ""


class ReportRuns(Strict, frozen=True, kw_only=True, omit_defaults=True):
    """POST /v1/leases:report. `held` is the heartbeat: every lease the worker believes it holds, as [run_id, epoch].

    By `claiming` and `heard` the server knows which leases have never arrived, and hands those runs to others. A worker reads
    `claiming` before it reads `held`, and adds what a claim has brought to `held` before it takes it out of `claiming`.
    """

    worker_id: Id
    reports: Annotated[list[AnyReport], Meta(max_length=10_000)] = []
    held: list[tuple[Id, int]] | None = None
    claiming: Annotated[list[Number], Meta(max_length=10_000)] | None = None
    """The numbers of the claims that are under way: whose answers are not in `held` yet and would still be taken. Absent, a
    lease that is not named for as long as a lease lasts is taken for one that never arrived."""
    heard: Number = 0
    """The `beat` of the last answer to a heartbeat that has arrived."""
    blocked: BlockedLoop | None = None
    """The task that blocks the worker's event loop at this heartbeat, if one does."""


class StopSignal(Open, frozen=True, kw_only=True, omit_defaults=True):
    """A run is to stop, within `grace_ms`; after that its executor is to be killed."""

    run_id: str
    epoch: int
    grace_ms: int
    reason: str = ""


class Rejection(Open, frozen=True, kw_only=True):
    """A report that changed nothing."""

    index: int
    status: int
    code: str
    detail: str


class Reply(Open, frozen=True, kw_only=True, omit_defaults=True):
    """Reply to a child or token report."""

    index: int
    run_id: str = ""
    token: str = ""


class ReportAnswer(Open, frozen=True, kw_only=True):
    """Results of the reports: reports without a rejection are committed.

    `lost` and `stop` answer the `held` leases of the request.
    """

    rejected: list[Rejection]
    replies: list[Reply]
    lost: list[tuple[str, int]]
    stop: list[StopSignal]
    drain: bool = False
    beat: int = 0
    """Number of this heartbeat; the next one gives it back as `heard`."""


class RetryOut(RetrySpec, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """Retries of a failed attempt, as the API shows them."""


class RateOut(RateSpec, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """Rate of starts, as the API shows it."""


class RetentionOut(RetentionDeclaration, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """Retention of finished runs, as the API shows it."""


class TaskOut(Noun, frozen=True, kw_only=True):
    """A task as the API shows it; durations in the shortest spelling."""

    name: str
    object: str = "task"
    title: str = ""
    version: str
    description: str
    active: bool
    executor: str
    queue: str
    priority: int
    input_schema: Raw
    output_schema: RawOrNull
    retry: RetryOut
    max_crashes: int
    timeout: str | None
    heartbeat_timeout: str | None
    grace: str
    concurrency: int | None
    concurrency_per_key: int | None
    rate: RateOut | None
    rate_per_key: RateOut | None
    key: str | None
    retention: RetentionOut
    resources: dict[str, float] = {}
    shared: bool = False
    counts: dict[str, int]
    """Number of the task's runs by state."""
    created_at: str
    updated_at: str
    url: str


class TaskList(Open, frozen=True, kw_only=True):
    """All tasks, by name."""

    data: list[TaskOut]


class TerminateTask(Strict, frozen=True, kw_only=True):
    """POST /v1/tasks/{name}:terminate: stop all its runs that are not finished."""

    reason: Text = ""
    actor: Text = ""
    grace: Duration | None = None


class QueueOut(Noun, frozen=True, kw_only=True):
    """A queue as the API shows it."""

    name: str
    object: str = "queue"
    paused: bool
    concurrency: int | None
    counts: dict[str, int]
    """Number of the queue's runs by state."""
    depth: int
    """Number of queued runs."""
    oldest_queued_at: str | None
    created_at: str
    updated_at: str
    url: str


class QueueList(Open, frozen=True, kw_only=True):
    """All queues, by name."""

    data: list[QueueOut]


class PatchQueue(Strict, frozen=True, kw_only=True):
    """PATCH /v1/queues/{name}; it exists from its first use, so this creates it too."""

    concurrency: Annotated[int, Meta(ge=1, le=1_000_000)] | UnsetType | None = UNSET
    """null: without limit; absent: as it is."""


class PeerOut(Open, frozen=True, kw_only=True):
    """One of the servers that share the store; `id` is empty of a store in a file, which has only one."""

    id: str
    object: str = "server"
    host: str
    pid: int
    version: str
    this: bool
    """True for the server that answers."""
    created_at: str
    heard_at: str


class PeerList(Open, frozen=True, kw_only=True):
    """All servers."""

    data: list[PeerOut]


class ServerOut(Open, frozen=True, kw_only=True):
    """GET /livez and /readyz."""

    status: str
    checks: dict[str, str] = {}
