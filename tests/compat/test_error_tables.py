"""The error tables of both contracts, row by row: what brings it about, the HTTP status, and their own word or code for it."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import pytest
from tests.compat.credentials import three
from tests.web.access_kit import ALL, first_key, key_of, second
from tests.web.kit import NOBODY

from headway.compat.cloudcoin.settings import CloudcoinSettings
from headway.errors import HeadwayError
from headway.protocol import workers as wire

AWAY = {"peer": "10.0.0.9"}
TASK = b'{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}'
TABLE = {"name": "things", "fields": [{"name": "Name", "required": True}, {"name": "Amount", "type": "number"}]}


@dataclass
class PopulatedServer:
    """What a row needs: a server with keys, and what is there."""

    server: object
    good: dict
    headers: dict
    """Those of keys that are somehow wrong, by what is wrong."""
    table: str
    record: str

    async def call(self, method, path, body=None, **headers):
        path = path.replace("TABLE", self.table).replace("RECORD", self.record)
        return await self.server.ask(method, path, body, **headers)


async def asked(server):
    party = await first_key(server)
    other = await second(server, party)
    good = three(party)
    revoked = await key_of(server, party, scopes=ALL)
    await server.post(f"/v1/keys/{revoked['id']}:revoke", **party.headers)
    short = await key_of(server, party, scopes=ALL, per_minute=1)
    without = {
        f"without {scope}": three(party, (await key_of(server, party, scopes=[x for x in ALL if x != scope]))["key"])
        for scope in ("run:start", "record:read", "record:write", "run:read", "task:read", "table:read")
    }
    await server.declare("backup", "idle")
    await server.declare("join", input_schema=msgspec.Raw(TASK))
    await server.post("/v1/tasks/idle:deactivate", **party.headers)
    table = (await server.post("/v1/tables", TABLE, **party.headers)).json["id"]
    path = f"/api/v1/data-tables/{table}/records"
    record = (await server.post(path, {"field_1": "a"}, **good)).json["recordId"]
    headers = {
        "none": {}, "wrong secret": {**good, "x_tadabase_app_secret": "x" * 43}, "unknown key": {**good, "x_tadabase_app_key": "no"},
        "another app": {**good, "x_tadabase_app_id": other.id}, "unknown app": {**good, "x_tadabase_app_id": "nobodys"},
        "switched off": three(party, revoked["key"]), "short": three(party, short["key"]), **without,
    }  # fmt: skip
    return PopulatedServer(server, good, headers, table, record)


RUN, RECORDS = "/api/v1/tasks/run/backup", "/api/v1/data-tables/TABLE/records"
TADABASE = [
    (401, "API Not Found", "none", "GET", "/api/v1/tasks", None), (401, "API Not Found", "wrong secret", "GET", "/api/v1/tasks", None),
    (401, "API Not Found", "unknown key", "POST", RUN, None), (401, "APP Not Found", "another app", "POST", RUN, None),
    (401, "APP Not Found", "unknown app", "GET", "/api/v1/status", None), (401, "API Disabled", "switched off", "POST", RUN, None),
    (403, "Permission Denied", "without run:start", "POST", RUN, None),
    (403, "Permission Denied", "without record:read", "GET", RECORDS, None),
    (403, "Permission Denied", "without record:read", "GET", f"{RECORDS}/RECORD", None),
    (403, "Permission Denied", "without record:write", "POST", RECORDS, {"field_1": "b"}),
    (403, "Permission Denied", "without record:write", "PUT", f"{RECORDS}/RECORD", {"field_1": "b"}),
    (403, "Permission Denied", "without record:write", "DELETE", f"{RECORDS}/RECORD", None),
    (403, "Permission Denied", "without run:read", "GET", "/api/v1/tasks/history", None),
    (403, "Permission Denied", "without task:read", "GET", "/api/v1/tasks", None),
    (403, "Permission Denied", "without table:read", "GET", "/api/v1/data-tables", None),
    (404, None, None, "POST", "/api/v1/tasks/run/nobodys", None), (404, None, None, "GET", f"/api/v1/tasks/status/queue/{NOBODY}", None),
    (404, None, None, "GET", "/api/v1/data-tables/nobodys/records", None), (404, None, None, "GET", f"{RECORDS}/{NOBODY}", None),
    (404, None, None, "GET", "/api/v1/tasks/nowhere/at/all", None), (412, None, None, "POST", "/api/v1/tasks/run/idle", None),
    (422, None, None, "POST", RECORDS, {"field_2": "x"}), (422, None, None, "POST", "/api/v1/tasks/run/join", {"name": 7}),
    (422, None, None, "GET", f"{RECORDS}?limit=x", None), (429, None, "short", "GET", "/api/v1/tasks", None),
    (500, None, "broken", "GET", "/api/v1/tasks", None),
]  # fmt: skip
SAID = {"type", "msg", "status", "code", "request_id"}


@pytest.mark.parametrize(
    ("status", "msg", "who", "method", "path", "body"),
    TADABASE,
    ids=[f"{n}-{row[0]}-{row[2] or row[4]}" for n, row in enumerate(TADABASE)],
)
async def test_each_row_of_tadabases_table(status, msg, who, method, path, body, in_memory, monkeypatch):
    async with in_memory() as server:
        ask = await asked(server)
        headers = ask.headers.get(who, ask.good)
        if who == "short":
            assert (await ask.call(method, path, body, **headers)).status == 200
        if who == "broken":
            break_(monkeypatch)
        answer = await ask.call(method, path, body, **headers)
        said = answer.json
        assert (answer.status, said["type"], said["status"]) == (status, "error", status)
        assert said["msg"] if msg is None else said["msg"] == msg
        entries = {"total_tasks", "tasks"} if "/status/queue/" in path else set()
        assert set(said) == SAID | entries | ({"errors"} if status == 422 else set())
        if status == 422:
            assert all(isinstance(texts, list) and all(texts) for texts in said["errors"].values())
        if status == 429:
            assert int(answer.headers["retry-after"]) > 0
            assert answer.headers["x-ratelimit-remaining"] == "0"
        if status == 500:
            assert "secret of the inside" not in answer.body.decode()
            assert said["code"] == "internal_error"


async def test_running_tasks_is_opt_in_for_a_new_key(in_memory):
    async with in_memory() as server:
        party = await first_key(server)
        new = three(party, (await key_of(server, party))["key"])
        assert (await server.get("/api/v1/status", **new)).json["permissions"]["tasks"] is False
        assert (await server.post(RUN, **new)).json["msg"] == "Permission Denied"


CLOUDCOIN = [
    (4100, 500, None, "broken", "GET", f"/api/v1/tasks/{NOBODY}", None),
    (4100, 401, None, "wrong secret", "POST", "/api/v1/backup", {}),
    (4105, 404, "Task does not exist", None, "GET", f"/api/v1/tasks/{NOBODY}", None),
    (4105, 404, "Task does not exist", None, "GET", f"/get-task-status/{NOBODY.replace('-', '')}", None),
    (4105, 404, "Task does not exist", None, "GET", f"/api/transactions/task?task_id={NOBODY}", None),
    (4105, 404, "Task does not exist", None, "GET", f"/api/system/tasks?id={NOBODY}", None),
    (4107, 400, "Task ID is missing", None, "GET", "/api/task", None),
    (4107, 400, "Task ID is missing", None, "GET", "/api/system/tasks", None),
    (4110, 400, "Failed to parse Input JSON", None, "POST", "/api/v1/join", b"{"),
    (4121, 422, "Validation error. ", None, "POST", "/api/v1/join", {"name": 7}),
    (4121, 422, "Validation error. ", None, "POST", "/api/v1/join", {}),
    (4154, 404, "Service Not Found. Invalid URL", None, "POST", "/api/v1/nothing", {}),
    (4154, 404, "Service Not Found. Invalid URL", None, "GET", "/api/v1/nothing", None),
    (4154, 404, "Service Not Found. Invalid URL", None, "GET", "/api/nowhere", None),
]  # fmt: skip
FAILED = {4106: ("timeout", ""), 4115: ("4115", "there is no wallet Savings"), 4100: ("exception", "it fell over")}
"""What a task fails with, by their code for it."""


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("code", "status", "message", "who", "method", "path", "body"),
    CLOUDCOIN,
    ids=[f"{n}-{row[0]}" for n, row in enumerate(CLOUDCOIN)],
)
async def test_each_row_of_cloudcoins_table(
    strict, code, status, message, who, method, path, body, in_memory, monkeypatch
):
    """Their documents have HTTP 200 for every error; that is what `strict` is for."""
    async with in_memory(surfaces=(CloudcoinSettings(strict=strict, loopback_without_key=True),)) as server:
        ask = await asked(server)
        if who == "broken":
            break_(monkeypatch)
        headers = {} if who is None else {"authorization": "Bearer hw_wrong"} if who == "wrong secret" else {}
        answer = await ask.call(method, path, body, **headers)
        task = answer.json.get("payload", answer.json)
        assert (answer.status, answer.json["status"] in ("error", "failed")) == (200 if strict else status, True)
        assert answer.headers["content-type"] == "application/json"
        assert (task["code"], task["progress"]) == (code, 100)
        assert message is None or task["message"].startswith(message)
        assert task["data"] == {"code": code, "message": task["message"], "details": task["details"]}
        assert "secret of the inside" not in answer.body.decode()


@pytest.mark.parametrize("code", FAILED)
async def test_each_code_of_a_task_that_failed(code, in_memory):
    async with in_memory() as server:
        said, message = FAILED[code]
        run_id = await server.running()
        error = wire.FunctionError(message=message, code=said, retryable=False)
        await server.report(wire.ErroredReport(run_id=run_id, epoch=1, error=error))
        for path in (f"/api/v1/tasks/{run_id}", f"/api/task?id={run_id}", f"/api/system/tasks?id={run_id}"):
            answer = await server.get(path)
            task = answer.json.get("payload", answer.json)
            assert (answer.status, task["status"] in ("error", "failed"), task["progress"]) == (200, True, 100)
            assert task["message"] == task["data"]["message"] == (message or "Task timed out")
            assert task["data"]["code"] == code


async def test_the_body_that_stops_all_three_pollers_is_just_that(in_memory):
    async with in_memory() as server:
        answer = await server.get(f"/api/v1/tasks/{NOBODY}")
        failure = {"code": 4105, "message": "Task does not exist", "details": None}
        payload = {"id": NOBODY, "status": "error", "progress": 100, **failure, "data": failure}
        assert (answer.status, answer.json) == (404, {"status": "error", "payload": payload})


def break_(monkeypatch):
    """Have every look at tasks and runs fail with what nobody has thought of."""

    def broken(*_):
        raise RuntimeError("secret of the inside")

    monkeypatch.setattr("headway.runs.tasks.Tasks.list", broken)
    monkeypatch.setattr("headway.runs.runs.Runs.get", broken)
    assert not issubclass(RuntimeError, HeadwayError)
