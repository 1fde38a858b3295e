"""Waiting for a condition with a deadline."""

import asyncio


async def soon(true, within_s=10):
    """Look until something is so; there is nothing to wait for but what the database says."""
    until = asyncio.get_running_loop().time() + within_s
    while not await true():
        assert asyncio.get_running_loop().time() < until, "it does not become so"
        await asyncio.sleep(0.005)
