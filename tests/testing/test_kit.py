"""The test kit: what users write tests with, tested the way they would use it."""

import asyncio
import logging

import pytest

import headway
import headway.testing
from headway.kernel.run import State

app = headway.App()
calls: list[str] = []


@app.task
async def greet(who: str) -> str:
    return f"hello {who}"


@app.task(retry=headway.Retry(max_attempts=3, backoff="10m", jitter=0))
def flaky(ctx: headway.SyncContext) -> int:
    if ctx.attempt < 3:
        raise ConnectionError("not yet")
    return ctx.attempt


@app.task
async def remind(ctx: headway.Context, customer: int) -> dict[str, int]:
    await ctx.step("first", calls.append, "first")
    await ctx.sleep("3 days")
    await ctx.step("second", calls.append, "second")
    return {"customer": customer, "attempt": ctx.attempt}


@app.task
async def noted(ctx: headway.Context, word: str) -> str:
    return await ctx.step("note", str, word)


@app.task
async def approval(ctx: headway.Context) -> str:
    try:
        return f"approved by {await ctx.wait_for_signal('approved', timeout='1 day')}"
    except TimeoutError:
        return "nobody came"


@app.task
async def parent(ctx: headway.Context) -> list[str]:
    children = [await ctx.start("greet", who=who) for who in ("a", "b")]
    return [await child.result() for child in children]


@app.task(retry=headway.Retry(max_attempts=1))
async def fragile(word: str) -> str:
    if "tried" not in calls:
        calls.append("tried")
        raise ValueError(word)
    return "mended"


@app.task
async def by_token(ctx: headway.Context) -> object:
    ctx.log("the token", token=await ctx.token("yes"))
    return await ctx.wait_for_token("yes")


@pytest.fixture
async def t():
    calls.clear()
    async with headway.testing.service(app) as t:
        yield t


async def test_a_run_is_executed_when_it_is_started(t):
    assert await (await t.start(greet, who="you")).result() == "hello you"


async def test_retries_come_when_the_clock_is_turned(t):
    run = await t.start("flaky")
    assert await run.state() is State.SCHEDULED
    await t.advance("10m")
    assert await run.state() is State.SCHEDULED
    await t.advance("20m")
    assert await run.result() == 3


async def test_a_sleep_of_days_takes_no_time_and_repeats_no_step(t):
    run = await t.start("remind", customer=7)
    await t.advance("71h")
    assert calls == ["first"]
    await t.advance("1h")
    assert calls == ["first", "second"]
    assert await run.result() == {"customer": 7, "attempt": 1}


def test_the_steps_of_one_run_are_not_those_of_the_next():
    async def go():
        async with headway.testing.service(app) as t:
            return [await (await t.start(noted, word=word)).result() for word in ("a", "b")]

    assert asyncio.run(go()) == ["a", "b"]


async def test_a_signal_wakes_the_run_that_waits_for_it(t):
    run = await t.start("approval")
    assert await run.state() is State.SUSPENDED
    await run.signal("approved", "me")
    assert await run.result() == "approved by me"


async def test_a_wait_that_times_out_raises_in_the_function(t):
    run = await t.start("approval")
    await t.advance("1 day")
    assert await run.result() == "nobody came"


async def test_a_parent_waits_for_its_children_without_holding_a_worker(t):
    assert await (await t.start("parent")).result() == ["hello a", "hello b"]


async def test_a_delayed_start_begins_on_time(t):
    run = await t.start("greet", who="later", delay="2 days")
    await t.advance("1 day")
    assert await run.state() is State.SCHEDULED
    await t.advance("1 day")
    assert await run.result() == "hello later"


async def test_what_a_kit_s_run_gives_is_what_the_client_gives(t):
    run = await t.start("parent", {}, labels={"a": "b"})
    snapshot, *events = [event async for event in run.events()]
    assert (snapshot.type, snapshot.run) == ("snapshot", await run.now())
    assert {event.type for event in events} <= {"run.state", "run.step"}
    assert [line.seq async for line in run.history(after=2)] == [event.seq for event in events[2:]]
    assert [await child.result() async for child in run.children()] == ["hello a", "hello b"]
    assert await run.result(type=tuple[str, str]) == ("hello a", "hello b")
    assert bytes((await run.now()).labels) == b'{"a":"b"}'
    everything = [(event.run_id, event.position) async for event in t.events()]
    assert {run_id for run_id, _ in everything} == {run.id, *[child.id async for child in run.children()]}
    assert [position for _, position in everything] == sorted(position for _, position in everything)


@app.task
def logging_plainly(ctx: headway.SyncContext) -> None:
    ctx.log("by the context")
    logging.getLogger("shop").info("by %s", "logging")
    logging.getLogger("shop").debug("not this")


def test_what_a_task_logs_is_in_the_log_of_its_run_as_in_a_worker():
    before = logging.getLogger().level, list(logging.getLogger().handlers)

    async def lines(of):
        async with headway.testing.service(of) as t:
            logging.getLogger("shop").info("of no run")
            run = await t.start("logging_plainly")
            return [(line.message, line.level, line.fields) async for line in run.logs()]

    quiet = headway.App(capture_logging=False)
    quiet.task(logging_plainly)
    own = ("by the context", "info", {})
    assert asyncio.run(lines(app)) == [own, ("by logging", "info", {"logger": "shop"})]
    assert asyncio.run(lines(quiet)) == [own]
    assert before == (logging.getLogger().level, list(logging.getLogger().handlers))


async def test_a_start_takes_what_the_client_s_takes_its_key_included(t):
    first = await t.start("greet", {"who": "a"}, idempotency_key="once", priority=7)
    assert (await t.start("greet", {"who": "a"}, idempotency_key="once", priority=7)).id == first.id
    assert (await t.start("greet", {"who": "a"}, idempotency_key="twice")).id != first.id
    assert (await first.now()).priority == 7


async def test_a_failed_run_raises_as_the_client_does_and_is_retried(t):
    run = await t.start("fragile", word="a")
    with pytest.raises(headway.RunFailed, match="fragile failed: ValueError: a") as failed:
        await run.result()
    assert failed.value.run.state == "failed"
    again = await run.retry("it may work now")
    assert (await again.now()).previous_id == run.id
    assert await again.result() == "mended"


async def test_a_token_is_completed_and_why_a_run_waits_is_told(t):
    run = await t.start("by_token")
    assert [cause.code for cause in (await run.waiting()).causes] != []
    token = next(event.data["fields"]["token"] for event in [e async for e in run.events()] if event.type == "run.log")
    assert (await t.complete_token(token, {"ok": True})).id == run.id
    assert await run.result() == {"ok": True}


async def test_the_result_of_a_terminated_run_says_so(t):
    run = await t.start("approval")
    await run.terminate("not needed")
    with pytest.raises(headway.RunTerminated, match="not needed"):
        await run.result()


def test_what_the_app_declares_fires_in_the_kit_too():
    nightly = headway.App()

    @nightly.schedule("30 2 * * *", timezone="Europe/Berlin", input={"who": "night"})
    @nightly.task
    async def greet(who: str) -> str:
        return f"hello {who}"

    async def go():
        async with headway.testing.service(nightly) as kit:
            await kit.advance("2 days")
            found = await kit.slots("greet")
            return [await kit.run(slot.run_id).result() for slot in found]

    assert asyncio.run(go()) == ["hello night"] * 2


async def test_a_schedule_fires_while_the_clock_is_turned():
    async with headway.testing.service(app, now_ms=1_767_225_600_000) as kit:  # 2026-01-01T00:00Z
        await kit.schedule("nightly", greet, "30 2 * * *", {"who": "night"}, timezone="Europe/Berlin")
        await kit.advance("2 days")
        slots = await kit.slots("nightly")
        assert [slot.nominal - 1_767_225_600_000 for slot in slots] == [90 * 60_000, (24 * 60 + 90) * 60_000]
        assert [await kit.run(slot.run_id).result() for slot in slots] == ["hello night"] * 2
