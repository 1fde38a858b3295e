"""The mailbox between the driver and the functions: admission, order of messages, and the end."""

import asyncio

import pytest

from headway.worker.executors.ray.mailbox import DRIVER_SILENCE_MAX_MS, QUEUED_BYTES_MAX, QUEUED_MAX, Mailbox

KEY = ("run", 1)


class Clock:
    def __init__(self):
        self.ms = 0

    def monotonic_ms(self):
        return self.ms


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def mailbox(clock):
    """A mailbox in which one lease is open."""
    mailbox = Mailbox(clock)
    await mailbox.open(KEY)
    return mailbox


async def test_one_process_is_let_in_and_a_second_is_not(mailbox, clock):
    assert await mailbox.enter(KEY, "node")
    assert not await mailbox.enter(KEY, "other")
    assert not await mailbox.enter(("run", 2), "node"), "nobody has opened this lease"
    assert await mailbox.collect() == [(KEY, "began", b"node")]


async def test_nobody_is_let_in_after_a_withdrawal_and_none_is_withdrawn_that_is_in(mailbox, clock):
    assert await mailbox.withdraw(KEY)
    assert not await mailbox.enter(KEY, "node")
    await mailbox.open(("next", 1))
    assert await mailbox.enter(("next", 1), "node")
    assert not await mailbox.withdraw(("next", 1))


async def test_mail_keeps_its_order_and_the_end_comes_last(mailbox, clock):
    await mailbox.enter(KEY, "node")
    assert await mailbox.send(KEY, [b"1", b"2"])
    assert await mailbox.send(KEY, [b"3"])
    await mailbox.close(KEY)
    assert not await mailbox.send(KEY, [b"late"])
    assert [text for _, _, text in await mailbox.collect()] == [b"node", b"1", b"2", b"3", b""]


async def test_who_waits_for_mail_gets_it_at_once(mailbox, clock):
    fetching = asyncio.create_task(mailbox.fetch(KEY))
    collecting = asyncio.create_task(mailbox.collect())
    await asyncio.sleep(0)
    await mailbox.deliver(KEY, b"answer")
    await mailbox.send(KEY, [b"question"])
    assert await fetching == [b"answer"]
    assert await collecting == [(KEY, "mail", b"question")]


async def test_a_function_is_told_to_end_when_its_lease_is_closed_while_it_waits(mailbox, clock):
    fetching = asyncio.create_task(mailbox.fetch(KEY))
    await asyncio.sleep(0)
    await mailbox.close(KEY)
    assert await fetching is None
    assert await mailbox.fetch(KEY) is None


async def test_a_function_whose_driver_has_not_called_for_long_is_told_to_end(mailbox, clock):
    clock.ms = DRIVER_SILENCE_MAX_MS
    await mailbox.deliver(KEY, b"still here")
    assert await mailbox.fetch(KEY) == [b"still here"]
    assert await mailbox.send(KEY, [b"report"])
    clock.ms += 1
    await mailbox.deliver(KEY, b"nobody there")
    assert await mailbox.fetch(KEY) is None
    assert not await mailbox.send(KEY, [b"report"])
    await mailbox.collect()
    assert await mailbox.send(KEY, [b"report"])


@pytest.mark.parametrize("frames", [[b""] * QUEUED_MAX, [bytes(QUEUED_BYTES_MAX)]], ids=["many", "large"])
async def test_who_sends_faster_than_the_driver_collects_waits(frames):
    mailbox = Mailbox(Clock())
    await mailbox.open(KEY)
    await mailbox.send(KEY, frames)
    sending = asyncio.create_task(mailbox.send(KEY, [b"more"]))
    await asyncio.sleep(0)
    assert not sending.done()
    assert len(await mailbox.collect()) == len(frames)
    assert await sending
    assert await mailbox.collect() == [(KEY, "mail", b"more")]
