"""Retries of whole workflows in the test kit: what is done again, and what is not."""

import pytest

import headway
import headway.testing

ONCE = headway.Retry(max_attempts=1)


class Shop:
    """An app whose tasks note what they do, and fail as long as `broken` names what they are about to do."""

    def __init__(self):
        self.app, self.did, self.broken, self.keys = headway.App(), [], set(), []
        self.app.task(name="order", retry=ONCE)(self.order)
        self.app.task(name="part", retry=ONCE)(self.part)

    def do(self, what):
        if what in self.broken:
            raise ConnectionError(what)
        self.did.append(what)
        return what

    async def order(self, ctx: headway.Context) -> list:
        await ctx.step("reserve", self.do, "reserve")
        answer = await ctx.wait_for_signal("approval")
        children = [await ctx.start("part", number=number) for number in (1, 2)]
        parts = await ctx.results(*children)
        await ctx.step("pay", self.pay, ctx)
        return [answer, parts]

    def pay(self, ctx):
        self.keys.append(ctx.idempotency_key)
        self.do("pay")

    async def part(self, ctx: headway.Context, number: int) -> int:
        await ctx.step("cut", self.do, f"cut {number}")
        await ctx.step("weld", self.do, f"weld {number}")
        return number


@pytest.fixture
def shop():
    return Shop()


@pytest.fixture
async def kit(shop):
    async with headway.testing.service(shop.app) as kit:
        yield kit


async def test_a_workflow_goes_on_from_what_succeeded_down_to_its_children(kit, shop):
    shop.broken = {"weld 2"}
    run = await kit.start("order")
    await run.signal("approval", "ann")
    assert "failed" == await run.state()
    shop.broken = {"pay"}
    second = await run.retry()
    assert "failed" == await second.state()
    shop.broken = set()
    third = await second.retry()
    assert ["ann", [1, 2]] == await third.result()
    assert ["cut 1", "cut 2", "pay", "reserve", "weld 1", "weld 2"] == sorted(shop.did)
    assert [f"{run.id}/pay"] * 2 == shop.keys, "what failed may have been done: its key stays the same"


async def test_from_scratch_everything_is_done_and_asked_again(kit, shop):
    shop.broken = {"pay"}
    run = await kit.start("order")
    await run.signal("approval", "ann")
    shop.broken = set()
    second = await run.retry(from_scratch=True)
    assert "suspended" == await second.state()
    await second.signal("approval", "bob")
    assert ["bob", [1, 2]] == await second.result()
    assert 2 == shop.did.count("reserve") == shop.did.count("cut 1")
    assert [f"{run.id}/pay", f"{second.id}/pay"] == shop.keys


async def test_a_run_that_was_stopped_while_it_waited_waits_again(kit, shop):
    run = await kit.start("order")
    await run.terminate()
    second = await run.retry()
    assert "suspended" == await second.state()
    await second.signal("approval", "ann")
    assert ["ann", [1, 2]] == await second.result()
    assert 1 == shop.did.count("reserve")


async def test_a_sleep_that_is_over_is_over_and_one_that_is_not_ends_when_it_would_have(kit, shop):
    @shop.app.task(retry=ONCE)
    async def nap(ctx):
        await ctx.sleep("1 day")
        shop.do("up")
        await ctx.sleep("1 day")

    await kit.open()
    shop.broken = {"up"}
    run = await kit.start("nap")
    await kit.advance("1 day")
    assert "failed" == await run.state()
    shop.broken = set()
    second = await run.retry()
    assert ["up"] == shop.did
    await kit.advance("12h")
    await second.terminate()
    third = await second.retry()
    assert "scheduled" == await third.state()
    await kit.advance("12h")
    assert "succeeded" == await third.state()


async def test_a_parent_is_not_retried_for_a_child_that_failed_for_good(kit, shop):
    tries = []

    @shop.app.task(retry=headway.Retry(max_attempts=5, backoff="1s"))
    async def parent(ctx, catch: bool):
        child = await ctx.start("part", number=1)
        try:
            await child.result()
        except headway.ChildFailed:
            if not catch:
                raise
            tries.append(ctx.attempt)
            raise ConnectionError("of its own") from None

    await kit.open()
    shop.broken = {"cut 1"}
    run = await kit.start("parent", catch=False)
    await kit.advance("1h")
    assert ("failed", 1) == ((await run.now()).state, (await run.now()).attempt)
    caught = await kit.start("parent", catch=True)
    await kit.advance("1h")
    assert ("failed", 5) == ((await caught.now()).state, (await caught.now()).attempt)
    assert [1, 2, 3, 4, 5] == tries


async def test_a_run_is_not_retried_for_a_signal_that_did_not_come_in_time(kit, shop):
    @shop.app.task(retry=headway.Retry(max_attempts=5))
    async def patient(ctx):
        return await ctx.wait_for_signal("go", timeout="1 day")

    await kit.open()
    run = await kit.start("patient")
    await kit.advance("2 days")
    assert ("failed", 1) == ((await run.now()).state, (await run.now()).attempt)
    second = await run.retry()
    await kit.advance("12h")
    await second.signal("go", "yes")
    assert "yes" == await second.result()


async def test_a_run_does_not_have_the_steps_of_another(kit, shop):
    for _ in range(2):
        await kit.start("part", number=7)
    assert ["cut 7", "weld 7"] * 2 == shop.did
