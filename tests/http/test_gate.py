"""The gate, over the list of routes: every one with every kind of wrong key, and with everything of another organisation.

A route that nobody has thought of fails here: `FOREIGN` has a row for each, which says by what it could name something.
"""

from __future__ import annotations

import json

import msgspec
import pytest
from tests.http.access_kit import ALL, OURS, bearer, first_key, key_of, second
from tests.http.kit import serving as serving_in_memory

from headway.app.features import ROUTES
from headway.engine.access import MINUTE_MS
from headway.http.examples import BODIES
from headway.service.access import keytext
from headway.storage.moving.schema import tables

PUBLIC = {"GET /livez", "GET /healthz", "GET /readyz", "GET /errors", "GET /errors/{code}", "GET /"}
BY_TOKEN = {"POST /v1/tokens/{token}:complete"}
CANARY = "canary-5d0c2e4f6a81"


def target(route):
    there = dict.fromkeys(("id",), "0199f2a4-7c3e-7000-9b1a-5d0c2e4f6a81")
    return route.path.format(
        **there,
        name="backup",
        token="t.t",
        code="forbidden",
        key="abcdef0123",
        **dict.fromkeys(("table", "field", "record", "file", "document"), "x"),
    )


def test_what_is_public_is_known():
    assert {route.name for route in ROUTES if route.scope == "public"} == PUBLIC
    assert {route.name for route in ROUTES if route.scope == "token"} == BY_TOKEN
    assert {route.name for route in ROUTES if route.scope == "caller"} == {"GET /v1/whoami"}


async def test_no_route_lets_in_who_has_no_key_or_not_the_right_one(serving):
    async with serving() as server:
        operator = await first_key(server)
        revoked = await key_of(server, operator, scopes=ALL)
        await server.post(f"/v1/keys/{revoked['id']}:revoke", **operator.headers)
        expired = await key_of(server, operator, scopes=ALL, expires_in="1s")
        server.clock.advance(1000)
        kinds = {
            "none": {},
            "garbage": bearer("hw_garbage"),
            "unknown": bearer(keytext.new()),
            "wrong secret": bearer(keytext.new(operator.key_id)),
            "revoked": bearer(revoked["key"]),
            "expired": bearer(expired["key"]),
            "half": {"x-tadabase-app-id": operator.id},
        }
        for route in ROUTES:
            server.clock.advance(MINUTE_MS)  # a new minute for those who fail
            for kind, headers in kinds.items():
                answer = await server.ask(route.method, target(route), BODIES.get(route.name), **headers)
                if route.name in PUBLIC:
                    assert answer.status in (200, 303), (route.name, kind)
                elif route.name in BY_TOKEN:
                    assert answer.status == 404, (route.name, kind)
                else:
                    assert (answer.status, answer.code) == (401, "unauthenticated"), (route.name, kind)
                    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_every_route_asks_for_its_scope_and_for_no_other(serving):
    async with serving() as server:
        operator = await first_key(server)
        for route in ROUTES:
            if route.name in PUBLIC | BY_TOKEN or route.scope == "caller":
                continue
            ways = [set(route.scopes)] if route.or_scope is None else [{route.scope}, {route.or_scope}]
            for scope in route.scopes:
                lost = {scope, route.or_scope}
                without = await key_of(server, operator, scopes=[one for one in ALL if one not in lost])
                refused = await server.ask(
                    route.method, target(route), BODIES.get(route.name), **bearer(without["key"])
                )
                assert (refused.status, refused.code, refused.json["scope"]) == (403, "forbidden", scope), route.name
            for scopes in ways:
                just = await key_of(server, operator, scopes=sorted(scopes))
                with_it = await server.ask(route.method, target(route), b"", **bearer(just["key"]))
                assert with_it.status not in (401, 403), (route.name, scopes)


async def test_the_gate_comes_before_body_and_query():
    async with serving_in_memory() as server:
        await first_key(server)
        for route in ROUTES:
            if route.name not in PUBLIC | BY_TOKEN:
                server.clock.advance(MINUTE_MS)
                answer = await server.ask(route.method, target(route) + "?nope=%ff", b"{nope")
                assert answer.status == 401, route.name


# -- another organisation's ------------------------------------------------------------------------------------------------


class Theirs(msgspec.Struct):
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
    "GET /v1/schedules/{id}": schedule(""),
    "PATCH /v1/schedules/{id}": schedule("", {"task": "backup", "occurrence": "Hourly"}),
    "DELETE /v1/schedules/{id}": schedule(""),
    "POST /v1/schedules/{id}:pause": schedule(":pause", {}),
    "POST /v1/schedules/{id}:resume": schedule(":resume", {}),
    "POST /v1/schedules/{id}:trigger": schedule(":trigger", {"overlap": "allow"}),
    "POST /v1/schedules/{id}:backfill": schedule(":backfill", {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}),
    "GET /v1/schedules/{id}/slots": schedule("/slots"),
    "GET /v1/schedules/{id}/preview": schedule("/preview"),
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

OWN_WORLD = {
    "POST /v1/record-tasks", "GET /v1/record-tasks", "GET /v1/mail-server", "PUT /v1/mail-server", "DELETE /v1/mail-server",
    "POST /v1/runs", "POST /v1/runs:batch", "GET /v1/runs", "POST /v1/runs:query", "GET /v1/runs:count",
    "POST /v1/runs:bulk", "GET /v1/events", "GET /v1/tasks", "GET /v1/queues", "PATCH /v1/queues/{name}",
    "GET /v1/queues/{name}", "POST /v1/queues/{name}:pause", "POST /v1/queues/{name}:resume", "GET /v1/tasks/{name}",
    "POST /v1/tasks/{name}:activate", "POST /v1/tasks/{name}:deactivate", "POST /v1/tasks/{name}:terminate",
    "POST /v1/workers", "GET /v1/workers", "POST /v1/leases:report", "POST /v1/keys", "GET /v1/keys", "POST /v1/users",
    "GET /v1/users", "GET /v1/audit-events", "GET /metrics", "POST /v1/schedules", "GET /v1/schedules",
    "GET /v1/tables", "POST /v1/tables", "GET /v1/files",
}  # fmt: skip
"""Routes that may well answer: with what the caller has itself, also under the same name. There is nothing of the others in it."""


def test_every_route_says_by_what_it_could_reach_another_organisation():
    assert set(FOREIGN) == {route.name for route in ROUTES}


async def furnish(server, operator) -> Theirs:
    """Give the first organisation everything that there is, marked so that it is known again."""
    headers = operator.headers
    await server.declare("backup", CANARY, "headway.bulk", queue=CANARY)

    async def begin(**more):
        body = {
            "task": CANARY, "queue": CANARY, "key": CANARY, "input": {"secret": CANARY}, "labels": {"who": CANARY}, **more,
        }  # fmt: skip
        return (await server.post("/v1/runs", body, **headers)).json["id"]

    running, finished, failed = [await begin() for _ in range(3)]
    await server.claim()
    await server.succeed(finished, b'"' + CANARY.encode() + b'"')
    await server.fail(failed)
    await server.log(running, CANARY)
    queued = await begin(dedupe={"key": CANARY, "scope": "forever"})
    for _ in range(2):
        await server.post("/v1/runs", {"task": "backup"}, idempotency_key="their-key", **headers)
    key = await key_of(server, operator, name=CANARY, scopes=ALL)
    user = await server.post("/v1/users", {"name": CANARY}, idempotency_key="their-key", **headers)
    page = await server.get("/v1/runs?page_size=1", **headers)
    await server.declare("headway.import", "headway.export")
    made = {"name": CANARY, "fields": [{"name": "Name", "type": "text", "unique": True}]}
    table = await server.post("/v1/tables", made, idempotency_key="their-key", **headers)
    record = await server.post(f"/v1/tables/{CANARY}/records", {"values": {"Name": CANARY}}, **headers)
    task = {"name": f"{CANARY}s", "table": CANARY, "actions": [{"action": "update", "set": {"Name": CANARY}}]}
    assert (await server.post("/v1/record-tasks", task, **headers)).status == 201
    file = await server.ask(
        "POST", "/v1/files?name=a.csv", b"Name\n" + CANARY.encode(), content_type="text/csv", **headers
    )
    schedule = await server.post(
        "/v1/schedules", {"name": CANARY, "task": CANARY, "occurrence": "Daily", "labels": {"who": CANARY}},
        idempotency_key="their-key", **headers,
    )  # fmt: skip
    return Theirs(
        run=queued, running=running, finished=finished, failed=failed, worker=server.worker, key=key["id"],
        user=user.json["id"], organisation=operator.id, page=page.json["next_page_token"],
        schedule=schedule.json["id"], table=table.json["id"], record=record.json["id"], file=file.json["id"],
    )  # fmt: skip


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


def of_theirs(rows, theirs):
    """Return the rows in which one of their ids stands, but for the log, which tells what was asked for."""
    ids = set(msgspec.structs.asdict(theirs).values()) - {theirs.organisation, theirs.page, theirs.idempotency}
    return [row for row in rows if row[0] != "audit_events" and ids.intersection(row)]


async def test_nothing_of_another_organisation_is_seen_or_changed(serving):
    async with serving() as server:
        operator = await first_key(server)
        other = await second(server, operator)
        theirs = await furnish(server, operator)
        mine = await server.post(
            "/v1/workers",
            {"name": "mine", "tasks": [{"name": "backup"}, {"name": "headway.other"}][:1]},
            **other.headers,
        )
        made = {"name": "mine", "fields": [{"name": "Name", "type": "text"}]}
        assert (await server.post("/v1/tables", made, **other.headers)).status == 201
        by_name = {route.name: route for route in ROUTES}
        before = dump(server)
        for name, rows in FOREIGN.items():
            for path, body, headers in rows(theirs) if rows else ():
                asked = None if body is None else json.loads(json.dumps(body).replace("MINE", mine.json["id"]))
                answer = await server.ask(by_name[name].method, path, asked, **headers, **other.headers)
                what = (name, path, body, headers, answer.status, answer.body)
                assert answer.status < 500, what
                allowed = (200, 201, 202, 204, 400, 403, 404, 409, 422) if name in OWN_WORLD else (403, 404)
                assert answer.status in allowed, what
                assert answer.headers.get("idempotency-replayed") is None, what
                if answer.status < 300 and name not in ("POST /v1/runs", "POST /v1/runs:batch", "POST /v1/workers"):
                    theirs_said = [
                        value for value in msgspec.structs.asdict(theirs).values() if value != theirs.idempotency
                    ]
                    assert not [said for said in theirs_said if said.encode() in answer.body], what
                after = dump(server)
                assert set() == before - after, what
                assert [] == of_theirs(after - before, theirs), what


async def test_what_is_not_ones_own_is_answered_as_what_is_not_there(serving):
    async with serving() as server:
        operator = await first_key(server)
        other = await second(server, operator)
        theirs = await furnish(server, operator)
        absent = Theirs(
            run="0199f2a4-7c3e-7000-9b1a-000000000001", running="0199f2a4-7c3e-7000-9b1a-000000000002",
            finished="0199f2a4-7c3e-7000-9b1a-000000000003", failed="0199f2a4-7c3e-7000-9b1a-000000000004",
            worker="0199f2a4-7c3e-7000-9b1a-000000000005", key="00000000000000000001",
            user="0199f2a4-7c3e-7000-9b1a-000000000006", organisation="0199f2a4-7c3e-7000-9b1a-000000000007",
            page=theirs.page, schedule="0199f2a4-7c3e-7000-9b1a-000000000008",
            table="0199f2a4-7c3e-7000-9b1a-000000000009", record="0199f2a4-7c3e-7000-9b1a-00000000000a",
            file="0199f2a4-7c3e-7000-9b1a-00000000000b",
        )  # fmt: skip

        def plain(answer, of):
            text = answer.body.decode()
            for number, value in enumerate(msgspec.structs.asdict(of).values()):
                text = text.replace(value, f"<{number}>")
            said = json.loads(text or "null")
            return answer.status, {**said, "request_id": ""} if isinstance(said, dict) else said

        methods = {route.name: route.method for route in ROUTES}
        for name, rows in FOREIGN.items():
            if (
                name in OWN_WORLD
                or not rows
                or not any(part in name for part in ("{id}", "{key}", "{table}", "{file}"))
            ):
                continue
            for one, another in zip(rows(theirs), rows(absent), strict=True):
                answers = [
                    plain(await server.ask(methods[name], path, body, **headers, **other.headers), of)
                    for (path, body, headers), of in ((one, theirs), (another, absent))
                ]
                assert answers[0] == answers[1], name


@pytest.mark.parametrize("scope", sorted(set(ALL) - set(OURS)))
async def test_what_is_about_the_whole_server_cannot_be_given_elsewhere(serving, scope):
    async with serving() as server:
        operator = await first_key(server)
        other = await second(server, operator)
        asked = {"name": "k", "scopes": [scope]}
        assert (await server.post("/v1/keys", asked, **other.headers)).status == 422
        assert (await server.post("/v1/keys", {**asked, "organisation": other.id}, **operator.headers)).status == 422


async def test_each_organisation_works_by_itself_behind_its_keys(serving):
    async with serving() as server:
        operator = await first_key(server)
        other = await second(server, operator)
        worker = (await server.post("/v1/workers", {"tasks": [{"name": "backup"}]}, **other.headers)).json["id"]
        run_id = (await server.post("/v1/runs", {"task": "backup", "input": {"a": 1}}, **other.headers)).json["id"]
        leases = (await server.post("/v1/leases:claim", {"worker_id": worker}, **other.headers)).json["leases"]
        assert [(lease["run_id"], lease["task"]) for lease in leases] == [(run_id, "backup")]
        done = {"type": "succeeded", "run_id": run_id, "epoch": 1, "output": 7}
        report = {"worker_id": worker, "reports": [done]}
        assert (await server.post("/v1/leases:report", report, **other.headers)).json["rejected"] == []
        assert (await server.get(f"/v1/runs/{run_id}/output", **other.headers)).json["output"] == 7
        assert (await server.get(f"/v1/runs/{run_id}", **operator.headers)).status == 404
