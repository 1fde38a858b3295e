"""A body for every route that takes one. The tests send each of them, so that what the document shows does work."""

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
    "POST /v1/leases:claim": {"worker_id": _ID, "max": 10, "wait": "0s"},
    "POST /v1/leases:report": {
        "worker_id": _ID,
        "held": [[_ID, 1]],
        "reports": [{"type": "progress", "run_id": _ID, "epoch": 1, "done": 3, "total": 10, "message": "three of ten"}],
    },
}
