"""Prefer: wait, long polls, and what ends them."""

from __future__ import annotations

import asyncio

from tests.web.kit import scope_of


async def settle():
    """Let everything that can go on go on."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_start_waits_for_the_end_and_answers_with_the_output(serving):
    async with serving() as server:
        asking = asyncio.ensure_future(server.post("/v1/runs", {"task": "backup"}, prefer='wait="30"'))
        await settle()
        (lease,) = await server.claim()
        await server.succeed(lease.run_id, b"42")
        answer = await asking
        assert (answer.status, answer.headers["preference-applied"]) == (200, "wait=30")
        assert answer.json["output"] == 42


async def test_a_wait_that_runs_out_is_202(serving):
    async with serving(wait_max_ms=0) as server:
        answer = await server.post("/v1/runs", {"task": "backup"}, prefer="respond-async, wait=100")
        assert (answer.status, answer.headers["preference-applied"], answer.headers["retry-after"]) == (
            202,
            "wait=0",
            "1",
        )


async def test_a_look_waits_for_a_change_of_the_version_that_is_known(serving):
    async with serving() as server:
        run_id = await server.start()
        asking = asyncio.ensure_future(server.get(f"/v1/runs/{run_id}", prefer="wait=30", if_none_match='"1"'))
        await settle()
        assert not asking.done()
        await server.claim()
        assert (await asking).json["state"] == "running"
        at_once = await server.get(f"/v1/runs/{run_id}", prefer="wait=30", if_none_match='"1"')
        assert at_once.json["state"] == "running"


async def test_a_look_waits_for_the_end_if_asked(serving):
    async with serving() as server:
        run_id = await server.start()
        asking = asyncio.ensure_future(server.get(f"/v1/runs/{run_id}?wait_for=final", prefer="wait=30"))
        output = asyncio.ensure_future(server.get(f"/v1/runs/{run_id}/output", prefer="wait=30"))
        await server.claim()
        await settle()
        assert not asking.done()
        await server.succeed(run_id, b"[1]")
        assert (await asking).json["final"] is True
        assert (await output).json["output"] == [1]


async def test_a_drain_ends_waits_with_what_there_is(serving):
    async with serving() as server:
        run_id = await server.start()
        look = asyncio.ensure_future(server.get(f"/v1/runs/{run_id}", prefer="wait=30"))
        start = asyncio.ensure_future(server.post("/v1/runs", {"task": "backup"}, prefer="wait=30"))
        worker = await server.declare("other")
        claim = asyncio.ensure_future(server.post("/v1/leases:claim", {"worker_id": worker, "wait": "30s"}))
        await settle()
        server.api.drain()
        assert (await look).json["state"] == "queued"
        assert (await start).status == 202
        assert (await claim).json == {"leases": []}
        assert (await server.get("/readyz")).status == 503
        assert not server.api.waiting


async def test_a_server_that_drains_starts_nothing_new_and_changes_what_there_is(serving):
    async with serving("backup", "headway.bulk") as server:
        run_id = await server.start()
        server.api.drain()
        starts = {
            "/v1/runs": {"task": "backup"},
            "/v1/runs:batch": {"runs": [{"task": "backup"}]},
            "/v1/runs:bulk": {"filter": {}, "action": "terminate"},
        }
        for path, body in starts.items():
            answer = await server.post(path, body)
            assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "draining", "1")
        assert (await server.post("/v1/runs:bulk", {**starts["/v1/runs:bulk"], "dry_run": True})).status == 200
        assert (await server.post(f"/v1/runs/{run_id}:terminate")).json["state"] == "terminated"
        assert (await server.get("/v1/runs:count")).json["total"] == 1


async def test_a_client_that_goes_away_ends_its_wait(serving):
    async with serving() as server:
        run_id = await server.start()
        gone = asyncio.Event()
        sent = []
        asked = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive():
            if asked:
                return asked.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        asking = asyncio.ensure_future(
            server.api(scope_of("GET", f"/v1/runs/{run_id}?wait_for=final", {"prefer": "wait=30"}), receive, send)
        )
        await settle()
        gone.set()
        await asking
        assert server.store.notifier.count == 0


async def test_a_claim_whose_caller_went_away_takes_nothing(serving):
    async with serving() as server:
        gone = asyncio.Event()
        body = f'{{"worker_id":"{server.worker}","wait":"30s","max":5}}'.encode()
        asked = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive():
            if asked:
                return asked.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            pass

        headers = {"content-type": "application/json"}
        asking = asyncio.ensure_future(server.api(scope_of("POST", "/v1/leases:claim", headers), receive, send))
        await settle()
        gone.set()
        await asking
        run_id = await server.start()
        assert (await server.get(f"/v1/runs/{run_id}")).json["state"] == "queued"


async def test_a_waiting_claim_gets_what_is_started(serving):
    async with serving() as server:
        asking = asyncio.ensure_future(server.post("/v1/leases:claim", {"worker_id": server.worker, "wait": "30s"}))
        await settle()
        run_id = await server.start()
        assert [lease["run_id"] for lease in (await asking).json["leases"]] == [run_id]
