"""Handlers for queues. A queue exists from its first use."""

from __future__ import annotations

import msgspec

from headway.errors import BadParameter
from headway.kernel.worker import Queue
from headway.protocol.runs import Name
from headway.protocol.workers import PatchQueue, QueueList, QueueOut
from headway.web import present
from headway.web.call import Call
from headway.web.reply import Reply, json


async def _shown(call: Call, queue: Queue) -> QueueOut:
    queues = call.services.queues
    return present.queue_out(queue, queues.counts(queue.name), await queues.oldest(queue.name))


async def list_queues(call: Call) -> Reply:
    """GET /v1/queues: all queues, with the number of their runs by state and the time of the oldest queued run."""
    return json(QueueList(data=[await _shown(call, queue) for queue in call.services.queues.list()]))


async def get(call: Call) -> Reply:
    """GET /v1/queues/{name}: a queue.

    Errors: `queue_not_found`.
    """
    return json(await _shown(call, call.services.queues.get(call.name())))


async def patch(call: Call) -> Reply:
    """PATCH /v1/queues/{name}: limit the number of a queue's running attempts; null: no limit. Creates an unknown queue."""
    asked = call.asked(PatchQueue)
    try:
        name = msgspec.convert(call.name(), Name)
    except msgspec.ValidationError as error:
        raise BadParameter(f"this is not a valid queue name: {error}", parameter="name") from None
    return json(await _shown(call, await call.services.queues.limit(name, asked.concurrency)))


async def pause(call: Call) -> Reply:
    """POST /v1/queues/{name}:pause: let no run of a queue be claimed; running attempts go on.

    Errors: `queue_not_found`.
    """
    return json(await _shown(call, await call.services.queues.pause(call.name(), paused=True)))


async def resume(call: Call) -> Reply:
    """POST /v1/queues/{name}:resume: let the runs of a queue be claimed again.

    Errors: `queue_not_found`.
    """
    return json(await _shown(call, await call.services.queues.pause(call.name(), paused=False)))
