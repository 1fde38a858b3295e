# Generated from client/aio/queues.py by tools/unasync.py: change that, not this.
"""client.queues: where runs wait."""

from __future__ import annotations

import builtins

from headway.client import encoding
from headway.client.sync.caller import Caller
from headway.wire.workers import QueueList, QueueOut


class Queues:
    """The queues of a server; each exists from its first use."""

    def __init__(self, caller: Caller) -> None:
        """Made by the client."""
        self._caller = caller

    def list(self) -> builtins.list[QueueOut]:
        """Return all, by name."""
        return (self._caller.get("/v1/queues", QueueList)).data

    def get(self, name: str) -> QueueOut:
        """Return one."""
        return self._caller.get(encoding.path("queues", name), QueueOut)

    def pause(self, name: str) -> QueueOut:
        """Let none of its runs begin; those that run go on."""
        return self._caller.post(encoding.path("queues", name, verb="pause"), {}, QueueOut)

    def resume(self, name: str) -> QueueOut:
        """Let its runs begin again."""
        return self._caller.post(encoding.path("queues", name, verb="resume"), {}, QueueOut)

    def update(self, name: str, *, concurrency: int | None) -> QueueOut:
        """Set how many of its runs may run at once; None for any number."""
        return self._caller.patch(encoding.path("queues", name), {"concurrency": concurrency}, QueueOut)
