"""Handlers for workers: the worker protocol, and the list and drain of workers."""

from __future__ import annotations

from msgspec.structs import replace

from headway.errors import Forbidden, LeaseLost, WorkerNotFound
from headway.kernel.worker import Worker
from headway.protocol import workers as wire
from headway.web import present, sse
from headway.web.call import Call
from headway.web.reply import Reply, json


async def register(call: Call) -> Reply:
    """POST /v1/workers: register a worker and declare its tasks; 201 with the worker, its lease and heartbeat in milliseconds.

    A key that is bound to queues restricts the worker to them, and refuses other queues and their tasks with `forbidden`.
    """
    workers = call.services.workers
    worker = await workers.register(_within(call, call.asked(wire.RegisterWorker)), call.principal)
    shown = present.worker_out(worker, 0, call.server.settings.lease_ms)
    shown = replace(shown, notices=workers.notices_of(worker.id))
    return json(shown, 201, (b"location", shown.url.encode()))


def _within(call: Call, asked: wire.RegisterWorker) -> wire.RegisterWorker:
    """Restrict a worker to the queues of its key: all of them, if it names none."""
    mine = call.principal.queues
    if mine is None:
        return asked
    others = sorted({*asked.queues} - {*mine})
    if others:
        raise Forbidden(f"the key is for the queues {', '.join(mine)}, not for {', '.join(others)[:200]}")
    return replace(asked, queues=asked.queues or list(mine))


async def _check(call: Call, worker_id: str) -> None:
    """Raise WorkerNotFound for a worker of other queues than the key is bound to."""
    mine = call.principal.queues
    if mine is None:
        return
    queues = await call.services.workers.queues_of(worker_id)
    if not queues or not queues <= {*mine}:
        raise WorkerNotFound(f"no worker is registered as {worker_id}")


async def _shown(call: Call, worker: Worker) -> wire.WorkerOut:
    leases = await call.services.workers.leases(worker.id)
    health = await call.services.workers.health(worker.id)
    return present.worker_out(worker, leases, call.server.settings.lease_ms, health)


async def list_workers(call: Call) -> Reply:
    """GET /v1/workers: all workers, with the number of their leases and the time of the last heartbeat."""
    return json(wire.WorkerList(data=[await _shown(call, worker) for worker in await call.services.workers.list()]))


async def get(call: Call) -> Reply:
    """GET /v1/workers/{id}: a worker.

    Errors: `worker_not_found`.
    """
    return json(await _shown(call, await call.services.workers.get(call.arguments["id"])))


async def drain(call: Call) -> Reply:
    """POST /v1/workers/{id}:drain: ask a worker to finish its runs, claim no more, and end.

    Errors: `worker_not_found`.
    """
    await _check(call, call.arguments["id"])
    return json(await _shown(call, await call.services.workers.drain(call.arguments["id"])))


async def signals(call: Call) -> Reply | None:
    """GET /v1/workers/{id}/signals: a stream of `stop` for runs and `drain` for the worker. While it is open, the session lives.

    Errors: `worker_not_found`, `overloaded`, `draining`.
    """
    await _check(call, call.arguments["id"])
    return await sse.signals(call, call.arguments["id"])


async def claim(call: Call) -> Reply:
    """POST /v1/leases:claim: claim up to `max` runs, waiting up to `wait` for the first; the list may be empty.

    Errors: `worker_not_found`.
    """
    asked: wire.ClaimRuns = call.body
    await _check(call, asked.worker_id)
    if asked.wait == "0s" or call.server.draining:
        return json(wire.Leases(leases=await call.services.workers.claim(asked)))
    with call.cancel_on_disconnect():
        return json(wire.Leases(leases=await call.services.workers.claim(asked)))
    return json(wire.Leases(leases=[]))


async def report(call: Call) -> Reply:
    """POST /v1/leases:report: apply reports in order, and renew the session; the answer names the rejected reports.

    Errors: `worker_not_found`, and `lease_lost` if all reports are of lost leases.
    """
    asked: wire.ReportRuns = call.body
    await _check(call, asked.worker_id)
    done = await call.services.workers.report(asked, call.principal)
    lost = [rejected for rejected in done.rejected if rejected.code == LeaseLost.code]
    if lost and len(lost) == len(asked.reports):
        raise LeaseLost(rejected=lost)
    return json(done)
