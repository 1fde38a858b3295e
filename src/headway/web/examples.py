"""Examples of request bodies, by route. The tests send each of them, so that the examples in the document work."""

from __future__ import annotations

from typing import Any, Final

_ID: Final = "0199f2a4-7c3e-7000-9b1a-5d0c2e4f6a81"

BODIES: Final[dict[str, dict[str, Any]]] = {
    "POST /v1/runs": {
        "task": "backup",
        "input": {"folder": "/srv/data"},
        "name": "Nightly",
        "priority": 7,
        "labels": {"customer": "7"},
        "dedupe": {"key": "backup:7", "scope": "active", "on_conflict": "return"},
    },
    "POST /v1/runs:batch": {
        "atomic": True,
        "runs": [
            {"task": "backup", "input": {"folder": "/a"}},
            {"task": "backup", "input": {"folder": "/b"}, "delay": "5m"},
        ],
    },
    "POST /v1/runs:query": {"state": ["failed", "terminated"], "task": ["backup"], "labels": {"customer": "7"}},
    "POST /v1/runs:bulk": {
        "filter": {"state": ["failed"]},
        "action": "retry",
        "reason": "disk replaced",
        "dry_run": True,
    },
    "PATCH /v1/runs/{id}": {"priority": 9, "labels": {"customer": "7", "urgent": "yes"}},
    "POST /v1/runs/{id}:terminate": {
        "reason": "not needed any more",
        "actor": "ops",
        "grace": "10s",
        "children": "cascade",
    },
    "POST /v1/runs/{id}:suspend": {"reason": "maintenance", "actor": "ops"},
    "POST /v1/runs/{id}:resume": {"reason": "maintenance is over"},
    "POST /v1/runs/{id}:signal": {"name": "approved", "payload": {"by": "ada"}},
    "POST /v1/runs/{id}:retry": {"reason": "disk replaced"},
    "POST /v1/runs/{id}:protect": {"reason": "evidence"},
    "POST /v1/runs/{id}:unprotect": {},
    "POST /v1/tokens/{token}:complete": {"value": {"approved": True}},
    "POST /v1/tasks/{name}:activate": {},
    "POST /v1/tasks/{name}:deactivate": {"reason": "the disk is being replaced"},
    "POST /v1/tasks/{name}:terminate": {"reason": "the disk is being replaced", "grace": "10s"},
    "PATCH /v1/queues/{name}": {"concurrency": 4},
    "POST /v1/record-tasks": {
        "name": "Remind",
        "table": "invoices",
        "filter": {"and": [{"field": "Paid", "operator": "is", "value": False}]},
        "actions": [
            {
                "action": "webhook",
                "url": "https://example.com/reminders",
                "body": '{"invoice": {{ record.Number | tojson }}}',
            },
            {"action": "update", "set": {"Reminded": True}},
        ],
        "on_error": "continue",
        "description": "Remind whoever has not paid.",
    },
    "PATCH /v1/record-tasks/{name}": {"on_error": "stop", "description": "Remind, and stop at the first failure."},
    "PUT /v1/mail-server": {
        "host": "smtp.example.com",
        "port": 587,
        "security": "starttls",
        "username": "reports",
        "password": "a secret that is never shown",
        "sender": "reports@example.com",
        "sender_name": "Reports",
    },
    "POST /v1/queues/{name}:pause": {},
    "POST /v1/queues/{name}:resume": {},
    "POST /v1/tables": {
        "name": "customers",
        "description": "Who pays.",
        "fields": [
            {"name": "Name", "required": True},
            {"name": "E-mail", "type": "email", "unique": True},
            {"name": "Status", "type": "choice", "choices": ["new", "active", "closed"], "default": "new"},
        ],
    },
    "PATCH /v1/tables/{table}": {"description": "Who pays, or did."},
    "POST /v1/tables/{table}/fields": {"name": "Age", "type": "number", "indexed": True},
    "PATCH /v1/tables/{table}/fields/{field}": {"name": "Full name", "required": True},
    "POST /v1/tables/{table}/records": {"values": {"Name": "Ann", "E-mail": "ann@example.com"}},
    "POST /v1/tables/{table}/records:batch": {
        "records": [{"Name": "Ann", "E-mail": "ann@example.com"}, {"Name": "Bob"}],
    },
    "POST /v1/tables/{table}/records:query": {
        "filter": {
            "and": [
                {"field": "Status", "operator": "is not", "value": "closed"},
                {
                    "or": [
                        {"field": "Name", "operator": "starts with", "value": "A"},
                        {"field": "E-mail", "operator": "is blank"},
                    ]
                },
            ],
        },
        "order_by": "E-mail desc",
        "page_size": 100,
    },
    "POST /v1/tables/{table}/records:count": {"filter": {"field": "Status", "operator": "is", "value": "active"}},
    "POST /v1/tables/{table}/records:update": {"records": [{"id": _ID, "values": {"Status": "closed"}, "version": 1}]},
    "POST /v1/tables/{table}/records:upsert": {
        "by": "E-mail",
        "records": [{"E-mail": "ann@example.com", "Name": "Ann"}],
    },
    "POST /v1/tables/{table}/records:delete": {"ids": [_ID]},
    "POST /v1/tables/{table}:import": {"file": _ID, "format": "csv", "upsert_by": "E-mail"},
    "POST /v1/tables/{table}:export": {"format": "csv", "filter": {"field": "Status", "value": "active"}},
    "PATCH /v1/tables/{table}/records/{record}": {"values": {"Status": "active"}},
    "POST /v1/schedules": {
        "name": "Nightly backup",
        "task": "backup",
        "occurrence": "30 2 * * *",
        "timezone": "Europe/Berlin",
        "overlap": "skip",
        "catch_up": "latest",
        "jitter": "10m",
        "input": {"folder": "/srv/data"},
        "labels": {"customer": "7"},
    },
    "POST /v1/schedules:preview": {
        "occurrence": "FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=18",
        "timezone": "Europe/Berlin",
        "count": 3,
    },
    "PATCH /v1/schedules/{schedule}": {"occurrence": "Daily", "starts_at": "2027-12-01T04:00:00+01:00", "priority": 8},
    "POST /v1/schedules/{schedule}:pause": {"reason": "the disk is being replaced"},
    "POST /v1/schedules/{schedule}:resume": {"catch_up": "skip"},
    "POST /v1/schedules/{schedule}:trigger": {"reason": "before the upgrade", "overlap": "allow"},
    "POST /v1/schedules/{schedule}:backfill": {
        "from": "2027-01-14T00:00:00Z",
        "to": "2027-01-15T00:00:00Z",
        "dry_run": True,
    },
    "POST /v1/workers": {
        "name": "backup-1",
        "host": "db7",
        "pid": 4711,
        "version": "0.1.0",
        "queues": ["default"],
        "capacity": 10,
        "tasks": [{"name": "backup", "input_schema": {"type": "object", "properties": {"folder": {"type": "string"}}}}],
    },
    "POST /v1/workers/{id}:drain": {"reason": "a newer version"},
    "POST /v1/keys": {
        "name": "ci",
        "scopes": ["run:read", "run:start", "key:admin"],
        "expires_in": "90d",
        "per_minute": 600,
    },
    "PATCH /v1/keys/{key}": {"name": "ci of the shop", "per_minute": None},
    "POST /v1/keys/{key}:rotate": {"overlap": "24h"},
    "POST /v1/users": {"name": "Ada", "email": "ada@example.org"},
    "PATCH /v1/users/{id}": {"state": "disabled"},
    "POST /v1/organisations": {"name": "Shop", "zone": "Europe/Vienna", "per_minute": 6000},
    "PATCH /v1/organisations/{id}": {"name": "The shop", "per_day": 1000000},
    "POST /v1/leases:claim": {"worker_id": _ID, "max": 10, "wait": "0s"},
    "POST /v1/leases:report": {
        "worker_id": _ID,
        "held": [[_ID, 1]],
        "reports": [{"type": "progress", "run_id": _ID, "epoch": 1, "done": 3, "total": 10, "message": "three of ten"}],
    },
}
