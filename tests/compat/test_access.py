"""Keys on the surfaces: how their clients show them, what is said of bad ones, and who needs none."""

from __future__ import annotations

import json
import logging

import pytest
from tests.compat.credentials import three
from tests.web.access_kit import ALL, ELSEWHERE, bearer, first_key, key_of, second
from tests.web.kit import NOBODY, OTHERS

from headway.compat.cloudcoin.routes import TaskQuery
from headway.compat.cloudcoin.settings import CloudcoinSettings
from headway.config import Settings
from headway.logs import OneLine
from headway.protocol import keytext
from headway.web.ratelimits import MINUTE_MS
from headway.web.surface import mount

RUN = "/api/v1/tasks/run/backup"
LIMITS = {
    "x-ratelimit-limit", "x-ratelimit-remaining", "x-retry-after", "x-ratelimit-reset", "x-ratelimit-daily-limit",
    "x-ratelimit-daily-remaining", "x-daily-retry-after", "x-daily-ratelimit-reset",
}  # fmt: skip


# -- Tadabase ----------------------------------------------------------------------------------------------------------


async def test_the_three_headers_are_a_key_and_the_first_key_asks_everybody_for_one(serving):
    async with serving() as server:
        assert (await server.get("/api/v1/tasks")).status == 200
        party = await first_key(server)
        started = await server.post(RUN, **three(party))
        assert (started.status, started.json["type"]) == (200, "success")
        for answer in (await server.get("/api/v1/tasks"), await server.post(RUN)):
            assert (answer.status, answer.json["type"], answer.json["msg"]) == (401, "error", "API Not Found")
        assert (await server.get("/api/v1/tasks", **party.headers)).status == 200


async def test_what_is_wrong_with_a_key_is_said_in_their_words(serving):
    async with serving() as server:
        party = await first_key(server)
        other = await second(server, party)
        reading = await key_of(server, party, scopes=["task:read"])
        revoked = await key_of(server, party)
        await server.post(f"/v1/keys/{revoked['id']}:revoke", **party.headers)
        good = three(party)
        for headers, status, msg in (
            ({**good, "x_tadabase_app_secret": "x" * 43}, 401, "API Not Found"),
            ({**good, "x_tadabase_app_key": "nobodys"}, 401, "API Not Found"),
            ({**good, "x_tadabase_app_id": None}, 401, "API Not Found"),
            ({**good, "x_tadabase_app_id": other.id}, 401, "APP Not Found"),
            ({**good, "x_tadabase_app_id": "nobodys"}, 401, "APP Not Found"),
            ({**good, "x_tadabase_app_id": "nobodys", "x_tadabase_app_secret": "x" * 43}, 401, "API Not Found"),
            (three(party, revoked["key"]), 401, "API Disabled"),
            (three(party, reading["key"]), 403, "Permission Denied"),
            ({**good, **bearer(other.key)}, 401, "API Not Found"),
        ):
            answer = await server.post(RUN, **headers)
            said = answer.json
            assert (answer.status, said["type"], said["status"], said["msg"]) == (status, "error", status, msg)
        assert (await server.get("/api/v1/tasks", **three(party, reading["key"]))).status == 200


async def test_every_answer_says_what_is_left_and_too_much_is_429(serving):
    async with serving() as server:
        party = await first_key(server)
        key = await key_of(server, party, scopes=["task:read"], per_minute=3, per_day=50)
        headers = three(party, key["key"])
        for left in (2, 1, 0):
            answer = await server.get("/api/v1/tasks", **headers)
            assert answer.status == 200
            assert LIMITS <= set(answer.headers)
            assert answer.headers["x-ratelimit-remaining"] == str(left)
        answer = await server.get("/api/v1/tasks", **headers)
        assert (answer.status, answer.json["type"], answer.json["status"]) == (429, "error", 429)
        assert LIMITS <= set(answer.headers)
        assert 0 < int(answer.headers["retry-after"]) <= 60


async def test_status_shows_the_key_what_it_may_and_what_is_left(serving):
    async with serving() as server:
        anonymous = (await server.get("/api/v1/status")).json
        assert (anonymous["current_code"], anonymous["api_key"]["id"]) == (200, None)
        party = await first_key(server)
        key = await key_of(server, party, scopes=["task:read", "run:start", "record:read"], per_minute=10, per_day=20)
        await server.get("/api/v1/tasks", **three(party, key["key"]))
        said = (await server.get("/api/v1/status", **three(party, key["key"]))).json
        assert (said["api_key"]["id"], said["api_key"]["status"]) == (key["id"], "Active")
        granted = {name for name, given in said["permissions"].items() if given}
        assert granted == {"read", "tasks", "exports"}
        assert set(said["permissions"]) == {
            "read", "create", "update", "delete", "tasks", "pages", "imports", "exports", "logs", "pdf_forms", "pdf_pages",
        }  # fmt: skip
        limit = said["per_minute_limit"]
        assert (limit["allowed"], limit["remaining"]) == (10, 9)
        assert 0 < limit["resets_in_seconds"] <= 60
        assert limit["reset_timestamp"] * 1000 > server.clock.now_ms()
        assert (said["per_day_limit"]["allowed"], said["per_day_limit"]["remaining"]) == (20, 19)


async def test_times_are_those_of_the_organisations_zone(serving):
    async with serving() as server:
        party = await first_key(server)
        other = await second(server, party, zone="Asia/Kathmandu")
        await server.declare("backup", shared=True)
        run_id = (await server.post(RUN, **three(other))).json["task_queue_id"]
        found = (await server.get(f"/api/v1/tasks/status/queue/{run_id}", **three(other))).json["tasks"][0]
        ours = (await server.post(RUN, **three(party))).json["task_queue_id"]
        mine = (await server.get(f"/api/v1/tasks/status/queue/{ours}", **three(party))).json["tasks"][0]
        assert (mine["start_at"], found["start_at"]) == ("2027-01-15 08:00:00", "2027-01-15 13:45:00")


async def test_what_is_anothers_is_not_there(serving):
    async with serving() as server:
        party = await first_key(server)
        other = await second(server, party)
        run_id = (await server.post(RUN, **three(party))).json["task_queue_id"]
        for method, path in (
            ("GET", "/api/v1/tasks/status/queue/{}"), ("POST", "/api/v1/tasks/terminate/queue/{}"),
            ("GET", "/api/v1/tasks/{}"), ("GET", "/api/task?id={}"), ("GET", "/api/system/tasks?id={}"),
        ):  # fmt: skip
            foreign = await server.ask(method, path.format(run_id), **bearer(other.key))
            absent = await server.ask(method, path.format(NOBODY), **bearer(other.key))
            assert foreign.status == absent.status == 404, path
            unlike = {"request_id": ""} if "tasks/status" in path or "terminate" in path else {}
            assert {**foreign.json, **unlike} == {
                **json.loads(absent.body.replace(NOBODY.encode(), run_id.encode())), **unlike,
            }  # fmt: skip
        for path in ("/api/v1/tasks", "/api/v1/tasks/status", "/api/v1/tasks/history"):
            assert (await server.get(path, **bearer(other.key))).json["total_tasks"] == 0
        assert (await server.post("/api/v1/tasks/terminate/task/backup", **bearer(other.key))).status == 404
        assert (await server.get(f"/v1/runs/{run_id}", **party.headers)).json["state"] == "queued"


async def test_a_termination_stands_in_the_log(serving):
    async with serving() as server:
        party = await first_key(server)
        run_id = (await server.post(RUN, **three(party))).json["task_queue_id"]
        await server.post(f"/api/v1/tasks/terminate/queue/{run_id}", **three(party))
        lines = (await server.get("/v1/audit-events", **party.headers)).json["data"]
        assert ("run.terminate", run_id) in {(line["action"], line["target"]) for line in lines}


# -- every route of every surface ----------------------------------------------------------------------------------------

ROUTES = [(each.surface.name, route) for each in mount(OTHERS, Settings()) for route in each.routes]
AWAY = {"peer": "10.0.0.9"}


def target(route, app=NOBODY):
    path = route.path.format(id=NOBODY, name="backup", table="t", record="r", app=app)
    return f"{path}?task_id={NOBODY}" if route.query is TaskQuery else path


def is_refusal(surface, answer):
    """Whether it is an error in the words of the route's surface."""
    said = answer.json
    if surface == "tadabase":
        return said["type"] == "error" and said["status"] == answer.status and bool(said["msg"])
    return said["status"] == "error" and said.get("payload", said)["data"]["message"] != ""


async def test_no_route_lets_in_who_has_no_key_or_not_the_right_one(serving):
    async with serving() as server:
        party = await first_key(server)
        revoked = await key_of(server, party, scopes=ALL)
        await server.post(f"/v1/keys/{revoked['id']}:revoke", **party.headers)
        kinds = (
            {},
            bearer("hw_garbage"),
            bearer(keytext.new()),
            bearer(keytext.new(party.key_id)),
            bearer(revoked["key"]),
        )
        for surface, route in ROUTES:
            server.clock.advance(MINUTE_MS)
            for headers in kinds:
                answer = await server.ask(route.method, target(route), **AWAY, **headers)
                assert answer.status == 401, (route.name, headers)
                assert is_refusal(surface, answer), (route.name, answer.body)


async def test_every_route_asks_for_its_scope_and_for_no_other(serving):
    async with serving() as server:
        party = await first_key(server)
        for surface, route in ROUTES:
            if route.scope == "caller":
                continue
            without = await key_of(server, party, scopes=[scope for scope in ALL if scope != route.scope])
            refused = await server.ask(route.method, target(route, party.id), **AWAY, **bearer(without["key"]))
            assert refused.status == 403, route.name
            assert is_refusal(surface, refused), (route.name, refused.body)
            just = await key_of(server, party, scopes=[route.scope])
            assert (
                await server.ask(route.method, target(route, party.id), **AWAY, **bearer(just["key"]))
            ).status not in (
                401,
                403,
            )


NOTHING = {"id": NOBODY, "name": "nobodys", "table": NOBODY, "record": NOBODY}
LISTS = {"/api/v1/tasks", "/api/v1/tasks/status", "/api/v1/tasks/history", "/api/v1/status", "/api/v1/data-tables"}
"""What names nothing that could be another's."""


async def test_every_route_answers_for_what_is_anothers_as_for_what_is_not_there(serving):
    async with serving("mine") as server:
        party = await first_key(server)
        other = await second(server, party)
        run_id = (await server.post("/api/v1/tasks/run/mine", {}, idempotency_key="k", **three(party))).json[
            "task_queue_id"
        ]
        table = (
            await server.post("/v1/tables", {"name": "things", "fields": [{"name": "Name"}]}, **party.headers)
        ).json["id"]
        records = f"/api/v1/data-tables/{table}/records"
        record = (await server.post(records, {"field_1": "a"}, idempotency_key="k", **three(party))).json["recordId"]
        theirs = {"id": run_id, "name": "mine", "table": table, "record": record}
        seen = f"{records}/{record}", f"/v1/runs/{run_id}", "/v1/runs:count", "/v1/tables/things"
        before = [(await server.get(path, **party.headers)).body for path in seen]
        for _, route in ROUTES:
            if route.path.replace("/api/v1.1/{app}", "/api/v1") in LISTS:
                continue
            answers = []
            for named in (theirs, NOTHING):
                path = route.path.format(**named, app=other.id) + (
                    f"?task_id={named['id']}" if route.query is TaskQuery else ""
                )
                body = {"field_1": "b"} if route.method in ("POST", "PUT") else None
                answer = await server.ask(route.method, path, body, idempotency_key="k", **bearer(other.key))
                text = answer.body.decode()
                for name in sorted({*theirs.values(), *NOTHING.values()}, key=len, reverse=True):
                    text = text.replace(name, "ITS NAME")
                answers.append((answer.status, {**json.loads(text), "request_id": ""}))
            assert answers[0] == answers[1], route.name
            assert answers[0][0] == 404, route.name
        assert [(await server.get(path, **party.headers)).body for path in seen] == before


async def test_a_path_of_version_1_1_names_the_organisation_of_the_key(serving):
    async with serving() as server:
        assert (await server.get(f"/api/v1.1/{NOBODY}/tasks")).status == 200  # without keys nobody has one
        party = await first_key(server)
        other = await second(server, party)
        for headers in (three(party), bearer(party.key)):
            assert (await server.get(f"/api/v1.1/{party.id}/tasks", **headers)).json["total_tasks"] == 1
            for app in (other.id, NOBODY, "x"):
                refused = await server.get(f"/api/v1.1/{app}/tasks", **headers)
                assert (refused.status, refused.json["msg"]) == (401, "APP Not Found")
        started = await server.post(f"/api/v1.1/{party.id}/tasks/run/backup", **three(party))
        run_id = started.json["task_queue_id"]
        found = await server.get(f"/api/v1.1/{party.id}/tasks/status/queue/{run_id}", **three(party))
        assert found.json["tasks"][0]["task_queue_id"] == run_id
        await server.post(f"/api/v1.1/{party.id}/tasks/terminate/queue/{run_id}", **three(party))
        log = (await server.get("/v1/audit-events", **party.headers)).json["data"]
        assert {"run.terminate": run_id}.items() <= {line["action"]: line["target"] for line in log}.items()
        assert (await server.get(f"/api/v1.1/{party.id}/nothing", **party.headers)).json["type"] == "error"


async def test_refusals_say_what_is_left_as_far_as_that_is_known(serving):
    async with serving() as server:
        assert not LIMITS & set((await server.get("/api/v1/tasks")).headers)  # without keys nothing is limited
        party = await first_key(server)
        reader = await key_of(server, party, scopes=["task:read"], per_minute=10, per_day=100)
        headers = bearer(reader["key"])
        assert (await server.get("/api/v1/tasks", **headers)).headers["x-ratelimit-remaining"] == "9"
        for method, path, status in (
            ("POST", RUN, 403), ("GET", "/api/v1/data-tables/x/y", 404), ("GET", "/api/v1/status", 200), ("GET", "/v1/runs", 403),
        ):  # fmt: skip
            answer = await server.ask(method, path, **headers)
            assert (answer.status, answer.headers["x-ratelimit-remaining"]) == (status, "9"), path
            assert LIMITS <= set(answer.headers), path
        for left in (29, 28):
            refused = await server.get("/api/v1/tasks", **bearer(keytext.new()))
            assert refused.status == 401
            assert (refused.headers["x-ratelimit-limit"], refused.headers["x-ratelimit-remaining"]) == ("30", str(left))
            assert refused.headers["x-ratelimit-reset"].isdigit()


async def test_a_cursor_of_another_is_none(serving):
    async with serving() as server:
        party = await first_key(server)
        other = await second(server, party)
        for _ in range(2):
            await server.post(RUN, **three(party))
        first = (await server.get("/api/v1/tasks/status?limit=1", **three(party))).json
        path = f"/api/v1/tasks/status?limit=1&cursor={first['next_cursor']}"
        assert (await server.get(path, **three(party))).status == 200
        foreign = await server.get(path, **bearer(other.key))
        assert (foreign.status, set(foreign.json["errors"])) == (422, {"cursor"})


# -- CloudCoin ---------------------------------------------------------------------------------------------------------


async def test_from_the_first_key_on_this_surface_asks_for_one_as_every_other_does(serving):
    async with serving() as server:
        before = await server.post("/api/v1/backup", {})
        assert before.status == 200
        party = await first_key(server)
        for method, path in (
            ("POST", "/api/v1/backup"),
            ("PUT", "/api/v1/fix"),
            ("GET", f"/api/v1/tasks/{before.json['task_id']}"),
            ("GET", f"/api/task?id={before.json['task_id']}"),
            ("GET", "/api/v1/tasks"),
            ("POST", RUN),
        ):
            assert (await server.ask(method, path, host="localhost")).status == 401, path
        assert (await server.post("/api/v1/backup", {}, **party.headers)).status == 200


async def test_a_program_on_this_machine_may_be_let_in_and_sees_what_was_started_here(serving):
    async with serving(surfaces=(CloudcoinSettings(loopback_without_key=True),)) as server:
        party = await first_key(server)
        native = (await server.post("/v1/runs", {"task": "backup"}, **party.headers)).json["id"]
        mine = (await server.post("/api/v1/backup", {})).json["task_id"]
        assert (await server.get(f"/get-task-status/{mine}")).status == 200
        foreign, absent = await server.get(f"/api/v1/tasks/{native}"), await server.get(f"/api/v1/tasks/{NOBODY}")
        assert foreign.status == absent.status == 404
        assert foreign.body.replace(native.encode(), b"") == absent.body.replace(NOBODY.encode(), b"")
        assert (await server.get(f"/api/v1/tasks/{native}", **party.headers)).status == 200
        for path in (f"/v1/runs/{mine}", "/v1/runs", "/api/v1/tasks", f"/api/v1/tasks/status/queue/{mine}"):
            assert (await server.get(path)).status == 401, path


@pytest.mark.parametrize("asked", [*ELSEWHERE, {"authorization": "Bearer x"}, {"authorization": "Basic eDp5"}])
async def test_others_than_programs_on_this_machine_need_one(asked, in_memory):
    async with in_memory(
        allow_host=("headway.lan",), surfaces=(CloudcoinSettings(loopback_without_key=True),)
    ) as server:
        party = await first_key(server)
        run_id = (await server.post("/api/v1/backup", {})).json["task_id"]
        for method, path in (
            ("GET", f"/api/v1/tasks/{run_id}"),
            ("POST", "/api/v1/backup"),
            ("GET", f"/api/task?id={run_id}"),
        ):
            answer = await server.ask(method, path, **asked)
            said = answer.json.get("payload", answer.json)
            assert (answer.status, answer.json["status"], said["status"]) == (401, "error", "error")
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert (await server.get(f"/api/v1/tasks/{run_id}", **{**asked, **party.headers})).status == 200


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8006", "[::1]", "[::1]:8006", "LOCALHOST:9"])
async def test_loopback_is_known_by_peer_and_host(peer, host, in_memory):
    async with in_memory(surfaces=(CloudcoinSettings(loopback_without_key=True),)) as server:
        await first_key(server)
        assert (await server.post("/api/v1/backup", {}, peer=peer, host=host)).status == 200


async def test_a_token_in_the_query_is_a_key_on_this_surface_only(in_memory):
    async with in_memory() as server:
        party = await first_key(server)
        away = {"peer": "10.0.0.9"}
        started = await server.post(f"/api/v1/backup?token={party.key}", {}, **away)
        assert started.status == 200
        run_id = started.json["task_id"]
        for path in (f"/api/v1/tasks/{run_id}?token={party.key}", f"/api/task?task_id={run_id}&token={party.key}"):
            assert (await server.get(path, **away)).status == 200
            assert (await server.get(path, **away, **party.headers)).status == 200
            assert (await server.get(path, **away, **bearer(party.key + "x"))).status == 401
            assert (await server.get(path[:-1], **away)).status == 401
            assert (await server.get(f"{path}&token={party.key}", **away)).status == 401
        for path in (f"/v1/runs/{run_id}", "/api/v1/tasks"):
            assert (await server.get(f"{path}?token={party.key}", **away)).status in (400, 401)


async def test_a_key_needs_the_scope_here_too(in_memory):
    async with in_memory() as server:
        party = await first_key(server)
        key = await key_of(server, party, scopes=["run:read"])
        answer = await server.post("/api/v1/backup", {}, **bearer(key["key"]))
        assert (answer.status, answer.json["payload"]["status"]) == (403, "error")
        assert "run:start" in answer.json["payload"]["message"]


async def test_a_limit_says_nothing_about_the_task(in_memory):
    async with in_memory() as server:
        party = await first_key(server)
        key = await key_of(server, party, scopes=["run:read", "run:start"], per_minute=1)
        run_id = (await server.post("/api/v1/backup", {}, **bearer(key["key"]))).json["task_id"]
        answer = await server.get(f"/api/v1/tasks/{run_id}", **bearer(key["key"]))
        assert (answer.status, answer.json["payload"]["status"]) == (429, "unavailable")
        assert "retry-after" in answer.headers


def test_no_line_of_the_log_has_the_secret_of_a_key():
    key = keytext.new()
    line = f'127.0.0.1 - "GET /api/v1/tasks/{NOBODY}?token={key!s} HTTP/1.1" 200'
    written = OneLine().format(logging.LogRecord("uvicorn.access", 20, "", 0, line, (), None))
    assert key.secret not in written
    assert f"token=hw_{key.id}_…" in written
