"""Tadabase's structs, and the translation of tasks and runs into them.

Clients divide by `total_records`, so it is 1 at least, also for a run without a total.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec

from headway.features.schedules.model import Schedule
from headway.features.schedules.rules.occurrence import Word
from headway.features.schedules.service import next_run_at
from headway.kernel.run import Reason, Run, RunError, State
from headway.kernel.task import Task

WORDS: Final[dict[State, str]] = {
    State.SCHEDULED: "start",
    State.QUEUED: "start",
    State.RUNNING: "start",
    State.SUSPENDED: "start",
    State.STOPPING: "start",
    State.SUCCEEDED: "complete",
    State.FAILED: "failed",
    State.TERMINATED: "terminated",
}
ENDS: Final[dict[str, State]] = {
    "complete": State.SUCCEEDED,
    "failed": State.FAILED,
    "terminated": State.TERMINATED,
}

ALL: Final = "input"
"""Name in errors that concern no single field."""
OCCURRENCES: Final = {word.value: word.value for word in Word}
"""Occurrences with a name, which Tadabase and Headway share."""
ADVANCED: Final = "Advanced"
"""Name of all other occurrences: cron expressions, RRULEs and intervals."""

_PREFIX: Final = re.compile(r"^/(?:input|records/0/values)(?=/|$)")
"""Pointer prefixes of a request's fields in errors of the service."""
_error: Final = msgspec.json.Decoder(RunError).decode
_reason: Final = msgspec.json.Decoder(Reason).decode


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True):
    """Success without a result."""

    type: Literal["success"] = "success"
    msg: str


class StartReply(msgspec.Struct, frozen=True, kw_only=True):
    """A new execution."""

    type: Literal["success"] = "success"
    task_queue_id: str
    msg: str = "Task started successfully"


class TaskItem(msgspec.Struct, frozen=True, kw_only=True):
    """A task."""

    task_id: str
    name: str
    status: Literal["Active", "Inactive"]
    data_table_id: str | None
    """Table of a record task."""
    occurrence: str | None
    """Occurrence of the task's next schedule: a name, or `Advanced`."""
    next_run_at: str | None
    """Time of that schedule's next run; null while every schedule of the task is paused or over."""
    type: Literal["Schedule", "API"]
    """`Schedule` if the task has a schedule."""
    description: str


class TaskList(msgspec.Struct, frozen=True, kw_only=True):
    """All tasks."""

    type: Literal["success"] = "success"
    total_tasks: int
    tasks: list[TaskItem]


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """A run, in status and history."""

    task_queue_id: str
    task_id: str
    task_name: str
    total_records: int
    total_record_proceed: int
    start_at: str
    end_at: str | None
    run_type: Literal["Schedule", "API"]
    status: str
    error: str | None
    """Reason of a failure or termination."""


class Executions(msgspec.Struct, frozen=True, kw_only=True):
    """A page of runs."""

    type: Literal["success"] = "success"
    total_tasks: int
    """Number of runs in the whole list."""
    tasks: list[Execution]
    next_cursor: str = ""
    """`cursor` of the next page; empty on the last."""


class DataTable(msgspec.Struct, frozen=True, kw_only=True):
    """A data table."""

    id: str
    name: str


class DataTables(msgspec.Struct, frozen=True, kw_only=True):
    """All data tables."""

    type: Literal["success"] = "success"
    data_tables: list[DataTable]
    total_items: int


class FieldItem(msgspec.Struct, frozen=True, kw_only=True):
    """A field; records and filters name it by its slug."""

    slug: str
    name: str
    type: str


class FieldList(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a table."""

    type: Literal["success"] = "success"
    fields: list[FieldItem]
    total_items: int


class FullFieldItem(FieldItem, frozen=True, kw_only=True):
    """A field with all its options."""

    required: bool
    unique: bool
    choices: list[str]
    default: Any
    connected_table: str | None
    multiple: bool


class FullFieldList(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of a table with all their options."""

    type: Literal["success"] = "success"
    fields: list[FullFieldItem]
    total_items: int


class Items(msgspec.Struct, frozen=True, kw_only=True):
    """A page of records: each has its id, and its values by the slugs of the fields."""

    type: Literal["success"] = "success"
    items: list[dict[str, Any]]
    total_items: int
    limit: int
    page: int
    total_pages: int


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A record."""

    type: Literal["success"] = "success"
    item: dict[str, Any]


class RecordReply(msgspec.Struct, frozen=True, kw_only=True):
    """A new or changed record."""

    type: Literal["success"] = "success"
    msg: str
    recordId: str  # noqa: N815 - Tadabase's spelling


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """The caller's key; id and time are null for a caller without a key."""

    id: str | None
    status: Literal["Active"] = "Active"
    created_at: str | None


class Permissions(msgspec.Struct, frozen=True, kw_only=True):
    """Permissions of the key, in Tadabase's terms."""

    read: bool
    create: bool
    update: bool
    delete: bool
    tasks: bool
    pages: bool = False
    imports: bool
    exports: bool
    logs: bool
    pdf_forms: bool = False
    pdf_pages: bool = False


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """Limit of requests in a minute or a day, and the requests that are left; null without a limit."""

    allowed: int | None
    remaining: int | None
    resets_in_seconds: int | None
    reset_timestamp: int | None


class KeyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """GET /status."""

    current_code: int = 200
    api_key: ApiKey
    permissions: Permissions
    per_minute_limit: Limit
    per_day_limit: Limit


class MissingExecution(msgspec.Struct, frozen=True, kw_only=True):
    """Entry of a run that does not exist, which ends a client's wait for it."""

    task_queue_id: str
    task_id: str | None = None
    total_records: int = 1
    total_record_proceed: int = 0
    status: str = "failed"
    error: str = "there is no such execution"


class ErrorReply(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An error."""

    type: Literal["error"]
    """No default, as defaults are left out."""
    msg: str
    status: int
    code: str
    """Code of the error, as under /errors."""
    request_id: str
    errors: dict[str, list[str]] = {}
    """Messages of a validation by field."""
    total_tasks: int | None = None
    tasks: list[MissingExecution] = []


def execution(run: Run, title: str, zone: str) -> Execution:
    """Return the struct of a run; `title` is its task's, times are wall times of the organisation's zone."""
    total, proceed = records(run)
    return Execution(
        task_queue_id=run.id,
        task_id=run.task,
        task_name=title,
        total_records=total,
        total_record_proceed=proceed,
        start_at=wall_time(run.created_at if run.started_at is None else run.started_at, zone),
        end_at=None if run.finished_at is None else wall_time(run.finished_at, zone),
        run_type="API" if run.schedule_id is None else "Schedule",
        status=WORDS[run.state],
        error=_why(run),
    )


def records(run: Run) -> tuple[int, int]:
    """Return the number of all records and of the processed ones; equal only if the run succeeded or reported so."""
    done, total = run.progress_done, run.progress_total
    if total is None:
        if run.state is State.SUCCEEDED:
            return max(1, done), max(1, done)
        return done + 1, done
    return max(1, total), done


def _why(run: Run) -> str | None:
    if run.state is State.FAILED and run.error is not None:
        error = _error(run.error)
        return error.message or error.type or error.code
    if run.state is State.TERMINATED and run.reason is not None:
        reason = _reason(run.reason)
        return reason.message or reason.code
    return None


def task(found: Task, schedule: Schedule | None, table_id: str | None, zone: str) -> TaskItem:
    """Return the struct of a task with its next schedule and its table; times are wall times as in `execution`."""
    next_run = None if schedule is None else next_run_at(schedule)
    return TaskItem(
        task_id=found.name,
        name=found.title or found.name,
        status="Active" if found.active else "Inactive",
        data_table_id=table_id,
        occurrence=None if schedule is None else OCCURRENCES.get(schedule.occurrence, ADVANCED),
        next_run_at=None if next_run is None else wall_time(next_run, zone),
        type="API" if schedule is None else "Schedule",
        description=found.description,
    )


@lru_cache(maxsize=4096)
def _second(seconds: int, zone: str) -> str:
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - as in kernel/zone.py

    return datetime.fromtimestamp(seconds, ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S")


def wall_time(ms: int, zone: str) -> str:
    """Return a wall time such as `2024-01-27 10:00:00`, without a zone."""
    return _second(ms // 1000, zone)


def by_field(errors: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the messages of errors by field, in the form of Tadabase's validation errors."""
    found: dict[str, list[str]] = {}
    for error in errors:
        name = _PREFIX.sub("", str(error["pointer"])).strip("/").replace("/", ".") or ALL
        found.setdefault(name, []).append(str(error["message"]))
    return found
