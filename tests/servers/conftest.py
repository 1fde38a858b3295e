"""Two servers on one database, each with its own service, writer, readers and ears; their clock is turned by hand."""

from types import SimpleNamespace

import pytest
from tests.postgres.fixtures import patroni  # noqa: F401 - a fixture
from tests.running import *  # all of them: the fixtures use each other
from tests.world import on_postgres

from headway.runs.servers import SERVER_HEARTBEAT_MS


class Pair(SimpleNamespace):
    """The servers `a` and `b`."""

    @property
    def both(self):
        return self.a, self.b

    async def pulse(self, *worlds):
        for world in worlds or self.both:
            await world.service.servers.pulse()

    async def pass_time(self, ms, *worlds):
        """Let time pass for some of the servers, with their signs of life and their loops."""
        while ms > 0:
            step = min(ms, SERVER_HEARTBEAT_MS)
            ms -= step
            for world in self.both:
                world.clock.advance(step)
            for world in worlds or self.both:
                await world.service.servers.pulse()
                await world.tick()


@pytest.fixture
async def pair(postgres_store):
    made = Pair(a=on_postgres(postgres_store, threaded=True), b=on_postgres(postgres_store, threaded=True))
    for world in made.both:
        await world.service.servers.join()
    yield made
    assert [] == made.a.wrong()
    for world in made.both:
        await world.store.close()
        if world._side is not None:
            world._side.close()
