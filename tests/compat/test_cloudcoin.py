"""The CloudCoin surface, in the words of its contract: four generations of polling, and errors that end all of them."""

from __future__ import annotations

import json

import msgspec
import pytest
from tests.web.kit import NOBODY

from headway.compat.cloudcoin.commands import ALIASES, RESERVED, Commands
from headway.compat.cloudcoin.settings import CloudcoinSettings
from headway.compat.cloudcoin.words import WORDS
from headway.kernel.run import State
from headway.protocol import workers as wire

EVERY_URL = (
    "/api/v1/tasks/{}", "/api/v1/task/{}", "/get-task-status/{}", "/api/v1/get-task-status/{}",
    "/api/transactions/task?task_id={}", "/api/task?task_id={}", "/api/task?id={}",
    "/api/system/tasks?id={}", "/api/system/tasks?task_id={}",
)  # fmt: skip
UNKNOWN = {
    "status": "error",
    "payload": {
        "id": NOBODY, "status": "error", "progress": 100, "code": 4105, "message": "Task does not exist", "details": None,
        "data": {"code": 4105, "message": "Task does not exist", "details": None},
    },
}  # fmt: skip


async def polled(server, run_id, url="/api/v1/tasks/{}"):
    answer = await server.get(url.format(run_id))
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/json"
    return answer.json


async def progress(server, run_id, done, total, message=""):
    run = await server.service.of(1).runs.get(run_id)
    await server.report(wire.ProgressReport(run_id=run_id, epoch=run.epoch, done=done, total=total, message=message))


# -- commands ----------------------------------------------------------------------------------------------------------


async def test_a_command_starts_the_task_of_its_name_and_answers_with_the_task_object(serving):
    async with serving() as server:
        answer = await server.post("/api/v1/backup", {"folder": "/srv"})
        run_id = answer.json["payload"]["id"]
        url = f"http://localhost:8006/api/system/tasks?id={run_id}"
        task = {"id": run_id, "status": "running", "progress": 0, "message": "Command Started", "data": None}
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json["payload"] == {**task, "started": 0, "finished": 0, "url": url}
        assert {name: value for name, value in answer.json.items() if name != "payload"} == {
            "status": "success", "command": "backup", "success": True, "task_id": run_id, "message": "Command Started",
            "url": url,
        }  # fmt: skip
        run = (await server.get(f"/v1/runs/{run_id}")).json
        assert (run["task"], run["input"], run["run_type"]) == ("backup", {"folder": "/srv"}, "cloudcoin")


@pytest.mark.parametrize(("name", "task"), ALIASES.items())
async def test_the_documented_long_names_are_aliases(name, task, in_memory):
    async with in_memory(task) as server:
        run_id = (await server.post(f"/api/v1/{name}")).json["task_id"]
        assert (await server.get(f"/v1/runs/{run_id}")).json["task"] == task


async def test_other_methods_start_only_what_the_table_has(in_memory):
    async with in_memory(
        "fix", "echo", surfaces=(CloudcoinSettings(aliases=("GET echo=echo", "repair=fix")),)
    ) as server:
        assert (await server.ask("PUT", "/api/v1/fix")).json["command"] == "fix"
        assert (await server.get("/api/v1/echo")).json["command"] == "echo"
        assert (await server.post("/api/v1/repair")).json["success"] is True
        for method, path in (("PUT", "echo"), ("GET", "fix"), ("HEAD", "echo"), ("DELETE", "fix")):
            assert (await server.ask(method, f"/api/v1/{path}")).status in (404, 405), (method, path)
        assert (await server.get("/v1/runs:count")).json["total"] == 3


@pytest.mark.parametrize("name", sorted(RESERVED))
async def test_a_reserved_word_is_never_a_command(name, in_memory):
    async with in_memory(name) as server:
        answer = await server.post(f"/api/v1/{name}", {})
        assert answer.status in (404, 405)
        assert (await server.get("/v1/runs:count")).json["total"] == 0
    with pytest.raises(ValueError, match="path of another API"):
        Commands([f"{name}=backup"])


async def test_the_servers_own_tasks_are_no_commands(in_memory):
    async with in_memory("headway.bulk") as server:
        assert (await server.post("/api/v1/headway.bulk", {"action": "terminate"})).status == 404


@pytest.mark.parametrize("alias", ["", "x", "=x", "a b=c", "DELETE x=y", "x=", "../x=y", "x=a\nb"])
def test_an_alias_that_is_none_is_refused(alias):
    with pytest.raises(ValueError, match="not an alias of a command"):
        Commands([alias])


async def test_a_command_without_a_body_has_no_input_and_any_content_type_may_carry_json(in_memory):
    async with in_memory() as server:
        for body, kind in ((None, None), (b'{"a":1}', "application/x-www-form-urlencoded"), (b'{"a":1}', None)):
            answer = await server.ask("POST", "/api/v1/backup", body, content_type=kind)
            assert answer.status == 200
            run = (await server.get(f"/v1/runs/{answer.json['task_id']}")).json
            assert run["input"] == (json.loads(body) if body else {})


async def test_a_command_with_an_idempotency_key_is_carried_out_once(serving):
    async with serving() as server:
        first, again = [await server.post("/api/v1/backup", {"a": 1}, idempotency_key="k") for _ in range(2)]
        assert first.json["task_id"] == again.json["task_id"]
        assert again.headers["idempotency-replayed"] == "true"


# -- polling -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", EVERY_URL)
async def test_a_task_is_found_under_every_documented_url_with_and_without_dashes(url, in_memory):
    async with in_memory() as server:
        run_id = await server.start()
        for spelling in (run_id, run_id.replace("-", ""), run_id.upper()):
            said = await polled(server, spelling, url)
            assert run_id in (said.get("task_id"), said.get("payload", {}).get("id"))


async def test_each_generation_has_its_words_for_each_state(serving):
    urls = {"current": EVERY_URL[0], "flat": EVERY_URL[4], "newer": EVERY_URL[7]}
    async with serving() as server:
        states = {State.SCHEDULED: await server.start(delay="1h"), State.TERMINATED: await server.start()}
        await server.post(f"/v1/runs/{states[State.TERMINATED]}:terminate")
        states[State.SUCCEEDED] = await server.finished()
        for state in (State.FAILED, State.STOPPING, State.RUNNING, State.SUSPENDED):
            states[state] = await server.running()
        await server.fail(states[State.FAILED])
        await server.post(f"/v1/runs/{states[State.STOPPING]}:terminate")
        await server.post(f"/v1/runs/{states[State.SUSPENDED]}:suspend")
        states[State.QUEUED] = await server.start()
        assert set(states) == set(State)
        for state, run_id in states.items():
            assert (await server.get(f"/v1/runs/{run_id}")).json["state"] == state
            for generation, url in urls.items():
                said = await polled(server, run_id, url)
                said = said if generation == "flat" else said["payload"]
                assert said["status"] == getattr(WORDS[state], generation), (state, generation)
    assert {word.current for word in WORDS.values()} == {"running", "completed", "error"}
    assert {word.flat for word in WORDS.values()} == {"pending", "running", "success", "error"}
    assert {word.newer for word in WORDS.values()} == {"running", "success", "failed"}


async def test_the_shapes_of_the_generations_are_theirs(in_memory):
    async with in_memory() as server:
        run_id = await server.finished(b'{"total_coins":7}')
        done = {"progress": 100, "message": "Command Completed", "data": {"total_coins": 7}}
        seconds = server.clock.now_ms() // 1000
        current = {"id": run_id, "status": "completed", "started": seconds, "finished": seconds, **done}
        assert await polled(server, run_id) == {"status": "success", "payload": current}
        assert await polled(server, run_id, EVERY_URL[4]) == {"status": "success", "task_id": run_id, **done}
        newer = {"id": run_id, "status": "success", **done}
        assert await polled(server, run_id, EVERY_URL[7]) == {"status": "success", "payload": newer}


@pytest.mark.parametrize(
    "output", [b'"OK"', b"null", b"[1,2]", b"7", b"true", b'{"a":{"b":[]}}', '"é\\u0000"'.encode()]
)
async def test_data_is_any_json(output, in_memory):
    async with in_memory() as server:
        data = (await polled(server, await server.finished(output)))["payload"]["data"]
        assert data == json.loads(output)


async def test_progress_is_a_whole_number_and_never_ahead(in_memory):
    async with in_memory() as server:
        run_id = await server.running()
        for done, total, shown in (
            (1, 3, b"33"),
            (199, 200, b"99"),
            (200, 200, b"100"),
            (5, None, b"0"),
            (0, 0, b"100"),
        ):
            await progress(server, run_id, done, total)
            answer = await server.get(f"/api/v1/tasks/{run_id}")
            assert b'"progress":%b,' % shown in answer.body, (done, total, answer.body)
            assert answer.json["payload"]["status"] == "running"


async def test_a_running_task_says_how_it_goes_and_to_the_newer_generations_what_it_published_last(serving):
    async with serving() as server:
        run_id = await server.running()
        assert (await polled(server, run_id))["payload"]["message"] == "Command Started"
        await progress(server, run_id, 1, 2)
        assert (await polled(server, run_id))["payload"]["message"] == "Processing..."
        await progress(server, run_id, 1, 2, "detecting")
        assert (await polled(server, run_id))["payload"]["message"] == "detecting"
        for value in (b'"ppp__"', b'{"phase":2}'):
            report = wire.ResultReport(run_id=run_id, epoch=1, name="dots", value=msgspec.Raw(value))
            await server.report(report)
            for url in EVERY_URL:
                said = await polled(server, run_id, url)
                older = "/api/v1/" in url or "get-task-status" in url
                assert said.get("payload", said)["data"] == (None if older else json.loads(value)), url
        await server.succeed(run_id, b'"OK"')
        assert (await polled(server, run_id))["payload"]["data"] == "OK"


# -- errors ------------------------------------------------------------------------------------------------------------


async def test_a_failed_task_says_why_in_both_places(serving):
    async with serving() as server:
        run_id = await server.running()
        error = wire.FunctionError(message="name: cannot be blank", type="ValueError", retryable=False)
        await server.report(wire.ErroredReport(run_id=run_id, epoch=1, error=error))
        task = (await polled(server, run_id))["payload"]
        assert (task["status"], task["progress"], task["message"]) == ("error", 100, "name: cannot be blank")
        assert task["finished"] > 0
        assert task["data"] == {
            "code": 4100,
            "message": "name: cannot be blank",
            "details": ["exception", "ValueError"],
        }


@pytest.mark.parametrize("code", ["timeout", "heartbeat_timeout"])
async def test_a_task_that_timed_out_has_their_code_for_it(code, in_memory):
    async with in_memory() as server:
        run_id = await server.running()
        error = wire.FunctionError(message="", code=code, retryable=False)
        await server.report(wire.ErroredReport(run_id=run_id, epoch=1, error=error))
        data = (await polled(server, run_id))["payload"]["data"]
        assert (data["code"], data["message"]) == (4106, "Task timed out")


@pytest.mark.parametrize(
    ("said", "code"), [("4115", 4115), ("4096", 4096), ("4352", 4100), ("04115", 4100), ("no_wallet", 4100)]
)
async def test_a_task_may_fail_with_a_code_of_theirs(said, code, in_memory):
    async with in_memory() as server:
        run_id = await server.running()
        error = wire.FunctionError(message="there is no wallet Savings", code=said, type="Fail", retryable=False)
        await server.report(wire.ErroredReport(run_id=run_id, epoch=1, error=error))
        task = (await polled(server, run_id))["payload"]
        assert (task["status"], task["message"]) == ("error", "there is no wallet Savings")
        assert task["data"] == {"code": code, "message": "there is no wallet Savings", "details": [said, "Fail"]}


async def test_a_terminated_task_is_an_error_that_says_so(in_memory):
    async with in_memory() as server:
        why, plain = await server.start(), await server.start()
        await server.post(f"/v1/runs/{why}:terminate", {"reason": "the coins are gone"})
        await server.post(f"/v1/runs/{plain}:terminate")
        assert (await polled(server, why))["payload"]["message"] == "terminated: the coins are gone"
        task = (await polled(server, plain))["payload"]
        assert (task["status"], task["progress"], task["message"]) == ("error", 100, "terminated")
        assert task["data"]["message"] == "terminated"


async def test_an_unknown_task_is_404_with_the_body_that_ends_every_poller(in_memory):
    async with in_memory() as server:
        for url in EVERY_URL[:4]:
            answer = await server.get(url.format(NOBODY))
            assert (answer.status, answer.json) == (404, UNKNOWN)
        flat = await server.get(EVERY_URL[4].format(NOBODY))
        assert flat.status == 404
        assert (flat.json["status"], flat.json["task_id"], flat.json["data"]["code"]) == ("error", NOBODY, 4105)
        newer = await server.get(EVERY_URL[7].format(NOBODY))
        assert (newer.status, newer.json["status"], newer.json["payload"]["status"]) == (404, "error", "failed")


@pytest.mark.parametrize("text", ["nope", "0199f2a4", "status2", "Nov-22-25_08-00-00-AM", "x" * 500, "%00", "{}"])
async def test_what_is_no_uuid_is_no_task(text, in_memory):
    async with in_memory() as server:
        for url in EVERY_URL[:1] + EVERY_URL[4:5]:
            answer = await server.get(url.format(text))
            assert answer.status == 404
            assert answer.json["status"] == "error"


async def test_a_removed_task_is_gone_and_ends_the_polling(serving):
    async with serving() as server:
        run_id = await server.finished()
        await server.ask("DELETE", f"/v1/runs/{run_id}")
        answer = await server.get(f"/api/v1/tasks/{run_id}")
        task = answer.json["payload"]
        assert (answer.status, task["status"], task["code"], task["message"]) == (
            410,
            "error",
            4105,
            "Task does not exist",
        )
        assert "was removed" in task["details"][0]


@pytest.mark.parametrize(
    "query", ["", "?x=1", "?task_id=", "?task_id=a&task_id=b", "?id=a&task_id=b", "?%ff", "?id=%ff"]
)
async def test_a_poll_that_names_no_task_is_told_so(query, in_memory):
    async with in_memory() as server:
        for path in ("/api/task", "/api/system/tasks"):
            answer = await server.get(path + query)
            assert answer.status == 400
            data = answer.json.get("payload", answer.json)["data"]
            assert (data["code"], data["message"]) == (4107, "Task ID is missing")


SCHEMA = b'{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}'


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        (b"{", 400, 4110, "Failed to parse Input JSON"),
        (b"name=x", 400, 4110, "Failed to parse Input JSON"),
        (b'{"name":NaN}', 400, 4110, "Failed to parse Input JSON"),
        (b'{"name":"a","name":"b"}', 400, 4110, "Failed to parse Input JSON"),
        (b"\xff\xfe", 400, 4110, "Failed to parse Input JSON"),
        (b"{}", 422, 4121, "Validation error. input: "),
        (b'{"name":7}', 422, 4121, "Validation error. input.name: "),
        (b"[]", 422, 4121, "Validation error. input: "),
        (b'{"name":"%b"}' % (b"x" * 3000), 413, 4121, "Validation error. "),
    ],
)
async def test_input_that_cannot_be_has_their_codes(body, status, code, message, serving):
    async with serving(input_max=2000) as server:
        await server.declare("join", input_schema=msgspec.Raw(SCHEMA))
        answer = await server.ask("POST", "/api/v1/join", body)
        payload = answer.json["payload"]
        assert (answer.status, answer.json["status"], payload["status"]) == (status, "error", "error")
        assert payload["message"].startswith(message)
        assert payload["data"] == {name: payload[name] for name in ("code", "message", "details")}
        assert payload["code"] == code
        assert (await server.get("/v1/runs:count")).json["total"] == 0


async def test_an_unknown_command_and_an_unknown_url_are_no_services(in_memory):
    async with in_memory() as server:
        await server.post("/v1/tasks/backup:deactivate")
        for method, path, status, code in (
            ("POST", "/api/v1/nothing", 404, 4154), ("GET", "/api/v1/nothing", 404, 4154), ("GET", "/api/x/y", 404, 4154),
            ("DELETE", f"/api/v1/tasks/{NOBODY}", 405, 4154), ("GET", "/get-task-status", 404, 4154),
            ("POST", "/api/v1/backup", 409, 4100),
        ):  # fmt: skip
            answer = await server.ask(method, path)
            payload = answer.json["payload"]
            assert (answer.status, answer.json["status"], payload["code"]) == (status, "error", code), path
            assert payload["message"] == (
                "Service Not Found. Invalid URL" if code == 4154 else payload["data"]["message"]
            )


async def test_limits_come_in_the_surfaces_words_too(in_memory):
    async with in_memory(body_max=1000) as server:
        cases = (
            (await server.post("/api/v1/backup", b"x" * 1001), 413),
            (await server.get(f"/api/v1/tasks/{'x' * 17000}"), 414),
            (await server.get(f"/api/v1/tasks/{NOBODY}", **{f"x{n}": "y" for n in range(101)}), 431),
            (await server.get(f"/api/v1/tasks/{NOBODY}", host="evil.example"), 421),
        )
        for answer, status in cases:
            assert (answer.status, answer.json["status"], answer.json["payload"]["status"]) == (
                status,
                "error",
                "error",
            )
            assert ("connection" in answer.headers) == (status != 421)


async def test_what_passes_by_itself_says_nothing_about_the_task(in_memory):
    """A server that drains, or a disk that is full, must not end a polling that could go on."""
    async with in_memory() as server:
        server.api.drain()
        answer = await server.post("/api/v1/backup", {})
        payload = answer.json["payload"]
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert (answer.json["status"], payload["status"], payload["progress"]) == ("error", "unavailable", 0)
        assert payload["message"] == "The server is shutting down"


async def test_strict_answers_errors_with_200_as_the_original_does(in_memory):
    async with in_memory(surfaces=(CloudcoinSettings(strict=True),)) as server:
        for method, path in (("GET", f"/api/v1/tasks/{NOBODY}"), ("POST", "/api/v1/nothing"), ("GET", "/api/task")):
            answer = await server.ask(method, path)
            assert (answer.status, answer.json["status"]) == (200, "error")
        assert (await server.get(f"/v1/runs/{NOBODY}")).status == 404
        assert (await server.get(f"/api/v1/tasks/status/queue/{NOBODY}")).status == 404


async def test_strict_holds_for_every_path_that_is_not_another_surfaces(in_memory):
    async with in_memory(surfaces=(CloudcoinSettings(strict=True),)) as server:
        for method, path in (
            ("GET", "/echo"), ("POST", "/backup"), ("PUT", "/fix"), ("GET", "/api"), ("GET", "/get-task-status"), ("GET", "/a/b"),
        ):  # fmt: skip
            answer = await server.ask(method, path)
            assert (answer.status, answer.json["payload"]["code"]) == (200, 4154), path
        for path, status in (("/v1/nothing", 404), ("/docs/x", 404), ("/openapi/x.json", 404), ("/errors/x", 404)):
            assert (await server.get(path)).status == status, path
        for path in ("/livez", "/v1/runs:count", "/"):
            assert (await server.post(path)).status in (404, 405), path
    async with in_memory() as server:
        assert (await server.get("/echo")).headers["content-type"] == "application/problem+json"


# -- web pages ---------------------------------------------------------------------------------------------------------

WALLET = "https://wallet.example"


async def test_pages_of_other_sites_may_neither_read_nor_start(in_memory):
    async with in_memory() as server:
        run_id = await server.start()
        for headers in ({"origin": WALLET}, {"sec_fetch_site": "cross-site"}, {"origin": "null"}):
            for method, path in (
                ("GET", f"/api/v1/tasks/{run_id}"),
                ("POST", "/api/v1/backup"),
                ("PUT", "/api/v1/fix"),
            ):
                answer = await server.ask(method, path, **headers)
                assert (answer.status, answer.json["status"]) == (403, "error")
                assert "access-control-allow-origin" not in answer.headers
        assert (await server.get(f"/api/v1/tasks/{run_id}", origin="http://localhost:8006")).status == 200


async def test_pages_of_a_listed_origin_may(in_memory):
    async with in_memory(surfaces=(CloudcoinSettings(origins=(WALLET,)),)) as server:
        page = {"origin": WALLET, "sec_fetch_site": "cross-site"}
        asking = {**page, "access_control_request_method": "POST", "access_control_request_headers": "content-type"}
        preflight = await server.ask("OPTIONS", "/api/v1/backup", **asking)
        assert (preflight.status, preflight.headers["access-control-allow-origin"]) == (204, WALLET)
        assert "POST" in preflight.headers["access-control-allow-methods"]
        assert "Content-Type" in preflight.headers["access-control-allow-headers"]
        started = await server.post("/api/v1/backup", {}, **page)
        for answer in (started, await server.get(f"/api/v1/tasks/{NOBODY}", **page)):
            assert (answer.headers["access-control-allow-origin"], answer.headers["vary"]) == (WALLET, "origin")
        other = await server.get(f"/api/v1/tasks/{NOBODY}", origin="https://evil.example")
        assert other.status == 403
        assert "access-control-allow-origin" not in other.headers


async def test_a_listed_origin_may_nothing_elsewhere(in_memory):
    async with in_memory(surfaces=(CloudcoinSettings(origins=(WALLET,)),)) as server:
        run_id = await server.start()
        for path in (f"/v1/runs/{run_id}:terminate", "/api/v1/tasks/run/backup"):
            assert (await server.post(path, origin=WALLET)).status == 403
            asked = await server.ask("OPTIONS", path, origin=WALLET, access_control_request_method="POST")
            assert "access-control-allow-origin" not in asked.headers
