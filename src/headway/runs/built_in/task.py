"""Tasks that the server itself executes: the built-in ones by their names, and kinds of tasks that users define."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from headway.kernel.run import Run
from headway.protocol.workers import TaskDeclaration
from headway.runs.service import Service

MAX_CRASHES: Final = 100
"""Crash limit of tasks with checkpoints; it is high, since a restart of the server counts as a crash."""

Execute = Callable[[Service, Run], Awaitable[msgspec.Raw]]
"""Coroutine function that executes a claimed run, from an earlier attempt's checkpoint on, and returns its output."""


class BuiltInTask(msgspec.Struct, frozen=True):
    """A task that every organisation may start, in the queue `headway`."""

    declaration: TaskDeclaration
    execute: Execute


class ServerExecutor(msgspec.Struct, frozen=True):
    """Execution of the tasks that a feature's users define, whatever their names and organisations are."""

    name: str
    """The `executor` of these tasks; not one of `protocol.workers.EXECUTORS`."""
    execute: Execute
    capacity: int
    """Number of runs at once."""


def built_in(name: str, description: str, takes: type[msgspec.Struct], execute: Execute, **more: Any) -> BuiltInTask:
    """Return a built-in task whose input is a struct; `more` are other fields of its declaration."""
    schema = msgspec.Raw(msgspec.json.encode(msgspec.json.schema(takes)))
    declaration = TaskDeclaration(
        name=name, description=description, queue="headway", input_schema=schema, shared=True, **more
    )
    return BuiltInTask(declaration, execute)
