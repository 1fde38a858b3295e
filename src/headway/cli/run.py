"""`headway run`: start a run, watch it, print its result."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from headway import texts
from headway.cli import completion, session, show, watch
from headway.cli.command import Command
from headway.client.sync.client import Client
from headway.durations import parse_ms
from headway.errors import Forbidden, NotFound
from headway.protocol import fields as written


@click.command(cls=Command)
@click.argument("task", shell_complete=completion.tasks)
@click.argument("fields", nargs=-1, metavar="[KEY=VALUE | KEY:=JSON]...")
@click.option(
    "--input",
    "document",
    metavar="JSON|@FILE|-",
    help="Input as JSON, from a file or stdin. KEY=VALUE arguments override it.",
)
@click.option("--detach", "-d", is_flag=True, help="Print the id and exit.")
@click.option("--timeout", metavar="DURATION", help="Longest time to watch; then exit with 7. The run goes on.")
@click.option("--name", help="Name of the run for people.")
@click.option("--priority", "-p", type=click.IntRange(0, 10), help="Priority of the run, 0 to 10; higher first.")
@click.option("--queue", "-q", help="Queue of the run.")
@click.option("--key", help="Key for limits per key.")
@click.option("--label", "-l", "labels", multiple=True, metavar="K=V", help="Label; may be repeated.")
@click.option("--delay", metavar="DURATION", help='Wait before it begins: "30s", "2h".')
@click.option("--at", "run_at", metavar="TIME", help="Earliest start, such as 2026-12-01T02:00:00Z.")
@click.option("--dedupe", metavar="KEY", help="Return the unfinished run with this key, if there is one.")
@click.option("--max-attempts", type=click.IntRange(1, 1000), help="Maximum number of attempts.")
@click.option("--retention", metavar="DURATION", help="Retention after the end.")
@click.option("--protect", is_flag=True, help="Protect the run from removal.")
@click.option("--idempotency-key", metavar="KEY", help="Idempotency key: repeated calls with it start one run.")
@click.pass_context
def run(
    ctx: click.Context,
    /,
    task: str,
    fields: tuple[str, ...],
    document: str | None,
    detach: bool,
    timeout: str | None,
    labels: tuple[str, ...],
    **options: Any,
) -> None:
    """Start a run of TASK, watch it and print its result as JSON.

    \b
        headway run backup folder=/srv/data level=9
        headway run report --input @report.json --detach

    KEY=VALUE is text. If the task's input schema has another type for KEY, such as an integer or a list, VALUE is
    read as that type. KEY:=JSON is JSON for every type.

    Ctrl-C stops watching, not the run, and prints how to watch the run again.
    """  # noqa: D301
    shown = session.current()
    timeout_s = span_s(timeout, "--timeout")
    document_values, given = input_document(document), [input_field(field) for field in fields]
    with shown.client() as client:
        values = document_values | input_values(client, task, given)
        try:
            handle = client.runs.start(task, values, labels=pairs(labels, "--label"), **options)
        except KeyboardInterrupt:
            click.echo("The server had not answered yet: look for the run with headway runs list.", err=True)
            raise
        if not detach:
            ctx.exit(watch.to_the_end(client, handle, timeout_s=timeout_s))
        show.started(handle)


def span_s(text: str | None, option: str) -> float | None:
    """Return a duration in seconds."""
    try:
        return None if text is None else parse_ms(text) / 1000
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None


def pairs(texts: tuple[str, ...], option: str) -> dict[str, str]:
    """Return K=V texts as a dict."""
    split = [text.partition("=") for text in texts]
    for text, (key, equals, _) in zip(texts, split, strict=True):
        if not key or not equals:
            raise click.BadParameter(f"{text!r} is not KEY=VALUE", param_hint=option)
    return {key: value for key, _, value in split}


def json_value(text: str, what: str) -> Any:
    """Read JSON from the command line."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError, RecursionError) as error:
        raise click.UsageError(f"{what} is not JSON: {error}") from None


def input_values(client: Client, task: str, given: list[tuple[str, Any, bool]]) -> dict[str, Any]:
    """Return the fields of the input; the task's schema is fetched only if there is text among them."""
    schema: Any = {}
    if any(is_text for _, _, is_text in given):
        with contextlib.suppress(NotFound, Forbidden):  # the start itself says it better
            schema = show.decoded(client.tasks.get(task).input_schema) or {}
    return {name: written.read(value, name, schema) if is_text else value for name, value, is_text in given}


def input_field(text: str) -> tuple[str, Any, bool]:
    """Return the name, the value, and whether the value is still text."""
    key, equals, value = text.partition("=")
    if not equals or not key.removesuffix(":"):
        raise click.UsageError(f"{text!r} is neither KEY=VALUE nor KEY:=JSON")
    if key.endswith(":"):
        return key[:-1], json_value(value, text), False
    return key, value, True


def input_document(text: str | None) -> dict[str, Any]:
    """Return the input given as one document."""
    return document(text, "--input")


def file_text(path: str) -> str:
    """Return the text of a file, or of standard input for "-", without its byte order mark."""
    try:
        if path != "-":
            return texts.decoded(Path(path).read_bytes())
        data = getattr(sys.stdin, "buffer", sys.stdin).read()
        return texts.decoded(data) if isinstance(data, bytes) else data.removeprefix("\ufeff")
    except (OSError, ValueError) as error:
        named = "standard input" if path == "-" else path
        raise click.UsageError(f"cannot read {named}: {error}") from None


def document(text: str | None, option: str) -> dict[str, Any]:
    """Return the object of an option: JSON, a file, or stdin."""
    if text is None:
        return {}
    if text == "-" or text.startswith("@"):
        text = file_text(text.removeprefix("@"))
    found = json_value(text.removeprefix("\ufeff"), option)
    if not isinstance(found, dict):
        raise click.UsageError(f"{option} has to be a JSON object")
    return found
