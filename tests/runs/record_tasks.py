"""Creation and execution of record tasks."""

import json

import msgspec
from tests.world import spec

from headway.features.record_tasks import executor as records
from headway.features.record_tasks.model import EXECUTOR
from headway.outbound.gateway import Gateway
from headway.protocol import record_tasks as wire
from headway.protocol import workers
from headway.protocol.workers import RegisterWorker


class Office:
    """A world whose record tasks may send to loopback, and whoever executes them."""

    def __init__(self, world):
        self.world = world
        self.tasks = world.services.record_tasks

    async def make(self, *actions, name="T", on="things", **more):
        asked = msgspec.convert({"name": name, "table": on, "actions": list(actions), **more}, wire.CreateRecordTask)
        return await self.tasks.create(asked)

    async def begin(self, name="T", given=None, **more):
        """Start a run and claim it; return it as whoever executes it sees it."""
        started = await self.world.runs.start(spec(name, given, **more))
        return await self.claim(started.run.id)

    async def claim(self, run_id):
        asked = RegisterWorker(name="built-in-records", capacity=16)
        self.worker = (await self.world.workers.register(asked, built_in=True, executor=EXECUTOR)).id
        leases = {lease.run_id: lease for lease in await self.world.claim(self.worker)}
        self.lease = leases[run_id]
        return await self.world.store.read.run(run_id)

    async def execute(self, run):
        """Execute a claimed run to its end; return its output."""
        output = await records.execute(self.world.service, run)
        await self.world.tell(self.worker, self.lease, workers.SucceededReport, output=output)
        return json.loads(bytes(output))

    async def run(self, name="T", given=None):
        return await self.execute(await self.begin(name, given))

    async def errors(self, run):
        found, _ = await self.tasks.errors(run.id)
        return [(error.action, error.code, error.message) for error in found]


def allow(world, guard):
    world.service.gateway = Gateway(guard)
    world.service._services.clear()
    world.services = world.service.of(1)


def update(**given):
    return {"action": "update", "set": given}
