# Generated from client/aio/workers.py by tools/unasync.py: change that, not this.
"""Connected workers (`client.workers`)."""

from __future__ import annotations

import builtins

from headway.client import encoding
from headway.client.sync.caller import Caller
from headway.protocol.workers import WorkerList, WorkerOut


class Workers:
    """Workers that are connected to the servers."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(self) -> builtins.list[WorkerOut]:
        """Return all workers."""
        return (self._caller.get("/v1/workers", WorkerList)).data

    def get(self, worker_id: str) -> WorkerOut:
        """Return a worker.

        Raises `worker_not_found`.
        """
        return self._caller.get(encoding.path("workers", worker_id), WorkerOut)

    def drain(self, worker_id: str) -> WorkerOut:
        """Tell the worker to finish its runs and take no more.

        Raises `worker_not_found`.
        """
        return self._caller.post(encoding.path("workers", worker_id, verb="drain"), {}, WorkerOut)
