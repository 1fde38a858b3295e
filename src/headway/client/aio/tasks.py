"""client.tasks: what can be run."""

from __future__ import annotations

import builtins
from typing import Any

from headway.client import encoding
from headway.client.aio.caller import AsyncCaller
from headway.wire.workers import TaskList, TaskOut


class AsyncTasks:
    """The tasks that workers have declared."""

    def __init__(self, caller: AsyncCaller) -> None:
        """Made by the client."""
        self._caller = caller

    async def list(self) -> builtins.list[TaskOut]:
        """Return all, by name."""
        return (await self._caller.get("/v1/tasks", TaskList)).data

    async def get(self, name: encoding.Task) -> TaskOut:
        """Return one."""
        return await self._caller.get(encoding.path("tasks", encoding.task_name(name)), TaskOut)

    async def activate(self, name: encoding.Task) -> TaskOut:
        """Let it take new runs again."""
        return await self._caller.post(encoding.path("tasks", encoding.task_name(name), verb="activate"), {}, TaskOut)

    async def deactivate(self, name: encoding.Task) -> TaskOut:
        """Let it take no new runs; what runs goes on, what is queued waits."""
        return await self._caller.post(encoding.path("tasks", encoding.task_name(name), verb="deactivate"), {}, TaskOut)

    async def terminate(
        self, name: encoding.Task, reason: str = "", grace: encoding.Span | None = None
    ) -> dict[str, Any]:
        """Stop all its runs that are not finished; return what the server says about it."""
        body = {"reason": reason, "grace": encoding.span(grace)}
        return await self._caller.post(
            encoding.path("tasks", encoding.task_name(name), verb="terminate"), body, dict[str, Any]
        )
