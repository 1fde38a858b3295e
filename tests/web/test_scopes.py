"""Every route of every surface with keys of as little as can be: no answer shows, and no effect happens, beyond their scopes.

The walk is read off the list of routes and the table of effects. What a key may see is known by canaries, of which each
stands in the content of one kind of noun; what it may do, by the rows that are there before and after.
"""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest
from tests.commands import FunctionCommand
from tests.web.access_kit import ALL, bearer, first_key, key_of
from tests.web.foreign import CANARY as NAME
from tests.web.foreign import FOREIGN, ForeignObjects, dump
from tests.web.kit import EVERY_SURFACE, routes_of, serving

from headway.kernel.authority import UNGRANTED
from headway.kernel.permissions import NEEDS, OF_ACTION, OF_BUILT_IN, OF_CONFLICT
from headway.protocol import workers as wire
from headway.protocol.times import to_text
from headway.web.brief import FORMS, brief_form
from headway.web.ratelimits import DAY_MS

EVERYWHERE = routes_of(EVERY_SURFACE)
SEEN_WITH = {
    "canary-of-run": {"run:read", "worker:protocol"},
    "canary-of-schedule": {"schedule:read"},
    "canary-of-task": {"task:read"},
    "canary-of-worker": {"worker:read"},
    "canary-of-table": {"table:read"},
    "canary-of-record": {"record:read"},
    "canary-of-mail": {"mail:read"},
    "canary-of-user": {"key:admin"},
    "canary-of-file": {"record:read"},
}
"""What stands in the content of each kind of noun, and who may see it. A worker sees the runs that it claims."""
RUNS = {"run:start", "run:control", "worker:protocol", "record:write", "record:read"}
"""Who may add runs: imports and exports are runs too."""
MAY_ADD = {
    "audit_events": set(ALL),
    "counters": RUNS, "events": RUNS, "runs": RUNS, "run_labels": RUNS,
    "idempotency": set(ALL),
    "dedupes": {"run:start"},
    "queues": RUNS | {"queue:write"},
    "rates": {"worker:protocol"},
    "results": {"worker:protocol"}, "steps": {"worker:protocol", "run:control"},
    "cascades": {"run:control"}, "tombstones": {"run:control"},
    "workers": {"worker:protocol", "worker:write"},
    "tasks": {"task:write", "worker:protocol"}, "record_tasks": {"task:write"},
    "schedules": {"schedule:write"}, "slots": {"schedule:write"},
    "tables": {"table:write", "record:write"},
    "records": {"record:write"}, "record_values": {"record:write"}, "files": {"record:write"}, "file_chunks": {"record:write"},
    "mail_servers": {"mail:write"},
    "keys": {"key:admin"}, "key_secrets": {"key:admin"}, "users": {"key:admin"},
    "organisations": {"organisation:admin"}, "allowances": {"organisation:admin"},
}  # fmt: skip
MAY_CHANGE = MAY_ADD | {
    "audit_events": set(),
    "runs": {"run:control", "worker:protocol"}, "events": {"run:control"}, "run_labels": {"run:control"},
    "dedupes": {"run:control"}, "results": {"run:control"}, "steps": {"run:control"},
    "queues": {"queue:write"}, "files": {"record:write"},
    "table_remains": {"record:write"}, "counters": RUNS,
}  # fmt: skip
"""Whose rows may be others after a request, or gone."""


def dedupe(on_conflict, **more):
    return {"task": NAME, "dedupe": {"key": "known", "on_conflict": on_conflict, "ttl": "1h"}, **more}


def record_task(*actions, name="made"):
    return {"name": name, "table": NAME, "actions": list(actions)}


UPDATE = {"action": "update", "set": {"Name": "x"}}
WEBHOOK = {"action": "webhook", "url": "https://example.com/"}
MORE = {
    "POST /v1/runs": lambda of: [
        *(("/v1/runs", dedupe(how), {}) for how in ("return", "reject", "replace", "debounce")),
        ("/v1/runs", dedupe("return"), {"prefer": "wait=1"}),
        ("/v1/runs", {"task": NAME, "validate_only": True}, {}),
        ("/v1/runs", {"task": NAME}, {"idempotency-key": "finished", "prefer": "wait=1"}),
        *(("/v1/runs", {"task": task}, {}) for task in OF_BUILT_IN),
        ("/v1/runs", {"task": f"{NAME}s"}, {}),
    ],
    "POST /v1/runs:batch": lambda of: [
        ("/v1/runs:batch", {"runs": [dedupe(how)], "atomic": atomic}, {})
        for how in ("return", "reject", "replace", "debounce") for atomic in (True, False)
    ],
    "POST /v1/runs:bulk": lambda of: [
        ("/v1/runs:bulk", {"action": "retry", "filter": {"labels": {"who": "canary-of-run"}}, "dry_run": True}, {}),
    ],
    "POST /v1/runs/{id}:resume": lambda of: [(f"/v1/runs/{of.suspended}:resume", {}, {})],
    "PATCH /v1/runs/{id}": lambda of: [(f"/v1/runs/{of.run}", {}, {}), (f"/v1/runs/{of.finished}", {"name": "x"}, {})],
    "POST /v1/runs/{id}:retry": lambda of: [(f"/v1/runs/{of.imported}:retry", {}, {})],
    "POST /v1/runs/{id}:run-failed-records": lambda of: [(f"/v1/runs/{of.over}:run-failed-records", {}, {})],
    "GET /v1/runs/{id}/record-errors": lambda of: [(f"/v1/runs/{of.over}/record-errors", None, {})],
    "POST /v1/schedules": lambda of: [
        ("/v1/schedules", {"name": f"of {task}", "task": task, "occurrence": "Daily"}, {}) for task in (NAME, *OF_BUILT_IN)
    ],
    "PATCH /v1/schedules/{schedule}": lambda of: [
        (f"/v1/schedules/{of.schedule}", {"input": {"x": 1}}, {}), (f"/v1/schedules/{of.schedule}", {}, {}),
        (f"/v1/schedules/{of.schedule}", {"task": "headway.bulk"}, {}),
    ],
    "POST /v1/schedules/{schedule}:pause": lambda of: [(f"/v1/schedules/{of.schedule}:pause", {}, {})],
    "POST /v1/schedules/{schedule}:resume": lambda of: [(f"/v1/schedules/{of.bulk_schedule}:resume", {"catch_up": "all"}, {})],
    "POST /v1/schedules/{schedule}:trigger": lambda of: [(f"/v1/schedules/{of.bulk_schedule}:trigger", {}, {})],
    "POST /v1/schedules/{schedule}:backfill": lambda of: [
        (f"/v1/schedules/{schedule}:backfill", {"from": of.days_ago, "to": of.now, "dry_run": dry}, {})
        for schedule in (of.schedule, of.bulk_schedule) for dry in (True, False)
    ],
    "POST /v1/keys": lambda of: [("/v1/keys", {"name": "k", "scopes": ["key:admin"]}, {})],
    "PATCH /v1/keys/{key}": lambda of: [(f"/v1/keys/{of.lesser_key}", {"name": "x"}, {})],
    "POST /v1/keys/{key}:rotate": lambda of: [(f"/v1/keys/{of.lesser_key}:rotate", {}, {})],
    "POST /v1/keys/{key}:revoke": lambda of: [(f"/v1/keys/{of.lesser_key}:revoke", None, {})],
    "PATCH /v1/organisations/{id}": lambda of: [(f"/v1/organisations/{of.other}", {"name": "x"}, {})],
    "POST /v1/tables/{table}/records:batch": lambda of: [
        (f"/v1/tables/{NAME}/records:batch", {"records": [{"Key": "n"}]}, {}),
    ],
    "POST /v1/record-tasks": lambda of: [
        ("/v1/record-tasks", record_task(action, name=f"made{number}"), {})
        for number, action in enumerate((UPDATE, WEBHOOK, {"action": "run", "task": NAME}))
    ],
    "PATCH /v1/record-tasks/{name}": lambda of: [
        (f"/v1/record-tasks/{NAME}s", change, {})
        for change in ({"filter": None}, {"description": "x"}, {"actions": [UPDATE]}, {"actions": [WEBHOOK]})
    ],
    "PATCH /v1/tables/{table}/fields/{field}": lambda of: [
        (f"/v1/tables/{NAME}/fields/Name", {"type": "number"}, {}),
        (f"/v1/tables/{NAME}/fields/Name", {"name": "Other"}, {}),
    ],
    "POST /v1/tables/{table}/records:upsert": lambda of: [
        (f"/v1/tables/{NAME}/records:upsert", {"by": "Key", "records": [{"Key": "k", "Note": "x"}]}, {}),
    ],
    "PATCH /v1/tables/{table}/records/{record}": lambda of: [
        (f"/v1/tables/{NAME}/records/{of.record}", {"values": {"Note": "x"}}, {}),
    ],
    "POST /v1/tables/{table}/records": lambda of: [
        (f"/v1/tables/{NAME}/records", {"values": {"Key": "again", "Name": "canary-of-record"}}, {"idempotency-key": "record"}),
    ],
    "POST /v1/leases:report": lambda of: [
        ("/v1/leases:report", {"worker_id": of.worker, "reports": [
            {"type": "child", "run_id": of.running, "epoch": 1, "name": f"child{number}", "run": child},
        ]}, {})
        for number, child in enumerate([{"task": task} for task in OF_BUILT_IN])
    ],
    # -- the other surfaces ----------------------------------------------------------------------------------------------
    "GET /api/v1/tasks": lambda of: [("/api/v1/tasks", None, {})],
    "POST /api/v1/tasks/run/{name}": lambda of: [
        *((f"/api/v1/tasks/run/{task}", {}, {}) for task in (NAME, *OF_BUILT_IN)),
        (f"/api/v1/tasks/run/{NAME}", {}, {"idempotency-key": "finished"}),
    ],
    "GET /api/v1/tasks/status": lambda of: [("/api/v1/tasks/status", None, {})],
    "GET /api/v1/tasks/status/queue/{id}": lambda of: [(f"/api/v1/tasks/status/queue/{of.finished}", None, {})],
    "GET /api/v1/tasks/status/task/{name}": lambda of: [(f"/api/v1/tasks/status/task/{NAME}", None, {})],
    "GET /api/v1/tasks/history": lambda of: [("/api/v1/tasks/history", None, {})],
    "POST /api/v1/tasks/terminate/queue/{id}": lambda of: [(f"/api/v1/tasks/terminate/queue/{of.run}", {}, {})],
    "POST /api/v1/tasks/terminate/task/{name}": lambda of: [(f"/api/v1/tasks/terminate/task/{NAME}", {}, {})],
    "GET /api/v1/status": lambda of: [("/api/v1/status", None, {})],
    "GET /api/v1/data-tables": lambda of: [("/api/v1/data-tables", None, {})],
    "GET /api/v1/data-tables/{table}/fields": lambda of: [(f"/api/v1/data-tables/{of.table}/fields", None, {})],
    "GET /api/v1/data-tables/{table}/full-fields-info": lambda of: [
        (f"/api/v1/data-tables/{of.table}/full-fields-info", None, {})
    ],
    "GET /api/v1/data-tables/{table}/records": lambda of: [(f"/api/v1/data-tables/{of.table}/records", None, {})],
    "GET /api/v1/data-tables/{table}/records/{record}": lambda of: [
        (f"/api/v1/data-tables/{of.table}/records/{of.record}", None, {})
    ],
    "POST /api/v1/data-tables/{table}/records": lambda of: [(f"/api/v1/data-tables/{of.table}/records", {"field_2": "n"}, {})],
    "POST /api/v1/data-tables/{table}/records/{record}": lambda of: [
        (f"/api/v1/data-tables/{of.table}/records/{of.record}", {"field_3": "x"}, {})
    ],
    "PUT /api/v1/data-tables/{table}/records/{record}": lambda of: [
        (f"/api/v1/data-tables/{of.table}/records/{of.record}", {"field_3": "x"}, {})
    ],
    "DELETE /api/v1/data-tables/{table}/records/{record}": lambda of: [
        (f"/api/v1/data-tables/{of.table}/records/{of.record}", None, {})
    ],
    "POST /api/v1/{name}": lambda of: [
        (f"/api/v1/{NAME}", {}, {}), (f"/api/v1/{NAME}", {}, {"idempotency-key": "command"}),
    ],
    "PUT /api/v1/{name}": lambda of: [("/api/v1/fix", {}, {})],
    "GET /api/v1/{name}": lambda of: [("/api/v1/echo", None, {})],
    "GET /api/v1/tasks/{id}": lambda of: [(f"/api/v1/tasks/{of.finished}", None, {})],
    "GET /api/v1/task/{id}": lambda of: [(f"/api/v1/task/{of.finished}", None, {})],
    "GET /api/v1/get-task-status/{id}": lambda of: [(f"/api/v1/get-task-status/{of.finished}", None, {})],
    "GET /get-task-status/{id}": lambda of: [(f"/get-task-status/{of.finished}", None, {})],
    "GET /api/transactions/task": lambda of: [(f"/api/transactions/task?task_id={of.finished}", None, {})],
    "GET /api/task": lambda of: [(f"/api/task?task_id={of.finished}", None, {})],
    "GET /api/system/tasks": lambda of: [(f"/api/system/tasks?id={of.finished}", None, {})],
}  # fmt: skip
"""What is asked beside the rows of `FOREIGN`: every way to an effect that is not the route's own."""


def of_version_1_1(name):
    """Return the same requests by the paths of Tadabase's version 1.1, which name the organisation."""
    return lambda of: [
        (path.replace("/api/v1/", f"/api/v1.1/{of.organisation}/"), body, headers)
        for path, body, headers in MORE[name](of)
    ]


MORE |= {
    route.name: of_version_1_1(first)
    for route in EVERYWHERE
    if (first := route.name.replace("/api/v1.1/{app}/", "/api/v1/")) != route.name
}


def test_every_route_of_every_surface_is_walked():
    assert FOREIGN.keys() | MORE.keys() == {route.name for route in EVERYWHERE}


def test_every_effect_has_a_scope_that_a_key_can_have():
    used = {effect for route in EVERYWHERE for effect in route.does} | {form.effect for form in FORMS.values()}
    used |= {*OF_BUILT_IN.values(), *sum(OF_CONFLICT.values(), ()), *sum(OF_ACTION.values(), ())}
    assert used <= NEEDS.keys()
    assert {need.scope for need in NEEDS.values()} <= set(ALL)


OWN = {
    "TerminationCount", "BackfillOut", "BulkPreview", "DeletedOut", "FileOut", "Leases", "ReportAnswer", "ServerOut", "TokenCompletion",
    "ErrorPage", "ErrorPages", "AnyObject", "KeyStatus", "StartReply", "Acknowledgement", "RecordReply", "StartedReply", "Whoami",
}  # fmt: skip
"""Answers that show nothing but what the request said or did, or what is everybody's."""
READS = {"run:read", "task:read", "queue:read", "worker:read", "schedule:read", "table:read", "record:read", "mail:read",
         "audit:read", "server:read", "key:admin", "organisation:admin"}  # fmt: skip


@pytest.mark.parametrize("route", EVERYWHERE, ids=lambda route: route.name)
def test_every_route_that_is_not_for_reading_answers_in_brief_or_with_what_is_its_own(route):
    if route.gives is None or (route.scope in READS and route.gives not in FORMS):
        return
    own = route.gives.__name__ in OWN or route.name == "POST /v1/workers"
    assert own or route.gives in FORMS, "decide what of this a key may see that may use the route"
    assert (route.shows is not None) == (not own and brief_form(route.gives, route.scope) is not None)


UNTRIED = {"POST /v1/tables/{table}:refresh", "GET /api/v1/{name}"}
"""What needs another database, or a setting, to do anything."""


# -- the ways ------------------------------------------------------------------------------------------------------------

START, PLAN, MAKE = {"run:start"}, {"schedule:write", "run:start"}, {"task:write", "record:read"}


def ways_to_start(task, scope):
    """Every way in which somebody has a run of the task started, with the scopes that it takes."""
    action, schedule = {"action": "run", "task": task}, {"name": f"of {task}", "task": task, "occurrence": "Daily"}
    needed = set() if scope is None else {scope}
    return [
        ("POST", "/v1/runs", {"task": task}, START | needed),
        ("POST", "/v1/runs:batch", {"runs": [{"task": NAME}, {"task": task}]}, START | needed),
        ("POST", f"/api/v1/tasks/run/{task}", {}, START | needed),
        ("POST", "/v1/schedules", schedule, PLAN | needed),
        ("PATCH", "/v1/schedules/SCHEDULE", {"task": task}, PLAN | needed),
        ("POST", f"/v1/schedules/of {task}:trigger", {}, PLAN | needed),
        ("POST", f"/v1/schedules/of {task}:resume", {}, PLAN | needed),
        ("POST", f"/v1/schedules/of {task}:backfill", {"from": "DAYS_AGO", "to": "NOW"}, PLAN | needed),
        ("PATCH", f"/v1/schedules/of {task}", {"input": {"x": 1}}, PLAN | needed),
        ("POST", "/v1/record-tasks", record_task(action, name=f"for {task}"), {*MAKE, "run:start"} | needed),
        ("PATCH", f"/v1/record-tasks/for {task}", {"actions": [action]}, {*MAKE, "run:start"} | needed),
        ("PATCH", f"/v1/record-tasks/for {task}", {"filter": None}, {*MAKE, "run:start"} | needed),
    ]


BUILT_IN_STARTS = {task: NEEDS[effect].scope for task, effect in OF_BUILT_IN.items()}
WAYS = [
    *ways_to_start("backup", None),
    *(way for task, scope in BUILT_IN_STARTS.items() for way in ways_to_start(task, scope)),
    ("POST", "/v1/runs", dedupe("return"), START),
    ("POST", "/v1/runs", dedupe("debounce"), {"run:start", "run:control"}),
    ("POST", "/v1/runs:batch", {"runs": [dedupe("debounce")]}, {"run:start", "run:control"}),
    ("POST", "/v1/runs", dedupe("replace"), {"run:start", "run:control"}),
    ("POST", "/v1/runs:batch", {"runs": [dedupe("replace")]}, {"run:start", "run:control"}),
    ("POST", "/v1/runs", {"task": f"{NAME}s"}, START),
    ("POST", "/v1/runs/FAILED:retry", {}, {"run:control"}),
    ("POST", "/v1/runs/IMPORTED:retry", {}, {"run:control", "record:write"}),
    ("POST", "/v1/runs:bulk", {"action": "retry", "filter": {}, "dry_run": True}, {"run:control", "run:read"}),
    ("POST", "/v1/schedules/SCHEDULE:pause", {}, {"schedule:write"}),
    ("POST", "/v1/schedules/SCHEDULE:backfill", {"from": "DAYS_AGO", "to": "NOW", "dry_run": True}, {*PLAN, "schedule:read"}),
    ("GET", "/v1/runs/OVER/record-errors", None, {"run:read", "record:read"}),
    ("POST", "/v1/record-tasks", record_task(UPDATE, name="updates"), {*MAKE, "record:write"}),
    ("PATCH", "/v1/record-tasks/updates", {"on_error": "stop"}, {*MAKE, "record:write"}),
    ("POST", "/v1/record-tasks", record_task(WEBHOOK, name="calls"), MAKE),
    ("PATCH", f"/v1/record-tasks/{NAME}s", {"actions": [UPDATE]}, {*MAKE, "record:write"}),
    ("PATCH", f"/v1/tables/{NAME}/fields/Note", {"type": "number"}, {"table:write", "record:write", "record:read"}),
    ("PATCH", f"/v1/tables/{NAME}/fields/Note", {"name": "Remark"}, {"table:write"}),
    ("DELETE", f"/v1/tables/{NAME}/fields/Remark", None, {"table:write", "record:write"}),
    ("DELETE", f"/v1/tables/{NAME}", None, {"table:write", "record:write"}),
]  # fmt: skip
"""(method, path, body, what it takes): an effect and its scopes, by every way that there is to it, in an order that works."""


async def test_an_effect_takes_its_scopes_whatever_the_way_to_it():
    async with serving("backup", outbound_allow=("127.0.0.1",)) as server:
        server.operator = await first_key(server)
        of = await furnish(server, server.operator.headers)
        text = json.dumps(WAYS, default=sorted)
        for name in PopulatedServer.__struct_fields__:
            text = text.replace(name.upper(), getattr(of, name))
        keys = {}

        async def ask(scopes, method, path, body):
            scopes = tuple(sorted(scopes))
            if scopes not in keys:
                made = await key_of(server, server.operator, scopes=scopes or ["ops"], per_minute=100_000)
                keys[scopes] = bearer(made["key"])
            return await server.ask(method, path.replace(" ", "%20"), body, **keys[scopes])

        for method, path, body, scopes in json.loads(text):
            again = {"task": NAME, "input": {}}
            await server.ask("PATCH", f"/v1/schedules/{of.schedule}", again, **server.operator.headers)
            before = dump(server)
            for scope in scopes:
                refused = await ask({*scopes} - {scope}, method, path, body)
                assert refused.status == 403, (path, body, scope, refused.body)
                assert path.startswith("/api") or refused.json["scope"] == scope, (path, scope, refused.body)
            assert {row[0] for row in dump(server) ^ before} <= {"keys", "key_secrets", "audit_events"}
            allowed = await ask(scopes, method, path, body)
            assert allowed.status in (200, 201, 202, 204), (path, body, allowed.body)


# -- the walk ------------------------------------------------------------------------------------------------------------


class PopulatedServer(ForeignObjects):
    """What is there to be seen and changed."""

    imported: str = ""
    """A run of headway.import that has failed."""
    over: str = ""
    """A run of a record task in which a record has failed."""
    bulk_schedule: str = ""
    suspended: str = ""
    lesser_key: str = ""
    """One that may make keys and nothing else."""
    other: str = ""
    """Another organisation."""
    now: str = ""
    days_ago: str = ""


async def furnish(server, headers) -> PopulatedServer:  # noqa: PLR0915 - one of everything
    """One of everything, with a canary in all that is not its name."""

    async def made(path, body, status=(200, 201, 202), method="POST", **more):
        answer = await server.ask(method, path, body, **headers, **more)
        assert answer.status in status, answer.body
        return answer.json

    schema = msgspec.Raw(b'{"title": "canary-of-task"}')
    await server.declare("headway.import", "headway.export", "headway.bulk", "backup", "fix")
    declared = [wire.TaskDeclaration(name=NAME, queue=NAME, input_schema=schema, description="canary-of-task")]
    asked = wire.RegisterWorker(name="canary-of-worker", host="canary-of-worker", tasks=declared)
    worker = (await server.service.of(1).workers.register(asked)).id

    async def begin(**more):
        body = {"task": NAME, "input": {"secret": "canary-of-run"}, "labels": {"who": "canary-of-run"}, **more}
        return (await made("/v1/runs", {**body, "name": "canary-of-run"}))["id"]

    running, failed = await begin(), await begin()
    finished = (await made("/v1/runs", {"task": NAME}, idempotency_key="finished"))["id"]
    command = (await made(f"/api/v1/{NAME}", {}, idempotency_key="command"))["task_id"]
    await made(f"/api/v1/tasks/run/{NAME}", {}, idempotency_key="finished")
    server.worker = worker
    await server.claim()
    for run_id in (finished, command):
        await server.succeed(run_id, b'{"secret": "canary-of-run"}')
    error = wire.FunctionError(message="canary-of-run", retryable=False)
    progress = wire.ProgressReport(run_id=running, epoch=1, done=1, total=2, message="canary-of-run")
    result = wire.ResultReport(run_id=running, epoch=1, value=msgspec.Raw(b'"canary-of-run"'))
    assert not (await server.report(wire.ErroredReport(run_id=failed, epoch=1, error=error), progress, result)).rejected
    await server.log(running, "canary-of-run")
    queued = await begin(dedupe={"key": "known", "scope": "forever"}, run_at="2030-01-01T00:00:00Z")
    fields = [{"name": "Name", "default": "canary-of-table"}, {"name": "Key", "unique": True}, {"name": "Note"}]
    table = await made("/v1/tables", {"name": NAME, "description": "canary-of-table", "fields": fields})
    values = {"Key": "again", "Name": "canary-of-record"}
    await made(f"/v1/tables/{NAME}/records", {"values": values}, idempotency_key="record")
    values = {"Key": "k", "Name": "canary-of-record"}
    record = await made(f"/v1/tables/{NAME}/records", {"values": values})
    await made(
        "/v1/record-tasks", record_task({"action": "update", "set": {"Note": "canary-of-task"}}, name=f"{NAME}s")
    )
    schedule = {"task": NAME, "occurrence": "Daily", "input": {"secret": "canary-of-schedule"}}
    labels = {"labels": {"who": "canary-of-schedule"}, "description": "canary-of-schedule"}
    planned = await made("/v1/schedules", {"name": NAME, **schedule, **labels})
    bulk = {"name": "bulk", "task": "headway.bulk", "occurrence": "Daily", "input": {"action": "delete", "filter": {}}}
    bulk_schedule = await made("/v1/schedules", bulk)
    await made(f"/v1/schedules/{bulk_schedule['id']}:pause", {})
    mail = {"host": "127.0.0.1", "sender": "canary-of-mail@example.com"}
    await made("/v1/mail-server", mail, method="PUT")
    user = await made("/v1/users", {"name": "canary-of-user"})
    file = await made("/v1/files?name=canary-of-file.csv", b"Name\ncanary-of-file", content_type="text/csv")
    imported = await made(f"/v1/tables/{NAME}:import", {"file": file["id"], "format": "csv"})
    await made(f"/v1/runs/{imported['id']}:terminate", {})
    over = await made("/v1/runs", {"task": f"{NAME}s"})
    await made(f"/v1/runs/{over['id']}:terminate", {})
    rows = json.dumps([[record["id"], 0, "value", "is canary-of-record"]])
    await server.store.write(
        FunctionCommand(lambda uow: uow.later("insert_record_errors", run_id=over["id"], rows=rows, now_ms=1))
    )
    suspended = await begin()
    await made(f"/v1/runs/{suspended}:suspend", {})
    other = await made("/v1/organisations", {"name": "other"})
    lesser = await key_of(server, server.operator, scopes=["key:admin"])
    now_ms = server.clock.now_ms()
    page = await server.get("/v1/runs?page_size=1", **headers)
    key = await key_of(server, server.operator, scopes=ALL)
    return PopulatedServer(
        run=queued, running=running, finished=finished, failed=failed, worker=worker, key=key["id"], user=user["id"],
        organisation=server.operator.id, page=page.json["next_page_token"], schedule=planned["id"], table=table["id"],
        record=record["id"], file=file["id"], imported=imported["id"], over=over["id"], bulk_schedule=bulk_schedule["id"],
        suspended=suspended, other=other["id"], lesser_key=lesser["id"], now=to_text(now_ms),
        days_ago=to_text(now_ms - 3 * DAY_MS),
    )  # fmt: skip


def asked_of(route, of):
    """Return what the route is asked: (path, body, headers). Streams are for those who may read, and do not end."""
    rows = [rows for rows in (FOREIGN.get(route.name), MORE.get(route.name)) if rows]
    found = [row for each in rows for row in each(of)]
    return [row for row in found if "accept" not in row[2] and not row[0].endswith("/signals")]


def hidden_from(scopes):
    return [canary for canary, readers in SEEN_WITH.items() if not readers & scopes]


def beyond(scopes, before, after):
    """Return the rows that a key with these scopes may not have made, changed or removed."""
    new, gone = after - before, before - after
    same = {row[:2] for row in gone} & {row[:2] for row in new}
    added = [row for row in new if row[:2] not in same and not MAY_ADD.get(row[0], set()) & scopes]
    return [*added, *(row for row in gone if not MAY_CHANGE.get(row[0], set()) & scopes)]


async def walk(routes, scopes):
    """Ask the routes all they are asked with a key of these scopes, in a harness of its own; return how each was answered."""
    async with serving("backup", outbound_allow=("127.0.0.1",)) as server:
        server.operator = await first_key(server)
        of = await furnish(server, server.operator.headers)
        caller = bearer((await key_of(server, server.operator, scopes=sorted(scopes), per_minute=100_000))["key"])
        hidden, told, before = hidden_from(set(scopes)), {}, dump(server)
        for route in routes:
            for path, body, headers in asked_of(route, of):
                said = json.loads(json.dumps(body).replace("MINE", of.worker)) if body is not None else None
                answer = await server.ask(route.method, path, said, **headers, **caller)
                what = (scopes, route.name, path, body, answer.status, answer.body[:2000])
                assert answer.status < 500, what
                shown = answer.body + repr(answer.headers).encode()
                assert not [canary for canary in hidden if canary.encode() in shown.replace(path.encode(), b"")], what
                after = dump(server)
                assert not beyond(set(scopes), before, after), (what, beyond(set(scopes), before, after)[:3])
                before = after
                told.setdefault(route.name, set()).add(answer.status)
        return told


@pytest.mark.parametrize("scope", ALL)
def test_a_key_of_one_scope_sees_and_does_nothing_beyond_it(scope):
    others = [route for route in EVERYWHERE if scope not in (route.scope, route.or_scope)]
    told = asyncio.run(walk(others, [scope]))
    for route in others:
        if route.scope not in UNGRANTED and route.name in told:
            assert told[route.name] <= {401, 403, 404}, route.name


@pytest.mark.parametrize("route", [route for route in EVERYWHERE if route.scope not in UNGRANTED], ids=lambda r: r.name)
def test_a_key_of_just_the_scopes_of_a_route_sees_and_does_nothing_beyond_them(route):
    if not asked_of(route, PopulatedServer(**dict.fromkeys(ForeignObjects.__struct_fields__, "x"))):
        return
    for scopes in {(route.scope,), (route.or_scope or route.scope,), route.scopes}:
        told = asyncio.run(walk([route], list(scopes)))
        if scopes == route.scopes and route.name not in UNTRIED:
            assert told[route.name] & {200, 201, 202, 204}, f"nothing of it was tried: {told}"
