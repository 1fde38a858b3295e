# Generated from client/aio/workers.py by tools/unasync.py: change that, not this.
"""client.workers: who does the work."""

from __future__ import annotations

import builtins

from headway.client import encoding
from headway.client.sync.caller import Caller
from headway.wire.workers import WorkerList, WorkerOut


class Workers:
    """The workers that are connected."""

    def __init__(self, caller: Caller) -> None:
        """Made by the client."""
        self._caller = caller

    def list(self) -> builtins.list[WorkerOut]:
        """Return all."""
        return (self._caller.get("/v1/workers", WorkerList)).data

    def get(self, worker_id: str) -> WorkerOut:
        """Return one."""
        return self._caller.get(encoding.path("workers", worker_id), WorkerOut)

    def drain(self, worker_id: str) -> WorkerOut:
        """Let it finish what it has and take nothing more."""
        return self._caller.post(encoding.path("workers", worker_id, verb="drain"), {}, WorkerOut)
