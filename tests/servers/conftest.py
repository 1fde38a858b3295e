"""Two servers on one database, each with its own service, writer, readers and ears; their clock is turned by hand."""

from types import SimpleNamespace

import pytest
from tests.harness import on_postgres
from tests.postgres.fixtures import patroni  # noqa: F401 - a fixture
from tests.running import *  # all of them: the fixtures use each other

from headway.runs.servers import SERVER_HEARTBEAT_MS


class Pair(SimpleNamespace):
    """The servers `a` and `b`."""

    @property
    def both(self):
        return self.a, self.b

    async def pulse(self, *harnesses):
        for harness in harnesses or self.both:
            await harness.service.servers.pulse()

    async def pass_time(self, ms, *harnesses):
        """Let time pass for some of the servers, with their signs of life and their loops."""
        while ms > 0:
            step = min(ms, SERVER_HEARTBEAT_MS)
            ms -= step
            for harness in self.both:
                harness.clock.advance(step)
            for harness in harnesses or self.both:
                await harness.service.servers.pulse()
                await harness.tick()


@pytest.fixture
async def pair(postgres_store):
    made = Pair(a=on_postgres(postgres_store, threaded=True), b=on_postgres(postgres_store, threaded=True))
    for harness in made.both:
        await harness.service.servers.join()
    yield made
    assert [] == made.a.wrong()
    for harness in made.both:
        await harness.store.close()
        if harness._side is not None:
            harness._side.close()
