"""Keys over HTTP: shown in every dialect, limited, rotated, revoked; and what each of these does to what is open."""

from __future__ import annotations

import asyncio
import json
import logging
import re

import pytest
from tests.web.access_kit import ALL, ELSEWHERE, bearer, first_key, key_of, second
from tests.web.kit import serving as serving_in_memory

from headway.features.access.access import Access
from headway.kernel.authority import READING
from headway.kernel.permissions import NEEDS, OF_BUILT_IN, of_task
from headway.protocol import keytext
from headway.server import BUILT_IN as TASKS
from headway.web.authorizer import FAILURES_MAX
from headway.web.ratelimits import DAY_MS, MINUTE_MS

GARBAGE = (
    "Bearer",
    "Bearer ",
    "Bearer x",
    "Basic YTpi",
    "Bearer hw_abcd_x",
    "Bearer hw_0123456789abcdef0123_" + "A" * 43,
    "hw_a_b",
    "",
)


async def test_without_keys_whoever_is_on_the_machine_may_everything(serving):
    async with serving() as server:
        who = (await server.get("/v1/whoami")).json
        assert (who["actor"], who["key_id"], set(who["scopes"])) == ("anonymous", None, set(ALL))


async def test_from_the_first_key_on_one_is_needed(serving):
    async with serving() as server:
        operator = await first_key(server)
        assert (await server.get("/v1/runs")).status == 401
        assert (await server.get("/v1/runs", **operator.headers)).status == 200
        revoked = await server.post(f"/v1/keys/{operator.key_id}:revoke", **operator.headers)
        assert revoked.status == 200
        assert (await server.get("/v1/runs")).status == 401, "no key that is revoked opens the door again"


async def test_the_first_key_can_make_others():
    async with serving_in_memory() as server:
        assert (await server.post("/v1/keys", {"name": "k"})).status == 409
        assert (await server.get("/v1/runs")).status == 200


async def test_loopback_can_stay_open_to_those_without_a_key():
    async with serving_in_memory(loopback_without_key=True) as server:
        stream = await server.listen("/v1/events").begun()
        operator = await first_key(server)
        assert [message.event for message in await stream.rest()][-1] == "reconnect", "who it is has changed"
        assert (await server.get("/v1/runs")).status == 200
        assert (await server.get("/v1/whoami")).json["actor"] == "loopback"
        assert (await server.get("/v1/runs", **bearer(keytext.new()))).status == 401
        assert (await server.get("/v1/runs", **operator.headers)).status == 200
        stream = await server.listen("/v1/events").begun()
        await key_of(server, operator)
        assert len(server.api.waiting) == 1, "another key changes nothing for who needs none"
        await stream.leave()


@pytest.mark.parametrize("asked", ELSEWHERE)
async def test_who_is_let_in_without_a_key_is_on_this_machine_and_forwards_nothing(asked):
    async with serving_in_memory(loopback_without_key=True, allow_host=("headway.lan",)) as server:
        operator = await first_key(server)
        for _ in range(2):
            assert (await server.get("/v1/runs")).status == 200
            for method, path in (("GET", "/v1/runs"), ("POST", "/v1/keys"), ("GET", "/metrics")):
                assert (await server.ask(method, path, **asked)).status == 401, path
        assert (await server.get("/v1/runs", **asked, **operator.headers)).status == 200


async def test_one_key_is_taken_in_every_dialect(serving):
    async with serving() as server:
        operator = await first_key(server)
        key_id, secret = keytext.read(operator.key)
        tadabase = {
            "x-tadabase-app-id": operator.id, "x-tadabase-app-key": key_id, "x-tadabase-app-secret": secret,
        }  # fmt: skip
        ways = [
            {"authorization": f"Bearer {operator.key}"},
            {"authorization": f"bearer {operator.key}"},
            {"authorization": f"Token {operator.key}"},
            tadabase,
            {**tadabase, "authorization": f"Bearer {operator.key}"},
        ]
        for headers in ways:
            assert (await server.get("/v1/whoami", **headers)).json["key_id"] == key_id, headers
        for left_out in tadabase:
            headers = {name: value for name, value in tadabase.items() if name != left_out}
            assert (await server.get("/v1/whoami", **headers)).status == 401, left_out


async def test_the_organisation_that_is_named_has_to_be_the_keys(serving):
    async with serving() as server:
        operator = await first_key(server)
        other = await second(server, operator)
        key_id, secret = keytext.read(operator.key)
        headers = {"x-tadabase-app-id": other.id, "x-tadabase-app-key": key_id, "x-tadabase-app-secret": secret}
        assert (await server.get("/v1/whoami", **headers)).status == 401


async def test_two_different_keys_in_one_request_are_refused(serving):
    async with serving() as server:
        operator = await first_key(server)
        other = await second(server, operator)
        key_id, secret = keytext.read(other.key)
        headers = {"x-tadabase-app-id": other.id, "x-tadabase-app-key": key_id, "x-tadabase-app-secret": secret}
        assert (await server.get("/v1/whoami", **headers)).status == 200
        assert (await server.get("/v1/whoami", **headers, **operator.headers)).status == 401
        sister = await key_of(server, other)
        assert (await server.get("/v1/whoami", **headers, **bearer(sister["key"]))).status == 401


async def test_a_header_with_a_key_that_is_there_twice_is_refused():
    async with serving_in_memory() as server:
        operator = await first_key(server)
        sent = []

        async def send(message):
            sent.append(message)

        shown = (b"authorization", f"Bearer {operator.key}".encode())
        scope = {"type": "http", "method": "GET", "path": "/v1/runs", "query_string": b"",
                 "headers": [(b"host", b"localhost"), shown, shown]}  # fmt: skip
        await server.api(scope, None, send)
        assert sent[0]["status"] == 401


@pytest.mark.parametrize("shown", GARBAGE)
async def test_what_is_no_key_lets_nobody_in(shown):
    async with serving_in_memory() as server:
        await first_key(server)
        assert (await server.get("/v1/runs", authorization=shown)).status == 401


async def test_a_wrong_secret_and_an_unknown_key_are_answered_alike(serving):
    async with serving() as server:
        operator = await first_key(server)
        key_id, _ = keytext.read(operator.key)
        wrong = await server.get("/v1/runs", **bearer(keytext.new(key_id)))
        unknown = await server.get("/v1/runs", **bearer(keytext.new()))
        assert wrong.status == unknown.status == 401
        assert {**wrong.json, "request_id": ""} == {**unknown.json, "request_id": ""}


async def test_a_new_key_can_only_read(serving):
    async with serving() as server:
        operator = await first_key(server)
        made = await key_of(server, operator)
        assert made["scopes"] == list(READING)
        assert (await server.get("/v1/runs", **bearer(made["key"]))).status == 200
        assert (await server.post("/v1/runs", {"task": "backup"}, **bearer(made["key"]))).status == 403


async def test_nobody_makes_a_key_that_may_more_than_their_own(serving):
    async with serving() as server:
        operator = await first_key(server)
        clerk = bearer((await key_of(server, operator, scopes=["key:admin", "run:read"]))["key"])
        assert (await server.post("/v1/keys", {"name": "k", "scopes": ["run:read"]}, **clerk)).status == 201
        assert (await server.post("/v1/keys", {"name": "k", "scopes": ["run:start"]}, **clerk)).status == 403
        path = f"/v1/keys/{operator.key_id}"
        assert (await server.post(f"{path}:rotate", {}, **clerk)).status == 403, "that would be taking it over"
        assert (await server.post(f"{path}:revoke", **clerk)).status == 403
        assert (await server.ask("PATCH", path, {"scopes": []}, **clerk)).status == 403


async def test_the_text_of_a_key_is_shown_once(serving):
    async with serving() as server:
        operator = await first_key(server)
        sent = {"name": "k"}
        first = await server.post("/v1/keys", sent, idempotency_key="once", **operator.headers)
        again = await server.post("/v1/keys", sent, idempotency_key="once", **operator.headers)
        assert (first.status, again.status) == (201, 200)
        assert (first.json["id"], again.json["key"]) == (again.json["id"], None)
        for path in ("/v1/keys", f"/v1/keys/{first.json['id']}"):
            assert (
                keytext.read(first.json["key"]).secret not in (await server.get(path, **operator.headers)).body.decode()
            )


async def test_secrets_are_neither_in_the_store_nor_in_the_log_of_the_server(serving, caplog):
    with caplog.at_level(logging.DEBUG):
        async with serving() as server:
            operator = await first_key(server)
            await server.get("/v1/runs", **operator.headers)
            await server.post(f"/v1/keys/{operator.key_id}:rotate", {}, **operator.headers)
            await server.get("/v1/runs", **bearer(keytext.new(operator.key_id)))
            await server.service.part(Access).tick()
            secret = keytext.read(operator.key).secret
            near = server.store.read.near
            for table in ("keys", "key_secrets", "audit_events", "idempotency", "store"):
                assert secret not in json.dumps(near.select(f"SELECT * FROM {table}", {})), table
    assert secret not in caplog.text


async def test_a_key_expires_by_the_clock(serving):
    async with serving() as server:
        operator = await first_key(server)
        made = await key_of(server, operator, expires_in="1h")
        server.clock.advance(3_599_999)
        assert (await server.get("/v1/runs", **bearer(made["key"]))).status == 200
        server.clock.advance(1)
        refused = await server.get("/v1/runs", **bearer(made["key"]))
        assert (refused.status, refused.json["reason"]) == (401, "expired")


async def test_a_rotated_key_has_two_secrets_for_the_overlap_and_one_after_it(serving):
    async with serving() as server:
        operator = await first_key(server)
        made = await key_of(server, operator)
        path = f"/v1/keys/{made['id']}:rotate"
        second_secret = (await server.post(path, {"overlap": "1h"}, **operator.headers)).json
        assert [secret["number"] for secret in second_secret["secrets"]] == [1, 2]
        for text in (made["key"], second_secret["key"]):
            assert (await server.get("/v1/runs", **bearer(text))).status == 200
        third = (await server.post(path, {"overlap": "1h"}, **operator.headers)).json
        statuses = [
            (await server.get("/v1/runs", **bearer(text))).status
            for text in (made["key"], second_secret["key"], third["key"])
        ]
        assert statuses == [401, 200, 200]
        server.clock.advance(3_600_000)
        assert (await server.get("/v1/runs", **bearer(second_secret["key"]))).status == 401
        assert (await server.get("/v1/runs", **bearer(third["key"]))).status == 200


@pytest.mark.parametrize("how", ["revoke", "user", "organisation"])
async def test_a_key_that_is_taken_away_lets_nobody_in_from_the_answer_on(serving, how):
    async with serving() as server:
        operator = await first_key(server)
        other = await second(server, operator)
        user = (await server.post("/v1/users", {"name": "Ada"}, **other.headers)).json
        made = await key_of(server, other, user_id=user["id"])
        mine = bearer(made["key"])
        assert (await server.get("/v1/runs", **mine)).status == 200
        match how:
            case "revoke":
                await server.post(f"/v1/keys/{made['id']}:revoke", **other.headers)
            case "user":
                await server.ask("PATCH", f"/v1/users/{user['id']}", {"state": "disabled"}, **other.headers)
            case "organisation":
                await server.ask("PATCH", f"/v1/organisations/{other.id}", {"state": "disabled"}, **operator.headers)
        refused = await server.get("/v1/runs", **mine)
        assert refused.status == 401
        assert refused.json["reason"] == {"revoke": "revoked"}.get(how, f"{how}_disabled")
        assert (await server.get("/v1/runs", **operator.headers)).status == 200


@pytest.mark.parametrize("how", ["revoke", "rotate", "expire", "narrow"])
async def test_streams_and_long_polls_end_with_the_key_that_opened_them(serving, how):
    async with serving() as server:
        operator = await first_key(server)
        run_id = (await server.post("/v1/runs", {"task": "backup"}, **operator.headers)).json["id"]
        made = await key_of(server, operator, scopes=["run:read", "worker:protocol"], expires_in="1h")
        mine = bearer(made["key"])
        stream = await server.listen(f"/v1/runs/{run_id}/events", **mine).begun()
        feed = await server.listen("/v1/events", **mine).begun()
        kept = await server.listen("/v1/events", **operator.headers).begun()
        poll = asyncio.ensure_future(server.get(f"/v1/runs/{run_id}?wait_for=final", prefer="wait=60", **mine))
        await asyncio.sleep(0)
        match how:
            case "revoke":
                await server.post(f"/v1/keys/{made['id']}:revoke", **operator.headers)
            case "rotate":
                await server.post(f"/v1/keys/{made['id']}:rotate", {"overlap": "0s"}, **operator.headers)
            case "narrow":
                await server.ask("PATCH", f"/v1/keys/{made['id']}", {"scopes": []}, **operator.headers)
            case "expire":
                server.clock.advance(3_600_000)
                await server.service.part(Access).tick()
        assert [message.event for message in await stream.rest()][-1] == "reconnect"
        assert [message.event for message in await feed.rest()][-1] == "reconnect"
        assert (await poll).status == 401
        assert len(server.api.waiting) == 1, "what others have open stays"
        await kept.leave()


async def test_the_stream_of_a_worker_ends_with_its_key(serving):
    async with serving() as server:
        operator = await first_key(server)
        made = await key_of(server, operator, scopes=["worker:protocol"])
        worker = (await server.post("/v1/workers", {"name": "w"}, **bearer(made["key"]))).json["id"]
        signals = await server.listen(f"/v1/workers/{worker}/signals", **bearer(made["key"])).begun()
        await server.post(f"/v1/keys/{made['id']}:revoke", **operator.headers)
        assert [message.event for message in await signals.rest()][-1] == "reconnect"
        claimed = await server.post("/v1/leases:claim", {"worker_id": worker}, **bearer(made["key"]))
        assert claimed.status == 401


async def test_the_first_key_ends_what_nobody_had_to_show_one_for(serving):
    async with serving() as server:
        feed = await server.listen("/v1/events").begun()
        await first_key(server)
        assert [message.event for message in await feed.rest()][-1] == "reconnect"


async def test_who_may_make_tasks_may_not_say_where_mails_go(serving):
    async with serving(outbound_allow=("127.0.0.1",)) as server:
        operator = await first_key(server)
        path, said = "/v1/mail-server", {"host": "127.0.0.1", "port": 2525, "sender": "a@example.com", "password": "p"}
        others = [scope for scope in ALL if not scope.startswith("mail:")]
        tasks, postmaster, looking = [
            bearer((await key_of(server, operator, **scopes))["key"])
            for scopes in ({"scopes": others}, {"scopes": ["mail:write"]}, {})
        ]
        for method, body in (("PUT", said), ("DELETE", None), ("GET", None)):
            answer = await server.ask(method, path, body, **tasks)
            assert (answer.status, answer.code) == (403, "forbidden"), method
        assert (await server.ask("PUT", path, said, **postmaster)).status == 200
        assert (await server.get(path, **postmaster)).status == 403
        shown = await server.get(path, **looking)
        assert (shown.status, shown.json["has_password"]) == (200, True)
        assert (await server.ask("DELETE", path, **looking)).status == 403
        assert (await server.ask("DELETE", path, **postmaster)).status == 204


async def test_a_worker_declares_schedules_of_its_own_tasks_and_queues_alone(serving):
    async with serving() as server:
        operator = await first_key(server)
        free = bearer((await key_of(server, operator, scopes=["worker:protocol"]))["key"])
        bound = bearer((await key_of(server, operator, scopes=["worker:protocol"], queues=["a"]))["key"])

        async def declare(caller, task="mine", **schedule):
            said = {"name": "s", "task": task, "occurrence": "Daily", **schedule}
            return await server.post("/v1/workers", {"tasks": tasks, "schedules": [said]}, **caller)

        tasks = [{"name": "mine", "queue": "a"}, {"name": "elsewhere", "queue": "b"}]
        assert (await server.post("/v1/workers", {"tasks": tasks}, **free)).status == 201
        for caller in (free, bound):
            assert (await declare(caller, "backup")).status == 422, "another worker declares that task"
        for refused in (await declare(bound, "elsewhere"), await declare(bound, queue="b")):
            assert refused.status == 403
        assert (await server.get("/v1/schedules", **operator.headers)).json["data"] == []
        assert (await declare(bound)).json["notices"] == []
        assert (await server.get("/v1/schedules/s", **operator.headers)).json["declared"] is True
        for method, target in (("GET", "/v1/schedules/s"), ("PATCH", "/v1/schedules/s"), ("DELETE", "/v1/schedules/s")):
            assert (await server.ask(method, target, {} if method == "PATCH" else None, **free)).status == 403


async def test_a_workers_key_is_held_to_its_queues(serving):
    async with serving() as server:
        operator = await first_key(server)
        one = bearer((await key_of(server, operator, scopes=["worker:protocol"], queues=["a"]))["key"])
        other = bearer((await key_of(server, operator, scopes=["worker:protocol"], queues=["b"]))["key"])
        assert (await server.post("/v1/workers", {"queues": ["a", "b"]}, **one)).status == 403
        worker = (await server.post("/v1/workers", {"tasks": [{"name": "t", "queue": "a"}]}, **one)).json
        assert worker["queues"] == ["a"], "who names none has those of its key, not all"
        bodies = {"/v1/leases:claim": {"worker_id": worker["id"]}, "/v1/leases:report": {"worker_id": worker["id"]},
                  f"/v1/workers/{worker['id']}:drain": {}}  # fmt: skip
        for path, body in bodies.items():
            assert (await server.post(path, body, **other)).status == 404, path
        assert (await server.get(f"/v1/workers/{worker['id']}/signals", **other)).status == 404
        for path, body in bodies.items():
            assert (await server.post(path, body, **one)).status == 200, path
        anywhere = (await server.post("/v1/workers", {}, **operator.headers)).json["id"]
        assert (await server.post("/v1/leases:claim", {"worker_id": anywhere}, **one)).status == 404


# -- limits ------------------------------------------------------------------------------------------------------------


async def test_every_answer_to_a_key_says_what_is_left(serving):
    async with serving() as server:
        operator = await first_key(server)
        made = await key_of(server, operator, per_minute=10, per_day=100, scopes=["run:read"])
        run_id = (await server.post("/v1/runs", {"task": "backup"}, **operator.headers)).json["id"]
        answers = [
            await server.get("/v1/runs", **bearer(made["key"])),
            await server.get(f"/v1/runs/{keytext.new_id()}", **bearer(made["key"])),
            await server.get("/v1/runs?nope=1", **bearer(made["key"])),
        ]
        stream = await server.listen(f"/v1/runs/{run_id}/events", **bearer(made["key"])).begun()
        assert [answer.status for answer in answers] == [200, 404, 400]
        minute = server.clock.now_ms() // MINUTE_MS * 60 + 60
        day = server.clock.now_ms() // DAY_MS * 86_400 + 86_400
        for used, headers in enumerate([*(answer.headers for answer in answers), stream.headers], 1):
            assert headers["x-ratelimit-limit"] == "10"
            assert headers["x-ratelimit-remaining"] == str(10 - used)
            assert headers["x-ratelimit-reset"] == str(minute)
            assert headers["x-retry-after"] == "60"
            assert headers["x-ratelimit-daily-limit"] == "100"
            assert headers["x-ratelimit-daily-remaining"] == str(100 - used)
            assert headers["x-daily-ratelimit-reset"] == str(day)
            assert int(headers["x-daily-retry-after"]) == day - server.clock.now_ms() // 1000
        await stream.leave()


@pytest.mark.parametrize(("limit", "whose", "span"), [
    ({"per_minute": 7}, "key", MINUTE_MS), ({"per_day": 7}, "key", DAY_MS),
])  # fmt: skip
async def test_of_many_at_once_just_as_many_are_let_in_as_the_limit_says(serving, limit, whose, span):
    async with serving() as server:
        operator = await first_key(server)
        made = await key_of(server, operator, **limit)
        for _ in range(2):
            answers = await asyncio.gather(*(server.get("/v1/runs", **bearer(made["key"])) for _ in range(40)))
            assert sorted(answer.status for answer in answers) == [200] * 7 + [429] * 33
            refused = next(answer for answer in answers if answer.status == 429)
            assert whose in refused.json["detail"]
            left_s = (span - server.clock.now_ms() % span) / 1000
            assert int(refused.headers["retry-after"]) == left_s
            assert (await server.get("/v1/runs", **operator.headers)).status == 200
            server.clock.advance(span)


async def test_an_organisation_has_limits_for_all_of_its_keys_together(serving):
    async with serving() as server:
        operator = await first_key(server)
        other = await second(server, operator, per_minute=5)
        keys = [other.headers, bearer((await key_of(server, other))["key"])]  # making it was the first use
        answers = [await server.get("/v1/runs", **keys[n % 2]) for n in range(8)]
        assert [answer.status for answer in answers] == [200] * 4 + [429] * 4
        assert "organisation" in answers[-1].json["detail"]
        assert (await server.get("/v1/runs", **operator.headers)).status == 200


async def test_a_worker_at_its_work_is_not_counted(serving):
    async with serving() as server:
        operator = await first_key(server)
        made = await key_of(server, operator, scopes=["worker:protocol"], per_minute=1)
        worker = (await server.post("/v1/workers", {}, **bearer(made["key"]))).json["id"]
        for _ in range(5):
            reported = await server.post("/v1/leases:report", {"worker_id": worker}, **bearer(made["key"]))
            assert reported.status == 200


async def test_attempts_without_a_valid_key_are_limited_and_lock_nobody_out(serving):
    async with serving() as server:
        operator = await first_key(server)
        made = await key_of(server, operator)
        statuses = [(await server.get("/v1/runs", **bearer(keytext.new()))).status for _ in range(FAILURES_MAX + 5)]
        assert statuses == [401] * FAILURES_MAX + [429] * 5
        assert (await server.get("/v1/runs", **bearer(made["key"]))).status == 200
        server.clock.advance(MINUTE_MS)
        assert (await server.get("/v1/runs")).status == 401


# -- the log -----------------------------------------------------------------------------------------------------------


async def log_of(server, party, **query):
    asked = "&".join(f"{name}={value}" for name, value in {"page_size": 1000, **query}.items())
    return (await server.get(f"/v1/audit-events?{asked}", **party.headers)).json["data"]


async def test_the_log_tells_who_did_what_from_where(serving):
    async with serving() as server:
        operator = await first_key(server)
        run_id = (await server.post("/v1/runs", {"task": "backup"}, **operator.headers)).json["id"]
        done = await server.post(f"/v1/runs/{run_id}:terminate", {}, **operator.headers, user_agent="curl/8\n")
        line = (await log_of(server, operator, action="run.terminate"))[0]
        assert (line["actor"], line["key_id"], line["target"]) == ("operator", operator.key_id, run_id)
        assert (line["agent"], line["request_id"]) == ("curl/8?", done.headers["x-request-id"])
        assert line["outcome"] == "done 200"


async def test_changes_of_keys_users_and_organisations_stand_in_the_log(serving):
    async with serving() as server:
        operator = await first_key(server)
        other = await second(server, operator)
        made = await key_of(server, other)
        user = (await server.post("/v1/users", {"name": "Ada"}, **other.headers)).json["id"]
        await server.ask("PATCH", f"/v1/users/{user}", {"state": "disabled"}, **other.headers)
        await server.ask("PATCH", f"/v1/keys/{made['id']}", {"per_day": 5}, **other.headers)
        await server.post(f"/v1/keys/{made['id']}:rotate", {}, **other.headers)
        await server.post(f"/v1/keys/{made['id']}:revoke", **other.headers)
        await server.ask("PATCH", f"/v1/organisations/{other.id}", {"name": "x"}, **operator.headers)
        assert [line["action"] for line in await log_of(server, operator)] == [
            "key.create", "organisation.create", "key.create", "key.create", "user.create", "user.change", "key.change",
            "key.rotate", "key.revoke", "organisation.change",
        ]  # fmt: skip
        mine = await log_of(server, other)
        assert {line["organisation"] for line in mine} == {other.id}
        assert [line["action"] for line in mine][-1] == "key.revoke"


async def test_refusals_stand_in_the_log_and_a_flood_of_them_in_one_line(serving):
    async with serving() as server:
        operator = await first_key(server)
        reader = bearer((await key_of(server, operator))["key"])
        for _ in range(200):
            await server.get("/v1/runs", **bearer(keytext.new()))
        await server.post("/v1/runs", {"task": "backup"}, **reader)
        await server.service.part(Access).tick()
        told = [(line["action"], line["outcome"]) for line in await log_of(server, operator)][2:]
        assert told == [("GET /v1/runs", "unauthenticated (200 times)"), ("POST /v1/runs", "forbidden")]


async def test_a_flood_from_everywhere_does_not_fill_the_disk():
    async with serving_in_memory() as server:
        operator = await first_key(server)
        for turn in range(10):
            for n in range(700):
                await server.get("/v1/runs", user_agent=f"{turn}.{n}")
            await server.service.part(Access).tick()
        server.clock.advance(MINUTE_MS)
        await server.service.part(Access).tick()
        lines = server.store.read.near.select("SELECT count(*) FROM audit_events", {})[0][0]
        assert 2_000 < lines < 2_010
        (beyond,) = (line for line in await log_of(server, operator, action="many", after=2_001))
        assert re.fullmatch(r"refused \(\d+ times\)", beyond["outcome"])
        assert await log_of(server, operator)


async def test_what_was_used_today_is_known_after_a_restart(tmp_path):
    from headway.clock import ManualClock
    from headway.store.sqlite.open import open_file

    clock = ManualClock()
    async with serving_in_memory(store=open_file(tmp_path / "h.db", clock, reserve_bytes=0)) as server:
        operator = await first_key(server)
        made = await key_of(server, operator, per_day=5)
        for _ in range(3):
            await server.get("/v1/runs", **bearer(made["key"]))
        await server.service.part(Access).close()
    async with serving_in_memory(store=open_file(tmp_path / "h.db", clock, reserve_bytes=0)) as server:
        answers = [await server.get("/v1/runs", **bearer(made["key"])) for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 429, 429]
        shown = (await server.get(f"/v1/keys/{made['id']}", **operator.headers)).json
        assert shown["last_used_at"] is not None


async def test_who_may_only_start_runs_does_not_start_those_that_act_on_others(serving):
    async with serving("backup", "headway.bulk") as server:
        operator = await first_key(server)
        made = await key_of(server, operator, scopes=["run:start", "worker:protocol"])
        starter, spec = bearer(made["key"]), {"task": "headway.bulk", "input": {"action": "terminate", "filter": {}}}
        assert (await server.post("/v1/runs", {"task": "backup"}, **starter)).status == 202
        assert (await server.post("/v1/runs", spec, **starter)).status == 403
        assert (await server.post("/v1/runs:batch", {"runs": [{"task": "backup"}, spec]}, **starter)).status == 403
        worker = (await server.post("/v1/workers", {"tasks": [{"name": "backup"}]}, **starter)).json["id"]
        claimed = (await server.post("/v1/leases:claim", {"worker_id": worker}, **starter)).json["leases"][0]
        about = {"run_id": claimed["run_id"], "epoch": 1}
        reports = [
            {**about, "type": "child", "name": "a", "run": spec},
            {**about, "type": "child", "name": "b", "run": {"task": "backup"}},
            {**about, "type": "child", "name": "c", "run": spec},
            {**about, "type": "log", "epoch": 7, "message": "x"},
        ]
        told = (await server.post("/v1/leases:report", {"worker_id": worker, "reports": reports}, **starter)).json
        assert [(one["index"], one["status"]) for one in told["rejected"]] == [(0, 403), (2, 403), (3, 409)]
        assert [reply["index"] for reply in told["replies"]] == [1]
        assert (await server.post("/v1/runs", spec, **operator.headers)).status == 202


BUILT_IN = tuple(OF_BUILT_IN)


def test_every_built_in_task_says_what_it_does():
    assert TASKS.keys() == OF_BUILT_IN.keys()
    assert [NEEDS[effect].scope for effect in OF_BUILT_IN.values()] == ["run:control", "record:write", "record:read"]
    assert (of_task("headway.to-come"), of_task("backup")) == (("act on many runs",), ())


async def test_a_schedule_that_stops_runs_is_changed_only_by_who_may_stop_runs(serving):
    async with serving("backup", "headway.bulk") as server:
        operator = await first_key(server)
        made = {"name": "s", "task": "headway.bulk", "occurrence": "Daily", "input": {}}
        await server.post("/v1/schedules", made, **operator.headers)
        planner = bearer((await key_of(server, operator, scopes=["schedule:write", "run:start"]))["key"])
        for change in ({"input": {"all": True}}, {"task": "backup"}, {"occurrence": "Hourly"}):
            assert (await server.ask("PATCH", "/v1/schedules/s", change, **planner)).status == 403
        assert (await server.post("/v1/schedules/s:pause", **planner)).status == 200


@pytest.mark.parametrize(
    ("key", "started"),
    [
        ({"scopes": ["worker:protocol"]}, {"headway.export"}),
        ({"scopes": ["worker:protocol"], "queues": ["default"]}, set()),
        ({"scopes": ["worker:protocol"], "queues": ["default", "headway"]}, {"headway.export"}),
        ({"scopes": ["worker:protocol", "record:write"]}, {"headway.export", "headway.import"}),
        ({"scopes": ["worker:protocol", "record:read", "run:control"]}, {"headway.export", "headway.bulk"}),
        ({"scopes": ["worker:protocol", "record:read"], "queues": ["default"]}, set()),
        ({"scopes": ["worker:protocol", "run:start"], "queues": ["default"]}, set()),
        ({"scopes": ["worker:protocol", "run:start", "record:read"], "queues": ["default"]}, {"headway.export"}),
    ],
)
async def test_a_worker_starts_exports_for_the_runs_it_holds_and_what_changes_things_with_the_scope(
    key, started, serving
):
    async with serving() as server:
        await server.declare(*BUILT_IN, queue="headway")
        operator = await first_key(server)
        caller = bearer((await key_of(server, operator, **key))["key"])
        worker = (await server.post("/v1/workers", {"tasks": [{"name": "backup"}]}, **caller)).json["id"]
        run_id = (await server.post("/v1/runs", {"task": "backup"}, **operator.headers)).json["id"]
        assert (await server.post("/v1/leases:claim", {"worker_id": worker}, **caller)).json["leases"]
        tasks = ["backup", *BUILT_IN]

        async def report(epoch):
            about = {"run_id": run_id, "epoch": epoch, "type": "child"}
            reports = [{**about, "name": task, "run": {"task": task}} for task in tasks]
            return await server.post("/v1/leases:report", {"worker_id": worker, "reports": reports}, **caller)

        told = (await report(1)).json
        refused = {tasks[one["index"]]: (one["status"], one["code"]) for one in told["rejected"]}
        assert refused == dict.fromkeys({*BUILT_IN} - started, (403, "forbidden"))
        children = (await server.get(f"/v1/runs?parent_id={run_id}", **operator.headers)).json["data"]
        assert {child["task"] for child in children} == {"backup"} | started
        lost = (await report(7)).json
        assert all(one["status"] in (403, 409) for one in lost.get("rejected", [])), (
            "not for a run that it does not hold"
        )
        after = (await server.get(f"/v1/runs?parent_id={run_id}", **operator.headers)).json["data"]
        assert len(after) == len(children)


async def test_what_a_worker_has_exported_it_cannot_read_without_the_scope(serving):
    async with serving("backup", "headway.export") as server:
        operator = await first_key(server)
        caller = bearer((await key_of(server, operator, scopes=["worker:protocol"]))["key"])
        for path in ("/v1/files", "/v1/files/x", "/v1/files/x/content", "/v1/runs"):
            assert (await server.get(path, **caller)).status == 403
        assert (await server.post("/v1/runs", {"task": "headway.export"}, **caller)).status == 403


async def test_the_history_of_a_run_tells_by_which_key_it_was_stopped(serving):
    async with serving() as server:
        operator = await first_key(server)
        for said, told in (({}, "operator"), ({"actor": "Ann"}, "Ann (operator)")):
            run_id = (await server.post("/v1/runs", {"task": "backup"}, **operator.headers)).json["id"]
            stopped = await server.post(f"/v1/runs/{run_id}:terminate", said, **operator.headers)
            assert stopped.json["reason"]["actor"] == told
