"""`headway workers`: who does the work."""

from __future__ import annotations

import click

from headway.cli import session, show
from headway.cli.command import Group


@click.group(cls=Group)
def workers() -> None:
    """List and drain workers."""


@workers.command("list")
def list_() -> None:
    """List the workers that are connected."""
    with session.current().client() as client:
        found = client.workers.list()
    if session.current().json:
        show.as_json({"data": found})
        return
    rows = [
        [worker.id, worker.state, worker.name, f"{worker.host}:{worker.pid}", f"{worker.leases}/{worker.capacity}",
         ", ".join(worker.queues) or "all", len(worker.tasks), show.age(worker.heard_at)]
        for worker in found
    ]  # fmt: skip
    columns = ("ID", "STATE", "NAME", "HOST", "RUNS", "QUEUES", "TASKS", "HEARD")
    show.table(columns, rows, empty="No workers.", names=("NAME", "HOST"), texts=("QUEUES",))


@workers.command("drain")
@click.argument("worker_id", metavar="ID")
def drain(worker_id: str) -> None:
    """Let a worker finish what it has, take nothing more, and leave."""
    with session.current().client() as client:
        worker = client.workers.drain(worker_id)
    show.answer(worker, f"{worker.id}  {worker.state}, {show.counted(worker.leases, 'run')} left")
