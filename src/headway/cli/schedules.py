"""Schedules: `headway schedules`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final, get_args

import click

from headway.cli import completion, session, show
from headway.cli.command import Group
from headway.cli.printable import printable
from headway.cli.run import input_document, input_field, input_values, pairs
from headway.protocol.schedules import CatchUpName, OutcomeName, OverlapName, PreviewOut, ScheduleOut

_OVERLAP: Final = click.Choice(get_args(OverlapName))
_CATCH_UP: Final = click.Choice(get_args(CatchUpName))
NONE: Final = "none"
"""Word that clears a value."""

named_argument = click.argument("named", metavar="NAME|ID")
fields_argument = click.argument("fields", nargs=-1, metavar="[KEY=VALUE | KEY:=JSON]...")


@click.group(cls=Group)
def schedules() -> None:
    """Make, show, change, pause, trigger and remove schedules."""


def definition_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that define a schedule to a command."""
    for option in (
        click.option("--description", help="Description."),
        click.option("--max-attempts", type=click.IntRange(1, 1000), help="Maximum number of attempts of each run."),
        click.option("--queue", "-q", help="Queue of its runs."),
        click.option(
            "--priority", "-p", type=click.IntRange(0, 10), help="Priority of the runs, 0 to 10; higher first."
        ),
        click.option("--key", help="Key of its runs for limits per key."),
        click.option(
            "--label", "-l", "labels", multiple=True, metavar="K=V", help="Label of the runs; may be repeated."
        ),
        click.option(
            "--input",
            "input_",
            metavar="JSON|@FILE|-",
            help="Input as JSON, from a file or stdin. KEY=VALUE arguments override it.",
        ),
        click.option("--jitter", metavar="DURATION", help="Longest random delay of a run after its slot."),
        click.option(
            "--late-after", metavar="DURATION", help="With --catch-up skip: lateness up to which a slot still runs."
        ),
        click.option(
            "--catch-up-window", metavar="DURATION", help="With --catch-up all: age above which slots are missed."
        ),
        click.option(
            "--catch-up-max", type=int, help="With --catch-up all: maximum number of slots that run, the newest."
        ),
        click.option("--catch-up", type=_CATCH_UP, help="Policy for slots that passed during an outage."),
        click.option("--queue-max", type=int, help="With --overlap queue: maximum number of unfinished runs."),
        click.option("--overlap", type=_OVERLAP, help="Policy for a slot while an earlier run is unfinished."),
        click.option("--end", "ends_at", metavar="TIME", help="Latest slot."),
        click.option("--start", "starts_at", metavar="TIME", help="Earliest slot; intervals count from it."),
        click.option("--timezone", "-z", metavar="ZONE", help="Time zone, such as Europe/Berlin."),
    ):
        command = option(command)
    return command


def _definition(options: dict[str, Any]) -> dict[str, Any]:
    """Return the given options; `none` clears a value."""
    options["labels"] = pairs(options.pop("labels"), "--label") or None
    return {name: None if value == NONE else value for name, value in options.items() if value is not None}


@schedules.command("list")
@click.option("--task", "-t", help="Filter by task.")
@click.option("--limit", "-n", default=100, show_default=True, type=click.IntRange(1), help="Maximum number.")
def list_(task: str | None, limit: int) -> None:
    """List schedules, by name."""
    with session.current().client() as client:
        found = list(islice(client.schedules.list(task=task), limit))
    if session.current().json:
        show.as_json({"data": found})
        return
    rows = [
        [
            schedule.name,
            schedule.state,
            schedule.task,
            schedule.occurrence,
            schedule.timezone,
            schedule.next_slot_at or "-",
        ]
        for schedule in found
    ]
    columns = ("NAME", "STATE", "TASK", "OCCURRENCE", "ZONE", "NEXT")
    show.table(columns, rows, empty="No schedules.", names=("NAME", "TASK"), texts=("OCCURRENCE", "ZONE"))


@schedules.command("show")
@named_argument
def show_(named: str) -> None:
    """Show a schedule with all its settings."""
    with session.current().client() as client:
        _show(client.schedules.get(named))


@schedules.command("create")
@click.argument("name")
@click.argument("occurrence")
@click.argument("task", shell_complete=completion.tasks)
@fields_argument
@definition_options
@click.option("--paused", is_flag=True, help="Make the schedule paused.")
@click.option("--dry-run", is_flag=True, help="Check the request and make nothing.")
def create(
    name: str, occurrence: str, task: str, fields: tuple[str, ...], input_: str | None, paused: bool, dry_run: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Make a schedule: NAME runs TASK with its input at every OCCURRENCE.

    \b
        headway schedules create nightly "30 2 * * *" backup folder=/srv -z Europe/Berlin
        headway schedules create report "FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=18" report --overlap queue
        headway schedules create pulse "every 90m" check

    OCCURRENCE is a word (Daily), a cron expression, an RRULE, or an interval.
    """  # noqa: D301
    with session.current().client() as client:
        given = input_document(input_) | input_values(client, task, list(map(input_field, fields)))
        schedule = client.schedules.create(
            name, task, occurrence, given, paused=paused or None, validate_only=dry_run or None, **_definition(options)
        )
    done = "would fire" if dry_run else "fires"
    show.answer(schedule, f"{schedule.name} {done} {schedule.explanation}; next: {schedule.next_slot_at or 'paused'}")


@schedules.command("edit")
@named_argument
@fields_argument
@click.option("--name", help="New name.")
@click.option("--occurrence", help="Occurrence.")
@click.option("--task", help="Task to run.")
@definition_options
def edit(named: str, fields: tuple[str, ...], input_: str | None, **options: Any) -> None:
    """Change the given options of a schedule. `none` clears a value. Fields and --input replace the whole input."""
    with session.current().client() as client:
        changes = _definition(options)
        if fields or input_ is not None:
            task = options.get("task") or client.schedules.get(named).task
            changes["input"] = input_document(input_) | input_values(client, task, list(map(input_field, fields)))
        if not changes:
            raise click.UsageError("nothing to change; see --help")
        schedule = client.schedules.update(named, **changes)
    show.answer(
        schedule, f"{schedule.name} fires {schedule.explanation}; next: {schedule.next_slot_at or schedule.state}"
    )


@schedules.command("pause")
@named_argument
def pause(named: str) -> None:
    """Pause a schedule; runs in progress go on."""
    with session.current().client() as client:
        schedule = client.schedules.pause(named)
    show.answer(schedule, f"{schedule.name} is paused")


@schedules.command("resume")
@named_argument
@click.option("--catch-up", type=_CATCH_UP, help="Policy for the slots of the pause.")
def resume(named: str, catch_up: CatchUpName | None) -> None:
    """Resume a schedule."""
    with session.current().client() as client:
        schedule = client.schedules.resume(named, catch_up=catch_up)
    show.answer(schedule, f"{schedule.name} goes on; next: {schedule.next_slot_at or 'never'}")


@schedules.command("trigger")
@named_argument
@click.option("--overlap", type=_OVERLAP, help="Policy while an earlier run is unfinished.")
@click.option("--reason", "-m", default="", help="Reason, kept with the run.")
def trigger(named: str, overlap: OverlapName | None, reason: str) -> None:
    """Start a run now, independently of the slots."""
    with session.current().client() as client:
        handle = client.schedules.trigger(named, overlap=overlap, reason=reason)
    show.started(handle)


@schedules.command("backfill")
@named_argument
@click.option("--from", "first", required=True, metavar="TIME", help="Earliest slot, such as 2026-12-01T02:00:00Z.")
@click.option("--to", "last", required=True, metavar="TIME", help="Latest slot, inclusive.")
@click.option(
    "--overlap", type=click.Choice(["queue", "allow"]), help="Run the slots one after the other, or all at once."
)
@click.option("--dry-run", is_flag=True, help="List the slots and start no run.")
def backfill(named: str, first: str, last: str, overlap: OverlapName | None, dry_run: bool) -> None:
    """Start runs for past slots without one."""
    with session.current().client() as client:
        found = client.schedules.backfill(named, first, last, overlap=overlap, dry_run=dry_run)
    if session.current().json:
        show.as_json({"data": found})
        return
    rows = [[slot.slot, slot.run_id or show.NOTHING] for slot in found]
    show.table(("SLOT", "RUN"), rows, empty="Every slot has its run.", ids=("RUN",))


@schedules.command("preview")
@click.argument("what", metavar="NAME|ID|OCCURRENCE")
@click.option("--timezone", "-z", metavar="ZONE", help="Time zone of an occurrence.")
@click.option("--count", "-n", type=click.IntRange(1, 100), default=10, show_default=True, help="Number of slots.")
def preview(what: str, timezone: str | None, count: int) -> None:
    """Show the next slots of a schedule, or, with --timezone, of an OCCURRENCE."""
    with session.current().client() as client:
        if timezone is None:
            coming = client.schedules.coming(what, count)
        else:
            coming = client.schedules.preview(what, timezone=timezone, count=count)
    _show_coming(coming)


@schedules.command("slots")
@named_argument
@click.option("--outcome", type=click.Choice(get_args(OutcomeName)), help="Filter by outcome.")
@click.option("--limit", "-n", default=50, show_default=True, type=click.IntRange(1), help="Maximum number.")
def slots(named: str, outcome: OutcomeName | None, limit: int) -> None:
    """Show the past slots of a schedule, newest first."""
    with session.current().client() as client:
        found = list(islice(client.schedules.slots(named, outcome=outcome), limit))
    if session.current().json:
        show.as_json({"data": found})
        return
    rows = [
        [
            slot.slot if slot.until is None else f"{slot.slot} to {slot.until}",
            slot.outcome,
            slot.run_id or "-",
            slot.message,
        ]
        for slot in found
    ]
    show.table(
        ("SLOT", "OUTCOME", "RUN", "WHY"), rows, empty="No slots yet.", names=("SLOT",), ids=("RUN",), texts=("WHY",)
    )


@schedules.command("delete")
@click.argument("names", nargs=-1, required=True, metavar="NAME|ID...")
def delete(names: Iterable[str]) -> None:
    """Remove schedules; their runs go on."""
    with session.current().client() as client:
        for named in names:
            found = client.schedules.get(named)
            client.schedules.delete(named)
            show.answer({"deleted": named}, f"{named} is removed")
            if found.declared:
                back = f"The code of {found.task} declares it: it is back with the next worker that starts. Pause it instead."
                click.echo(printable(back), err=True)


def _show_coming(coming: PreviewOut) -> None:
    if session.current().json:
        show.as_json(coming)
        return
    rows = [[slot.local, slot.slot] for slot in coming.data]
    show.table((coming.timezone, "UTC"), rows, empty="Never again.", names=(coming.timezone, "UTC"))


def _declared(schedule: ScheduleOut) -> str | None:
    if not schedule.declared:
        return None
    return "in code" + (f", but for {', '.join(schedule.differs)}" if schedule.differs else "")


def _show(schedule: ScheduleOut) -> None:
    if session.current().json:
        show.as_json(schedule)
        return
    overlap = f"{schedule.overlap}, up to {schedule.queue_max}" if schedule.overlap == "queue" else schedule.overlap
    catch_up = {
        "all": f"all, up to {schedule.catch_up_max} of the last {schedule.catch_up_window}",
        "skip": f"skip what is later than {schedule.late_after}",
    }.get(schedule.catch_up, schedule.catch_up)
    show.pairs(
        [
            ("name", schedule.name),
            ("id", schedule.id),
            ("about", schedule.description or None),
            ("state", schedule.state),
            ("declared", _declared(schedule)),
            ("problem", schedule.problem),
            ("task", schedule.task),
            ("fires", schedule.explanation),
            ("occurrence", schedule.occurrence),
            ("zone", schedule.timezone),
            ("next", schedule.next_slot_at),
            ("starts", schedule.starts_at),
            ("ends", schedule.ends_at),
            ("overlap", overlap),
            ("catch-up", catch_up),
            ("jitter", schedule.jitter if schedule.jitter != "0ms" else None),
            ("queue", schedule.queue),
            ("priority", schedule.priority),
            ("key", schedule.key),
            ("attempts", schedule.max_attempts),
            ("labels", ", ".join(f"{key}={value}" for key, value in schedule.labels.items()) or None),
            ("created", schedule.created_at),
            ("input", show.pretty(schedule.input)),
        ]
    )
