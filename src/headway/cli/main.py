"""Command table of `headway`, and conversion of errors to messages and exit codes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Final

import click

from headway import __version__
from headway.cli import exits, output
from headway.cli.command import LazyGroup
from headway.cli.printable import one_line, printable
from headway.cli.session import Session
from headway.errors import HeadwayError

TABLE: Final = {
    "serve": ("headway.cli.serve:serve", "Run a server and, by default, a worker for an app."),
    "worker": ("headway.cli.worker:worker", "Run workers for a server, on this or another machine."),
    "run": ("headway.cli.run:run", "Start a run, watch it and print its result."),
    "runs": ("headway.cli.runs:runs", "List, show, watch, stop, retry and explain runs."),
    "tasks": ("headway.cli.tasks:tasks", "List, show, activate and deactivate tasks."),
    "queues": ("headway.cli.queues:queues", "List, pause, resume and limit queues."),
    "tables": ("headway.cli.tables:tables", "Make tables, look at records, import and export them."),
    "servers": ("headway.cli.servers:servers", "List the servers that share the store."),
    "schedules": ("headway.cli.schedules:schedules", "Make, show, change, pause, trigger and remove schedules."),
    "record-tasks": ("headway.cli.record_tasks:record_tasks", "Make, show, change and remove record tasks."),
    "mail-server": ("headway.cli.mail_server:mail_server", "Show, set or remove the mail server."),
    "workers": ("headway.cli.workers:workers", "List, show and drain workers."),
    "keys": ("headway.cli.keys:keys", "Make, list, rotate and revoke keys."),
    "users": ("headway.cli.users:users", "Make, list, disable and enable users."),
    "organisations": ("headway.cli.organisations:organisations", "Make, list and change organisations; also: orgs."),
    "doctor": ("headway.cli.admin:doctor", "Check the machine and the store."),
    "backup": ("headway.cli.admin:backup", "Copy the store while it is in use."),
    "restore": ("headway.cli.admin:restore", "Make a store from a backup."),
    "migrate-store": ("headway.cli.migrate_store:migrate_store", "Move a store from a file into PostgreSQL."),
    "bench": ("headway.cli.bench:bench", "Measure Headway on this machine."),
    "completion": ("headway.cli.completion:completion", "Print the script by which a shell completes commands."),
    "openapi": ("headway.cli.admin:openapi", "Print the OpenAPI document."),
}

ALIASES: Final = {"orgs": "organisations"}

EPILOG: Final = (
    "Exit codes: 0 succeeded, 1 failed, 2 wrong usage or input, 3 the run was stopped, 4 the server cannot be reached, "
    "5 not found or gone, 6 conflict, 7 timed out, 8 done but the answer could not be written, 130 detached."
)


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"headway {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    table=TABLE,
    aliases=ALIASES,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "obj": None},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
def root() -> None:
    """Headway: start, watch, suspend, stop and remember background work, durably."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; end the process with its exit code."""
    shown = Session()
    with output.streams():
        sys.exit(_run(arguments, shown))


def _run(arguments: Sequence[str] | None, shown: Session) -> int:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    colour = False if plain else None  # None: as the terminal can
    try:
        code = root.main(arguments, prog_name="headway", standalone_mode=False, obj=shown, color=colour)
        sys.stdout.flush()
        if shown.unwritten is not None:
            raise shown.unwritten
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        code = exits.Exit.DETACHED
    except output.Unwritten as error:
        code = shown.outcome
        if not error.reader_left:  # `| head` has seen enough; a full disk has lost the answer
            _say(f"the answer could not be written: {error}", colour=colour)
            code = exits.Exit.UNWRITTEN if code in {exits.Exit.SUCCEEDED, exits.Exit.DETACHED} else code
    except HeadwayError as error:
        _tell(error, shown, colour=colour)
        code = exits.of_error(error)
    except OSError as error:
        _say(f"{error.filename}: {error.strerror}" if error.strerror and error.filename else str(error), colour=colour)
        code = exits.Exit.FAILED
    return code if isinstance(code, int) else 0


def _tell(error: HeadwayError, shown: Session, *, colour: bool | None) -> None:
    """Print an error in one sentence, and the advice in another."""
    from headway.cli import finding, hints  # noqa: PLC0415 (`--help` does not need them)

    close = finding.close_to(error, shown.client)
    hint = hints.hint(error, close)
    if shown.json:
        members = {
            "code": error.code, "message": error.detail, "hint": hint, "errors": error.errors or None,
            "did_you_mean": close or None,
        }  # fmt: skip
        said = error.fields | {name: value for name, value in members.items() if value is not None}
        click.echo(json.dumps({"error": said}), err=True)
        return
    _say(error.detail, colour=colour)
    for part in error.errors:
        if part.get("message") and str(part["message"]) not in error.detail:  # which says the first of them itself
            click.echo(f"  {one_line(str(part.get('pointer', '')))}: {printable(str(part['message']))}", err=True)
    if hint:
        click.echo(f"{click.style('Hint:', bold=True)}  {printable(hint)}", err=True, color=colour)


def _say(error: str, *, colour: bool | None) -> None:
    click.echo(f"{click.style('Error:', fg='red', bold=True)} {printable(error)}", err=True, color=colour)
