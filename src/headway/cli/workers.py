"""Workers: `headway workers`."""

from __future__ import annotations

import click

from headway.cli import finding, session, show
from headway.cli.command import Group
from headway.protocol.workers import BlockedOut


@click.group(cls=Group)
def workers() -> None:
    """List, show and drain workers."""


@workers.command("list")
def list_() -> None:
    """List the connected workers; a worker is blocked if a task holds its event loop (`workers show`)."""
    with session.current().client() as client:
        found = client.workers.list()
    if session.current().json:
        show.as_json({"data": found})
        return
    rows = [
        [worker.id, "blocked" if worker.blocked else worker.state, worker.name, f"{worker.host}:{worker.pid}",
         f"{worker.leases}/{worker.capacity}",
         ", ".join(worker.queues) or "all", len(worker.tasks), show.age(worker.heard_at)]
        for worker in found
    ]  # fmt: skip
    columns = ("ID", "STATE", "NAME", "HOST", "RUNS", "QUEUES", "TASKS", "HEARD")
    show.table(columns, rows, empty="No workers.", names=("NAME", "HOST"), texts=("QUEUES",))


@workers.command("show")
@click.argument("worker_id", metavar="ID")
def show_(worker_id: str) -> None:
    """Show a worker with all its data."""
    with session.current().client() as client:
        worker = client.workers.get(finding.worker_id(client, worker_id))
    if session.current().json:
        show.as_json(worker)
        return
    show.pairs(
        [
            ("id", worker.id),
            ("name", worker.name),
            ("state", worker.state),
            ("blocked", worker.blocked and _blocked(worker.blocked)),
            ("host", f"{worker.host}, process {worker.pid}"),
            ("version", worker.version or None),
            ("runs", f"{worker.leases} of {worker.capacity}"),
            ("queues", ", ".join(worker.queues) or "all"),
            ("tasks", ", ".join(worker.tasks)),
            ("connected", worker.created_at),
            ("heard", f"{worker.heard_at}, {show.age(worker.heard_at)} ago"),
        ]
    )


def _blocked(blocked: BlockedOut) -> str:
    by = f" by {blocked.task}" if blocked.task else ""
    run = f"run {blocked.run_id}" if blocked.run_id else ""
    where = f"at {blocked.where}" if blocked.where else ""
    return "\n".join(filter(None, [f"for {show.age(blocked.since)}{by}", run, where, blocked.stack]))


@workers.command("drain")
@click.argument("worker_id", metavar="ID")
def drain(worker_id: str) -> None:
    """Let a worker finish its runs, take no more, and exit."""
    with session.current().client() as client:
        worker = client.workers.drain(finding.worker_id(client, worker_id))
    show.answer(worker, f"{worker.id}  {worker.state}, {show.counted(worker.leases, 'run')} left")
