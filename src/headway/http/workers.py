"""Handlers for workers: the protocol that they speak, and what people see and do of them."""

from __future__ import annotations

from headway.errors import LeaseLost
from headway.http import present, sse
from headway.http.call import Call
from headway.http.reply import Reply, json
from headway.model.worker import Worker
from headway.wire import workers as wire


async def register(call: Call) -> Reply:
    """POST /v1/workers."""
    worker = await call.service.workers.register(call.asked(wire.RegisterWorker))
    shown = present.worker_out(worker, 0, call.service.settings.lease_ms)
    return json(shown, 201, (b"location", shown.url.encode()))


async def _shown(call: Call, worker: Worker) -> wire.WorkerOut:
    leases = len(await call.service.store.read.leases(worker.id))
    return present.worker_out(worker, leases, call.service.settings.lease_ms)


async def list_workers(call: Call) -> Reply:
    """GET /v1/workers."""
    return json(wire.WorkerList(data=[await _shown(call, worker) for worker in await call.service.workers.list()]))


async def get(call: Call) -> Reply:
    """GET /v1/workers/{id}."""
    return json(await _shown(call, await call.service.workers.get(call.arguments["id"])))


async def drain(call: Call) -> Reply:
    """POST /v1/workers/{id}:drain."""
    return json(await _shown(call, await call.service.workers.drain(call.arguments["id"])))


async def signals(call: Call) -> Reply | None:
    """GET /v1/workers/{id}/signals."""
    return await sse.signals(call, call.arguments["id"])


async def claim(call: Call) -> Reply:
    """POST /v1/leases:claim."""
    asked = call.asked(wire.ClaimRuns)
    if asked.wait == "0s" or call.api.draining:
        return json(wire.Leases(leases=await call.service.workers.claim(asked)))
    with call.patience():
        return json(wire.Leases(leases=await call.service.workers.claim(asked)))
    return json(wire.Leases(leases=[]))


async def report(call: Call) -> Reply:
    """POST /v1/leases:report."""
    asked = call.asked(wire.ReportRuns)
    done = await call.service.workers.report(asked)
    lost = [rejected for rejected in done.rejected if rejected.code == LeaseLost.code]
    if lost and len(lost) == len(asked.reports):
        raise LeaseLost(rejected=lost)
    return json(done)
