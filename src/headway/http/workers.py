"""Handlers for workers: the protocol that they speak, and what people see and do of them."""

from __future__ import annotations

from msgspec.structs import replace

from headway.engine.access import may_start_child, needed_to_start
from headway.errors import Forbidden, LeaseLost, WorkerNotFound
from headway.http import present, sse
from headway.http.call import Call
from headway.http.reply import Reply, json
from headway.model.worker import Worker
from headway.wire import workers as wire


async def register(call: Call) -> Reply:
    """POST /v1/workers."""
    workers = call.service.workers
    worker = await workers.register(_within(call, call.asked(wire.RegisterWorker)))
    shown = present.worker_out(worker, 0, call.service.settings.lease_ms)
    shown = replace(shown, notices=workers.notices_of(worker.id))
    return json(shown, 201, (b"location", shown.url.encode()))


def _within(call: Call, asked: wire.RegisterWorker) -> wire.RegisterWorker:
    """Hold a worker to the queues of its key: all of those, if it names none; its schedules start runs in them too."""
    mine = call.principal.queues
    if mine is None:
        return asked
    own = {task.name: task.queue for task in asked.tasks}
    starts = {schedule.queue or own.get(schedule.task, "default") for schedule in asked.schedules}
    others = sorted({*asked.queues, *starts} - {*mine})
    if others:
        raise Forbidden(f"the key is for the queues {', '.join(mine)}, not for {', '.join(others)[:200]}")
    return replace(asked, queues=asked.queues or list(mine))


async def _check(call: Call, worker_id: str) -> None:
    """Whoever shows a key that is bound to queues may only be a worker of those: others are not there for them."""
    mine = call.principal.queues
    if mine is None:
        return
    queues = await call.service.workers.queues_of(worker_id)
    if not queues or not queues <= {*mine}:
        raise WorkerNotFound(f"no worker is registered as {worker_id}")


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
    await _check(call, call.arguments["id"])
    return json(await _shown(call, await call.service.workers.drain(call.arguments["id"])))


async def signals(call: Call) -> Reply | None:
    """GET /v1/workers/{id}/signals."""
    await _check(call, call.arguments["id"])
    return await sse.signals(call, call.arguments["id"])


async def claim(call: Call) -> Reply:
    """POST /v1/leases:claim."""
    asked = call.asked(wire.ClaimRuns)
    await _check(call, asked.worker_id)
    if asked.wait == "0s" or call.api.draining:
        return json(wire.Leases(leases=await call.service.workers.claim(asked)))
    with call.patience():
        return json(wire.Leases(leases=await call.service.workers.claim(asked)))
    return json(wire.Leases(leases=[]))


def _why_not(task: str) -> str:
    return f"starting {task[:200]} needs the scope {needed_to_start(task)}, or its queue among those of the key"


async def _without(call: Call, asked: wire.ReportRuns, refused: list[wire.Rejected]) -> wire.Reported:
    """Apply the other reports, and answer for all of them by the places that they were sent in."""
    not_these = {rejected.index for rejected in refused}
    places = [index for index in range(len(asked.reports)) if index not in not_these]
    done = await call.service.workers.report(replace(asked, reports=[asked.reports[index] for index in places]))
    others = [replace(rejected, index=places[rejected.index]) for rejected in done.rejected]
    replies = [replace(reply, index=places[reply.index]) for reply in done.replies]
    return replace(done, rejected=sorted([*refused, *others], key=lambda rejected: rejected.index), replies=replies)


async def report(call: Call) -> Reply:
    """POST /v1/leases:report."""
    asked = call.asked(wire.ReportRuns)
    await _check(call, asked.worker_id)
    refused = [
        wire.Rejected(index=index, status=403, code=Forbidden.code, detail=_why_not(report.run.task))
        for index, report in enumerate(asked.reports)
        if isinstance(report, wire.ChildReport)
        and not may_start_child(call.principal, report.run.task, report.run.queue)
    ]
    done = await (_without(call, asked, refused) if refused else call.service.workers.report(asked))
    lost = [rejected for rejected in done.rejected if rejected.code == LeaseLost.code]
    if lost and len(lost) == len(asked.reports):
        raise LeaseLost(rejected=lost)
    return json(done)
