"""The built-in tasks, executed by the server's own worker for organisations after the first, on each store."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from tests.web.access_kit import first_key, second

from headway.protocol import workers as wire
from headway.server import BUILT_IN, EXECUTORS, begin_workers

TABLE = {"name": "people", "fields": [{"name": "Name"}, {"name": "Status"}]}
CSV = b"Name,Status\r\nAda,new\r\nBob,old\r\n"


@asynccontextmanager
async def working(server):
    """Run the server's own workers; begin when the built-in tasks are known."""
    workers = begin_workers(server.service)
    try:
        while not BUILT_IN.keys() <= server.store.definitions.tasks.keys():  # noqa: ASYNC110 - the worker registers
            await asyncio.sleep(0)
        yield
    finally:
        for worker in workers:
            await worker.stop()


async def ended(server, answer, party):
    """Wait for the run that a request has started; return it."""
    assert answer.status == 202, answer.body
    run = await server.get(f"/v1/runs/{answer.json['id']}", prefer="wait=20", **party.headers)
    assert run.json["state"] == "succeeded", run.body
    return run.json


async def imported(server, party):
    assert (await server.post("/v1/tables", TABLE, **party.headers)).status == 201
    sent = {**party.headers, "content_type": "text/csv"}
    file = await server.ask("POST", "/v1/files?name=people.csv", CSV, **sent)
    asked = {"file": file.json["id"]}
    return await ended(server, await server.post("/v1/tables/people:import", asked, **party.headers), party)


async def names(server, party):
    found = await server.get("/v1/tables/people/records", **party.headers)
    return [record["values"]["Name"] for record in found.json["data"]]


async def imports(server, party):
    run = await imported(server, party)
    assert run["output"]["created"] == 2
    assert await names(server, party) == ["Ada", "Bob"]


async def exports(server, party):
    await imported(server, party)
    run = await ended(server, await server.post("/v1/tables/people:export", {}, **party.headers), party)
    file = await server.get(f"/v1/files/{run['output']['file']}/content", **party.headers)
    assert b"Ada,new" in file.body
    assert b"Bob,old" in file.body


async def acts_on_many_runs(server, party):
    asked = wire.RegisterWorker(name="theirs", tasks=[wire.TaskDeclaration(name="backup")])
    await server.service.of(2).workers.register(asked)
    started = [(await server.post("/v1/runs", {"task": "backup"}, **party.headers)).json["id"] for _ in range(3)]
    asked = {"filter": {"task": ["backup"]}, "action": "terminate", "reason": "not needed"}
    run = await ended(server, await server.post("/v1/runs:bulk", asked, **party.headers), party)
    assert run["output"]["changed"] == 3, run["output"]
    for run_id in started:
        assert (await server.get(f"/v1/runs/{run_id}", **party.headers)).json["state"] == "terminated"


USES = {"headway.bulk": acts_on_many_runs, "headway.import": imports, "headway.export": exports}


def test_every_built_in_task_is_used_here():
    assert USES.keys() == BUILT_IN.keys()


@pytest.mark.parametrize("task", BUILT_IN)
async def test_every_organisation_uses_each_built_in_task(task, serving):
    async with serving() as server, working(server):
        operator = await first_key(server)
        party = await second(server, operator)
        await USES[task](server, party)
        (run,) = (await server.get(f"/v1/runs?task={task}", **party.headers)).json["data"]
        assert run["task"] == task
        assert not (await server.get(f"/v1/runs?task={task}", **operator.headers)).json["data"]
        assert (await server.post(f"/v1/tasks/{task}:deactivate", **party.headers)).status == 403


@pytest.mark.parametrize("executor", EXECUTORS, ids=lambda executor: executor.name)
async def test_every_organisation_uses_each_kind_of_task_that_the_server_executes(executor, serving):
    async with serving() as server, working(server):
        party = await second(server, await first_key(server))
        await imported(server, party)
        asked = {"name": "Close", "table": "people", "actions": [{"action": "update", "set": {"Status": "closed"}}]}
        assert (await server.post("/v1/record-tasks", asked, **party.headers)).status == 201
        await ended(server, await server.post("/v1/runs", {"task": "Close"}, **party.headers), party)
        found = (await server.get("/v1/tables/people/records", **party.headers)).json["data"]
        assert [record["values"]["Status"] for record in found] == ["closed", "closed"]
