"""Handlers for tasks, which workers declare and which the server has built in."""

from __future__ import annotations

from msgspec.structs import replace

from headway.kernel.task import Task
from headway.protocol.workers import TaskList, TaskOut, TerminateTask
from headway.web import present
from headway.web.answers import TerminationCount
from headway.web.call import Call
from headway.web.reply import Reply, json


def _shown(call: Call, task: Task) -> TaskOut:
    return present.task_out(task, call.services.tasks.counts(task.name))


async def list_tasks(call: Call) -> Reply:
    """GET /v1/tasks: all tasks that the organisation may start, with the number of their runs by state."""
    return json(TaskList(data=[_shown(call, task) for task in call.services.tasks.list()]))


async def get(call: Call) -> Reply:
    """GET /v1/tasks/{name}: a task.

    Errors: `task_not_found`.
    """
    return json(_shown(call, call.services.tasks.get(call.name())))


async def activate(call: Call) -> Reply:
    """POST /v1/tasks/{name}:activate: let a task start runs again.

    Errors: `task_not_found`.
    """
    return json(_shown(call, await call.services.tasks.activate(call.name(), active=True)))


async def deactivate(call: Call) -> Reply:
    """POST /v1/tasks/{name}:deactivate: refuse further starts of a task, with `task_inactive`; existing runs go on.

    Errors: `task_not_found`.
    """
    return json(_shown(call, await call.services.tasks.activate(call.name(), active=False)))


async def terminate(call: Call) -> Reply:
    """POST /v1/tasks/{name}:terminate: stop all runs of a task; the answer has their number.

    Errors: `task_not_found`.
    """
    how = call.asked(TerminateTask)
    how = replace(how, actor=call.actor(how.actor))
    return json(TerminationCount(asked=await call.services.tasks.terminate(call.name(), how)))
