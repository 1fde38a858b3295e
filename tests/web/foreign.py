"""Objects of another organisation, which no answer may contain."""

from __future__ import annotations

import msgspec

from headway.server import ROUTES
from headway.store.transfer.schema import tables

CANARY = "canary-5d0c2e4f6a81"


class ForeignObjects(msgspec.Struct):
    """What the first organisation has, and the second knows the ids of."""

    run: str
    running: str
    finished: str
    failed: str
    worker: str
    key: str
    user: str
    organisation: str
    page: str
    """A page token of its list."""
    schedule: str
    table: str
    record: str
    file: str
    idempotency: str = "their-key"


NONE = ()
"""The route names nothing that somebody has."""


def run(verb, body=None):
    return lambda of: [
        (f"/v1/runs/{run_id}{verb}", body, {}) for run_id in (of.run, of.running, of.finished, of.failed)
    ]


def task(verb, body=None):
    return lambda of: [(f"/v1/tasks/{CANARY}{verb}", body, {})]


def queue(verb, body=None):
    return lambda of: [(f"/v1/queues/{CANARY}{verb}", body, {})]


def schedule(verb, body=None):
    return lambda of: [(f"/v1/schedules/{of.schedule}{verb}", body, {})]


def record_task(verb, body=None):
    return lambda of: [(f"/v1/record-tasks/{CANARY}s{verb}", body, {})]


def table(verb, body=None):
    return lambda of: [(f"/v1/tables/{of.table}{verb.replace('RECORD', of.record)}", body, {})]


def file(verb):
    return lambda of: [(f"/v1/files/{of.file}{verb}", None, {})]


def filters(of):
    return {
        "parent_id": of.run, "root_id": of.run, "task": CANARY, "queue": CANARY, "key": CANARY,
        "schedule_id": of.schedule, "page_token": of.page,
    }  # fmt: skip


def start(of):
    """Every way in which a start can name something."""
    ways = [
        {"task": CANARY},
        {"task": "backup", "queue": CANARY, "key": CANARY, "labels": {"who": CANARY}},
        {"task": "backup", "dedupe": {"key": CANARY, "scope": "forever", "on_conflict": "replace"}},
        {"task": "backup", "parent_id": of.run},
    ]
    ways = [way for way in ways if set(way) <= START_FIELDS]
    return [*((way, {}) for way in ways), ({"task": "backup"}, {"idempotency-key": of.idempotency})]


START_FIELDS = {
    field.encode_name for field in msgspec.structs.fields(next(r for r in ROUTES if r.path == "/v1/runs").takes)
}


FOREIGN = {
    "POST /v1/runs": lambda of: [("/v1/runs", body, headers) for body, headers in start(of)],
    "POST /v1/runs:batch": lambda of: [
        ("/v1/runs:batch", {"runs": [body], "atomic": atomic}, headers)
        for body, headers in start(of) for atomic in (True, False)
    ],
    "GET /v1/runs": lambda of: [(f"/v1/runs?{name}={value}", None, {}) for name, value in filters(of).items()],
    "POST /v1/runs:query": lambda of: [
        ("/v1/runs:query", {name: [value] if name in ("task", "queue") else value}, {})
        for name, value in filters(of).items()
    ],
    "GET /v1/runs:count": lambda of: [
        (f"/v1/runs:count?group_by=task&{name}={value}", None, {})
        for name, value in filters(of).items() if name != "page_token"
    ],
    "POST /v1/runs:bulk": lambda of: [
        ("/v1/runs:bulk", {"action": "terminate", "dry_run": dry, "filter": {name: [value] if name in ("task", "queue") else value}}, {})
        for name, value in filters(of).items() if name != "page_token" for dry in (True, False)
    ],
    "GET /v1/runs/{id}": lambda of: [*run("")(of), *((f"/v1/runs/{of.run}?expand=children", None, {"prefer": "wait=1"}),)],
    "PATCH /v1/runs/{id}": run("", {"priority": 9}),
    "DELETE /v1/runs/{id}": run(""),
    "POST /v1/runs/{id}:terminate": run(":terminate", {}),
    "POST /v1/runs/{id}:suspend": run(":suspend", {}),
    "POST /v1/runs/{id}:resume": run(":resume", {}),
    "POST /v1/runs/{id}:signal": run(":signal", {"name": "x"}),
    "POST /v1/runs/{id}:retry": run(":retry", {}),
    "POST /v1/runs/{id}:protect": run(":protect", {}),
    "POST /v1/runs/{id}:unprotect": run(":unprotect", {}),
    "GET /v1/runs/{id}/output": run("/output"),
    "GET /v1/runs/{id}/results": run("/results"),
    "GET /v1/runs/{id}/events": lambda of: [
        *run("/events")(of),
        (f"/v1/runs/{of.run}/events", None, {"accept": "text/event-stream", "last-event-id": "1"}),
    ],
    "GET /v1/runs/{id}/logs": run("/logs"),
    "GET /v1/runs/{id}/attempts": run("/attempts"),
    "GET /v1/runs/{id}/children": lambda of: [
        *run("/children")(of), (f"/v1/runs/{of.run}/children?page_token={of.page}", None, {}),
    ],
    "GET /v1/runs/{id}/waiting": run("/waiting"),
    "GET /v1/events": lambda of: [
        ("/v1/events", None, {}), (f"/v1/events?run_id={of.run},{of.running}", None, {}),
        ("/v1/events?after=0&page_size=1000", None, {"last-event-id": "0"}),
    ],
    "POST /v1/tokens/{token}:complete": NONE,
    "GET /v1/tasks": lambda of: [("/v1/tasks", None, {})],
    "GET /v1/tasks/{name}": task(""),
    "POST /v1/tasks/{name}:activate": task(":activate", {}),
    "POST /v1/tasks/{name}:deactivate": task(":deactivate", {}),
    "POST /v1/tasks/{name}:terminate": task(":terminate", {}),
    "POST /v1/record-tasks": lambda of: [
        ("/v1/record-tasks", {"name": name, "table": table, "actions": [{"action": "update", "set": {"Name": "x"}}]}, {})
        for name, table in (("x", of.table), ("y", CANARY), (CANARY, "mine"))
    ],
    "GET /v1/record-tasks": lambda of: [("/v1/record-tasks", None, {})],
    "GET /v1/record-tasks/{name}": record_task(""),
    "PATCH /v1/record-tasks/{name}": record_task("", {"on_error": "stop"}),
    "DELETE /v1/record-tasks/{name}": record_task(""),
    "GET /v1/runs/{id}/record-errors": run("/record-errors"),
    "POST /v1/runs/{id}:run-failed-records": run(":run-failed-records", {}),
    "GET /v1/mail-server": lambda of: [("/v1/mail-server", None, {})],
    "PUT /v1/mail-server": lambda of: [("/v1/mail-server", {"host": "mail.example.com", "sender": "a@example.com"}, {})],
    "DELETE /v1/mail-server": lambda of: [("/v1/mail-server", None, {})],
    "GET /v1/queues": lambda of: [("/v1/queues", None, {})],
    "GET /v1/queues/{name}": queue(""),
    "PATCH /v1/queues/{name}": queue("", {"concurrency": 1}),
    "POST /v1/queues/{name}:pause": queue(":pause", {}),
    "POST /v1/queues/{name}:resume": queue(":resume", {}),
    "POST /v1/schedules": lambda of: [
        ("/v1/schedules", {"name": name, "task": task, "occurrence": "Daily", "queue": CANARY, "key": CANARY}, headers)
        for name, task, headers in (
            (CANARY, CANARY, {}), (CANARY, "backup", {}), ("x", "backup", {"idempotency-key": of.idempotency}),
        )
    ],
    "GET /v1/schedules": lambda of: [
        ("/v1/schedules", None, {}), (f"/v1/schedules?task={CANARY}", None, {}),
        (f"/v1/schedules?page_token={of.page}", None, {}),
    ],
    "POST /v1/schedules:preview": NONE,
    "GET /v1/schedules/{schedule}": schedule(""),
    "PATCH /v1/schedules/{schedule}": schedule("", {"task": "backup", "occurrence": "Hourly"}),
    "DELETE /v1/schedules/{schedule}": schedule(""),
    "POST /v1/schedules/{schedule}:pause": schedule(":pause", {}),
    "POST /v1/schedules/{schedule}:resume": schedule(":resume", {}),
    "POST /v1/schedules/{schedule}:trigger": schedule(":trigger", {"overlap": "allow"}),
    "POST /v1/schedules/{schedule}:backfill": schedule(":backfill", {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}),
    "GET /v1/schedules/{schedule}/slots": schedule("/slots"),
    "GET /v1/schedules/{schedule}/preview": schedule("/preview"),
    "GET /v1/tables": lambda of: [("/v1/tables", None, {})],
    "POST /v1/tables": lambda of: [
        ("/v1/tables", {"name": name, "fields": [{"name": "F", **field}]}, headers)
        for name, field, headers in (
            (CANARY, {"type": "text"}, {}), ("x", {"type": "connection", "table": of.table}, {}),
            ("y", {"type": "text"}, {"idempotency-key": of.idempotency}),
        )
    ],
    "GET /v1/tables/{table}": table(""),
    "PATCH /v1/tables/{table}": table("", {"description": "x"}),
    "DELETE /v1/tables/{table}": table(""),
    "POST /v1/tables/{table}:refresh": table(":refresh"),
    "GET /v1/tables/{table}/fields": table("/fields"),
    "POST /v1/tables/{table}/fields": table("/fields", {"name": "More", "type": "text"}),
    "PATCH /v1/tables/{table}/fields/{field}": table("/fields/Name", {"name": "Other"}),
    "DELETE /v1/tables/{table}/fields/{field}": table("/fields/Name"),
    "GET /v1/tables/{table}/records": table("/records"),
    "POST /v1/tables/{table}/records": table("/records", {"values": {"Name": "x"}}),
    "POST /v1/tables/{table}/records:batch": table("/records:batch", {"records": [{"values": {"Name": "x"}}]}),
    "POST /v1/tables/{table}/records:query": table("/records:query", {}),
    "POST /v1/tables/{table}/records:count": table("/records:count", {}),
    "POST /v1/tables/{table}/records:update": lambda of: [
        (f"/v1/tables/{of.table}/records:update", {"records": [{"id": of.record, "values": {"Name": "x"}}]}, {})
    ],
    "POST /v1/tables/{table}/records:upsert": table("/records:upsert", {"by": "Name", "records": [{"values": {"Name": "x"}}]}),
    "POST /v1/tables/{table}/records:delete": lambda of: [(f"/v1/tables/{of.table}/records:delete", {"ids": [of.record]}, {})],
    "GET /v1/tables/{table}/records/{record}": table("/records/RECORD"),
    "PATCH /v1/tables/{table}/records/{record}": table("/records/RECORD", {"values": {"Name": "x"}}),
    "DELETE /v1/tables/{table}/records/{record}": table("/records/RECORD"),
    "POST /v1/tables/{table}:import": lambda of: [
        (f"/v1/tables/{named}:import", {"file": of.file, "format": "csv"}, {}) for named in (of.table, "mine")
    ],
    "POST /v1/tables/{table}:export": table(":export", {"format": "csv"}),
    "POST /v1/files": NONE,
    "GET /v1/files": lambda of: [("/v1/files", None, {})],
    "GET /v1/files/{file}": file(""),
    "GET /v1/files/{file}/content": file("/content"),
    "DELETE /v1/files/{file}": file(""),
    "POST /v1/workers": lambda of: [
        ("/v1/workers", {"name": "w", "queues": [CANARY], "tasks": [{"name": CANARY, "queue": CANARY, "priority": 9}]}, {}),
    ],
    "GET /v1/workers": lambda of: [("/v1/workers", None, {})],
    "GET /v1/workers/{id}": lambda of: [(f"/v1/workers/{of.worker}", None, {})],
    "POST /v1/workers/{id}:drain": lambda of: [(f"/v1/workers/{of.worker}:drain", {}, {})],
    "GET /v1/workers/{id}/signals": lambda of: [(f"/v1/workers/{of.worker}/signals", None, {})],
    "POST /v1/leases:claim": lambda of: [("/v1/leases:claim", {"worker_id": of.worker, "max": 10}, {})],
    "POST /v1/leases:report": lambda of: [
        ("/v1/leases:report", {"worker_id": worker, "held": [[of.running, 1]], "reports": [report]}, {})
        for worker in (of.worker, "MINE")
        for report in (
            {"type": "succeeded", "run_id": of.running, "epoch": 1, "output": 1},
            {"type": "progress", "run_id": of.running, "epoch": 1, "done": 1},
            {"type": "log", "run_id": of.running, "epoch": 1, "message": "x"},
        )
    ],
    "GET /v1/servers": lambda of: [("/v1/servers", None, {})],
    "GET /v1/whoami": NONE,
    "POST /v1/keys": lambda of: [
        ("/v1/keys", {"name": "k", "organisation": of.organisation}, {}),
        ("/v1/keys", {"name": "k", "user_id": of.user}, {}),
        ("/v1/keys", {"name": "k"}, {"idempotency-key": of.idempotency}),
    ],
    "GET /v1/keys": lambda of: [("/v1/keys", None, {})],
    "GET /v1/keys/{key}": lambda of: [(f"/v1/keys/{of.key}", None, {})],
    "PATCH /v1/keys/{key}": lambda of: [(f"/v1/keys/{of.key}", {"name": "x"}, {})],
    "POST /v1/keys/{key}:rotate": lambda of: [(f"/v1/keys/{of.key}:rotate", {"overlap": "0s"}, {})],
    "POST /v1/keys/{key}:revoke": lambda of: [(f"/v1/keys/{of.key}:revoke", None, {})],
    "POST /v1/users": lambda of: [("/v1/users", {"name": "u"}, {"idempotency-key": of.idempotency})],
    "GET /v1/users": lambda of: [("/v1/users", None, {})],
    "GET /v1/users/{id}": lambda of: [(f"/v1/users/{of.user}", None, {})],
    "PATCH /v1/users/{id}": lambda of: [(f"/v1/users/{of.user}", {"state": "disabled"}, {})],
    "POST /v1/organisations": lambda of: [("/v1/organisations", {"name": "x"}, {})],
    "GET /v1/organisations": lambda of: [("/v1/organisations", None, {})],
    "GET /v1/organisations/{id}": lambda of: [(f"/v1/organisations/{of.organisation}", None, {})],
    "PATCH /v1/organisations/{id}": lambda of: [(f"/v1/organisations/{of.organisation}", {"state": "disabled"}, {})],
    "GET /v1/audit-events": lambda of: [("/v1/audit-events?page_size=1000", None, {})],
    "GET /livez": NONE,
    "GET /healthz": NONE,
    "GET /readyz": NONE,
    "GET /metrics": lambda of: [("/metrics", None, {})],
    "GET /openapi.json": NONE,
    "GET /openapi/{document}": NONE,
    "GET /docs": NONE,
    "GET /errors": NONE,
    "GET /errors/{code}": NONE,
    "GET /": NONE,
}  # fmt: skip


def dump(server):
    """Return every row of every table but for what the server itself writes down of callers."""
    near = server.store.read.near
    found = set()
    for table in tables():
        if table.name in ("store", "key_usage"):
            continue
        columns = [column for column in table.columns if column not in ("last_used_at", "heard_at")]
        for row in near.select(f"SELECT {', '.join(columns)} FROM {table.name}", {}):
            found.add((table.name, *row))
    return found
