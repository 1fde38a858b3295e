"""The test kit: a whole service in memory, with a clock turned by hand; tasks are executed in the test's own loop.

    import headway.testing

    async def test_the_reminder_is_sent_after_three_days():
        async with headway.testing.service(app) as t:
            run = await t.start("remind", customer=7)
            await t.advance("3 days")
            assert await run.result() == {"sent": True}

Nothing sleeps: `advance` takes the clock from one due moment to the next and executes what each brings. It is the real
engine, the real store (in memory) and the real rules for retries, limits and signals; only processes and network are not
there, so a task's executor does not matter and a task that ends its process ends the test.
"""

from headway.testing.kit import Kit, service
from headway.testing.run import KitRun

__all__ = ["Kit", "KitRun", "service"]
