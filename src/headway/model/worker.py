"""The worker: a process that claims runs and executes them; and the queue it claims from."""

from __future__ import annotations

import msgspec


class Worker(msgspec.Struct, frozen=True):
    """One worker's session; its leases live as long as it is heard from. Fields in the order of the columns."""

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
    """When its last heartbeat arrived, by the wall clock, for people. Leases are timed by the monotonic clock."""
    server_id: str | None = None
    """The server that hears it, where several share a database."""
    organisation: int = 1
    """Whose worker it is: it gets that organisation's runs; one of the first also those of shared tasks of all others."""


class LoopBlock(msgspec.Struct, frozen=True):
    """A task that blocks a worker's event loop."""

    since: int
    """By the server's wall clock."""
    task: str
    """The task that holds it, or the function that belongs to no run; nothing if neither is known."""
    run_id: str
    """Nothing if it belongs to no run."""
    where: str
    """The line in the code."""
    stack: str


class Standing(msgspec.Struct, frozen=True):
    """A worker as the server that hears it knows it."""

    heard_at: int
    lapses_at: int
    """Time at which its lease ends and its runs are taken from it, unless it is heard from before."""
    blocked: LoopBlock | None = None


class Queue(msgspec.Struct, frozen=True):
    """A named line of runs. It exists from its first use. Fields in the order of the columns."""

    name: str
    paused: int
    concurrency: int | None
    created_at: int
    updated_at: int
