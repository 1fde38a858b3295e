"""Register, claim, report over HTTP; and requests that are repeated with their key."""

from __future__ import annotations

import asyncio

import pytest
from tests.web.kit import NOBODY

from headway.errors import IdempotencyInProgress


async def test_a_worker_registers_claims_and_reports(serving):
    async with serving() as server:
        answer = await server.post("/v1/workers", {"name": "w", "tasks": [{"name": "resize"}]})
        worker = answer.json
        assert (answer.status, answer.headers["location"]) == (201, worker["url"])
        assert worker["heartbeat_ms"] * 3 == worker["lease_ms"] == 15_000
        run_id = await server.start("resize", input={"w": 1})
        (lease,) = (await server.post("/v1/leases:claim", {"worker_id": worker["id"], "max": 5})).json["leases"]
        assert (lease["run_id"], lease["epoch"], lease["input"]) == (run_id, 1, {"w": 1})
        assert (await server.get(worker["url"])).json["leases"] == 1
        done = {"type": "succeeded", "run_id": run_id, "epoch": 1, "output": {"h": 2}}
        answer = await server.post("/v1/leases:report", {"worker_id": worker["id"], "reports": [done], "held": []})
        assert (answer.status, answer.json["rejected"]) == (200, [])
        assert (await server.get(f"/v1/runs/{run_id}")).json["output"] == {"h": 2}


async def test_a_worker_that_lost_its_leases_is_told_by_409_and_changes_nothing(serving):
    async with serving() as server:
        run_id = await server.running()
        stale = {"type": "succeeded", "run_id": run_id, "epoch": 7}
        answer = await server.post("/v1/leases:report", {"worker_id": server.worker, "reports": [stale]})
        assert (answer.status, answer.code) == (409, "lease_lost")
        assert [(item["index"], item["code"]) for item in answer.json["rejected"]] == [(0, "lease_lost")]
        assert (await server.get(f"/v1/runs/{run_id}")).json["state"] == "running"


async def test_reports_of_which_some_are_taken_are_200(serving):
    async with serving() as server:
        run_id = await server.running()
        stale = {"type": "progress", "run_id": run_id, "epoch": 7, "done": 1}
        good = {"type": "progress", "run_id": run_id, "epoch": 1, "done": 2, "total": 4}
        answer = await server.post("/v1/leases:report", {"worker_id": server.worker, "reports": [stale, good]})
        assert (answer.status, [item["index"] for item in answer.json["rejected"]]) == (200, [0])
        assert (await server.get(f"/v1/runs/{run_id}")).json["progress"]["percent"] == 50.0


async def test_a_worker_that_is_not_known_is_404(serving):
    async with serving() as server:
        for path in ("/v1/leases:claim", "/v1/leases:report"):
            answer = await server.post(path, {"worker_id": NOBODY})
            assert (answer.status, answer.code) == (404, "worker_not_found")
        assert (await server.get(f"/v1/workers/{NOBODY}")).code == "worker_not_found"


async def test_a_task_that_is_switched_off_takes_no_runs(serving):
    async with serving() as server:
        assert (await server.post("/v1/tasks/backup:deactivate")).json["active"] is False
        answer = await server.post("/v1/runs", {"task": "backup"})
        assert (answer.status, answer.code) == (409, "task_inactive")
        await server.post("/v1/tasks/backup:activate", {})
        await server.start()
        assert (await server.post("/v1/tasks/backup:terminate", {"reason": "all"})).json == {"asked": 1}
        assert (await server.get("/v1/tasks/backup")).json["counts"] == {"terminated": 1}


async def test_a_queue_is_paused_limited_and_explains_itself(serving):
    async with serving() as server:
        run_id = await server.start()
        assert (await server.post("/v1/queues/default:pause")).json["paused"] is True
        waiting = (await server.get(f"/v1/runs/{run_id}/waiting")).json
        assert "queue_paused" in [cause["code"] for cause in waiting["causes"]]
        assert (await server.ask("PATCH", "/v1/queues/default", {"concurrency": 2})).json["concurrency"] == 2
        queue = (await server.post("/v1/queues/default:resume")).json
        assert (queue["paused"], queue["depth"]) == (False, 1)
        assert queue["oldest_queued_at"] is not None
        assert (await server.get("/v1/queues/nope")).code == "queue_not_found"


async def test_a_token_completes_the_wait_once(serving):
    from headway.protocol import workers as wire

    async with serving() as server:
        run_id = await server.running()
        token = (await server.report(wire.TokenReport(run_id=run_id, epoch=1, name="ok"))).replies[0].token
        blocker = wire.BlockerSpec(kind="signal", name="token:ok")
        await server.report(wire.SuspendedReport(run_id=run_id, epoch=1, blockers=[blocker]))
        for _ in range(2):  # the second in case the answer was lost
            answer = await server.post(f"/v1/tokens/{token}:complete", {"value": True}, idempotency_key="k")
            assert (answer.status, answer.json) == (200, {"run_id": run_id, "state": "queued"})
        assert (await server.post(f"/v1/tokens/{token}:complete", {})).code == "already_completed"
        assert (await server.post(f"/v1/tokens/{token}x:complete", {})).code == "not_found"


async def test_a_bulk_action_is_previewed_and_then_a_run_of_its_own(serving):
    async with serving("backup", "headway.bulk") as server:
        await server.start()
        action = {"filter": {"state": ["queued"], "task": ["backup"]}, "action": "terminate"}
        preview = await server.post("/v1/runs:bulk", {**action, "dry_run": True})
        assert (preview.status, preview.json) == (200, {"count": 1, "action": "terminate", "dry_run": True})
        started = await server.post("/v1/runs:bulk", action)
        assert (started.status, started.json["task"]) == (202, "headway.bulk")
        assert started.json["input"]["filter"]["state"] == ["queued"]


async def test_a_bulk_action_has_no_pages_and_no_order(serving):
    async with serving("headway.bulk") as server:
        for name, value in (("page_size", 10), ("page_token", "x"), ("order_by", "created_at asc")):
            answer = await server.post("/v1/runs:bulk", {"filter": {name: value}, "action": "delete", "dry_run": True})
            assert (answer.code, answer.json["errors"][0]["pointer"]) == ("invalid_input", f"/filter/{name}")


async def test_a_worker_cannot_take_the_place_of_a_built_in_task(serving):
    async with serving() as server:
        tasks = [{"name": "mine"}, {"name": "headway.bulk"}]
        answer = await server.post("/v1/workers", {"tasks": tasks})
        assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, "/tasks/1/name")
        assert (await server.get("/v1/tasks/mine")).status == 404
        assert (await server.post("/v1/workers", {"tasks": [{"name": "headway"}]})).status == 201


async def test_a_patch_of_a_queue_changes_what_it_names(serving):
    async with serving() as server:
        for body, limit in (({"concurrency": 2}, 2), ({}, 2), ({"concurrency": None}, None), ({}, None)):
            assert (await server.ask("PATCH", "/v1/queues/default", body)).json["concurrency"] == limit
        before = (await server.get("/v1/queues/default")).json
        server.clock.advance(1000)
        assert (await server.ask("PATCH", "/v1/queues/default", {})).json == before


async def test_the_same_key_in_parallel_starts_one_run(serving):
    async with serving() as server:
        answers = await asyncio.gather(
            *(server.post("/v1/runs", {"task": "backup"}, idempotency_key="k") for _ in range(64))
        )
        assert len({answer.json["id"] for answer in answers}) == 1
        assert sorted(answer.status for answer in answers) == [200] * 63 + [202]
        assert IdempotencyInProgress.status == 409  # documented; with one writer the second simply waits its turn


async def test_a_refused_request_is_not_remembered_under_its_key(serving):
    async with serving() as server:
        assert (await server.post("/v1/runs", {"task": "later"}, idempotency_key="k")).status == 422
        await server.declare("later")
        assert (await server.post("/v1/runs", {"task": "later"}, idempotency_key="k")).status == 202


@pytest.mark.parametrize("verb", ["terminate", "suspend", "signal", "retry", "protect"])
async def test_verbs_repeat_their_answer_under_the_same_key(serving, verb):
    async with serving() as server:
        run_id = await server.start()
        if verb == "retry":
            await server.post(f"/v1/runs/{run_id}:terminate")
        body = {"name": "go"} if verb == "signal" else {}
        first = await server.post(f"/v1/runs/{run_id}:{verb}", body, idempotency_key="k")
        again = await server.post(f"/v1/runs/{run_id}:{verb}", body, idempotency_key="k")
        assert first.json["id"] == again.json["id"]
        assert first.json["version"] == again.json["version"]


async def test_a_batch_answers_item_by_item_or_takes_all_or_nothing(serving):
    async with serving() as server:
        runs = [{"task": "backup"}, {"task": "nope"}, {"task": "backup", "delay": "x"}]
        mixed = (await server.post("/v1/runs:batch", {"runs": runs}, idempotency_key="b")).json["data"]
        assert [item["status"] for item in mixed] == [202, 422, 422]
        assert [item.get("error", {}).get("code") for item in mixed] == [None, "unknown_task", "invalid_input"]
        again = await server.post("/v1/runs:batch", {"runs": runs}, idempotency_key="b")
        assert again.headers["idempotency-replayed"] == "true"
        assert again.json["data"][0]["run"]["id"] == mixed[0]["run"]["id"]
        refused = await server.post("/v1/runs:batch", {"runs": runs, "atomic": True})
        assert (refused.status, refused.json["index"]) == (422, 1)
        assert (await server.get("/v1/runs:count")).json["total"] == 1
        assert (await server.post("/v1/runs:batch", {"runs": []})).status == 422
        assert (await server.post("/v1/runs:batch", {"runs": [{"task": "backup"}] * 1001})).status == 422
