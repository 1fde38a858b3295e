"""The gate, over the list of routes: every one with every kind of wrong key, and with everything of another organisation.

A route that nobody has thought of fails here: `FOREIGN` has a row for each, which says by what it could name something.
"""

from __future__ import annotations

import json

import msgspec
import pytest
from tests.web.access_kit import ALL, OURS, bearer, first_key, key_of, second
from tests.web.foreign import CANARY, FOREIGN, ForeignObjects, dump
from tests.web.kit import serving as serving_in_memory

from headway.protocol import keytext
from headway.server import ROUTES
from headway.web.examples import BODIES
from headway.web.ratelimits import MINUTE_MS

PUBLIC = {"GET /livez", "GET /healthz", "GET /readyz", "GET /errors", "GET /errors/{code}", "GET /"}
BY_TOKEN = {"POST /v1/tokens/{token}:complete"}


def target(route):
    there = dict.fromkeys(("id",), "0199f2a4-7c3e-7000-9b1a-5d0c2e4f6a81")
    return route.path.format(
        **there,
        name="backup",
        token="t.t",
        code="forbidden",
        key="abcdef0123",
        **dict.fromkeys(("schedule", "table", "field", "record", "file", "document"), "x"),
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


async def furnish(server, operator) -> ForeignObjects:
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
    return ForeignObjects(
        run=queued, running=running, finished=finished, failed=failed, worker=server.worker, key=key["id"],
        user=user.json["id"], organisation=operator.id, page=page.json["next_page_token"],
        schedule=schedule.json["id"], table=table.json["id"], record=record.json["id"], file=file.json["id"],
    )  # fmt: skip


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
        absent = ForeignObjects(
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
                or not any(part in name for part in ("{id}", "{schedule}", "{key}", "{table}", "{file}"))
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
