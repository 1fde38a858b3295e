"""Migration of a store from a file into PostgreSQL, with a progress bar on a terminal: `headway migrate-store`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from headway.cli import session, show
from headway.cli.admin import reporting_errors
from headway.cli.command import Command
from headway.durations import format_ms

if TYPE_CHECKING:
    from headway.store.transfer.transfer import Report, Step

_DOING = {"copy": "copying", "verify": "reading both again"}


@click.command(cls=Command)
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
@click.option(
    "--accept-loss", is_flag=True, help="Accept a database whose settings lose acknowledged changes in a crash."
)
def migrate_store(source: str, target: str, accept_loss: bool) -> None:
    """Move a store from a file into an empty PostgreSQL database.

    \b
        headway migrate-store sqlite:///headway.db postgresql://headway@db/headway

    Stop the server first; the file stays as it is. If the command is interrupted, start it again to continue; the
    database cannot be served before all rows are copied and compared.
    """  # noqa: D301
    from headway.serving import offline  # noqa: PLC0415 (the server, which `--help` does not need)

    try:
        with reporting_errors(), _screen() as tell:
            report = offline.migrate_store(source, target, tell, accept_loss=accept_loss)
    except KeyboardInterrupt:
        click.echo("The move is not finished: the same command continues it.", err=True)
        raise
    show.answer(report, _sentence(report))


def _sentence(report: Report) -> str:
    rows = f"{show.counted(report.rows, 'row')} in {len(report.tables)} tables"
    if report.already:
        return f"{report.source} was moved into {report.target} before ({rows}); nothing was done now"
    took = format_ms(max(report.duration_ms, 1))
    return (
        f"{report.source} is in {report.target} now: {rows}, the same at both ends ({took})\n"
        f"Go on with  headway serve --store {report.target}  and keep the file only as a backup: it is out of date as soon "
        f"as the database is served"
    )


@contextmanager
def _screen() -> Iterator[Callable[[Step], None]]:
    """Show a bar on stderr, if that is a terminal."""
    if session.current().json or not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.console import Console  # noqa: PLC0415 (only when shown)
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (
        TextColumn("[bold]{task.description}"), BarColumn(bar_width=None), TaskProgressColumn(),
        TextColumn("{task.completed:,.0f} rows"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), expand=True) as progress:
        bars = {phase: progress.add_task(doing, total=None, visible=False) for phase, doing in _DOING.items()}

        def tell(step: Step) -> None:
            progress.update(bars[step.phase], total=step.total, completed=step.done, visible=True)

        yield tell
