"""Tasks that workers have declared (`client.tasks`)."""

from __future__ import annotations

import builtins
from typing import Any

from headway.client import encoding
from headway.client.aio.caller import AsyncCaller
from headway.protocol.workers import TaskList, TaskOut


class AsyncTasks:
    """Tasks that workers have declared. A task is given by its name or its function under `@app.task`."""

    def __init__(self, caller: AsyncCaller) -> None:
        self._caller = caller

    async def list(self) -> builtins.list[TaskOut]:
        """Return all tasks, by name."""
        return (await self._caller.get("/v1/tasks", TaskList)).data

    async def get(self, name: encoding.Task) -> TaskOut:
        """Return a task.

        Raises `task_not_found`.
        """
        return await self._caller.get(encoding.path("tasks", encoding.task_name(name)), TaskOut)

    async def activate(self, name: encoding.Task) -> TaskOut:
        """Let the task take new runs again.

        Raises `task_not_found`.
        """
        return await self._caller.post(encoding.path("tasks", encoding.task_name(name), verb="activate"), {}, TaskOut)

    async def deactivate(self, name: encoding.Task) -> TaskOut:
        """Refuse new runs of the task; runs in progress go on, queued ones wait.

        Raises `task_not_found`.
        """
        return await self._caller.post(encoding.path("tasks", encoding.task_name(name), verb="deactivate"), {}, TaskOut)

    async def terminate(
        self, name: encoding.Task, reason: str = "", grace: encoding.Span | None = None
    ) -> dict[str, Any]:
        """Terminate all runs of the task that are not finished; return `{"asked": n}`, their number.

        `grace` is as in `RunHandle.terminate`. Raises `task_not_found`.
        """
        body = {"reason": reason, "grace": encoding.span(grace)}
        return await self._caller.post(
            encoding.path("tasks", encoding.task_name(name), verb="terminate"), body, dict[str, Any]
        )
