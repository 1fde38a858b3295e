"""Harness of record tasks: their creation, and execution of their runs by hand."""

import json

import msgspec
from msgspec.structs import replace
from tests.harness import spec

from headway.features.record_tasks import executor as records
from headway.features.record_tasks.mail_server import MailServers
from headway.features.record_tasks.model import EXECUTOR
from headway.features.record_tasks.service import RecordTasks
from headway.outbound.gateway import Gateway
from headway.protocol import record_tasks as wire
from headway.protocol import workers
from headway.protocol.workers import RegisterWorker


class RecordTaskHarness:
    """Record tasks on a harness, and the worker that executes them."""

    def __init__(self, harness):
        self.harness = harness

    @property
    def tasks(self):
        return self.harness.services.get(RecordTasks)

    @property
    def mail(self):
        return self.harness.services.get(MailServers)

    async def make(self, *actions, name="T", on="things", **more):
        asked = msgspec.convert({"name": name, "table": on, "actions": list(actions), **more}, wire.CreateRecordTask)
        return await self.tasks.create(asked)

    async def begin(self, name="T", given=None, **more):
        """Start a run and claim it; return the claimed run."""
        started = await self.harness.runs.start(spec(name, given, **more))
        return await self.claim(started.run.id)

    async def claim(self, run_id):
        asked = RegisterWorker(name="built-in-records", capacity=16)
        self.worker = (await self.harness.workers.register(asked, built_in=True, executor=EXECUTOR)).id
        leases = {lease.run_id: lease for lease in await self.harness.claim(self.worker)}
        self.lease = leases[run_id]
        return await self.harness.store.read.run(run_id)

    async def execute(self, run):
        """Execute a claimed run to its end; return its output."""
        output = await records.execute(self.harness.service, run)
        await self.harness.tell(self.worker, self.lease, workers.SucceededReport, output=output)
        return json.loads(bytes(output))

    async def run(self, name="T", given=None):
        return await self.execute(await self.begin(name, given))

    async def errors(self, run):
        found, _ = await self.tasks.errors(run.id)
        return [(error.action, error.code, error.message) for error in found]


def allow(harness, guard, **settings):
    service = harness.service
    service.gateway, service.settings = Gateway(guard), replace(service.settings, **settings)
    service.of.cache_clear()
    service._parts.clear()
    harness._bind()


def update(**given):
    return {"action": "update", "set": given}
