"""Values that a store could stumble over, in every field that it may meet: one verdict on both stores, and never a 5xx.

What is malformed, too large or not text is refused before any store sees it; what is taken is kept and shown alike.
"""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from tests.web.verdicts import HOLE, JSON, NUMBERS, TEXTS, Both

SPEC = {"task": "backup"}
PLAN = {
    "name": "n",
    "task": "backup",
    "occurrence": "Daily",
    "starts_at": "2027-02-01T00:00:00Z",
    "validate_only": True,
}
TASK = {"name": "other"}
STARTS = [
    {"task": HOLE}, *({**SPEC, name: HOLE} for name in (
        "input", "name", "priority", "queue", "key", "run_at", "delay", "parent_id", "max_attempts", "retention", "protect",
    )),
    {**SPEC, "input": {"a": [HOLE]}}, {**SPEC, "input": {HOLE: 1}}, {**SPEC, "labels": {"a": HOLE}},
    {**SPEC, "labels": {HOLE: "a"}}, {**SPEC, "dedupe": {"key": HOLE}},
    {**SPEC, "dedupe": {"key": "k", "scope": "window", "ttl": HOLE}}, {"task": "keyed", "input": {"who": HOLE}},
]  # fmt: skip
REPORTS = [
    {"type": "progress", "done": HOLE}, {"type": "progress", "done": 1, "total": HOLE},
    {"type": "progress", "done": 1, "message": HOLE}, {"type": "log", "message": HOLE},
    {"type": "log", "message": "m", "fields": {"a": HOLE}}, {"type": "log", "message": "m", "fields": {HOLE: 1}},
    {"type": "result", "value": HOLE}, {"type": "result", "value": 1, "name": HOLE}, {"type": "step", "name": HOLE, "value": 1},
    {"type": "step", "name": "s", "value": HOLE}, {"type": "child", "name": HOLE, "run": SPEC},
    {"type": "child", "name": "c", "run": {**SPEC, "key": HOLE}}, {"type": "child", "name": "c", "run": {"task": HOLE}},
    {"type": "token", "name": HOLE}, {"type": "succeeded", "output": HOLE}, {"type": "errored", "error": {"code": HOLE}},
    {"type": "errored", "error": {"type": HOLE}}, {"type": "errored", "error": {"message": HOLE}},
    {"type": "errored", "error": {"details": HOLE}}, {"type": "errored", "error": {}, "retry_after": HOLE},
    {"type": "suspended", "blockers": [{"kind": "signal", "name": HOLE}]},
    {"type": "suspended", "blockers": [{"kind": "signal", "name": "s", "number": HOLE}]},
    {"type": "suspended", "blockers": [{"kind": "run", "run_id": HOLE}]},
    {"type": "suspended", "blockers": [], "timeout": HOLE}, {"type": "slept", "until": HOLE},
]  # fmt: skip


def report(said):
    return {"worker_id": "WORKER", "reports": [{"run_id": "RUN", "epoch": 1, **said}]}


FILTERS = [
    *({name: [HOLE]} for name in ("state", "task", "queue")), {"labels": {"a": HOLE}}, {"labels": {HOLE: "a"}},
    *({name: HOLE} for name in (
        "parent_id", "root_id", "key", "created_after", "created_before", "finished_after", "finished_before", "order_by",
        "page_size", "page_token",
    )),
]  # fmt: skip
BODIES = {
    "start": ("POST", "/v1/runs", STARTS),
    "batch": ("POST", "/v1/runs:batch", [{"runs": [SPEC, {**SPEC, "key": HOLE}]}, {"runs": [{**SPEC, "name": HOLE}], "atomic": True}]),
    "patch": ("PATCH", "/v1/runs/RUN", [
        *({name: HOLE} for name in ("name", "priority", "queue", "run_at", "retention")),
        {"labels": {"a": HOLE}}, {"labels": {HOLE: "a"}},
    ]),
    "terminate": ("POST", "/v1/runs/RUN:terminate", [{name: HOLE} for name in ("reason", "actor", "grace")]),
    "suspend": ("POST", "/v1/runs/RUN:suspend", [{"reason": HOLE}, {"actor": HOLE}]),
    "signal": ("POST", "/v1/runs/RUN:signal", [{"name": HOLE}, {"name": "s", "payload": HOLE}]),
    "complete": ("POST", "/v1/tokens/TOKEN:complete", [{"value": HOLE}, {"value": {"a": [HOLE]}}]),
    "query": ("POST", "/v1/runs:query", FILTERS),
    "bulk": ("POST", "/v1/runs:bulk", [{"filter": {"key": HOLE}, "action": "terminate", "dry_run": True},
                                      {"filter": {"labels": {"a": HOLE}}, "action": "terminate"},
                                      {"filter": {}, "action": "terminate", "reason": HOLE}]),
    "register": ("POST", "/v1/workers", [
        *({name: HOLE} for name in ("name", "host", "pid", "version", "capacity")), {"queues": [HOLE]},
        *({"tasks": [{**TASK, name: HOLE}]} for name in (
            "name", "version", "description", "queue", "priority", "max_crashes", "timeout", "grace", "concurrency", "key",
        )),
        {"tasks": [{**TASK, "retry": {"max_attempts": HOLE}}]}, {"tasks": [{**TASK, "retry": {"factor": HOLE}}]},
        {"tasks": [{**TASK, "retry": {"do_not_retry": [HOLE]}}]}, {"tasks": [{**TASK, "rate": {"limit": HOLE, "period": "1s"}}]},
        {"tasks": [{**TASK, "rate": {"limit": 1, "period": HOLE}}]}, {"tasks": [{**TASK, "input_schema": {"const": HOLE}}]},
    ]),
    "claim": ("POST", "/v1/leases:claim", [{"worker_id": HOLE}, {"worker_id": "WORKER", "max": HOLE},
                                           {"worker_id": "WORKER", "rooms": {"thread": HOLE}}]),
    "report": ("POST", "/v1/leases:report", [*map(report, REPORTS), report({"type": "released", "run_id": HOLE}),
                                             report({"type": "released", "epoch": HOLE})]),
    "heartbeat": ("POST", "/v1/leases:report", [{"worker_id": HOLE}, {"worker_id": "WORKER", "held": [[HOLE, 1]]},
                                                {"worker_id": "WORKER", "held": [["RUN", HOLE]]}]),
    "queue": ("PATCH", "/v1/queues/default", [{"concurrency": HOLE}]),
    "schedule": ("POST", "/v1/schedules", [
        *({**PLAN, name: HOLE} for name in (
            "name", "task", "occurrence", "timezone", "starts_at", "ends_at", "overlap", "queue_max", "catch_up", "catch_up_max",
            "catch_up_window", "late_after", "jitter", "input", "key", "priority", "queue", "max_attempts", "description",
        )),
        {**PLAN, "labels": {"a": HOLE}}, {**PLAN, "labels": {HOLE: "a"}}, {"name": HOLE, "task": "backup", "occurrence": "Daily"},
    ]),
    "fire": ("POST", "/v1/schedules:preview", [
        {"occurrence": "Daily", "count": 1, name: HOLE} for name in ("timezone", "after", "starts_at", "count", "occurrence")
    ]),
}  # fmt: skip

CHANGING = {"batch", "patch", "terminate", "suspend", "signal", "complete", "bulk", "claim", "report", "queue"}
"""Where the next value needs a run to which nothing was done."""

URLS = {
    "list": [f"/v1/runs?{name}={HOLE}" for name in (
        "state", "task", "queue", "label.a", "parent_id", "root_id", "key", "created_after", "finished_before", "order_by",
        "page_size", "page_token",
    )] + [f"/v1/runs?label.{HOLE}=a"],
    "count": [f"/v1/runs:count?{name}={HOLE}" for name in ("key", "task", "group_by", "label.a", "created_before")],
    "histories": [
        *(f"/v1/runs/RUN/{what}?{name}={HOLE}" for what in ("events", "logs", "results") for name in ("after", "page_size")),
        f"/v1/runs/RUN/children?page_token={HOLE}", f"/v1/events?after={HOLE}", f"/v1/events?run_id={HOLE}",
    ],
    "names": [f"/v1/{what}/{HOLE}" for what in ("runs", "tasks", "queues", "workers", "tokens", "schedules")],
    "schedules": [f"/v1/schedules?{name}={HOLE}" for name in ("task", "page_size", "page_token")],
}  # fmt: skip
DEEDS = [
    ("PATCH", f"/v1/queues/{HOLE}", b'{"concurrency":3}'), ("POST", f"/v1/queues/{HOLE}:pause", b""),
    ("POST", f"/v1/tasks/{HOLE}:deactivate", b""), ("POST", f"/v1/tasks/{HOLE}:terminate", b""),
    ("POST", f"/v1/runs/{HOLE}:terminate", b""), ("DELETE", f"/v1/runs/{HOLE}", None),
    ("POST", f"/v1/schedules/{HOLE}:trigger", b""), ("PATCH", f"/v1/schedules/{HOLE}", b'{"priority":1}'),
    ("DELETE", f"/v1/schedules/{HOLE}", None),
    ("POST", f"/v1/workers/{HOLE}:drain", b""), ("POST", f"/v1/tokens/{HOLE}:complete", b""),
]  # fmt: skip
HEADERS = [
    ("POST", "/v1/runs", b'{"task":"backup"}', "idempotency_key"), ("PATCH", "/v1/runs/RUN", b'{"priority":1}', "if_match"),
    ("GET", "/v1/runs/RUN", None, "if_none_match"), ("GET", "/v1/runs/RUN/events", None, "last_event_id"),
    ("GET", "/v1/events", None, "last_event_id"), ("GET", "/v1/runs/RUN", None, "x_request_id"),
]  # fmt: skip


@pytest.fixture
def sides(postgres_store):
    """Serve from both stores at once: an async context manager."""
    return lambda: Both(postgres_store)


@pytest.mark.parametrize("name", BODIES)
async def test_a_value_in_a_body_has_one_verdict_on_both_stores(sides, name):
    method, target, bodies = BODIES[name]
    async with sides() as both:
        taken = True
        for body in bodies:
            for what, value in JSON.items():
                if taken:
                    await both.set()
                written = json.dumps(body).replace(f'"{HOLE}"', value).encode()
                taken = await both.agree((body, what), method, target, written) and name in CHANGING
        await both.hold()


@pytest.mark.parametrize("name", URLS)
async def test_a_value_in_a_url_has_one_verdict_on_both_stores(sides, name):
    async with sides() as both:
        await both.set()
        for target in URLS[name]:
            for what, value in (TEXTS | NUMBERS).items():
                await both.agree((target, what), "GET", target.replace(HOLE, quote(value, safe="")))
            for odd in ("%ff", "%ed%a0%80", "%c0%80", "%"):
                await both.agree((target, odd), "GET", target.replace(HOLE, odd))


async def test_a_value_in_the_name_of_what_is_changed_has_one_verdict_on_both_stores(sides):
    async with sides() as both:
        await both.set()
        for method, target, body in DEEDS:
            for what, value in (TEXTS | NUMBERS).items():
                await both.agree((target, what), method, target.replace(HOLE, quote(value, safe="")), body)
        await both.hold()


async def test_a_value_in_a_header_has_one_verdict_on_both_stores(sides):
    async with sides() as both:
        await both.set()
        for method, target, body, header in HEADERS:
            for what, value in (TEXTS | NUMBERS).items():
                if value.isascii():
                    await both.agree((header, what), method, target, body, **{header: value})
        await both.hold()
