# Generated from client/aio/tasks.py by tools/unasync.py: change that, not this.
"""Tasks that workers have declared (`client.tasks`)."""

from __future__ import annotations

import builtins
from typing import Any

from headway.client import encoding
from headway.client.sync.caller import Caller
from headway.protocol.workers import TaskList, TaskOut


class Tasks:
    """Tasks that workers have declared. A task is given by its name or its function under `@app.task`."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(self) -> builtins.list[TaskOut]:
        """Return all tasks, by name."""
        return (self._caller.get("/v1/tasks", TaskList)).data

    def get(self, name: encoding.Task) -> TaskOut:
        """Return a task.

        Raises `task_not_found`.
        """
        return self._caller.get(encoding.path("tasks", encoding.task_name(name)), TaskOut)

    def activate(self, name: encoding.Task) -> TaskOut:
        """Let the task take new runs again.

        Raises `task_not_found`.
        """
        return self._caller.post(encoding.path("tasks", encoding.task_name(name), verb="activate"), {}, TaskOut)

    def deactivate(self, name: encoding.Task) -> TaskOut:
        """Refuse new runs of the task; runs in progress go on, queued ones wait.

        Raises `task_not_found`.
        """
        return self._caller.post(encoding.path("tasks", encoding.task_name(name), verb="deactivate"), {}, TaskOut)

    def terminate(self, name: encoding.Task, reason: str = "", grace: encoding.Span | None = None) -> dict[str, Any]:
        """Terminate all runs of the task that are not finished; return `{"asked": n}`, their number.

        `grace` is as in `RunHandle.terminate`. Raises `task_not_found`.
        """
        body = {"reason": reason, "grace": encoding.span(grace)}
        return self._caller.post(
            encoding.path("tasks", encoding.task_name(name), verb="terminate"), body, dict[str, Any]
        )
