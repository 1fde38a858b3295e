"""How the test kit looks to a type checker."""

from typing import Any, assert_type

import headway
import headway.testing


async def scenario(app: headway.App) -> None:
    async with headway.testing.service(app) as t:
        assert_type(t, headway.testing.Kit)
        run = await t.start("remind", customer=7)
        assert_type(run, headway.testing.KitRun)
        await t.advance("3 days")
        assert_type(await run.result(), Any)
        assert_type(await run.result(type=int), int)
        async for event in run.events():
            assert_type(event.seq, int)
        async for child in run.children():
            assert_type(child, headway.testing.KitRun)
