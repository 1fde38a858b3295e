"""Record tasks, which need no code: `headway record-tasks`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final, get_args

import click
import msgspec

from headway.cli import finding, session, show
from headway.cli.command import Group
from headway.cli.run import document, input_field
from headway.cli.tables import condition, filter_options
from headway.protocol.record_tasks import CreateRecordTask, OnError, PatchRecordTask, RecordTaskOut

WORDS: Final = frozenset(CreateRecordTask.__struct_fields__)


@click.group(cls=Group)
def record_tasks() -> None:
    """Make, show, change and remove record tasks, and run failed records again.

    They are started, scheduled and watched as all tasks: `headway run NAME`, `headway schedules create`.
    """


def definition_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that define a record task to a command."""
    for option in (
        click.option(
            "--definition", metavar="JSON|@FILE|-", help="Whole definition as JSON, from a file or stdin. Options override it."
        ),
        click.option("--queue", "-q", help="Queue of its runs."),
        click.option("--description", help="Description."),
        click.option(
            "--on-error", type=click.Choice(get_args(OnError)), help="Policy for a failed record: go on, or fail the run."
        ),
        click.option(
            "--action", "actions", multiple=True, metavar="JSON|@FILE", help="Action on each record; may be repeated."
        ),
        click.option(
            "--set", "values", multiple=True, metavar="FIELD=VALUE|FIELD:=JSON",
            help='Set a field of each record: an "update" action, before all others.',
        ),
        filter_options,
        click.option("--table", "-t", help="Table of the records."),
    ):  # fmt: skip
        command = option(command)
    return command


def _definition(
    definition: str | None, where: tuple[tuple[str, str, str], ...], text: str | None, values: tuple[str, ...],
    actions: tuple[str, ...], **plain: Any,
) -> dict[str, Any]:  # fmt: skip
    """Return the given options as the API's fields."""
    body = document(definition, "--definition")
    unknown = sorted(body.keys() - WORDS)
    if unknown:
        raise click.UsageError(f"--definition has {', '.join(unknown)}; known: {', '.join(sorted(WORDS))}")
    wanted = condition(where, text)
    if wanted is not None:
        body["filter"] = wanted
    update = [{"action": "update", "set": {name: value for name, value, _ in map(input_field, values)}}]
    done = (update if values else []) + [document(action, "--action") for action in actions]
    if done:
        body["actions"] = done
    return body | {name: value for name, value in plain.items() if value is not None}


@record_tasks.command("list")
def list_() -> None:
    """List record tasks, by name."""
    with session.current().client() as client:
        found = client.record_tasks.list()
    if session.current().json:
        show.as_json({"data": found})
        return
    rows = [
        [
            task.name,
            "active" if task.active else "inactive",
            task.table or task.table_id,
            ", ".join(action["action"] for action in task.actions),
            task.description,
        ]
        for task in found
    ]
    columns = ("NAME", "STATE", "TABLE", "ACTIONS", "DESCRIPTION")
    show.table(columns, rows, empty="No record tasks.", names=("NAME", "TABLE"), texts=("DESCRIPTION", "ACTIONS"))


@record_tasks.command("show")
@click.argument("name")
def show_(name: str) -> None:
    """Show a record task without its secrets."""
    with session.current().client() as client:
        _show(client.record_tasks.get(name))


@record_tasks.command("create")
@click.argument("name", required=False)
@definition_options
@click.option("--inactive", is_flag=True, help="Make the record task inactive.")
def create(name: str | None, inactive: bool, **options: Any) -> None:
    """Make a record task: actions on each record of a table that matches a filter.

    \b
        headway record-tasks create Remind -t customers --where Orders "at least" 10 --set Status=regular
        headway record-tasks create --definition @remind.json
        headway record-tasks show Remind --json | jq '{table, actions}' | headway record-tasks create Copy --definition -
    """  # noqa: D301
    body = _definition(**options, name=name, active=False if inactive else None)
    missing = [word for word in ("name", "table", "actions") if not body.get(word)]
    if missing:
        raise click.UsageError(f"the definition is not complete; missing: {', '.join(missing)}")
    with session.current().client() as client:
        made = client.record_tasks.create(body.pop("name"), body.pop("table"), body.pop("actions"), **body)
    show.answer(
        made, f"{made.name} does {_actions(made)} to records of {made.table}. Start it: headway run {made.name!r}"
    )


@record_tasks.command("edit")
@click.argument("name")
@definition_options
@click.option("--all-records", is_flag=True, help="Apply the actions to all records, without a filter.")
def edit(name: str, all_records: bool, **options: Any) -> None:
    """Change the given options of a record task. New actions replace all earlier ones, with their secrets."""
    changes = _definition(**options) | ({"filter": None} if all_records else {})
    if not changes:
        raise click.UsageError("nothing to change; see --help")
    fixed = sorted(changes.keys() - {*PatchRecordTask.__struct_fields__})
    if fixed:
        raise click.UsageError(f"{', '.join(fixed)} cannot be changed here; see headway tasks")
    with session.current().client() as client:
        after = client.record_tasks.update(name, **changes)
    show.answer(after, f"{after.name} does {_actions(after)} to records of {after.table}")


@record_tasks.command("delete")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def delete(names: Iterable[str]) -> None:
    """Remove record tasks. Unfinished runs fail, and finished ones stay."""
    with session.current().client() as client:
        for name in names:
            client.record_tasks.delete(name)
            show.answer({"deleted": name}, f"{name} is removed")


@record_tasks.command("errors")
@click.argument("run_id", metavar="RUN")
@click.option("--limit", "-n", default=100, show_default=True, type=click.IntRange(1), help="Maximum number.")
def errors(run_id: str, limit: int) -> None:
    """Show the records that failed in a run, with the action and the reason."""
    with session.current().client() as client:
        found = list(islice(client.record_tasks.errors(finding.run_id_of(client, run_id)), limit))
    if session.current().json:
        show.as_json({"data": found})
        return
    rows = [[error.record_id, error.action, error.code, error.message] for error in found]
    show.table(("RECORD", "ACTION", "CODE", "WHY"), rows, empty="No record failed.", ids=("RECORD",), texts=("WHY",))


@record_tasks.command("retry-failed")
@click.argument("run_id", metavar="RUN")
@click.option("--idempotency-key", metavar="KEY", help="Idempotency key: repeated calls with it start one run.")
def retry_failed(run_id: str, idempotency_key: str | None) -> None:
    """Start a run over the records that failed in an earlier run, and print its id."""
    with session.current().client() as client:
        run_id = finding.run_id_of(client, run_id)
        handle = client.record_tasks.retry_failed(run_id, idempotency_key=idempotency_key)
    show.started(handle)


def _actions(task: RecordTaskOut) -> str:
    return ", ".join(str(action["action"]) for action in task.actions)


def _show(task: RecordTaskOut) -> None:
    if session.current().json:
        show.as_json(task)
        return
    show.pairs(
        [
            ("name", task.name),
            ("about", task.description or None),
            ("state", "active" if task.active else "inactive"),
            ("table", task.table or task.table_id),
            ("queue", task.queue),
            ("on error", task.on_error),
            ("version", task.version),
            ("updated", task.updated_at),
            ("filter", None if task.filter is None else show.pretty(msgspec.json.encode(task.filter))),
            *(
                (f"action {number}", show.pretty(msgspec.json.encode(action)))
                for number, action in enumerate(task.actions)
            ),
        ]
    )
