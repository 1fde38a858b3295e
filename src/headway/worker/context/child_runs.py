"""Runs that a run starts, and the handles with which it waits for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from headway.wire.runs import StartRun
from headway.worker.context.interrupts import ChildFailed
from headway.worker.context.payload import to_json
from headway.worker.declaration.app import TaskFunction
from headway.worker.declaration.options import Duration, to_text

if TYPE_CHECKING:
    from headway.worker.context.context import Context, SyncContext

_decode_start = msgspec.json.Decoder(StartRun).decode


class StartOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What can be said about a child beside its task and its input; absent means the task's own."""

    name: str | None = None
    priority: int | None = None
    queue: str | None = None
    key: str | None = None
    delay: Duration | None = None
    labels: dict[str, str] = {}
    max_attempts: int | None = None


class ChildRun:
    """A run that this run has started."""

    __slots__ = ("_context", "id")

    def __init__(self, context: Context, run_id: str) -> None:
        """Made by `ctx.start`."""
        self._context = context
        self.id = run_id

    async def result(self) -> Any:
        """Return the child's output; let go of the worker until there is one. Raise ChildFailed if it did not succeed."""
        return (await self._context.results(self))[0]


class SyncChildRun:
    """A run that this run has started, for plain functions."""

    __slots__ = ("_context", "id")

    def __init__(self, context: SyncContext, run_id: str) -> None:
        """Made by `ctx.start`."""
        self._context = context
        self.id = run_id

    def result(self) -> Any:
        """Return the child's output; let go of the worker until there is one. Raise ChildFailed if it did not succeed."""
        return self._context.results(self)[0]


def to_start(task: str | TaskFunction, options: StartOptions, given: dict[str, Any], parent_id: str) -> StartRun:
    """Return the request that starts the child; raise ValueError for what the server would refuse anyway."""
    start = StartRun(
        task=task if isinstance(task, str) else task.name,
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
