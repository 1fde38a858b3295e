"""How tasks look to a type checker: declared functions are tasks, contexts know what they return."""

from typing import Any, assert_type

import headway

app = headway.App()


@app.task
async def plain(ctx: headway.Context, name: str) -> str:
    return name


@app.task(
    retry=headway.Retry(max_attempts=5, backoff="1s", do_not_retry=(ValueError, "Refused")),
    rate=headway.Rate(10, "1m"),
    retention=headway.Retention(succeeded="1d", failed=None),
)
def options(ctx: headway.SyncContext, count: int) -> int:
    for number in ctx.track(range(count)):
        assert_type(number, int)
        ctx.progress(number, count, "counting")
    assert_type(ctx.run_id, str)
    assert_type(ctx.key, str | None)
    assert_type(ctx.labels, dict[str, str])
    ctx.sleep("1s")
    child = ctx.start(plain, name="a")
    assert_type(child.id, str)
    assert_type(ctx.results(child), list[Any])
    return count


@app.schedule("daily")
@app.task
def nightly(count: int = 1) -> int:
    return count


async def called(ctx: headway.Context, sync: headway.SyncContext) -> None:
    assert_type(await plain(ctx, "a"), str)
    assert_type(options(sync, count=1), int)
    assert_type(nightly(2), int)
    await plain(ctx, 3)  # type: ignore[arg-type]  # what a function takes is still checked


def started(client: headway.Client) -> None:
    assert_type(client.runs.start(plain, name="a"), headway.RunHandle)
    assert_type(plain.start(name="a", priority=7), headway.RunHandle)
    assert_type(app.plain.start(name="a").result(type=str), str)


async def started_async(client: headway.AsyncClient) -> None:
    assert_type(await client.runs.start(plain, name="a"), headway.AsyncRunHandle)
    assert_type(await plain.start_async(name="a"), headway.AsyncRunHandle)


async def waits(ctx: headway.Context) -> None:
    assert_type(await ctx.wait_for_signal("go", timeout=3600), Any)
    assert_type(await ctx.token("go"), str)
    assert_type(await ctx.suspend("a", "b"), dict[str, Any])
    async for number in ctx.track([1, 2]):
        assert_type(number, int)


def current() -> None:
    assert_type(headway.context(), headway.Context | headway.SyncContext)
