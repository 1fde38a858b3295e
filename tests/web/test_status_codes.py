"""API.md, "Status codes", row by row."""

from __future__ import annotations

from tests.web.kit import NOBODY


async def test_an_accepted_start_is_202_with_its_place_and_when_to_look_again(serving):
    async with serving() as server:
        answer = await server.post("/v1/runs", {"task": "backup"})
        assert answer.status == 202
        assert answer.headers["location"] == f"/v1/runs/{answer.json['id']}" == answer.json["url"]
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["etag"] == '"1"'
        assert answer.json["state"] == "queued"
        assert answer.json["durability"] == "full"


async def test_respond_async_is_acknowledged(serving):
    async with serving() as server:
        answer = await server.post("/v1/runs", {"task": "backup"}, prefer="respond-async")
        assert (answer.status, answer.headers["preference-applied"]) == (202, "respond-async")


async def test_a_repeated_key_with_the_same_body_answers_with_the_first_run(serving):
    async with serving() as server:
        first = await server.post("/v1/runs", {"task": "backup"}, idempotency_key="k1")
        again = await server.post("/v1/runs", {"task": "backup"}, idempotency_key="k1")
        assert (first.status, again.status) == (202, 200)
        assert again.headers["idempotency-replayed"] == "true"
        assert "idempotency-replayed" not in first.headers
        assert again.json["id"] == first.json["id"]


async def test_a_repeated_key_with_another_body_is_refused(serving):
    async with serving() as server:
        await server.post("/v1/runs", {"task": "backup"}, idempotency_key="k1")
        answer = await server.post("/v1/runs", {"task": "backup", "priority": 1}, idempotency_key="k1")
        assert (answer.status, answer.code) == (422, "idempotency_key_reused")


async def test_an_idempotency_key_is_short_visible_ascii(serving):
    async with serving() as server:
        for key in ("", "a" * 256, "a b", "caf\u00e9", "\x7f"):
            answer = await server.post("/v1/runs", {"task": "backup"}, idempotency_key=key)
            assert (answer.status, answer.code) == (400, "bad_parameter"), key
        assert (await server.post("/v1/runs", {"task": "backup"}, idempotency_key="~" * 255)).status == 202


async def test_an_unknown_task_is_422(serving):
    async with serving() as server:
        answer = await server.post("/v1/runs", {"task": "nope"})
        assert (answer.status, answer.code) == (422, "unknown_task")
        assert answer.headers["content-type"] == "application/problem+json"


async def test_input_that_does_not_fit_the_schema_is_422_with_a_pointer(serving):
    schema = b'{"type":"object","properties":{"name":{"type":"string"}}}'
    async with serving() as server:
        import msgspec

        await server.declare("greet", input_schema=msgspec.Raw(schema))
        answer = await server.post("/v1/runs", {"task": "greet", "input": {"name": 7}})
        assert (answer.status, answer.code) == (422, "invalid_input")
        assert answer.json["errors"][0]["pointer"] == "/input/name"


async def test_wrong_types_are_422_with_a_pointer(serving):
    async with serving() as server:
        answer = await server.post(
            "/v1/runs:batch", {"runs": [{"task": "backup"}, {"task": "backup", "priority": "x"}]}
        )
        assert (answer.status, answer.code) == (422, "invalid_input")
        (error,) = answer.json["errors"]
        assert (error["pointer"], error["code"]) == ("/runs/1/priority", "type")


async def test_a_missing_field_is_422_and_named(serving):
    async with serving() as server:
        answer = await server.post("/v1/runs", {})
        assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, "/task")
        assert answer.json["errors"][0]["code"] == "required"


async def test_unknown_fields_are_400_and_all_of_them_are_named(serving):
    async with serving() as server:
        answer = await server.post("/v1/runs", {"task": "backup", "prioriti": 1, "ques": 2})
        assert (answer.status, answer.code) == (400, "unknown_field")
        assert [error["pointer"] for error in answer.json["errors"]] == ["/prioriti", "/ques"]


async def test_a_body_above_the_limit_is_413_and_not_read(serving):
    async with serving(body_max=1000) as server:
        said = await server.ask("POST", "/v1/runs", chunks=[], content_length="1001")
        assert (said.status, said.code, said.headers["connection"]) == (413, "payload_too_large", "close")
        unread = [b"x" * 600, b"y" * 600, b"never"]
        chunked = await server.ask("POST", "/v1/runs", chunks=unread)
        assert (chunked.status, chunked.code) == (413, "payload_too_large")
        fits = b'{"task":"backup","name":"' + b"a" * 973 + b'"}'
        assert len(fits) == 1000
        assert (await server.ask("POST", "/v1/runs", fits)).status == 202


async def test_a_body_that_is_not_declared_as_json_is_415(serving):
    async with serving() as server:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", None):
            answer = await server.post("/v1/runs", {"task": "backup"}, content_type=kind)
            assert (answer.status, answer.code) == (415, "unsupported_media_type"), kind
        ok = await server.post("/v1/runs", {"task": "backup"}, content_type='application/json; charset="UTF-8"')
        assert ok.status == 202
        packed = await server.post("/v1/runs", {"task": "backup"}, content_encoding="gzip")
        assert packed.status == 415


async def test_unknown_runs_are_404_and_removed_ones_410_with_when_and_why(serving):
    async with serving() as server:
        assert (await server.get(f"/v1/runs/{NOBODY}")).code == "run_not_found"
        assert (await server.get("/v1/runs/xyz")).code == "run_not_found"
        run_id = await server.finished()
        assert (await server.ask("DELETE", f"/v1/runs/{run_id}")).status == 204
        for target in (f"/v1/runs/{run_id}", f"/v1/runs/{run_id}/output", f"/v1/runs/{run_id}/events"):
            answer = await server.get(target)
            assert (answer.status, answer.code, answer.json["policy"]) == (410, "run_purged", "deleted")
        stream = await server.listen(f"/v1/runs/{run_id}/events").begun()
        assert stream.status == 410


async def test_an_id_may_be_written_without_dashes(serving):
    async with serving() as server:
        run_id = await server.start()
        for spelling in (run_id.replace("-", ""), run_id.upper()):
            assert (await server.get(f"/v1/runs/{spelling}")).json["id"] == run_id


async def test_a_verb_in_the_wrong_state_is_409_and_says_which(serving):
    async with serving() as server:
        run_id = await server.start()
        answer = await server.post(f"/v1/runs/{run_id}:retry")
        assert (answer.status, answer.code, answer.json["state"]) == (409, "invalid_state", "queued")
        assert (await server.ask("DELETE", f"/v1/runs/{run_id}")).code == "invalid_state"


async def test_stopping_twice_is_no_error(serving):
    async with serving() as server:
        run_id = await server.start()
        for _ in range(2):
            answer = await server.post(f"/v1/runs/{run_id}:terminate", {"reason": "enough", "actor": "ada"})
            assert (answer.status, answer.json["state"]) == (200, "terminated")
            assert answer.json["reason"] == {"code": "terminated", "message": "enough", "actor": "ada"}


async def test_a_stale_etag_is_412(serving):
    async with serving() as server:
        run_id = await server.start()
        changed = await server.ask("PATCH", f"/v1/runs/{run_id}", {"priority": 9}, if_match='"1"')
        assert (changed.status, changed.json["priority"], changed.headers["etag"]) == (200, 9, '"2"')
        stale = await server.ask("PATCH", f"/v1/runs/{run_id}", {"priority": 1}, if_match='"1"')
        assert (stale.status, stale.code) == (412, "version_mismatch")
        await server.claim()
        await server.succeed(run_id)
        assert (await server.ask("DELETE", f"/v1/runs/{run_id}", if_match='"1"')).status == 412
        assert (await server.ask("DELETE", f"/v1/runs/{run_id}", if_match="rubbish")).status == 412


async def test_a_known_etag_is_304(serving):
    async with serving() as server:
        run_id = await server.start()
        first = await server.get(f"/v1/runs/{run_id}")
        again = await server.get(f"/v1/runs/{run_id}", if_none_match=f'"77", {first.headers["etag"]}')
        assert (again.status, again.body) == (304, b"")
        assert "content-type" not in again.headers


async def test_a_protected_run_is_423(serving):
    async with serving() as server:
        run_id = await server.finished()
        assert (await server.post(f"/v1/runs/{run_id}:protect")).json["protected"] is True
        answer = await server.ask("DELETE", f"/v1/runs/{run_id}")
        assert (answer.status, answer.code) == (423, "protected")
        assert (await server.post(f"/v1/runs/{run_id}:unprotect", {"reason": "audited"})).json["protected"] is False
        *_, last = (await server.get(f"/v1/runs/{run_id}/events")).json["data"]
        assert (last["type"], last["data"]["protected"]) == ("run.changed", False)
        assert last["data"]["reason"] == {"code": "unprotected", "message": "audited"}, "the reason is kept"
        assert (await server.ask("DELETE", f"/v1/runs/{run_id}")).status == 204


async def test_a_full_disk_is_503_and_says_when_to_come_back(serving):
    async with serving() as server:
        run_id = await server.running()
        server.store.writer.full = True
        answer = await server.post("/v1/runs", {"task": "backup"})
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "storage_full", "5")
        await server.succeed(run_id)
        assert (await server.get(f"/v1/runs/{run_id}")).json["state"] == "succeeded"
        assert (await server.get("/readyz")).status == 503


async def test_an_output_is_409_until_it_is_there(serving):
    async with serving() as server:
        run_id = await server.running()
        answer = await server.get(f"/v1/runs/{run_id}/output")
        assert (answer.status, answer.code) == (409, "not_finished")
        await server.succeed(run_id, b'{"files":3}')
        answer = await server.get(f"/v1/runs/{run_id}/output")
        assert answer.json == {"run_id": run_id, "state": "succeeded", "output": {"files": 3}, "error": None}


async def test_a_bug_is_500_with_an_id_and_nothing_else(serving, caplog):
    async with serving() as server:
        server.service.of(1).tasks.list = lambda: 1 / 0
        answer = await server.get("/v1/tasks", x_request_id="abc")
        assert (answer.status, answer.code, answer.json["request_id"]) == (500, "internal_error", "abc")
        assert b"division" not in answer.body
        assert "ZeroDivisionError" in caplog.text


async def test_only_checking_starts_nothing(serving):
    async with serving() as server:
        answer = await server.post("/v1/runs", {"task": "backup", "validate_only": True})
        assert answer.status == 200
        assert (await server.get("/v1/runs:count")).json == {"counts": {}, "total": 0}
