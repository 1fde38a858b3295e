"""Answers on the screen: tables for people, tab-separated lines for pipes, JSON for programs.

rich is imported only when a table is drawn on a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

import click
import msgspec

from headway.cli import session
from headway.cli.printable import one_line, printable
from headway.clock import SystemClock
from headway.wire import times
from headway.wire.runs import ProgressOut, RunOut

COLOURS: Final = {
    "scheduled": "blue",
    "queued": "cyan",
    "running": "yellow",
    "suspended": "magenta",
    "stopping": "yellow",
    "succeeded": "green",
    "failed": "red",
    "terminated": "bright_black",
}
NOTHING: Final = "-"


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str, whole: Iterable[str] = ("ID",)
) -> None:
    """Print rows; the columns named in `whole` are never cut, however narrow the terminal is."""
    texts = [["" if cell is None else one_line(str(cell)) for cell in row] for row in rows]
    if not on_a_terminal():
        for row in [[column.lower() for column in columns], *texts]:
            click.echo("\t".join(row))
        return
    if not texts:
        click.echo(empty)
        return
    _draw(columns, texts, frozenset(whole))


def on_a_terminal() -> bool:
    """Whether a person looks at the answers."""
    return sys.stdout.isatty()


def _draw(columns: Sequence[str], rows: list[list[str]], whole: frozenset[str]) -> None:
    from rich.console import Console  # noqa: PLC0415 (only when shown)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        drawn.add_column(column, no_wrap=True, overflow="fold" if column in whole else "ellipsis",
                         min_width=36 if column == "ID" else None)  # fmt: skip
    for row in rows:
        cells = [
            Text(cell, style=COLOURS.get(cell, "") if column == "STATE" else "")
            for column, cell in zip(columns, row, strict=True)
        ]
        drawn.add_row(*cells)
    Console().print(drawn)


def pairs(rows: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one a line; what is None is left out."""
    shown = [(name, printable(str(value))) for name, value in rows if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        first, *more = value.rstrip("\n").split("\n")
        coloured = click.style(first, fg=COLOURS[first]) if name == "state" and first in COLOURS else first
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {coloured}")
        for line in more:
            click.echo(f"{' ' * width}  {line}")


def as_json(value: Any) -> None:
    """Print one document, indented for people, the same for machines."""
    click.echo(pretty(msgspec.json.encode(value)))


def as_json_line(value: Any) -> None:
    """Print one line of a stream, at once."""
    click.echo(printable(msgspec.json.encode(value).decode()))
    sys.stdout.flush()


def answer(value: Any, sentence: str) -> None:
    """Say that something was done: the sentence for people, the value as JSON."""
    if session.current().json:
        as_json(value)
    else:
        click.echo(printable(sentence))


def run(run: RunOut) -> None:
    """Print everything about a run."""
    if session.current().json:
        as_json(run)
        return
    reason = decoded(run.reason)
    error = decoded(run.error)
    pairs(
        [
            ("id", run.id),
            ("task", run.task),
            ("name", run.name if run.name != run.task else None),
            ("state", run.state),
            ("why", reason and " ".join(filter(None, [reason.get("message") or reason["code"], by(reason)]))),
            ("progress", progress(run.progress) or None),
            ("attempt", f"{run.attempt} of {run.max_attempts}" + (f", {run.crashes} crashed" if run.crashes else "")),
            ("queue", f"{run.queue}, priority {run.priority}" + (f", key {run.key}" if run.key else "")),
            ("labels", ", ".join(f"{key}={value}" for key, value in decoded(run.labels).items()) or None),
            ("waits for", ", ".join(map(_blocker, decoded(run.blocked_on) or [])) or None),
            ("protected", "yes" if run.protected else None),
            ("parent", run.parent_id),
            ("repeats", run.previous_id),
            ("created", run.created_at),
            ("runs at", run.run_at if run.state == "scheduled" else None),
            ("started", run.started_at),
            ("finished", run.finished_at and f"{run.finished_at}, after {duration(run)}"),
            ("kept until", run.expires_at),
            ("input", pretty(run.input)),
            ("output", pretty(run.output) if run.state == "succeeded" else None),
            ("error", error and ": ".join(filter(None, [error.get("type") or error["code"], error.get("message")]))),
            ("", (error or {}).get("details") or None),
        ]
    )


def progress(shown: ProgressOut) -> str:
    """Return how far a run is, in a few characters; nothing if it has not said."""
    if shown.total:
        return f"{shown.done:,}/{shown.total:,} {shown.percent or 0:.0f} %" + (
            f" {shown.message}" if shown.message else ""
        )
    return " ".join(filter(None, [f"{shown.done:,}" if shown.done else "", shown.message]))


def age(text: str | None) -> str:
    """Return how long ago something was."""
    return NOTHING if text is None else seconds((SystemClock().now_ms() - times.from_text(text)) / 1000)


def duration(run: RunOut) -> str:
    """Return how long a run has run, or has been running."""
    if run.started_at is None:
        return NOTHING
    end_ms = times.from_text(run.finished_at) if run.finished_at else SystemClock().now_ms()
    return seconds((end_ms - times.from_text(run.started_at)) / 1000)


def seconds(value: float) -> str:
    """Return a duration in at most two units."""
    value = max(0.0, value)
    if value < 60:  # noqa: PLR2004
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"  # noqa: PLR2004
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:  # noqa: PLR2004
        return f"{minutes} m {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} m" if hours < 48 else f"{hours // 24} d {hours % 24} h"  # noqa: PLR2004


def pretty(raw: msgspec.Raw | bytes | None) -> str:
    """Return JSON, indented; what a terminal would obey is escaped, which for JSON is the same text."""
    return printable(msgspec.json.format(bytes(raw or b"null"), indent=2).decode())


def decoded(raw: msgspec.Raw | None) -> Any:
    """Return what JSON says; None for none."""
    return msgspec.json.decode(raw or b"null")


def counted(number: int, what: str) -> str:
    """Return a number of things: "1 run", "1,000 runs"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def by(reason: dict[str, Any]) -> str:
    """Return who did it, in brackets, if known."""
    return f"(by {reason['actor']})" if reason.get("actor") else ""


def _blocker(blocker: dict[str, Any]) -> str:
    return " ".join(filter(None, [blocker.get("kind", ""), blocker.get("name", ""), blocker.get("run_id", "")]))
