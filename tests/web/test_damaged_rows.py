"""Values that were damaged on disk: the run or record that they belong to is shown as damaged, and all others as ever."""

import json

import msgspec
import pytest
from tests.rows import verify, verify_postgres
from tests.web.access_kit import bearer, first_key

from headway.features.access.access import Access
from headway.features.access.store import read_snapshot
from headway.features.schedules.loop import SchedulerLoop
from headway.kernel.run import State
from headway.protocol import workers as wire

FLIPPED = "bytes"
CUT = "document"
"""What happened to a value: a bit of a text makes it none, or one of a document makes it no JSON."""
HOW = pytest.mark.parametrize("how", [FLIPPED, CUT])


def damage(server, how, table, column, where, value, letter="x"):
    """Change one bit of a value, as a disk would: behind the back of the database's checks."""
    database = server.store.read.near
    connection = database.connection
    of = f"{where} = '{value}'"
    if hasattr(connection, "info"):  # PostgreSQL
        connection.execute("DROP CAST IF EXISTS (bytea AS text)")
        connection.execute("CREATE CAST (bytea AS text) WITHOUT FUNCTION")
        at = f"position('{letter}' in {column}) - 1"
        new = f"set_byte(convert_to({column}, 'UTF8'), {at}, 248)::text"
        cut = f"replace({column}, ':', 'z')"
        connection.execute(f"UPDATE {table} SET {column} = {new if how == FLIPPED else cut} WHERE {of}")
        return
    new = f"CAST(replace(CAST({column} AS BLOB), x'{ord(letter):x}', x'f8') AS TEXT)"
    cut = f"replace({column}, ':', 'z')"
    connection.execute(f"UPDATE {table} SET {column} = {new if how == FLIPPED else cut} WHERE {of}")


def wrong(server):
    connection = server.store.read.near.connection
    return verify_postgres(connection) if hasattr(connection, "info") else verify(connection)


@HOW
async def test_a_run_with_a_damaged_input_is_shown_as_damaged_and_the_others_as_ever(serving, how):
    async with serving() as server:
        ids = [await server.start(input={"text": "xyz"}) for _ in range(3)]
        damage(server, how, "runs", "input", "id", ids[1])
        listed = await server.get("/v1/runs")
        assert 200 == listed.status, listed.body
        shown = {run["id"]: run for run in listed.json["data"]}
        assert set(ids) == set(shown)
        assert (["input"], None) == (shown[ids[1]]["damaged"], shown[ids[1]]["input"])
        assert [{"text": "xyz"}] * 2 == [shown[each]["input"] for each in (ids[0], ids[2])]
        assert not any("damaged" in shown[each] for each in (ids[0], ids[2]))
        one = await server.get(f"/v1/runs/{ids[1]}")
        assert (200, ["input"]) == (one.status, one.json["damaged"])
        assert [ids[1]] == [finding.about for finding in wrong(server)]
        assert "input of its row in runs cannot be read" in str(wrong(server)[0])


@HOW
async def test_a_damaged_run_fails_when_its_turn_comes_and_claims_go_on_to_the_next(serving, how):
    async with serving() as server:
        ids = [await server.start(input={"text": "xyz"}) for _ in range(4)]
        for each in ids[:2]:
            damage(server, how, "runs", "input", "id", each)
        claimed = await server.service.of(1).workers.claim(wire.ClaimRuns(worker_id=server.worker, max=1))
        assert [ids[2]] == [lease.run_id for lease in claimed]
        assert [ids[3]] == [lease.run_id for lease in await server.claim()]
        for each in ids[:2]:
            run = (await server.get(f"/v1/runs/{each}")).json
            assert ("failed", "damaged") == (run["state"], run["error"]["code"])
            assert ["input"] == run["damaged"], "it is still known not to be what it was started with"
            again = await server.post(f"/v1/runs/{each}:retry")
            assert (409, "damaged") == (again.status, again.code)


@HOW
async def test_a_damaged_run_can_be_stopped_and_removed(serving, how):
    async with serving() as server:
        run_id = await server.start(input={"text": "xyz"})
        damage(server, how, "runs", "input", "id", run_id)
        assert 200 == (await server.post(f"/v1/runs/{run_id}:terminate")).status
        assert ["input"] == (await server.get(f"/v1/runs/{run_id}")).json["damaged"]
        assert 204 == (await server.ask("DELETE", f"/v1/runs/{run_id}")).status
        assert [] == wrong(server)


@HOW
async def test_what_else_of_a_run_is_damaged_spoils_no_page(serving, how):
    async with serving() as server:
        whole = await server.finished(output=b'{"text":"xyz"}')
        run_id = await server.running(labels={"text": "xyz"})
        run = await server.service.of(1).runs.get(run_id)
        said = {"run_id": run_id, "epoch": run.epoch}
        await server.report(
            wire.LogReport(**said, message="xyz"), wire.ResultReport(**said, name="r", value=msgspec.Raw(b'{"text":"xyz"}')),
            wire.StepReport(**said, name="s", value=msgspec.Raw(b'{"text":"xyz"}')),
        )  # fmt: skip
        damage(server, how, "runs", "output", "id", whole)
        damage(server, how, "runs", "labels", "id", run_id)
        damage(server, how, "results", "value", "run_id", run_id)
        damage(server, how, "events", "data", "type", "run.log")
        listed = (await server.get("/v1/runs")).json["data"]
        assert {whole: ["output"], run_id: ["labels"]} == {each["id"]: each["damaged"] for each in listed}
        assert 200 == (await server.get(f"/v1/runs/{whole}/output")).status
        results = await server.get(f"/v1/runs/{run_id}/results")
        assert [{"damaged": True}] == [result["value"] for result in results.json["data"]]
        for path in (
            f"/v1/runs/{run_id}/events",
            "/v1/events",
            f"/v1/runs/{run_id}/logs",
            f"/v1/runs/{run_id}/attempts",
        ):
            answer = await server.get(path)
            assert 200 == answer.status, (path, answer.body)
            json.loads(answer.body)
        stream = await server.listen(f"/v1/runs/{whole}/events").begun()
        assert (await stream.rest())[-1].data["data"]["state"] == str(State.SUCCEEDED)
        named = {finding.about for finding in wrong(server)}
        assert {whole, run_id} == named


@HOW
async def test_a_damaged_step_ends_its_run_and_no_other_claim(serving, how):
    async with serving() as server:
        run_id = await server.running()
        run = await server.service.of(1).runs.get(run_id)
        said = {"run_id": run_id, "epoch": run.epoch}
        await server.report(
            wire.StepReport(**said, name="s", value=msgspec.Raw(b'{"text":"xyz"}')), wire.ReleasedReport(**said)
        )
        damage(server, how, "steps", "value", "run_id", run_id)
        other = await server.start()
        assert [other] == [lease.run_id for lease in await server.claim()]
        assert "failed" == (await server.get(f"/v1/runs/{run_id}")).json["state"]


@HOW
async def test_a_damaged_record_is_shown_as_damaged_and_the_others_as_ever(serving, how):
    async with serving() as server:
        await server.post("/v1/tables", {"name": "things", "fields": [{"name": "T", "type": "text"}]})
        ids = [(await server.post("/v1/tables/things/records", {"values": {"T": "xyz"}})).json["id"] for _ in range(3)]
        damage(server, how, "records", "data", "id", ids[1])
        listed = await server.get("/v1/tables/things/records")
        assert 200 == listed.status, listed.body
        shown = {record["id"]: record for record in listed.json["data"]}
        assert ["xyz", None, "xyz"] == [shown[each]["values"]["T"] for each in ids]
        assert [False, True, False] == [shown[each].get("damaged", False) for each in ids]
        asked = {"filter": {"field": "T", "operator": "contains", "value": "y"}}
        found = await server.post("/v1/tables/things/records:query", asked)
        assert found.status == 200 or (409, "damaged") == (found.status, found.code), found.body
        changed = await server.ask("PATCH", f"/v1/tables/things/records/{ids[1]}", {"values": {"T": "new"}})
        assert 200 == changed.status, "it can be written anew"
        assert [] == wrong(server)


@HOW
async def test_a_damaged_schedule_is_paused_and_the_others_go_on(serving, how):
    async with serving() as server:
        for name in ("a", "b"):
            asked = {"name": name, "task": "backup", "occurrence": "Every Minute", "description": "xyz"}
            assert 201 == (await server.post("/v1/schedules", asked)).status
        damage(server, how, "schedules", "definition", "name", "a")
        assert ["a", "b"] == sorted(each["name"] for each in (await server.get("/v1/schedules")).json["data"])
        server.clock.advance(61_000)
        await SchedulerLoop(server.service).tick()
        runs = (await server.get("/v1/runs")).json["data"]
        assert 1 == len(runs), "that of the other one"
        shown = [each for each in (await server.get("/v1/schedules")).json["data"] if each["name"] == "a"]
        assert ("paused", True) == (shown[0]["state"], "damaged" in shown[0]["problem"])


@HOW
async def test_a_damaged_task_or_key_keeps_no_server_from_starting(serving, how):
    async with serving() as server:
        await server.declare("other", description="xyz")
        operator = await first_key(server)
        made = await server.post("/v1/keys", {"name": "k", "scopes": ["ops", "task:read"]}, **operator.headers)
        damage(server, how, "tasks", "definition", "name", "other")
        damage(server, FLIPPED, "keys", "scopes", "id", made.json["id"], "k")
        await server.store.refresh()
        server.service.part(Access).directory.take(await server.store.read.on(read_snapshot))
        assert 403 == (await server.get("/v1/tasks", **bearer(made.json["key"]))).status, "it may do nothing any more"
        assert 200 == (await server.get("/v1/keys", **operator.headers)).status
        tasks = await server.get("/v1/tasks", **operator.headers)
        assert ["backup"] == [each["name"] for each in tasks.json["data"]]
        await server.declare("other", description="anew")
        assert "other" in server.store.definitions.tasks
