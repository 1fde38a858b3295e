"""Handlers for record tasks, for the records that failed, and for the mail server."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

import msgspec
from msgspec import UNSET

from headway.features.record_tasks.mail_server import MailServers, MailServerSettings
from headway.features.record_tasks.model import (
    Action,
    Constant,
    Email,
    FieldCopy,
    Insert,
    RecordTask,
    Sources,
    Start,
    Update,
    UpdateConnected,
    Webhook,
)
from headway.features.record_tasks.service import RecordTasks
from headway.features.tables.definitions import Tables
from headway.features.tables.model import Table
from headway.kernel.permissions import OF_ACTION, of_start
from headway.protocol import record_tasks as wire
from headway.protocol.runs import RunOut
from headway.protocol.times import to_text
from headway.web.call import Call, etag
from headway.web.queries import ListRecordErrors
from headway.web.reply import NO_CONTENT, Reply, json
from headway.web.route import Route, route
from headway.web.runs import GATE, accepted


def _shown(call: Call, record_task: RecordTask, tables: dict[str, Table]) -> wire.RecordTaskOut:
    task = call.services.get(RecordTasks).task(record_task)
    table = tables.get(record_task.table_id)
    return wire.RecordTaskOut(
        name=task.name,
        table="" if table is None else table.name,
        table_id=record_task.table_id,
        filter=record_task.filter,
        actions=[_action(action, table, tables) for action in record_task.actions],
        on_error=record_task.on_error,
        description=task.description,
        queue=task.queue,
        active=task.active,
        version=record_task.version,
        created_at=to_text(record_task.created_at),
        updated_at=to_text(record_task.updated_at),
        url=f"/v1/record-tasks/{quote(task.name, safe='')}",
        task_url=f"/v1/tasks/{quote(task.name, safe='')}",
    )


def _action(action: Action, table: Table | None, tables: dict[str, Table]) -> dict[str, Any]:
    """Return an action as requests have it, without its secrets."""
    match action:
        case Update():
            return {"action": "update", "set": _sources(action.values, table, table)}
        case UpdateConnected():
            field = None if table is None else table.find(action.connection)
            target = tables.get(field.table_id or "") if field is not None else None
            name = action.connection if field is None else field.name
            return {"action": "update_connected", "connection": name, "set": _sources(action.values, table, target)}
        case Insert():
            target = tables.get(action.table_id)
            name = action.table_id if target is None else target.name
            return {"action": "insert", "table": name, "set": _sources(action.values, table, target)}
        case Email():
            parts = msgspec.structs.asdict(action)
            return {"action": "email"} | {part: text for part, text in parts.items() if text}
        case Webhook():
            shown: dict[str, Any] = {"action": "webhook", "url": action.url, "signed": action.signed}
            return (
                shown
                | ({"body": action.body} if action.body else {})
                | {"headers": dict.fromkeys(action.headers, "***")}
            )
        case Start():
            return {"action": "run", "task": action.task, "input": _sources(action.input, table, None)}


def _sources(sources: Sources, table: Table | None, target: Table | None) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, source in sources.items():
        match source:
            case Constant():
                value: Any = {"value": source.value} if isinstance(source.value, dict) else source.value
            case FieldCopy():
                value = {"field": _named(table, source.field)}
            case _:
                value = {"template": source.template}
        shown[_named(target, name)] = value
    return shown


def _named(table: Table | None, field_id: str) -> str:
    field = None if table is None else table.find(field_id)
    return field_id if field is None else field.name


async def _tables(call: Call) -> dict[str, Table]:
    return {table.id: table for table in await call.services.get(Tables).list()}


def _check(call: Call, actions: Iterable[wire.AnyAction | Action]) -> None:
    """Raise Forbidden for actions whose effects the caller lacks; starting the task later needs `run:start` alone."""
    for action in actions:
        config = action.__struct_config__
        call.check(*OF_ACTION[str(config.tag)])
        if isinstance(action, wire.StartTask | Start):
            call.check(*of_start(action.task))


async def create(call: Call) -> Reply:
    """POST /v1/record-tasks: make a task without code, over the records of a table.

    Errors: `invalid_input`, `table_not_found`, `target_refused`, `conflict`.
    """
    asked = call.asked(wire.CreateRecordTask)
    _check(call, asked.actions)
    record_task = await call.services.get(RecordTasks).create(asked)
    shown = _shown(call, record_task, await _tables(call))
    return json(shown, 201, (b"location", shown.url.encode()), etag(record_task.version))


async def list_record_tasks(call: Call) -> Reply:
    """GET /v1/record-tasks: list record tasks."""
    tables = await _tables(call)
    return json(
        wire.RecordTaskList(
            data=[_shown(call, record_task, tables) for record_task in await call.services.get(RecordTasks).list()]
        )
    )


async def get(call: Call) -> Reply:
    """GET /v1/record-tasks/{name}: get a record task.

    Errors: `record_task_not_found`.
    """
    record_task = await call.services.get(RecordTasks).get(call.name())
    return json(_shown(call, record_task, await _tables(call)), 200, etag(record_task.version))


async def patch(call: Call) -> Reply:
    """PATCH /v1/record-tasks/{name}: change a record task.

    Errors: `record_task_not_found`, `invalid_input`, `table_not_found`, `target_refused`, `conflict`,
    `version_mismatch`.
    """
    asked, version = call.asked(wire.PatchRecordTask), call.expected_version()
    if asked.actions is not UNSET:
        _check(call, asked.actions)
    else:
        before = await call.services.get(RecordTasks).get(call.name())
        _check(call, before.actions)
        version = before.version if version is None else version  # pins the version whose actions were checked
    record_task = await call.services.get(RecordTasks).patch(call.name(), asked, version)
    return json(_shown(call, record_task, await _tables(call)), 200, etag(record_task.version))


async def delete(call: Call) -> Reply:
    """DELETE /v1/record-tasks/{name}: remove a record task.

    Errors: `record_task_not_found`, `version_mismatch`.
    """
    await call.services.get(RecordTasks).delete(call.name(), call.expected_version())
    return NO_CONTENT


async def errors(call: Call) -> Reply:
    """GET /v1/runs/{id}/record-errors: which records failed in a run, and why.

    Errors: `run_not_found`, `run_purged`.
    """
    asked = call.parameters(ListRecordErrors)
    found, more = await call.services.get(RecordTasks).errors(call.run_id(), asked.after, asked.page_size)
    data = [
        wire.RecordErrorOut(
            record_id=each.record_id,
            action=each.action,
            code=each.code,
            message=each.message,
            at=to_text(each.created_at),
        )
        for each in found
    ]
    return json(wire.RecordErrorList(data=data, has_more=more))


async def run_failed(call: Call) -> Reply:
    """POST /v1/runs/{id}:run-failed-records: run the records again that failed, alone.

    Errors: `run_not_found`, `run_purged`, `record_task_not_found`, `invalid_state`, `conflict`.
    """
    with GATE.permit(call):
        started = await call.services.get(RecordTasks).run_failed(call.run_id(), call.request_key())
    return accepted(started)


# -- the mail server -----------------------------------------------------------------------------------------------------


def _server(settings: MailServerSettings) -> wire.MailServerOut:
    server = settings.server
    return wire.MailServerOut(
        host=server.host, port=server.port, security=server.security, username=server.username,
        has_password=settings.has_password, sender=server.sender, sender_name=server.sender_name, reply_to=server.reply_to,
        updated_at=to_text(settings.updated_at),
    )  # fmt: skip


async def mail_server(call: Call) -> Reply:
    """GET /v1/mail-server: where mails are handed over.

    Errors: `not_found`.
    """
    return json(_server(await call.services.get(MailServers).get()))


async def set_mail_server(call: Call) -> Reply:
    """PUT /v1/mail-server: say where mails are handed over.

    Errors: `invalid_input`, `target_refused`.
    """
    return json(_server(await call.services.get(MailServers).set(call.asked(wire.MailServerIn))))


async def forget_mail_server(call: Call) -> Reply:
    """DELETE /v1/mail-server: forget the mail server."""
    await call.services.get(MailServers).forget()
    return NO_CONTENT


_ABSENT: Final = ("record_task_not_found",)
_MADE: Final = ("invalid_input", "table_not_found", "target_refused", "conflict")

ROUTES: Final[tuple[Route, ...]] = (
    route("POST", "/v1/record-tasks", create, "task:write", "Make a record task: actions on the records of a table.",
          does=("choose records",),
          takes=wire.CreateRecordTask, gives=wire.RecordTaskOut, status=201, problems=_MADE,
          logged="record_task.create"),
    route("GET", "/v1/record-tasks", list_record_tasks, "task:read", "List record tasks.", gives=wire.RecordTaskList),
    route("GET", "/v1/record-tasks/{name}", get, "task:read", "Get a record task.",
          gives=wire.RecordTaskOut, problems=_ABSENT),
    route("PATCH", "/v1/record-tasks/{name}", patch, "task:write", "Change a record task.",
          does=("choose records",),
          takes=wire.PatchRecordTask, gives=wire.RecordTaskOut, problems=(*_ABSENT, *_MADE, "version_mismatch"),
          headers=("If-Match",),
          logged="record_task.patch"),
    route("DELETE", "/v1/record-tasks/{name}", delete, "task:write", "Remove a record task.",
          status=204, problems=(*_ABSENT, "version_mismatch"), headers=("If-Match",),
          logged="record_task.delete"),
    route("GET", "/v1/runs/{id}/record-errors", errors, "run:read", "List the failed records of a run, with their errors.",
          does=("see why records failed",),
          query=ListRecordErrors, gives=wire.RecordErrorList, problems=("run_not_found", "run_purged")),
    route("POST", "/v1/runs/{id}:run-failed-records", run_failed, "run:start", "Start a run over the failed records of a run.",
          gives=RunOut, status=202, also=(200,), problems=("run_not_found", "run_purged", *_ABSENT, "invalid_state", "conflict"),
          headers=("Idempotency-Key",)),
    route("GET", "/v1/mail-server", mail_server, "mail:read", "Get the mail server.", gives=wire.MailServerOut,
          problems=("not_found",)),
    route("PUT", "/v1/mail-server", set_mail_server, "mail:write", "Set the mail server.",
          takes=wire.MailServerIn, gives=wire.MailServerOut, problems=("invalid_input", "target_refused"),
          logged="mail_server.put"),
    route("DELETE", "/v1/mail-server", forget_mail_server, "mail:write", "Remove the mail server.", status=204,
          logged="mail_server.delete"),
)  # fmt: skip
