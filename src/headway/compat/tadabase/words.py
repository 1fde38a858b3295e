"""Tadabase's structs, and tasks and runs in its words.

Its clients divide by `total_records`, so that is 1 at least, also for a run that does not say how much it has to do.
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
"""What is named if it is no single field that is wrong."""
OCCURRENCES: Final = {word.value: word.value for word in Word}
"""Our words for occurrences are theirs."""
ADVANCED: Final = "Advanced"
"""What is no word: a cron expression, an RRULE or an interval."""

_PREFIX: Final = re.compile(r"^/(?:input|records/0/values)(?=/|$)")
"""Where the fields of a request are, in our words."""
_error: Final = msgspec.json.Decoder(RunError).decode
_reason: Final = msgspec.json.Decoder(Reason).decode


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for is done."""

    type: Literal["success"] = "success"
    msg: str


class TaskStarted(msgspec.Struct, frozen=True, kw_only=True):
    """A run was started."""

    type: Literal["success"] = "success"
    task_queue_id: str
    msg: str = "Task started successfully"


class TaskShown(msgspec.Struct, frozen=True, kw_only=True):
    """A task."""

    task_id: str
    name: str
    status: Literal["Active", "Inactive"]
    data_table_id: str | None
    """Of a record task: the table it works on."""
    occurrence: str | None
    """Of the schedule that runs it next: a word, or `Advanced`."""
    next_run_at: str | None
    """When that one does; null while every schedule of the task is paused or over."""
    type: Literal["Schedule", "API"]
    """Whether a schedule runs it, or only who asks for it."""
    description: str


class TaskList(msgspec.Struct, frozen=True, kw_only=True):
    """All tasks."""

    type: Literal["success"] = "success"
    total_tasks: int
    tasks: list[TaskShown]


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """A run, as status and history show it."""

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
    """Why it failed or was terminated."""


class Executions(msgspec.Struct, frozen=True, kw_only=True):
    """A page of runs."""

    type: Literal["success"] = "success"
    total_tasks: int
    """How many there are altogether."""
    tasks: list[Execution]
    next_cursor: str = ""
    """What `cursor` has to be for the next page; empty: there is none."""


class DataTable(msgspec.Struct, frozen=True, kw_only=True):
    """A data table."""

    id: str
    name: str


class DataTables(msgspec.Struct, frozen=True, kw_only=True):
    """All data tables."""

    type: Literal["success"] = "success"
    data_tables: list[DataTable]
    total_items: int


class FieldShown(msgspec.Struct, frozen=True, kw_only=True):
    """A field: its slug is what records and filters call it."""

    slug: str
    name: str
    type: str


class FieldList(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a table."""

    type: Literal["success"] = "success"
    fields: list[FieldShown]
    total_items: int


class FullField(FieldShown, frozen=True, kw_only=True):
    """A field, with all that is known of it."""

    required: bool
    unique: bool
    choices: list[str]
    default: Any
    connected_table: str | None
    multiple: bool


class FullFieldList(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a table, with all that is known of them."""

    type: Literal["success"] = "success"
    fields: list[FullField]
    total_items: int


class Items(msgspec.Struct, frozen=True, kw_only=True):
    """A page of records: each has its id, and its values by the slugs of their fields."""

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


class RecordDone(msgspec.Struct, frozen=True, kw_only=True):
    """A record was made or changed."""

    type: Literal["success"] = "success"
    msg: str
    recordId: str  # noqa: N815 - their spelling


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """The caller's key; who needs none has none."""

    id: str | None
    status: Literal["Active"] = "Active"
    created_at: str | None


class Permissions(msgspec.Struct, frozen=True, kw_only=True):
    """What the key may, in their words."""

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
    """What may be asked within a minute or a day, and what is left of it; null if there is no limit."""

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


class Gone(msgspec.Struct, frozen=True, kw_only=True):
    """What stands for a run that does not exist, so that who waits for it stops waiting."""

    task_queue_id: str
    task_id: str | None = None
    total_records: int = 1
    total_record_proceed: int = 0
    status: str = "failed"
    error: str = "there is no such execution"


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What every error says."""

    type: Literal["error"]
    """No default, as defaults are left out."""
    msg: str
    status: int
    code: str
    """The error's name in /errors."""
    request_id: str
    errors: dict[str, list[str]] = {}
    """Of a validation: what is wrong, by field."""
    total_tasks: int | None = None
    tasks: list[Gone] = []


def execution(run: Run, title: str, zone: str) -> Execution:
    """Show a run of the task with that title; times are those of a clock on the wall in the organisation's zone."""
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
    """Return how many records there are and how many are done; all are, exactly when the run succeeded or said so."""
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


def task(found: Task, schedule: Schedule | None, table_id: str | None, zone: str) -> TaskShown:
    """Show a task, with the schedule that runs it next and the table it works on; times as `execution` has them."""
    next_run = None if schedule is None else next_run_at(schedule)
    return TaskShown(
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
    """Return `2024-01-27 10:00:00`, without a zone."""
    return _second(ms // 1000, zone)


def by_field(errors: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return what is wrong by the name of the field, as their validation errors have it."""
    found: dict[str, list[str]] = {}
    for error in errors:
        name = _PREFIX.sub("", str(error["pointer"])).strip("/").replace("/", ".") or ALL
        found.setdefault(name, []).append(str(error["message"]))
    return found
