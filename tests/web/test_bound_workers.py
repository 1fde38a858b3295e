"""A worker's key that is bound to queues: whatever it says in the worker protocol, nothing changes outside of these."""

from __future__ import annotations

import pytest
from tests.web.access_kit import bearer, first_key, key_of, second

THEIRS = {"name": "theirs", "queue": "b", "input_schema": {"type": "object"}, "retention": {"succeeded": "7d"}}


async def bound(server, party, *scopes, queues=("a",)):
    made = await key_of(server, party, scopes=["worker:protocol", *scopes], queues=list(queues))
    return bearer(made["key"])


async def register(server, caller, *tasks, **more):
    return await server.post("/v1/workers", {"tasks": list(tasks), **more}, **caller)


async def furnished(server):
    """A server with a task of the queue b, and a schedule that its code declares."""
    operator = await first_key(server)
    schedule = {"name": "nightly", "task": "theirs", "occurrence": "Daily"}
    assert (await register(server, operator.headers, THEIRS, schedules=[schedule])).status == 201
    return operator


async def seen(server, operator):
    """What of tasks and schedules could be changed by a declaration."""
    tasks = (await server.get("/v1/tasks", **operator.headers)).json["data"]
    schedules = (await server.get("/v1/schedules", **operator.headers)).json["data"]
    return {task["name"]: task for task in tasks}, {one["name"]: one for one in schedules}


@pytest.mark.parametrize(
    "said",
    [
        {"queue": "b", "input_schema": {}},
        {"queue": "b", "retention": {"succeeded": "1s"}},
        {"queue": "b", "concurrency": 1},
        {"queue": "a"},
        {},
    ],
    ids=["its schema", "its retention", "its limits", "its queue", "everything by default"],
)
async def test_a_task_of_another_queue_cannot_be_declared_anew(serving, said):
    async with serving() as server:
        operator = await furnished(server)
        before = await seen(server, operator)
        mine, task = {"name": "mine", "queue": "a"}, {**THEIRS, **said, "name": "theirs"}
        if not said:
            task = {"name": "theirs"}
        refused = await register(server, await bound(server, operator), mine, task)
        assert (refused.status, refused.code) == (403, "forbidden")
        assert "theirs (queue b)" in refused.json["detail"]
        assert "mine" not in refused.json["detail"]
        assert [error["pointer"] for error in refused.json["errors"]] == ["/tasks/1"]
        assert await seen(server, operator) == before, "none of the declarations counts"


async def test_a_new_task_is_declared_into_the_queues_of_the_key_alone(serving):
    async with serving() as server:
        operator = await furnished(server)
        caller = await bound(server, operator)
        for task in ({"name": "new"}, {"name": "new", "queue": "b"}):
            assert (await register(server, caller, task)).status == 403, "the default queue is not theirs either"
        worker = await register(server, caller, {"name": "new", "queue": "a"})
        assert (worker.status, worker.json["queues"]) == (201, ["a"])
        assert (await register(server, caller, {"name": "new", "queue": "a", "priority": 9})).status == 201
        assert (await register(server, caller, {"name": "new", "queue": "b"})).status == 403


async def test_a_task_of_another_queue_may_be_named_as_it_is_and_its_runs_are_not_claimed(serving):
    async with serving() as server:
        operator = await furnished(server)
        caller = await bound(server, operator)
        before = await seen(server, operator)
        worker = await register(server, caller, THEIRS, {"name": "mine", "queue": "a"})
        assert worker.status == 201, "an app with tasks of several queues, unchanged"
        after = await seen(server, operator)
        assert after[0]["theirs"] == before[0]["theirs"]
        assert after[1] == before[1], "what another worker's code declares is not taken for given up"
        await server.post("/v1/runs", {"task": "theirs"}, **operator.headers)
        here = (await server.post("/v1/runs", {"task": "theirs", "queue": "a"}, **operator.headers)).json["id"]
        asked = {"worker_id": worker.json["id"], "max": 10}
        leases = (await server.post("/v1/leases:claim", asked, **caller)).json["leases"]
        assert [lease["run_id"] for lease in leases] == [here]


async def test_a_schedule_of_another_queue_is_neither_taken_over_by_its_name_nor_paused(serving):
    async with serving() as server:
        operator = await furnished(server)
        caller = await bound(server, operator)
        mine = {"name": "mine", "queue": "a"}
        assert (await register(server, operator.headers, mine, schedules=[
            {"name": "elsewhere", "task": "mine", "queue": "b", "occurrence": "Daily"},
            {"name": "here", "task": "mine", "occurrence": "Daily"},
        ])).status == 201  # fmt: skip
        before = (await seen(server, operator))[1]
        for name in ("nightly", "elsewhere"):
            taken = await register(
                server, caller, mine, schedules=[{"name": name, "task": "mine", "occurrence": "Hourly"}]
            )
            assert (taken.status, taken.code) == (403, "forbidden")
            assert name in taken.json["detail"]
        known = {"name": "nightly", "task": "theirs", "occurrence": "Hourly"}
        assert (await register(server, caller, THEIRS, schedules=[known])).status == 403
        assert (await register(server, caller, mine)).status == 201
        after = (await seen(server, operator))[1]
        assert {name for name in before if before[name] != after[name]} == {"here"}
        assert after["here"]["state"] == "paused"


async def test_a_task_that_is_shared_with_an_organisation_is_not_hidden_by_one_of_its_bound_workers(serving):
    async with serving() as server:
        operator = await first_key(server)
        other = await second(server, operator)
        shared = {"name": "common", "queue": "a", "shared": True}
        assert (await register(server, operator.headers, shared)).status == 201
        caller = await bound(server, other)
        refused = await register(server, caller, {"name": "common", "queue": "a"})
        assert (refused.status, refused.code) == (403, "forbidden")
        assert (await register(server, other.headers, {"name": "common", "queue": "a"})).status == 201


async def test_children_are_started_in_the_queues_of_the_key_and_elsewhere_with_the_scope_to_start_runs(serving):
    async with serving() as server:
        operator = await furnished(server)
        run = {"task": "mine", "queue": "a"}
        for scopes, started in (((), {"here", "sent here"}), (("run:start",), {"here", "sent here", "there", "sent"})):
            caller = await bound(server, operator, *scopes)
            worker = (await register(server, caller, {"name": "mine", "queue": "a"})).json["id"]
            assert (await server.post("/v1/runs", run, **operator.headers)).status == 202
            lease = (await server.post("/v1/leases:claim", {"worker_id": worker}, **caller)).json["leases"][0]
            children = {
                "here": {"task": "mine"},
                "sent here": {"task": "theirs", "queue": "a"},
                "there": {"task": "theirs"},
                "sent": {"task": "mine", "queue": "b"},
            }
            about = {"run_id": lease["run_id"], "epoch": lease["epoch"], "type": "child"}
            reports = [{**about, "name": name, "run": child} for name, child in children.items()]
            told = (await server.post("/v1/leases:report", {"worker_id": worker, "reports": reports}, **caller)).json
            assert {list(children)[reply["index"]] for reply in told["replies"]} == started, scopes
            for refused in told["rejected"]:
                assert (refused["status"], refused["code"]) == (403, "forbidden")
                assert "run:start" in refused["detail"]
            assert {list(children)[one["index"]] for one in told["rejected"]} == children.keys() - started
