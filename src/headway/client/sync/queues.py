# Generated from client/aio/queues.py by tools/unasync.py: change that, not this.
"""Queues: list, pause, limit (`client.queues`)."""

from __future__ import annotations

import builtins

from headway.client import encoding
from headway.client.sync.caller import Caller
from headway.protocol.workers import QueueList, QueueOut


class Queues:
    """Queues of the caller's organisation; each exists from its first use."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(self) -> builtins.list[QueueOut]:
        """Return all queues, by name."""
        return (self._caller.get("/v1/queues", QueueList)).data

    def get(self, name: str) -> QueueOut:
        """Return a queue.

        Raises `queue_not_found`.
        """
        return self._caller.get(encoding.path("queues", name), QueueOut)

    def pause(self, name: str) -> QueueOut:
        """Let no run of the queue begin; runs in progress go on.

        Raises `queue_not_found`.
        """
        return self._caller.post(encoding.path("queues", name, verb="pause"), {}, QueueOut)

    def resume(self, name: str) -> QueueOut:
        """Let runs of the queue begin again.

        Raises `queue_not_found`.
        """
        return self._caller.post(encoding.path("queues", name, verb="resume"), {}, QueueOut)

    def update(self, name: str, *, concurrency: int | None) -> QueueOut:
        """Limit the number of the queue's runs that run at once; None removes the limit."""
        return self._caller.patch(encoding.path("queues", name), {"concurrency": concurrency}, QueueOut)
