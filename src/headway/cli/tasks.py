"""Tasks: `headway tasks`."""

from __future__ import annotations

import click

from headway.cli import completion, session, show
from headway.cli.command import Group


@click.group(cls=Group)
def tasks() -> None:
    """List, show, activate and deactivate tasks."""


@tasks.command("list")
def list_() -> None:
    """List the tasks that workers have declared."""
    with session.current().client() as client:
        found = client.tasks.list()
    if session.current().json:
        show.as_json({"data": found})
        return
    rows = [
        [task.name, "yes" if task.active else "no", task.version, task.queue, task.executor,
         task.counts.get("queued", 0), task.counts.get("running", 0), (task.description.splitlines() or [""])[0]]
        for task in found
    ]  # fmt: skip
    columns = ("TASK", "ACTIVE", "VERSION", "QUEUE", "EXECUTOR", "QUEUED", "RUNNING", "DESCRIPTION")
    show.table(columns, rows, empty="No tasks.", names=("TASK", "QUEUE", "VERSION"), texts=("DESCRIPTION",))


@tasks.command("show")
@click.argument("name", shell_complete=completion.tasks)
def show_(name: str) -> None:
    """Show a task: its limits, its retries, its input."""
    with session.current().client() as client:
        task = client.tasks.get(name)
    if session.current().json:
        show.as_json(task)
        return
    retry = task.retry
    show.pairs(
        [
            ("task", task.name),
            ("title", task.title or None),
            ("version", task.version),
            ("about", task.description or None),
            ("active", "yes" if task.active else "no"),
            ("queue", f"{task.queue}, priority {task.priority}"),
            ("executor", task.executor),
            ("resources", ", ".join(f"{name} {amount:g}" for name, amount in task.resources.items()) or None),
            ("attempts", f"{retry.max_attempts}, first after {retry.backoff}, then times {retry.factor:g}"),
            ("timeout", task.timeout),
            ("grace", task.grace),
            ("at once", task.concurrency),
            ("at once per key", task.concurrency_per_key),
            ("rate", task.rate and f"{task.rate.limit} per {task.rate.period}"),
            ("runs", ", ".join(f"{count:,} {state}" for state, count in task.counts.items() if count) or "none"),
            ("input", show.pretty(task.input_schema)),
        ]
    )


@tasks.command("activate")
@click.argument("name", shell_complete=completion.tasks)
def activate(name: str) -> None:
    """Let a task take new runs again."""
    with session.current().client() as client:
        show.answer(client.tasks.activate(name), f"{name} is active")


@tasks.command("deactivate")
@click.argument("name", shell_complete=completion.tasks)
def deactivate(name: str) -> None:
    """Refuse new runs of a task; runs in progress go on, queued ones wait."""
    with session.current().client() as client:
        show.answer(client.tasks.deactivate(name), f"{name} takes no new runs")
