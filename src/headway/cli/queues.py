"""Queues: `headway queues`."""

from __future__ import annotations

import click

from headway.cli import session, show
from headway.cli.command import Group


@click.group(cls=Group)
def queues() -> None:
    """List, pause, resume and limit queues."""


@queues.command("list")
def list_() -> None:
    """List the queues."""
    with session.current().client() as client:
        found = client.queues.list()
    if session.current().json:
        show.as_json({"data": found})
        return
    rows = [
        [queue.name, "yes" if queue.paused else "no", queue.concurrency or "any", queue.depth,
         queue.counts.get("running", 0), show.age(queue.oldest_queued_at)]
        for queue in found
    ]  # fmt: skip
    columns = ("QUEUE", "PAUSED", "LIMIT", "QUEUED", "RUNNING", "OLDEST")
    show.table(columns, rows, empty="No queues.", names=("QUEUE",))


@queues.command("pause")
@click.argument("name")
def pause(name: str) -> None:
    """Let no run of a queue begin; runs in progress go on."""
    with session.current().client() as client:
        show.answer(client.queues.pause(name), f"{name} is paused")


@queues.command("resume")
@click.argument("name")
def resume(name: str) -> None:
    """Let the runs of a queue begin again."""
    with session.current().client() as client:
        show.answer(client.queues.resume(name), f"{name} goes on")


@queues.command("limit")
@click.argument("name")
@click.argument("number", metavar="NUMBER|none")
def limit(name: str, number: str) -> None:
    """Limit the number of a queue's runs that run at once."""
    if number != "none" and not (number.isascii() and number.isdigit()):
        raise click.UsageError(f"{number!r} is neither a number nor none")
    with session.current().client() as client:
        queue = client.queues.update(name, concurrency=None if number == "none" else int(number))
    show.answer(queue, f"{name}: {queue.concurrency or 'any number'} at once")
