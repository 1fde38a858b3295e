"""How the clients look to a type checker: handles, typed results, both spellings."""

from typing import Any, assert_type

import headway


def blocking(client: headway.Client) -> None:
    run = client.runs.start("greet", name="Ada", priority=7, delay="1h", labels={"a": "b"})
    assert_type(run, headway.RunHandle)
    assert_type(run.id, str)
    assert_type(run.result(), Any)
    assert_type(run.result(type=int), int)
    assert_type(run.retry(), headway.RunHandle)
    for found in client.runs.list(state="failed"):
        assert_type(found, headway.RunHandle)


async def asynchronous(client: headway.AsyncClient) -> None:
    run = await client.runs.start("greet", name="Ada")
    assert_type(run, headway.AsyncRunHandle)
    assert_type(await run.result(type=str), str)
    async for found in client.runs.list(task=["greet"]):
        assert_type(found, headway.AsyncRunHandle)
    async for event in run.events():
        assert_type(event.seq, int)


def errors(client: headway.Client) -> str:
    try:
        client.runs.get("x").result(timeout=1)
    except headway.RunFailed as error:
        return error.code
    except (headway.RunTerminated, headway.WaitTimeout, headway.ConnectionLost) as error:
        assert_type(error.detail, str)
        return error.code
    return ""
