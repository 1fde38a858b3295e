"""Handlers for tasks and their executions."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec.structs import replace

from headway.compat.tadabase import fields, words
from headway.errors import BadCursor, BadParameter
from headway.features.record_tasks.service import RecordTasks
from headway.features.schedules.service import Schedules
from headway.kernel.authority import RESERVED
from headway.kernel.permissions import of_start
from headway.kernel.query import Page, RunFilter
from headway.kernel.run import FINAL, Run, State
from headway.kernel.task import Task
from headway.protocol import fields as textual
from headway.protocol.runs import StartRun, Terminate
from headway.protocol.workers import TerminateTask
from headway.web.call import Call, StartGate
from headway.web.frames import RunBodies
from headway.web.reply import Reply, encode, json
from headway.web.runs import REPLAYED

PAGE: Final = 100
"""Default size of a page of the history."""
PAGE_MAX: Final = 1000
"""Largest page, and the default of `status`, which is meant to show all active executions."""
LIMIT_MAX: Final = 10**9
"""Largest accepted limit; above PAGE_MAX it means PAGE_MAX."""
REACH: Final = 10_000
"""Executions that `page` can reach, since a page costs as much as all pages before it. A cursor has no such limit."""
CURSOR: Final = "tadabase"
TERMINATED: Final = "Task terminated successfully"
BECAUSE: Final = "terminated through the Tadabase API"
ACTIVE: Final = tuple(state for state in State if state not in FINAL)
ENDED: Final = tuple(sorted(FINAL))

_decode: Final = msgspec.json.Decoder().decode


# -- tasks -------------------------------------------------------------------------------------------------------------


async def list_tasks(call: Call) -> Reply:
    """GET /api/v1/tasks, with two statements for the schedules and tables of all tasks."""
    found = [task for task in call.services.tasks.list() if not task.name.startswith(RESERVED)]
    schedules = await call.services.get(Schedules).soonest(task.name for task in found)
    tables = await call.services.get(RecordTasks).tables()
    zone = call.services.zone
    shown = [words.task(task, schedules.get(task.name), tables.get(task.name), zone) for task in found]
    return json(words.TaskList(total_tasks=len(shown), tasks=shown))


class TaskStarter:
    """Start of a task through the start gate."""

    def __init__(self, gate: StartGate) -> None:
        self._gate = gate

    async def run(self, call: Call) -> Reply:
        """POST /api/v1/tasks/run/{name}, with the body as the input.

        Errors: `task_not_found`, `task_inactive`, `malformed_json`, `invalid_input`, `payload_too_large`,
        `unsupported_media_type`, `draining`.
        """
        self._gate.check(call, *of_start(call.name()))  # before an error about the task
        task = call.services.tasks.get(call.name())
        started = await self._gate.start(call, StartRun(task=task.name, input=msgspec.Raw(_input(call, task))))
        return json(words.StartReply(task_queue_id=started.run.id), 200, *((REPLAYED,) if started.replayed else ()))


def _input(call: Call, task: Task) -> bytes:
    sent = fields.body(call)
    if not sent.values:
        return b"{}"
    if not sent.textual:  # unchanged: numbers keep their spelling, and a duplicate name is refused
        return call.raw_body.strip()
    schema = _decode(task.input_schema)
    return encode({name: _typed(value, name, schema) for name, value in sent.values.items()})


def _typed(value: Any, name: str, schema: Any) -> Any:
    return textual.read(value, name, schema) if isinstance(value, str) else value


# -- executions --------------------------------------------------------------------------------------------------------


class StatusReader:
    """Status of one execution, which clients poll, with a cache of answers."""

    def __init__(self) -> None:
        self._bodies: dict[str, RunBodies] = {}

    async def status(self, call: Call) -> Reply:
        """GET /api/v1/tasks/status/queue/{id}: an execution, for as long as its run is kept.

        Errors: `run_not_found`, `run_purged`.
        """
        run = await call.services.runs.get(call.run_id())
        zone = call.services.zone
        kept = self._bodies.get(zone)
        if kept is None:
            kept = self._bodies[zone] = RunBodies()
        body = kept.get(run)
        if body is None:
            shown = words.execution(run, call.services.tasks.title(run.task), zone)
            body = kept.put(run, encode(words.Executions(total_tasks=1, tasks=[shown])))
        return Reply(200, body)


async def active(call: Call) -> Reply:
    """GET /api/v1/tasks/status: active executions, as many as a page can hold."""
    return await _page(call, RunFilter(state=ACTIVE))


async def of_task(call: Call) -> Reply:
    """GET /api/v1/tasks/status/task/{name}: all executions of a task.

    Errors: `task_not_found`.
    """
    task = call.services.tasks.get(call.name())
    return await _page(call, RunFilter(task=(task.name,)))


async def history(call: Call) -> Reply:
    """GET /api/v1/tasks/history: ended executions, the last first."""
    asked = fields.query(call)
    state, task = asked.get("status"), asked.get("task_id")
    if state is not None and state not in words.ENDS:
        raise BadParameter(f"status is one of {', '.join(words.ENDS)}", parameter="status")
    if task is not None and not isinstance(task, str):
        raise BadParameter("task_id must be one id", parameter="task_id")
    states = ENDED if state is None else (words.ENDS[state],)
    return await _page(call, RunFilter(state=states, task=() if task is None else (task,)), PAGE, by_end=True)


async def _page(call: Call, wanted: RunFilter, size: int = PAGE_MAX, *, by_end: bool = False) -> Reply:
    """Return a page of the list: that of `cursor` or `page`, else the first; `size` is the default of `limit`."""
    asked = fields.query(call)
    size = min(fields.number(asked, "limit", size, LIMIT_MAX), PAGE_MAX)
    number = fields.number(asked, "page", 1, REACH // size)
    after = _opened(call, wanted, asked.get("cursor") or None)
    if after is not None and number > 1:
        raise BadParameter("page and cursor exclude each other", parameter="page")
    found, further = await _numbered(call, wanted, Page(size, after, by_end=by_end), number)
    zone = call.services.zone
    shown = [words.execution(run, call.services.tasks.title(run.task), zone) for run in found]
    following = call.services.cursors.conceal(CURSOR, f"{_place(call, wanted)}\n{further}") if further else ""
    return json(words.Executions(total_tasks=await _total(call, wanted), tasks=shown, next_cursor=following))


async def _numbered(call: Call, wanted: RunFilter, at: Page, number: int) -> tuple[list[Run], str]:
    """Return a page by its number, counted from `at`, and the start of the next; pages before it are read too."""
    before, after, found = (number - 1) * at.size, at.after, list[Run]()
    while True:
        size = min(PAGE_MAX, before) or at.size - len(found)
        part, further = await call.services.runs.page(wanted, replace(at, size=size, after=after))
        if before:
            before -= len(part)
        else:
            found += part
        if not further or (not before and len(found) >= at.size):
            return found, further
        after = further


def _place(call: Call, wanted: RunFilter) -> str:
    """Return the name of a list with its filters, for which a cursor is valid."""
    return f"{call.path} {wanted.state} {wanted.task}"


def _opened(call: Call, wanted: RunFilter, cursor: Any) -> str | None:
    """Return the start of a cursor's page; raise BadCursor for a cursor of another list."""
    if cursor is None:
        return None
    text = call.services.cursors.reveal(CURSOR, cursor) if isinstance(cursor, str) and cursor.isascii() else None
    before, _, after = (text or "").rpartition("\n")
    if before != _place(call, wanted):
        raise BadCursor("the cursor was not made for this list")
    return after


async def _total(call: Call, wanted: RunFilter) -> int:
    """Return the number of executions from maintained counters, as counting a million rows would be slow."""
    if wanted.task:
        counts = call.services.tasks.counts(wanted.task[0])
    else:
        counts = await call.services.runs.count(RunFilter(), "state")
    return sum(number for state, number in counts.items() if not wanted.state or state in wanted.state)


# -- ending ------------------------------------------------------------------------------------------------------------


async def terminate(call: Call) -> Reply:
    """POST /api/v1/tasks/terminate/queue/{id}: terminate an execution.

    Errors: `run_not_found`, `run_purged`, `invalid_state`.
    """
    await call.services.runs.terminate(
        call.run_id(), Terminate(reason=BECAUSE, actor=call.principal.actor), call.request_key()
    )
    return json(words.Acknowledgement(msg=TERMINATED))


async def terminate_all(call: Call) -> Reply:
    """POST /api/v1/tasks/terminate/task/{name}: all executions of the task that have not ended.

    Errors: `task_not_found`.
    """
    await call.services.tasks.terminate(call.name(), TerminateTask(reason=BECAUSE, actor=call.principal.actor))
    return json(words.Acknowledgement(msg=TERMINATED))
