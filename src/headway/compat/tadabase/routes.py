"""Routes of the surface, below /api/v1 and /api/v1.1/{app}."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from headway.compat.tadabase import records, status, tasks, words
from headway.compat.tadabase.dialect import APPLICATION, TadabaseDialect
from headway.compat.tadabase.settings import TadabaseSettings
from headway.web.call import StartGate
from headway.web.route import Route, Scope, route

BASES: Final = ("/api/v1", f"/api/v1.1/{{{APPLICATION}}}")
"""Prefixes of the paths; in version 1.1 they name the organisation."""
_BODY: Final = ("malformed_json", "invalid_record", "payload_too_large", "unsupported_media_type")


class RecordQuery(msgspec.Struct):
    """Query of records; filters are `filters[condition]=AND` and `filters[items][0][field_id|operator|val]`."""

    limit: int = records.LIMIT
    page: int = 1


class StatusQuery(msgspec.Struct):
    """Query of executions; the default limit is the largest."""

    limit: int = tasks.PAGE_MAX
    page: int = 1
    cursor: str = ""


class HistoryQuery(StatusQuery):
    """Query of the history, with a default limit of 100."""

    limit: int = tasks.PAGE
    status: str | None = None
    """Filter: complete, failed or terminated."""
    task_id: str | None = None


def routes(settings: TadabaseSettings, gate: StartGate) -> tuple[Route, ...]:
    """Return the routes, of both versions."""
    handlers = Handlers(
        TadabaseDialect(settings),
        TadabaseDialect(settings, polled=True),
        tasks.TaskStarter(gate),
        tasks.StatusReader(),
    )
    older, newer = BASES
    return (*_below(older, handlers), *_below(newer, handlers, "_of_app"))


class Handlers(NamedTuple):
    """Dialects and handlers of both versions."""

    dialect: TadabaseDialect
    polled: TadabaseDialect
    start: tasks.TaskStarter
    status: tasks.StatusReader


def _below(base: str, handlers: Handlers, suffix: str = "") -> tuple[Route, ...]:
    """Return the routes below a base; `suffix` distinguishes the operations of the versions."""

    def surface_route(method: str, path: str, handler: Any, scope: Scope, summary: str, **more: Any) -> Route:
        more = {"dialect": handlers.dialect, **more, "operation": more.get("operation", handler.__name__) + suffix}
        return route(method, base + path, handler, scope, summary, unparsed=True, **more)

    run, task = ("run_not_found", "run_purged"), ("task_not_found",)
    table, record = ("table_not_found",), ("table_not_found", "record_not_found")
    return (
        surface_route("GET", "/tasks", tasks.list_tasks, "task:read", "List all tasks.", gives=words.TaskList),
        surface_route("POST", "/tasks/run/{name}", handlers.start.run, "run:start", "Run a task (their permission allow_task).",
             gives=words.StartReply, problems=(*task, "task_inactive", "malformed_json", "invalid_input",
             "payload_too_large", "unsupported_media_type", "draining"), headers=("Idempotency-Key",)),
        surface_route("GET", "/tasks/status", tasks.active, "run:read", "List executions that have not ended.", gives_way=True,
             query=StatusQuery, gives=words.Executions),
        surface_route("GET", "/tasks/status/queue/{id}", handlers.status.status, "run:read", "Get an execution.",
             gives=words.Executions, problems=run, dialect=handlers.polled),
        surface_route("GET", "/tasks/status/task/{name}", tasks.of_task, "run:read", "List all executions of a task.", gives_way=True,
             query=StatusQuery, gives=words.Executions, problems=task),
        surface_route("GET", "/tasks/history", tasks.history, "run:read", "List executions that have ended, the last first.", gives_way=True,
             query=HistoryQuery, gives=words.Executions),
        surface_route("POST", "/tasks/terminate/queue/{id}", tasks.terminate, "run:control", "Terminate an execution.",
             gives=words.Acknowledgement, problems=(*run, "invalid_state"), logged="run.terminate"),
        surface_route("POST", "/tasks/terminate/task/{name}", tasks.terminate_all, "run:control",
             "Terminate all executions of a task.", gives=words.Acknowledgement, problems=task, logged="task.terminate"),
        surface_route("GET", "/status", status.status, "caller", "Get the caller's key, its permissions and its remaining requests.",
             operation="key_status", gives=words.KeyStatus),
        surface_route("GET", "/data-tables", records.list_tables, "table:read", "List all data tables.", gives=words.DataTables),
        surface_route("GET", "/data-tables/{table}/fields", records.list_fields, "table:read", "List the fields of a table.",
             gives=words.FieldList, problems=table),
        surface_route("GET", "/data-tables/{table}/full-fields-info", records.full_fields, "table:read",
             "List the fields of a table with all their options.", gives=words.FullFieldList, problems=table),
        surface_route("GET", "/data-tables/{table}/records", records.list_records, "record:read", "List records, oldest first.", gives_way=True,
             query=RecordQuery, gives=words.Items, problems=(*table, "invalid_input")),
        surface_route("GET", "/data-tables/{table}/records/{record}", records.get_record, "record:read", "Get a record.",
             gives=words.Item, problems=record),
        surface_route("POST", "/data-tables/{table}/records", records.create_record, "record:write", "Add a record.",
             gives=words.RecordReply, problems=(*table, *_BODY), headers=("Idempotency-Key",)),
        surface_route("POST", "/data-tables/{table}/records/{record}", records.update_record, "record:write", "Change a record.",
             gives=words.RecordReply, problems=(*record, *_BODY), headers=("Idempotency-Key",)),
        surface_route("PUT", "/data-tables/{table}/records/{record}", records.update_record, "record:write", "The same.",
             operation="replace_record", gives=words.RecordReply, problems=(*record, *_BODY), headers=("Idempotency-Key",)),
        surface_route("DELETE", "/data-tables/{table}/records/{record}", records.delete_record, "record:write",
             "Delete a record.", gives=words.Acknowledgement, problems=(*record, "record_in_use")),
    )  # fmt: skip
