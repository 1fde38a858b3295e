"""Workers, which claim and execute runs, and queues, from which they claim."""

from __future__ import annotations

import msgspec


class Worker(msgspec.Struct, frozen=True):
    """Session of a worker; its leases last while it sends heartbeats. Fields in the order of the columns."""

    id: str
    name: str
    host: str
    pid: int
    version: str
    queues: str
    """A JSON list; an empty one means all."""
    tasks: str
    """A JSON list of names."""
    capacity: int
    state: str
    """active, draining, gone."""
    created_at: int
    heard_at: int
    """Time of the last heartbeat by the wall clock, for people. Leases are timed by the monotonic clock."""
    server_id: str | None = None
    """Server that receives the heartbeats, where several share a database."""
    organisation: int = 1
    """Owner: the worker gets that organisation's runs, and one of the first also runs of shared tasks."""


class LoopBlock(msgspec.Struct, frozen=True):
    """Blocking of a worker's event loop by a task."""

    since: int
    """Start, by the server's wall clock."""
    task: str
    """Blocking task, or the function outside a run; empty if neither is known."""
    run_id: str
    """Blocking run; empty for code outside a run."""
    where: str
    """Line of the code."""
    stack: str


class WorkerHealth(msgspec.Struct, frozen=True):
    """Worker as known to the server that receives its heartbeats."""

    heard_at: int
    lapses_at: int
    """End of the lease, after which the worker's runs are taken from it, unless a heartbeat arrives."""
    blocked: LoopBlock | None = None


class Queue(msgspec.Struct, frozen=True):
    """A named line of runs, which exists from its first use. Fields in the order of the columns."""

    name: str
    paused: int
    concurrency: int | None
    created_at: int
    updated_at: int
