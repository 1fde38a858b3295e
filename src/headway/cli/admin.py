"""Commands about a store or the server: `headway doctor`, `backup`, `restore` and `openapi`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from headway.cli import session, show
from headway.cli.command import Command
from headway.cli.exits import Exit
from headway.cli.printable import one_line, printable

store_option = click.option(
    "--store",
    metavar="URL",
    envvar="HEADWAY_STORE",
    default="sqlite:///headway.db",
    show_default=True,
    help="URL of the store.",
)


make_folder_option = click.option("--make-folder", is_flag=True, help="Make the store's folder if it is missing.")


def folder_wanted(store: str, *, make: bool) -> bool:
    """Return whether to make a missing folder of a store: by the option, or by the answer of a person at a terminal."""
    from headway.store.location import (  # noqa: PLC0415 (the server, which `--help` does not need)
        is_postgres,
        sqlite_path,
    )

    if make or is_postgres(store) or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return make
    path = sqlite_path(store)
    if path is None or path.parent.exists():
        return False
    return click.confirm(f"There is no folder {printable(str(path.parent))}. Make it?", err=True)


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Report errors of a path or a store without a traceback; an unusable store is wrong usage."""
    from headway.store import database  # noqa: PLC0415 (the server, which `--help` does not need)

    try:
        yield
    except ValueError as error:
        raise click.UsageError(one_line(str(error))) from None
    except OSError as error:
        plain = f"{error.filename}: {error.strerror}" if error.strerror and error.filename else str(error)
        raise click.ClickException(one_line(plain)) from None
    except (database.StorageBroken, database.DiskFull) as error:
        raise click.ClickException(one_line(str(error))) from None
    except (database.StoreRefused, database.DatabaseLocked) as error:
        raise _Conflict(one_line(str(error))) from None
    except database.DatabaseGone as error:
        raise _Unreachable(one_line(str(error))) from None


class _Conflict(click.ClickException):
    """The state of the store forbids the operation."""

    exit_code = Exit.CONFLICT


class _Unreachable(click.ClickException):
    """The database cannot be reached, or refuses the login."""

    exit_code = Exit.UNREACHABLE


@click.command(cls=Command)
@store_option
@click.option("--verify", is_flag=True, help="Read and check every row; slow.")
@click.option(
    "--accept-loss",
    is_flag=True,
    help="Accept the loss of data or of a secret that cannot be restored, so that the store can be served again.",
)
@click.pass_context
def doctor(ctx: click.Context, /, store: str, verify: bool, accept_loss: bool) -> None:
    """Check the machine and the store; exit with 1 if a check fails."""
    from headway.serving import offline  # noqa: PLC0415 (the server, which `--help` does not need)

    with reporting_errors():
        lost = offline.accept_loss(store) if accept_loss else []
        findings = offline.doctor(store, verify=verify)
    well = all(finding.ok for finding in findings)
    session.current().outcome = Exit.SUCCEEDED if well else Exit.FAILED
    if session.current().json:
        show.as_json({"ok": well, "lost": lost, "checks": findings})
    else:
        for sentence in lost:
            show.marked("lost", sentence, colour="yellow")
        for finding in findings:
            mark, colour = ("ok  ", "green") if finding.ok else ("FAIL", "red")
            show.marked(mark, f"{finding.name}: {finding.message}", colour=colour)
    ctx.exit(session.current().outcome)


@click.command(cls=Command)
@click.argument("destination", metavar="DEST")
@store_option
def backup(destination: str, store: str) -> None:
    """Copy the store to a file while it is in use."""
    from headway.serving import offline  # noqa: PLC0415

    with reporting_errors():
        size = offline.backup(store, destination)
    show.answer({"store": store, "backup": destination, "bytes": size}, f"{destination}: {show.counted(size, 'byte')}")


@click.command(cls=Command)
@click.argument("source", metavar="SOURCE")
@click.option("--store", metavar="URL", required=True, help="New store; it must not exist yet.")
@make_folder_option
def restore(source: str, store: str, make_folder: bool) -> None:
    """Make a store from a backup."""
    from headway.serving import offline  # noqa: PLC0415

    with reporting_errors():
        offline.restore(source, store, make_folder=folder_wanted(store, make=make_folder))
    show.answer({"backup": source, "store": store}, f"{store} is as it was in {source}")


@click.command(cls=Command)
@click.option("--surface", default="native", show_default=True, help="native, tadabase or cloudcoin.")
def openapi(surface: str) -> None:
    """Print the OpenAPI document of a surface."""
    from headway.serving import offline  # noqa: PLC0415

    with reporting_errors():
        show.as_json(offline.openapi(surface))
