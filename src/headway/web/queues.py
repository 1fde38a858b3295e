"""Handlers for queues."""

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
    queues = call.service.queues
    return present.queue_out(queue, queues.counts(queue.name), await queues.oldest(queue.name))


async def list_queues(call: Call) -> Reply:
    """GET /v1/queues."""
    return json(QueueList(data=[await _shown(call, queue) for queue in call.service.queues.list()]))


async def get(call: Call) -> Reply:
    """GET /v1/queues/{name}."""
    return json(await _shown(call, call.service.queues.get(call.name())))


async def patch(call: Call) -> Reply:
    """PATCH /v1/queues/{name}."""
    asked = call.asked(PatchQueue)
    try:
        name = msgspec.convert(call.name(), Name)
    except msgspec.ValidationError as error:
        raise BadParameter(f"that cannot be the name of a queue: {error}", parameter="name") from None
    return json(await _shown(call, await call.service.queues.limit(name, asked.concurrency)))


async def pause(call: Call) -> Reply:
    """POST /v1/queues/{name}:pause."""
    return json(await _shown(call, await call.service.queues.pause(call.name(), paused=True)))


async def resume(call: Call) -> Reply:
    """POST /v1/queues/{name}:resume."""
    return json(await _shown(call, await call.service.queues.pause(call.name(), paused=False)))
