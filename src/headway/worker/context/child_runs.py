"""Requests that start child runs, and the recorded results of children."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from headway.client.encoding import Task, task_name
from headway.protocol.runs import StartRun
from headway.worker.context.interrupts import ChildFailed
from headway.worker.context.payload import to_json
from headway.worker.declaration.options import Duration, to_text

_decode_start = msgspec.json.Decoder(StartRun).decode


class StartOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a child run beside its task and its input; default: the task's own values."""

    name: str | None = None
    priority: int | None = None
    queue: str | None = None
    key: str | None = None
    delay: Duration | None = None
    labels: dict[str, str] = {}
    max_attempts: int | None = None


def to_start(task: Task, options: StartOptions, given: dict[str, Any], parent_id: str) -> StartRun:
    """Return the request that starts the child; raise ValueError for what the server would refuse anyway."""
    start = StartRun(
        task=task_name(task),
        input=Raw(to_json(given)),
        name=options.name,
        priority=options.priority,
        queue=options.queue,
        key=options.key,
        delay=None if options.delay is None else to_text(options.delay),
        labels=options.labels,
        parent_id=parent_id,
        max_attempts=options.max_attempts,
    )
    return _decode_start(msgspec.json.encode(start))  # held against the wire's limits here, where the mistake was made


def output_of(run_id: str, ended: dict[str, Any]) -> Any:
    """Return the output of a child that has ended; raise ChildFailed unless it succeeded."""
    if ended.get("state") == "succeeded":
        return ended.get("output")
    raise ChildFailed(run_id, str(ended.get("state")), ended.get("error"))
