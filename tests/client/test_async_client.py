"""The async client has the shape of the blocking one, which is generated from it."""

import asyncio
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from tests.client import samples
from tests.client.samples import END, ID, AsyncFakePace, line, snapshot
from tests.client.server import Answer, problem, script, serving, stream

from headway import errors
from headway.client.aio.client import AsyncClient
from headway.client.errors import ConnectionLost, RunFailed
from headway.client.sync.client import Client

ROOT = Path(__file__).parents[2]


def run_with(fake, work, **options):
    async def main():
        async with AsyncClient(fake.url, pace=AsyncFakePace(), **options) as client:
            return await work(client)

    return asyncio.run(main())


def test_a_handle_can_be_awaited_for_its_result():
    async def work(client):
        return await (await client.runs.start("backup", folder="/srv"))

    with serving(script(Answer(202, samples.run()), Answer(200, samples.run("succeeded", output=[1])))) as fake:
        assert run_with(fake, work) == [1]
    assert fake.requests[0].json()["input"] == {"folder": "/srv"}


def test_a_failed_run_raises():
    async def work(client):
        await (await client.runs.get(ID))

    with serving(lambda _: Answer(200, samples.run("failed"))) as fake, pytest.raises(RunFailed):
        run_with(fake, work)


def test_a_start_is_tried_again_with_the_same_key():
    async def work(client):
        await client.runs.start("backup")

    with serving(script(Answer(drop=True), problem(503, "draining"), Answer(202, samples.run()))) as fake:
        run_with(fake, work)
    assert len({request.headers["idempotency-key"] for request in fake.requests}) == 1


def test_events_are_resumed():
    async def work(client):
        return [event.seq async for event in (await client.runs.get(ID)).events() if event.type != "snapshot"]

    answers = script(
        Answer(200, samples.run()), stream(snapshot(0), line(1), None), stream(line(2)), stream(line(3), END)
    )
    with serving(answers) as fake:
        assert run_with(fake, work) == [1, 2, 3]
    assert [request.headers.get("last-event-id") for request in fake.requests[1:]] == [None, "1", "2"]


def test_a_refused_stream_raises_its_problem():
    async def work(client):
        return [event async for event in (await client.runs.get(ID)).events()]

    with (
        serving(script(Answer(200, samples.run()), problem(404, "run_not_found"))) as fake,
        pytest.raises(errors.RunNotFound),
    ):
        run_with(fake, work)


def test_a_list_is_iterated():
    async def work(client):
        return [handle.id async for handle in client.runs.list(state="failed")]

    with serving(lambda _: Answer(200, {"data": [samples.run()], "next_page_token": "", "has_more": False})) as fake:
        assert run_with(fake, work) == [ID]


def test_no_server_is_a_lost_connection():
    with serving(lambda _: Answer()) as fake:
        pass
    with pytest.raises(ConnectionLost, match="is `headway serve` running"):
        run_with(fake, lambda client: client.tasks.list(), retries=0)


def shape(kind):
    return {
        name: [parameter.name for parameter in inspect.signature(member).parameters.values()]
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


def test_both_clients_have_the_same_shape():
    with Client("http://x") as client:
        nouns = {name: noun for name, noun in vars(client).items() if name not in {"transport", "_caller"}}
    other = AsyncClient("http://x")
    assert shape(Client) == shape(AsyncClient)
    for name, noun in nouns.items():
        assert shape(type(noun)) == shape(type(getattr(other, name)))


def test_the_blocking_client_is_current():
    command = [sys.executable, str(ROOT / "tools/unasync.py"), "--check"]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stdout == ""


def test_the_blocking_client_does_not_import_the_async_one():
    script = (
        "import sys, headway.client.sync.client; print([m for m in ('asyncio','aiohttp','rich') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stdout.strip() == "[]"
