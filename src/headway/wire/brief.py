"""Brief answers: the members shown to a key that may change or start an object, but not read it."""

from __future__ import annotations

from typing import Any

from headway.wire.runs import Open


class Brief(Open, frozen=True, kw_only=True):
    """Base of the brief answers; members that the key may not read are missing."""

    brief: bool = True


class RunBrief(Brief, frozen=True, kw_only=True):
    """A run, without `run:read`."""

    id: str
    object: str = "run"
    state: str
    final: bool
    version: int
    url: str


class BatchItemBrief(Open, frozen=True, kw_only=True, omit_defaults=True):
    """One outcome of a batch, without `run:read`."""

    status: int
    run: RunBrief | None = None
    error: dict[str, Any] | None = None


class BatchBrief(Open, frozen=True, kw_only=True):
    """The outcomes of a batch, without `run:read`."""

    data: list[BatchItemBrief]


class ScheduleBrief(Brief, frozen=True, kw_only=True):
    """A schedule, without `schedule:read`."""

    id: str
    object: str = "schedule"
    state: str
    version: int
    url: str


class TaskBrief(Brief, frozen=True, kw_only=True):
    """A task, without `task:read`."""

    name: str
    object: str = "task"
    active: bool
    url: str


class RecordTaskBrief(Brief, frozen=True, kw_only=True):
    """A record task, without `task:read`."""

    name: str
    object: str = "record_task"
    active: bool
    version: int
    url: str


class QueueBrief(Brief, frozen=True, kw_only=True):
    """A queue, without `queue:read`."""

    name: str
    object: str = "queue"
    paused: bool
    url: str


class WorkerBrief(Brief, frozen=True, kw_only=True):
    """A worker, without `worker:read`."""

    id: str
    object: str = "worker"
    state: str
    url: str


class TableBrief(Brief, frozen=True, kw_only=True):
    """A table, without `table:read`."""

    id: str
    object: str = "table"
    version: int
    url: str


class FieldBrief(Brief, frozen=True, kw_only=True):
    """A field, without `table:read`."""

    id: str


class RecordBrief(Brief, frozen=True, kw_only=True):
    """A record, without `record:read`."""

    id: str
    object: str = "record"
    version: int


class RecordsBrief(Open, frozen=True, kw_only=True):
    """Records after a batch, without `record:read`."""

    data: list[RecordBrief]
    created: int
    updated: int


class MailServerBrief(Brief, frozen=True, kw_only=True):
    """The mail server, without `mail:read`."""

    object: str = "mail_server"
    updated_at: str
