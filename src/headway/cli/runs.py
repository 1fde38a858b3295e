"""Runs: find, show, watch and control them: `headway runs`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import click

from headway.cli import completion, finding, session, show, watch
from headway.cli.command import Group
from headway.cli.exits import OF_STATE
from headway.cli.printable import indented, one_line, printable
from headway.cli.run import json_value, pairs, span_s
from headway.client.errors import UnexpectedAnswer
from headway.client.sync.client import Client
from headway.client.sync.handle import RunHandle
from headway.protocol.runs import BulkPreview, WaitingCause

STATES = ("scheduled", "queued", "running", "suspended", "stopping", "succeeded", "failed", "terminated")
ACTIONS = ("terminate", "retry", "suspend", "resume", "protect", "unprotect", "delete")
STANDS = {"succeeded": "has succeeded", "failed": "has failed", "terminated": "was stopped"}
reason_option = click.option("--reason", "-m", default="", help="Reason, kept with the run.")


def _last_options(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option(
        "--task", "-t", "last_of", metavar="TASK", help="The last run of this task.", shell_complete=completion.tasks
    )(command)
    return click.option("--last", is_flag=True, help="The run that was started last.")(command)


def run_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument and options that name a run to a command, for `finding.run`."""
    return click.argument("run_id", metavar="[RUN]", required=False, shell_complete=completion.runs)(
        _last_options(command)
    )


def runs_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument and options that name runs to a command, for `_each`."""
    return click.argument("ids", nargs=-1, metavar="[RUN]...", shell_complete=completion.runs)(_last_options(command))


@click.group(cls=Group)
def runs() -> None:
    """List, show, watch, stop, retry and explain runs.

    RUN is the id of a run, or a prefix of four characters or more that no other run has, such as lists show on a
    narrow terminal. --last is the run that was started last; with --task TASK, the last run of that task.
    """


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the filters of a list to a command."""
    for option in (
        click.option("--finished-before", metavar="TIME", help="Filter by time of the end."),
        click.option("--finished-after", metavar="TIME", help="Filter by time of the end."),
        click.option("--created-before", metavar="TIME", help="Filter by time of creation."),
        click.option(
            "--created-after",
            metavar="TIME",
            help="Filter by time of creation, such as 2026-12-01T02:00:00Z.",
        ),
        click.option("--parent", "parent_id", metavar="ID", help="Filter by parent run."),
        click.option("--label", "-l", "labels", multiple=True, metavar="K=V", help="Filter by label."),
        click.option("--queue", "-q", multiple=True, help="Filter by queue; may be repeated."),
        click.option(
            "--task", "-t", multiple=True, help="Filter by task; may be repeated.", shell_complete=completion.tasks
        ),
        click.option(
            "--state", "-s", multiple=True, type=click.Choice(STATES), help="Filter by state; may be repeated."
        ),
    ):
        command = option(command)
    return command


def _filters(client: Client, options: dict[str, Any]) -> dict[str, Any]:
    """Return the filters that were given."""
    options["labels"] = pairs(options.get("labels", ()), "--label")
    if options.get("parent_id"):
        options["parent_id"] = finding.run_id_of(client, options["parent_id"])
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items() if value}


@contextmanager
def _handle(**named: Any) -> Iterator[tuple[Client, RunHandle]]:
    with session.current().client() as client:
        yield client, finding.run(client, **named)


@runs.command("list")
@filter_options
@click.option("--limit", "-n", default=50, show_default=True, type=click.IntRange(1), help="Maximum number.")
@click.option("--all", "everything", is_flag=True, help="List all, without a limit.")
def list_(limit: int, everything: bool, **options: Any) -> None:
    """List runs, newest first."""
    with session.current().client() as client:
        found: Iterable[Any] = client.runs.list(**_filters(client, options)).runs()
        if not everything:
            found = islice(found, limit)
        if session.current().json:
            show.as_json({"data": list(found)})
            return
        rows = ([run.id, run.state, run.task, show.progress(run.progress, run.state), show.age(run.created_at), show.duration(run)]
                for run in found)  # fmt: skip
        columns = ("ID", "STATE", "TASK", "PROGRESS", "AGE", "TOOK")
        show.table(columns, rows, empty="No runs.", names=("TASK",), texts=("PROGRESS",))


@runs.command("show")
@run_argument
def show_(**named: Any) -> None:
    """Show everything about a run."""
    with _handle(**named) as (_, handle):
        tried = not session.current().json and handle.run.started_at is not None
        show.run(handle.run, handle.waiting().worker if tried else None)


@runs.command("watch")
@run_argument
@click.option("--timeout", metavar="DURATION", help="Longest wait; then exit with 7.")
@click.pass_context
def watch_(ctx: click.Context, /, timeout: str | None, **named: Any) -> None:
    """Watch a run to its end and print its result; with --json, print each event as a line."""
    timeout_s = span_s(timeout, "--timeout")
    with _handle(**named) as (client, handle):
        if not session.current().json:
            ctx.exit(watch.to_the_end(client, handle, timeout_s=timeout_s))
        run = watch.follow(client, handle, timeout_s=timeout_s, lines=True)
        ctx.exit(OF_STATE[run.state])


@runs.command("logs")
@run_argument
@click.option("--follow", "-f", is_flag=True, help="Follow until the run is finished.")
def logs(follow: bool, **named: Any) -> None:
    """Print the log lines of a run's code."""
    with _handle(**named) as (_, handle):
        if not follow:
            for line in handle.logs():
                _log_line(line.time, line.level, line.message, line)
            return
        for event in handle.events():
            if event.type == "run.log":
                _log_line(event.time, event.data.get("level", "info"), event.data.get("message", ""), event)


def _log_line(time: str, level: str, message: str, whole: object) -> None:
    if session.current().json:
        show.as_json_line(whole)
    else:
        colour = {"warning": "yellow", "error": "red", "debug": "bright_black"}.get(level)
        shown = click.style(f"{one_line(level):<7}", fg=colour)
        click.echo(f"{click.style(one_line(time), dim=True)} {shown} {indented(message)}")


@runs.command("stop")
@runs_argument
@reason_option
@click.option("--grace", metavar="DURATION", help="Time to stop by itself before it is killed.")
@click.option("--leave-children", is_flag=True, help="Leave the run's children running.")
def stop(reason: str, grace: str | None, leave_children: bool, **named: Any) -> None:
    """Stop runs: request it, wait for the grace period, then kill."""
    span_s(grace, "--grace")
    children = "leave" if leave_children else "cascade"
    _each(named, lambda handle: handle.terminate(reason, grace, children=children))


@runs.command("suspend")
@runs_argument
@reason_option
def suspend(reason: str, **named: Any) -> None:
    """Suspend runs until they are resumed."""
    _each(named, lambda handle: handle.suspend(reason))


@runs.command("resume")
@runs_argument
@reason_option
def resume(reason: str, **named: Any) -> None:
    """Resume suspended runs, whatever they wait for."""
    _each(named, lambda handle: handle.resume(reason))


@runs.command("protect")
@runs_argument
@reason_option
def protect(reason: str, **named: Any) -> None:
    """Keep runs from removal."""
    _each(named, lambda handle: handle.protect(reason), "protected")


@runs.command("unprotect")
@runs_argument
@reason_option
def unprotect(reason: str, **named: Any) -> None:
    """Allow removal of runs again."""
    _each(named, lambda handle: handle.unprotect(reason), "not protected")


@runs.command("delete")
@runs_argument
def delete(**named: Any) -> None:
    """Remove finished runs for good."""
    with session.current().client() as client:
        for handle in _handles(client, **named):
            handle.delete()
            show.answer({"id": handle.id, "deleted": True}, f"{handle.id}  removed")


def _each(named: dict[str, Any], change: Callable[[RunHandle], Any], done: str | None = None) -> None:
    with session.current().client() as client:
        for handle in _handles(client, **named):
            run = change(handle)
            show.answer(run, f"{run.id}  {done or run.state}")


def _handles(client: Client, ids: tuple[str, ...], **last: Any) -> list[RunHandle]:
    """Return the named runs; all of them are looked up before the first is changed."""
    return [finding.run(client, run_id, **last) for run_id in ids or (None,)]


@runs.command("retry")
@run_argument
@reason_option
@click.option("--from-scratch", is_flag=True, help="Start from the beginning, not after the steps that succeeded.")
@click.option("--watch", "-w", "watched", is_flag=True, help="Watch the run to its end.")
@click.pass_context
def retry(ctx: click.Context, /, reason: str, from_scratch: bool, watched: bool, **named: Any) -> None:
    """Repeat a failed or terminated run, as a new run that continues after the steps that succeeded."""
    with _handle(**named) as (client, handle):
        again = handle.retry(reason, from_scratch=from_scratch)
        if watched:
            ctx.exit(watch.to_the_end(client, again))
        show.answer(again.run, f"{again.id}  {again.state}")


@runs.command("signal")
@click.argument("run_id", metavar="RUN", shell_complete=completion.runs)
@click.argument("name")
@click.argument("payload", default="null", metavar="[JSON]")
def signal(run_id: str, name: str, payload: str) -> None:
    """Send a signal to a run, which takes it when it waits for that name, now or later."""
    value = json_value(payload, "the payload")
    with _handle(run_id=run_id) as (_, handle):
        run = handle.signal(name, value)
        show.answer(run, f"{run.id}  {run.state}")


@runs.command("why")
@run_argument
def why(**named: Any) -> None:
    """Explain why a run waits, how a running one stands, or why it ended as it did."""
    with _handle(**named) as (_, handle):
        found = handle.waiting()
    if session.current().json:
        show.as_json(found)
        return
    click.echo(printable(f"{found.run_id} {STANDS.get(found.state, f'is {found.state}')}."))
    for cause in found.causes:
        show.point(cause.message + _until(cause), "" if cause.code == "error" else cause.details or "")
    if found.state in {"failed", "terminated"}:
        click.echo(f"Its traceback and input: headway runs show {one_line(found.run_id)}")
        click.echo(f"Again:                   headway runs retry {one_line(found.run_id)}")


def _until(cause: WaitingCause) -> str:
    """Return the end of a cause, unless the message has it."""
    if cause.until is None or cause.until[:19].replace("T", " ") in cause.message:
        return ""
    return f" (until {cause.until})"


@runs.command("results")
@run_argument
def results(**named: Any) -> None:
    """Print the published results of a run, one line of JSON each."""
    with _handle(**named) as (_, handle):
        for result in handle.results():
            show.as_json_line(result)


@runs.command("attempts")
@run_argument
def attempts(**named: Any) -> None:
    """List the attempts of a run."""
    with _handle(**named) as (_, handle):
        found = handle.attempts()
    if session.current().json:
        show.as_json({"data": found})
        return
    rows = [
        [attempt.number, attempt.outcome, attempt.started_at,
         f"{attempt.finished_at} (clock set back)" if attempt.clock_set_back else attempt.finished_at, attempt.worker_id,
         (show.decoded(attempt.error) or {}).get("message", "")]
        for attempt in found
    ]  # fmt: skip
    columns = ("ATTEMPT", "OUTCOME", "STARTED", "FINISHED", "WORKER", "ERROR")
    show.table(columns, rows, empty="It has not been tried yet.", ids=("WORKER",), texts=("ERROR",))


@runs.command("events")
@run_argument
@click.option("--after", default=0, help="Start after this number.")
def events(after: int, **named: Any) -> None:
    """Print the history of a run."""
    with _handle(**named) as (_, handle):
        for event in handle.history(after):
            if session.current().json:
                show.as_json_line(event)
            else:
                data = one_line(bytes(event.data).decode())
                time = click.style(one_line(event.time), dim=True)
                click.echo(f"{event.seq:>4}  {time}  {one_line(event.type):<12}  {data}")


@runs.command("count")
@filter_options
@click.option("--by", type=click.Choice(["state", "task", "queue"]), default="state", show_default=True)
def count(by: str, **options: Any) -> None:
    """Count runs by state, task or queue."""
    with session.current().client() as client:
        found = client.runs.count(by, **_filters(client, options))
    if session.current().json:
        show.as_json(found)
        return
    rows = [*found.counts.items(), ("total", found.total)]
    show.table((by.upper(), "RUNS"), rows, empty="No runs.", names=(by.upper(),))


@runs.command("bulk")
@click.argument("action", type=click.Choice(ACTIONS))
@filter_options
@reason_option
@click.option("--from-scratch", is_flag=True, help="Make retry start from the beginning.")
@click.option("--dry-run", is_flag=True, help="Count the runs and change none.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
def bulk(action: str, reason: str, from_scratch: bool, dry_run: bool, yes: bool, **options: Any) -> None:
    """Apply an action to all matching runs; shows their number and asks first."""
    if from_scratch and action != "retry":
        raise click.UsageError("--from-scratch goes with retry only")
    with session.current().client() as client:
        filters = _filters(client, options)
        preview = client.runs.bulk(filters, action, dry_run=True)
        if not isinstance(preview, BulkPreview):
            raise UnexpectedAnswer("the server's answer to the preview is not a preview")
        if dry_run:
            show.answer(preview, f"{action} would touch {show.counted(preview.count, 'run')}")
            return
        if not yes:
            click.confirm(f"{action} {show.counted(preview.count, 'run')}?", abort=True, err=True)
        done = client.runs.bulk(filters, action, reason=reason, from_scratch=from_scratch)
        if isinstance(done, BulkPreview):
            raise UnexpectedAnswer("the server counted the runs and did not change them")
        show.answer(done.run, f"{done.id}  {done.state}: it does the work; headway runs watch {done.id}")
