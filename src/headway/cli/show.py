"""Answers on the screen: tables for people, tab-separated lines for pipes, JSON for programs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from headway.cli import session
from headway.cli.output import Unwritten, encodable
from headway.cli.printable import one_line, printable
from headway.clock import SystemClock
from headway.durations import span
from headway.kernel.run import TOKEN_WAIT
from headway.protocol import times
from headway.protocol.runs import ProgressOut, RunOut, WaitingWorker

if TYPE_CHECKING:
    from headway.cli.columns import Kind
    from headway.client.sync.handle import RunHandle

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
    heads: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    empty: str,
    ids: Container[str] = ("ID",),
    names: Container[str] = (),
    texts: Container[str] = (),
) -> None:
    """Print rows: on a terminal in columns that fit, elsewhere whole and tab-separated.

    On a terminal that is too narrow `texts` are cut, then `ids` are shortened to the shortest prefix that tells them apart,
    then `names` are folded; other columns are never cut. A table that is still too wide is shown as a block of lines for each row.
    """
    cells = [["" if cell is None else one_line(str(cell)) for cell in row] for row in rows]
    if not on_a_terminal():
        click.echo("\n".join("\t".join(row) for row in [[head.lower() for head in heads], *cells]))
        return
    if not cells:
        click.echo(empty)
        return
    kinds: list[tuple[str, Kind]] = [
        (head, "id" if head in ids else "name" if head in names else "text" if head in texts else "whole")
        for head in heads
    ]
    _draw(kinds, [[encodable(cell, sys.stdout) for cell in row] for row in cells])


def on_a_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def screen_width() -> int:
    """Return the number of cells of a line."""
    return shutil.get_terminal_size().columns


def _draw(kinds: Sequence[tuple[str, Kind]], rows: Sequence[Sequence[str]]) -> None:
    from headway.cli import columns as layout  # noqa: PLC0415 (imports a part of rich)

    columns = [layout.Column(head, kind) for head, kind in kinds]
    mark = "…" if encodable("…", sys.stdout) == "…" else "..."
    lines = layout.lay_out(columns, rows, screen_width(), mark)
    if lines is None:
        blocks = layout.blocks(columns, rows, screen_width())
        click.echo("\n\n".join("\n".join(f"{_bold(head)}  {value}" for head, value in block) for block in blocks))
        return
    state = next((at for at, head in enumerate(lines[0]) if head.rstrip() == "STATE"), None)
    for number, line in enumerate(lines):
        colour = COLOURS.get(line[state].rstrip()) if state is not None else None
        if colour and state is not None:
            line[state] = click.style(line[state], fg=colour)
        shown = "  ".join(line).rstrip()
        click.echo(_bold(shown) if number == 0 else shown)


def _bold(text: str) -> str:
    return click.style(text, bold=True)


def pairs(rows: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one a line; None values are left out."""
    shown = [(name, printable(str(value))) for name, value in rows if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        lines = value.rstrip("\n").split("\n")
        first, *more = lines if len(lines) > 1 else _fitted(value, width + 2)  # JSON and tracebacks stay as they are
        coloured = click.style(first, fg=COLOURS[first]) if name == "state" and first in COLOURS else first
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {coloured}")
        for line in more:
            click.echo(f"{' ' * width}  {line}")


def marked(mark: str, text: str, *, colour: str | None = None) -> None:
    """Print a line with a mark before it; on a terminal its words are wrapped beside the mark."""
    by = len(mark) + 2
    lines = _fitted(one_line(text), by)
    click.echo(f"{click.style(mark, fg=colour)}  " + f"\n{' ' * by}".join(lines))


def _fitted(text: str, indent: int) -> list[str]:
    """Return the lines of a text with that indentation: wrapped on a terminal, else one line."""
    if not on_a_terminal():
        return [text]
    from headway.cli.columns import wrapped  # noqa: PLC0415 (imports a part of rich)

    return wrapped(encodable(text, sys.stdout), max(1, screen_width() - indent))


def as_json(value: Any) -> None:
    """Print one document, indented for people, the same for machines."""
    click.echo(pretty(msgspec.json.encode(value)))


def as_json_line(value: Any) -> None:
    """Print one line of a stream, at once."""
    click.echo(printable(msgspec.json.encode(value).decode()))
    sys.stdout.flush()


def answer(value: Any, sentence: str) -> None:
    """Print the result of a change: the sentence for people, the value as JSON.

    If that cannot be written the command goes on with its further changes.
    """
    try:
        if session.current().json:
            as_json(value)
        else:
            click.echo(printable(sentence))
    except Unwritten as error:
        session.current().unwritten = error


def started(handle: RunHandle) -> None:
    """Print the id of a started run on stdout, and how to watch it on stderr."""
    if session.current().json:
        as_json(handle.run)
        return
    try:
        click.echo(printable(handle.id))
    finally:  # also if the id could not be written: the caller has to find the run
        click.echo(printable(f"Watch it: headway runs watch {handle.id}"), err=True)


def run(run: RunOut, worker: WaitingWorker | None = None) -> None:
    """Print everything about a run, and its present or last worker."""
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
            ("progress", progress(run.progress, run.state) or None),
            ("attempt", f"{run.attempt} of {run.max_attempts}" + (f", {run.crashes} crashed" if run.crashes else "")),
            ("worker" if run.worker_id else "last worker", worker and _worker(worker)),
            ("queue", f"{run.queue}, priority {run.priority}" + (f", key {run.key}" if run.key else "")),
            ("labels", ", ".join(f"{key}={value}" for key, value in decoded(run.labels).items()) or None),
            ("waits for", ", ".join(map(blocker, decoded(run.blocked_on) or [])) or None),
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
            ("error", error and failure(error)),
        ]
    )


def _worker(worker: WaitingWorker) -> str:
    heard = f", heard {age(worker.heard_at)} ago" if worker.heard_at else ""
    return f"{worker.name or 'not named here'}{heard}\n{worker.id}"


def point(text: str, details: str = "") -> None:
    """Print one point of a list, wrapped to the terminal's width if there is one; then its details, a line each."""
    for number, line in enumerate(printable(text).split("\n")):
        click.echo(f"{'- ' if number == 0 else '  '}" + "\n  ".join(_fitted(line, 2)))
    for line in printable(details).rstrip("\n").split("\n") if details else ():
        click.echo(f"    {line}")


def progress(shown: ProgressOut, state: str) -> str:
    """Return the progress of a run in a few characters; "" without one. A run that succeeded has no percents left."""
    count = f"{shown.done:,}/{shown.total:,}" if shown.total else f"{shown.done:,}" if shown.done else ""
    percent = f"{int(shown.percent or 0)} %" if shown.total and state != "succeeded" else ""
    return " ".join(filter(None, [count, percent, shown.message]))


def left(eta: str | None) -> str:
    """Return the duration until the estimated end of a run; "" if that has passed."""
    left_s = 0.0 if eta is None else (times.from_text(eta) - SystemClock().now_ms()) / 1000
    return f"{span(left_s)} left" if left_s > 0 else ""


def age(text: str | None) -> str:
    """Return the age of a time."""
    return NOTHING if text is None else span((SystemClock().now_ms() - times.from_text(text)) / 1000)


def duration(run: RunOut) -> str:
    """Return the duration of a run, up to now if it runs."""
    if run.started_at is None:
        return NOTHING
    end_ms = times.from_text(run.finished_at) if run.finished_at else SystemClock().now_ms()
    return span((end_ms - times.from_text(run.started_at)) / 1000)


def pretty(raw: msgspec.Raw | bytes | None) -> str:
    """Return indented JSON; control characters are escaped, which JSON reads as the same text."""
    return printable(msgspec.json.format(bytes(raw or b"null"), indent=2).decode())


def decoded(raw: msgspec.Raw | None) -> Any:
    """Return decoded JSON; None for none."""
    return msgspec.json.decode(raw or b"null")


def counted(number: int, what: str) -> str:
    """Return a number with its noun: "1 run", "1,000 runs"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def in_a_line(error: dict[str, Any]) -> str:
    """Return the class (or the code) and the message of an error, without its traceback."""
    return ": ".join(str(part) for part in (error.get("type") or error.get("code"), error.get("message")) if part)


def failure(error: dict[str, Any]) -> str:
    """Return an error's traceback, which ends with the message, or else the message."""
    return str(error.get("details") or in_a_line(error))


def by(reason: dict[str, Any]) -> str:
    """Return the actor in brackets, if known."""
    return f"(by {reason['actor']})" if reason.get("actor") else ""


def blocker(waited: dict[str, Any]) -> str:
    """Return the condition that a run waits for, in a few words."""
    name = str(waited.get("name", ""))
    if waited.get("kind") == "signal" and name.startswith(TOKEN_WAIT):
        return f"the token {name.removeprefix(TOKEN_WAIT)!r}"
    return " ".join(filter(None, [waited.get("kind", ""), waited.get("name", ""), waited.get("run_id", "")]))
