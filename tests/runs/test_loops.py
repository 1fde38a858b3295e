"""A loop goes on until it is stopped, whatever happens to it."""

import asyncio
import logging

import pytest

from headway.errors import StorageUnavailable
from headway.runs.loops import loop as loops
from headway.runs.loops.loop import Loop


class Scripted:
    """Ticks as it is told to, then for ever at once; `done` is set when the script is over."""

    name = "scripted"

    def __init__(self, *acts):
        self.acts = list(acts)
        self.done = asyncio.Event()

    async def tick(self):
        if not self.acts:
            self.done.set()
            return 60_000
        return await self.acts.pop(0)()


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(loops, "BACK_OFF_S", 0.001)


async def goes_on(*acts, **options):
    """Let a loop go through the acts, and see that it ticks once more."""
    scripted = Scripted(*acts)
    loop = Loop(scripted, **options)
    loop.start()
    async with asyncio.timeout(5):
        await scripted.done.wait()
    await loop.stop()
    return loop


async def cancelled():
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def broken():
    raise ZeroDivisionError


async def away():
    raise StorageUnavailable


async def nonsense():
    return "soon"


@pytest.mark.parametrize("act", [cancelled, broken, away, nonsense])
async def test_a_loop_goes_on_whatever_a_tick_comes_to(act, caplog):
    loop = await goes_on(act, act)
    assert loop.failures == 2
    assert len([line for line in caplog.records if line.levelno >= logging.WARNING]) == (1 if act is away else 2)


async def test_a_loop_that_is_stopped_between_two_lives_does_not_begin_again(monkeypatch, caplog):
    monkeypatch.setattr(loops, "BACK_OFF_S", 0.05)
    scripted = Scripted(nonsense)
    loop = Loop(scripted)
    loop.start()
    async with asyncio.timeout(5):
        while "it begins again" not in caplog.text:  # noqa: ASYNC110 - the log sets no event
            await asyncio.sleep(0.001)
    await loop.stop()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await scripted.done.wait()


async def test_a_loop_that_is_told_to_end_in_the_middle_of_a_tick_ends():
    begun = asyncio.Event()

    async def hang():
        begun.set()
        await asyncio.Event().wait()

    loop = Loop(Scripted(hang))
    loop.start()
    await begun.wait()
    async with asyncio.timeout(5):
        await loop.stop()
    assert loop.failures == 0


async def test_after_failures_a_loop_waits_no_longer_than_it_may():
    began = asyncio.get_running_loop().time()
    await goes_on(*[broken] * 14, back_off_max_s=0.004)
    assert asyncio.get_running_loop().time() - began < 2, "doubled each time it would have been 16 seconds"
