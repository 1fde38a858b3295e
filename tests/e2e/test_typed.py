"""Models, tasks that are started by their functions, and what the test kit gives, against a real server and real workers."""

import asyncio
import sys

import pytest
from tests.e2e import typed
from tests.faults.server import Process, Server

import headway
import headway.testing
from headway.errors import InvalidInput

ORDER = typed.Order(id=2, lines=[typed.Line(sku="a", qty=1)])


@pytest.fixture
def client(deployment, monkeypatch):
    server = Server(deployment)
    server.process = Process(
        deployment, [sys.executable, "-m", "headway", "serve", "tests.e2e.typed:app", "--port", str(deployment.port)]
    )
    server.wait_until_ready()
    for task in typed.app.tasks:
        server.knows(task)
    monkeypatch.setenv("HEADWAY_URL", deployment.url)
    with headway.Client(deployment.url) as client:
        yield client


def shape(event):
    """Return what an event is, without the ids and times that differ from one run to another."""
    data = event.data if isinstance(event.data, dict) else {}
    return event.type, event.seq, bool(event.time), sorted(data), data.get("state"), data.get("cause")


def test_models_are_inputs_and_outputs_and_a_task_is_started_by_its_function(client):
    for task in (typed.pack, typed.pack_elsewhere, "plainly"):
        assert client.runs.start(task, of=ORDER).result(60, type=list[typed.Line]) == ORDER.lines
    assert typed.pack.start(of=ORDER, labels={"a": "b"}).result(60) == [{"sku": "a", "qty": 1}]
    with pytest.raises(InvalidInput) as refused:
        typed.pack.start(of={"id": 2, "lines": [{"sku": "a", "qty": 0}]})
    assert refused.value.errors[0]["pointer"] == "/input/of/lines/0/qty"
    with pytest.raises(headway.RunFailed, match="/of/id: Value error, an id is even"):
        typed.pack.start(of={"id": 1}).result(60)

    async def asynchronously():
        run = await typed.pack.start_async(of=ORDER)
        return await run.result(60, type=list[typed.Line])

    assert asyncio.run(asynchronously()) == ORDER.lines
    assert asyncio.run(asynchronously()) == ORDER.lines, "a second loop has a client of its own"

    run = typed.both.start(of=ORDER)
    run.signal("go", ORDER)
    assert run.result(60)[0] == [{"sku": "a", "qty": 1}]
    assert [(child.run.task, child.labels) for child in run.children()] == [("pack", {"by": "both"})]


def test_the_test_kit_gives_events_logs_and_results_as_the_client_does(client):
    run = typed.told.start(of=ORDER)
    run.wait(60)
    there = [event for event in run.events() if event.type != "run.progress"]
    here, logs, results, attempts, shown = asyncio.run(in_the_kit())
    assert [shape(event) for event in here] == [shape(event) for event in there]
    assert [line.fields for line in logs] == [line.fields for line in run.logs()]
    assert [(each.name, bytes(each.value)) for each in results] == [
        (each.name, bytes(each.value)) for each in run.results()
    ]
    assert [(each.number, each.outcome) for each in attempts] == [
        (each.number, each.outcome) for each in run.attempts()
    ]
    assert type(shown) is type(run.refresh())
    assert (shown.state, shown.progress.done, bytes(shown.output)) == ("succeeded", 1, bytes(run.run.output))


async def in_the_kit():
    async with headway.testing.service(typed.app) as kit:
        run = await kit.start(typed.told, of=ORDER)
        events = [event async for event in run.events()]
        assert [event async for event in run.events(after=2)][1:] == events[3:]
        assert [event.seq async for event in kit.events()] == [event.seq for event in events[1:]]
        logs, results = [line async for line in run.logs()], [each async for each in run.results()]
        return events, logs, results, await run.attempts(), await run.now()
