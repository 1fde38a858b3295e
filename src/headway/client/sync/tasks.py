# Generated from client/aio/tasks.py by tools/unasync.py: change that, not this.
"""client.tasks: what can be run."""

from __future__ import annotations

import builtins
from typing import Any

from headway.client import encoding
from headway.client.sync.caller import Caller
from headway.wire.workers import TaskList, TaskOut


class Tasks:
    """The tasks that workers have declared."""

    def __init__(self, caller: Caller) -> None:
        """Made by the client."""
        self._caller = caller

    def list(self) -> builtins.list[TaskOut]:
        """Return all, by name."""
        return (self._caller.get("/v1/tasks", TaskList)).data

    def get(self, name: encoding.Task) -> TaskOut:
        """Return one."""
        return self._caller.get(encoding.path("tasks", encoding.task_name(name)), TaskOut)

    def activate(self, name: encoding.Task) -> TaskOut:
        """Let it take new runs again."""
        return self._caller.post(encoding.path("tasks", encoding.task_name(name), verb="activate"), {}, TaskOut)

    def deactivate(self, name: encoding.Task) -> TaskOut:
        """Let it take no new runs; what runs goes on, what is queued waits."""
        return self._caller.post(encoding.path("tasks", encoding.task_name(name), verb="deactivate"), {}, TaskOut)

    def terminate(self, name: encoding.Task, reason: str = "", grace: encoding.Span | None = None) -> dict[str, Any]:
        """Stop all its runs that are not finished; return what the server says about it."""
        body = {"reason": reason, "grace": encoding.span(grace)}
        return self._caller.post(
            encoding.path("tasks", encoding.task_name(name), verb="terminate"), body, dict[str, Any]
        )
