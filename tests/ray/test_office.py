"""The office between the driver and the functions: who is let in, in which order mail comes, and when everything ends."""

import asyncio

import pytest

from headway.worker.ray.office import DEAF_MS, WAITING_BYTES_MAX, WAITING_MAX, Office

KEY = ("run", 1)


class Clock:
    def __init__(self):
        self.ms = 0

    def monotonic_ms(self):
        return self.ms


def office_test(test):
    """Run a coroutine on a loop of its own, with an office in which one lease is open."""

    def run():
        async def main():
            clock = Clock()
            office = Office(clock)
            await office.open(KEY)
            await test(office, clock)

        asyncio.run(asyncio.wait_for(main(), 20))

    run.__name__ = test.__name__
    return run


@office_test
async def test_one_process_is_let_in_and_a_second_is_not(office, clock):
    assert await office.enter(KEY, "node")
    assert not await office.enter(KEY, "other")
    assert not await office.enter(("run", 2), "node"), "nobody has opened this lease"
    assert await office.collect() == [(KEY, "began", b"node")]


@office_test
async def test_nobody_is_let_in_after_a_withdrawal_and_none_is_withdrawn_that_is_in(office, clock):
    assert await office.withdraw(KEY)
    assert not await office.enter(KEY, "node")
    await office.open(("next", 1))
    assert await office.enter(("next", 1), "node")
    assert not await office.withdraw(("next", 1))


@office_test
async def test_mail_keeps_its_order_and_the_end_comes_last(office, clock):
    await office.enter(KEY, "node")
    assert await office.send(KEY, [b"1", b"2"])
    assert await office.send(KEY, [b"3"])
    await office.close(KEY)
    assert not await office.send(KEY, [b"late"])
    assert [text for _, _, text in await office.collect()] == [b"node", b"1", b"2", b"3", b""]


@office_test
async def test_who_waits_for_mail_gets_it_at_once(office, clock):
    fetching = asyncio.create_task(office.fetch(KEY))
    collecting = asyncio.create_task(office.collect())
    await asyncio.sleep(0)
    await office.tell(KEY, b"answer")
    await office.send(KEY, [b"question"])
    assert await fetching == [b"answer"]
    assert await collecting == [(KEY, "mail", b"question")]


@office_test
async def test_a_function_is_told_to_end_when_its_lease_is_closed_while_it_waits(office, clock):
    fetching = asyncio.create_task(office.fetch(KEY))
    await asyncio.sleep(0)
    await office.close(KEY)
    assert await fetching is None
    assert await office.fetch(KEY) is None


@office_test
async def test_a_function_whose_driver_has_not_called_for_long_is_told_to_end(office, clock):
    clock.ms = DEAF_MS
    await office.tell(KEY, b"still here")
    assert await office.fetch(KEY) == [b"still here"]
    assert await office.send(KEY, [b"report"])
    clock.ms += 1
    await office.tell(KEY, b"nobody there")
    assert await office.fetch(KEY) is None
    assert not await office.send(KEY, [b"report"])
    await office.collect()
    assert await office.send(KEY, [b"report"])


@pytest.mark.parametrize("frames", [[b""] * WAITING_MAX, [bytes(WAITING_BYTES_MAX)]], ids=["many", "large"])
def test_who_sends_faster_than_the_driver_collects_waits(frames):
    async def main():
        office = Office(Clock())
        await office.open(KEY)
        await office.send(KEY, frames)
        sending = asyncio.create_task(office.send(KEY, [b"more"]))
        await asyncio.sleep(0)
        assert not sending.done()
        assert len(await office.collect()) == len(frames)
        assert await sending
        assert await office.collect() == [(KEY, "mail", b"more")]

    asyncio.run(asyncio.wait_for(main(), 20))
