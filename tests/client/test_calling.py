"""A task for a name: in the clients' calls, and started by its own function outside of runs."""

import asyncio
import datetime as dt

import pytest
from tests.client import samples
from tests.client.server import Answer, serving

import headway
from headway.client.aio.client import AsyncClient
from headway.client.encoding import batch_item, query, query_body, schedule_body
from headway.client.sync.client import Client
from headway.errors import BadParameter

app = headway.App()


@app.task(name="mail.greet")
async def greet(who: str) -> str:
    return who


@app.task
def plain(who: str) -> str:
    return who


def undeclared(who: str) -> str:
    return who


@pytest.fixture
def fake(monkeypatch):
    for name in ("HEADWAY_SERVER", "HEADWAY_KEY", "HEADWAY_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    with serving(lambda _: Answer(202, samples.run())) as fake:
        monkeypatch.setenv("HEADWAY_URL", fake.url)
        yield fake


def test_both_clients_take_the_function_of_a_task_for_its_name(fake):
    async def asynchronously():
        async with AsyncClient(fake.url) as client:
            return await client.runs.start(greet, who="a", priority=7)

    with Client(fake.url) as client:
        client.runs.start(greet, {"who": "a"}, priority=7)
    asyncio.run(asynchronously())
    assert [request.json() for request in fake.requests] == [
        {"task": "mail.greet", "input": {"who": "a"}, "priority": 7}
    ] * 2


def test_lists_schedules_batches_and_filters_take_it_too(fake):
    asked = {"task": greet}, {"task": [greet, "plain"]}, {"task": "mail.greet,plain"}, {"task": None}
    assert [query(**each) for each in asked] == ["task=mail.greet", *["task=mail.greet%2Cplain"] * 2, ""]
    with Client(fake.url) as client, pytest.raises(headway.HeadwayError):
        client.tasks.get(greet)
    assert fake.requests[0].path == "/v1/tasks/mail.greet"
    assert schedule_body({"task": greet})["task"] == "mail.greet"
    assert batch_item({"task": greet, "who": "a"})["task"] == "mail.greet"
    assert query_body({"task": greet})["task"] == ["mail.greet"]
    assert query_body({"task": [greet, "plain"], "created_after": dt.datetime.fromtimestamp(0, dt.UTC)})["task"] == [
        "mail.greet",
        "plain",
    ]


@pytest.mark.parametrize("wrong", [undeclared, 3, None, object(), app, undeclared.__code__])
def test_what_is_no_task_is_refused_with_what_to_give(fake, wrong):
    with Client(fake.url) as client, pytest.raises(TypeError, match=r"or the function that @app.task declares"):
        client.runs.start(wrong)
    assert fake.requests == []


def test_a_task_is_started_by_its_function_with_the_client_of_the_environment(fake, monkeypatch):
    monkeypatch.setenv("HEADWAY_KEY", "hw_k1_secret")
    run = plain.start(who="a", labels={"b": "c"}, idempotency_key="once")
    assert isinstance(run, headway.RunHandle)
    assert isinstance(asyncio.run(greet.start_async({"who": "b"})), headway.AsyncRunHandle)
    first, second = fake.requests
    assert first.json() == {"task": "plain", "input": {"who": "a"}, "labels": {"b": "c"}}
    assert (first.headers["idempotency-key"], first.headers["authorization"]) == ("once", "Bearer hw_k1_secret")
    assert second.json() == {"task": "mail.greet", "input": {"who": "b"}}


def test_the_client_is_kept_for_as_long_as_its_environment_and_its_loop(fake, monkeypatch):
    from headway.worker.context import starting

    async def twice():
        runs = [await greet.start_async(who="a"), await greet.start_async(who="b")]
        assert runs[0]._caller is runs[1]._caller
        return runs[0]

    assert plain.start(who="a")._caller is plain.start(who="b")._caller
    assert asyncio.run(twice())._caller is not asyncio.run(twice())._caller
    assert starting._kept == {}, "a client is closed with its loop"
    with serving(lambda _: Answer(202, samples.run())) as other:
        monkeypatch.setenv("HEADWAY_URL", other.url)
        plain.start(who="c")
        assert other.requests[0].json()["input"] == {"who": "c"}
    monkeypatch.setenv("HEADWAY_KEY", "not a key")
    with pytest.raises(BadParameter):
        plain.start(who="d")


def test_a_task_is_an_attribute_of_its_app():
    assert app.plain is plain
    assert app.tasks["mail.greet"] is greet
    with pytest.raises(AttributeError, match=r"the app has no task 'greet'; it has mail.greet, plain"):
        _ = app.greet
    assert not hasattr(headway.App(), "plain")


# Inside a run.


@app.task
async def parent(ctx: headway.Context) -> list:
    child = await plain.start_async({"who": "a"}, name="mine", labels={"k": "v"})
    with pytest.raises(RuntimeError, match=r"await plain.start_async"):
        plain.start(who="b")
    with pytest.raises(TypeError, match="a child run has no dedupe, run_at"):
        await plain.start_async(who="b", run_at="2026-01-01T00:00:00Z", dedupe="x")
    return [await child.result(), child.id]


@app.task
def plain_parent() -> str:
    with pytest.raises(RuntimeError, match=r"mail.greet.start"):
        asyncio.run(greet.start_async(who="b"))
    return greet.start(who="c", key="k").result()


def test_inside_a_run_it_is_a_child_that_is_started_once():
    import headway.testing

    async def go():
        async with headway.testing.service(app) as kit:
            run = await kit.start(parent)
            output, child_id = await run.result()
            (child,) = [child async for child in run.children()]
            shown = await child.now()
            other = await kit.start(plain_parent)
            return output, child_id == child.id, shown.name, bytes(shown.labels), await other.result()

    assert asyncio.run(go()) == ("a", True, "mine", b'{"k":"v"}', "c")
