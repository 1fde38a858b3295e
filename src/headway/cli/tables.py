"""Tables, their records, and files of them: `headway tables`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from headway.cli import session, show
from headway.cli.command import Group
from headway.cli.printable import one_line
from headway.protocol.tables import FieldOut, RecordOut, TableOut

_UNFIT: Final = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")
"""Characters that local file names may have and names of uploads may not."""


@click.group(cls=Group)
def tables() -> None:
    """Make tables, look at records, import and export them."""


@tables.command("list")
def list_() -> None:
    """List the tables."""
    with session.current().client() as client:
        found = client.tables.list()
    if session.current().json:
        show.as_json({"data": found})
        return
    rows = [[table.name, table.records, len(table.fields), table.description, table.id] for table in found]
    columns = ("TABLE", "RECORDS", "FIELDS", "DESCRIPTION", "ID")
    show.table(columns, rows, empty="No tables.", ids=(), names=("TABLE",), texts=("DESCRIPTION",))


@tables.command("show")
@click.argument("table")
def show_(table: str) -> None:
    """Show a table and its fields."""
    with session.current().client() as client:
        _show(client.tables.get(table))


def _show(table: TableOut) -> None:
    if session.current().json:
        show.as_json(table)
        return
    far = table.external
    show.pairs(
        [
            ("table", table.name),
            ("about", table.description or None),
            ("records", None if table.records is None else f"{table.records:,}"),
            ("rows of", far and f"{far.relation} in {far.url}"),
            ("id", table.id),
        ]
    )
    rows = [[field.name, field.type, ", ".join(_options(field)), field.id] for field in table.fields]
    show.table(
        ("FIELD", "TYPE", "OPTIONS", "ID"), rows, empty="No fields.", ids=(), names=("FIELD",), texts=("OPTIONS",)
    )
    _say_left_out(table)


def _say_left_out(table: TableOut) -> None:
    """Print the columns of an external table without a field, on stderr."""
    for column, why in ({} if table.external is None else table.external.left_out).items():
        click.echo(one_line(f"left out: {column}: {why}"), err=True)


def _options(field: FieldOut) -> Iterable[str]:
    for name in ("required", "unique", "indexed", "multiple"):
        if getattr(field, name):
            yield name
    if field.choices:
        yield f"choices={'|'.join(field.choices)}"
    if field.default is not None:
        yield f"default={field.default}"
    if field.table_id:
        yield f"to {field.table_id}, on delete {field.on_delete}"


@tables.command("create")
@click.argument("name")
@click.option("--field", "fields", multiple=True, metavar="NAME[:TYPE[:OPTION…]]",
              help='A field, such as "Age:number:indexed" or "Status:choice:choices=new|open".')  # fmt: skip
@click.option("--description", default="", help="Description.")
@click.option("--external-url", metavar="URL", help="URL of your own database with the rows.")
@click.option("--relation", metavar="TABLE", help="Name of the table in that database.")
def create(
    name: str, fields: tuple[str, ...], description: str, external_url: str | None, relation: str | None
) -> None:
    """Make a table."""
    if (external_url is None) != (relation is None):
        raise click.UsageError("--external-url and --relation belong together")
    external = None if external_url is None or relation is None else {"url": external_url, "relation": relation}
    with session.current().client() as client:
        made = client.tables.create(name, map(_field, fields), description=description, external=external)
    show.answer(made, f"{made.name} has {show.counted(len(made.fields), 'field')}: {made.id}")
    _say_left_out(made)


def _field(text: str) -> dict[str, Any]:
    name, *rest = text.split(":")
    found: dict[str, Any] = {"name": name, **({"type": rest[0]} if rest else {})}
    for option in rest[1:]:
        word, equals, value = option.partition("=")
        found[word] = True if not equals else value.split("|") if word == "choices" else value
    return found


@tables.command("delete")
@click.argument("table")
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
def delete(table: str, yes: bool) -> None:
    """Remove a table and its records."""
    with session.current().client() as client:
        found = client.tables.get(table)
        if not yes:
            many = "" if found.records is None else f" and its {show.counted(found.records, 'record')}"
            click.confirm(f"remove {found.name}{many}?", abort=True, err=True)
        client.tables.delete(found.id)
    show.answer({"deleted": found.id}, f"{found.name} is gone")


# -- records -------------------------------------------------------------------------------------------------------------


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the filter of records to a command; `condition` reads it."""
    for option in (
        click.option("--filter", "text", metavar="JSON", help="Filter with AND and OR, as JSON in the API's form."),
        click.option(
            "--where", nargs=3, multiple=True, metavar="FIELD OPERATOR VALUE",
            help='Condition, such as --where Age ">" 40; may be repeated, and all must hold.',
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def condition(where: tuple[tuple[str, str, str], ...], text: str | None) -> Any:
    """Return the filter of `filter_options` for the API; None for all records."""
    found: list[Any] = [
        {"field": field, "operator": operator, "value": _value(value)} for field, operator, value in where
    ]
    if text is not None:
        try:
            found.append(msgspec.json.decode(text))
        except msgspec.DecodeError as error:
            raise click.UsageError(f"--filter is not JSON: {error}") from None
    return found or None


def _value(text: str) -> Any:
    """Return a list for `["a", "b"]`, else the text, which the server converts to the field's type."""
    if text.startswith("["):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text
    return text


def _values(pairs: tuple[str, ...]) -> dict[str, Any]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"{pair!r} is not FIELD=VALUE")
        found[name] = _value(value)
    return found


@tables.command("records")
@click.argument("table")
@filter_options
@click.option(
    "--order",
    default="",
    metavar="FIELD",
    help='Sort by created_at or an indexed field; "FIELD desc" for descending order.',
)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="Maximum number of records.")
def records(table: str, where: tuple[tuple[str, str, str], ...], text: str | None, order: str, limit: int) -> None:
    """List records."""
    found: list[RecordOut] = []
    with session.current().client() as client:
        names = [field.name for field in client.tables.get(table).fields]
        for record in client.tables.records(table, condition(where, text), order_by=order, page_size=min(limit, 1000)):
            found.append(record)
            if len(found) == limit:
                break
    if session.current().json:
        show.as_json({"data": found})
        return
    rows = [[*(_shown(record.values.get(name)) for name in names), record.id] for record in found]
    show.table((*names, "ID"), rows, empty="No records.", ids=(), texts=names)
    for record in found:
        for name, why in ({} if record.invalid is msgspec.UNSET else record.invalid).items():
            click.echo(one_line(f"{record.id}: {name} {why}"), err=True)


def _shown(value: Any) -> str | None:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "; ".join(map(str, value)) if isinstance(value, list) else None if value is None else str(value)


@tables.command("insert")
@click.argument("table")
@click.argument("values", nargs=-1, metavar="FIELD=VALUE…")
def insert(table: str, values: tuple[str, ...]) -> None:
    """Add a record."""
    with session.current().client() as client:
        record = client.tables.insert(table, _values(values))
    show.answer(record, record.id)


@tables.command("update")
@click.argument("table")
@click.argument("record")
@click.argument("values", nargs=-1, required=True, metavar="FIELD=VALUE…")
def update(table: str, record: str, values: tuple[str, ...]) -> None:
    """Change a record; FIELD= clears a field."""
    with session.current().client() as client:
        after = client.tables.update_record(table, record, _values(values))
    show.answer(after, f"{after.id} is at version {after.version}")


@tables.command("remove")
@click.argument("table")
@click.argument("records", nargs=-1, required=True, metavar="RECORD…")
def remove(table: str, records: tuple[str, ...]) -> None:
    """Delete records, all or none."""
    with session.current().client() as client:
        deleted = client.tables.delete_records(table, records)
    show.answer({"deleted": deleted}, f"{show.counted(deleted, 'record')} deleted")


# -- files ---------------------------------------------------------------------------------------------------------------


@tables.command("import")
@click.argument("table")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--upsert-by",
    default="",
    metavar="FIELD",
    help="Unique field: rows with the value of an existing record change that record.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="COLUMN=FIELD",
    help="Field for a column with another name; may be repeated.",
)
@click.option("--ignore-unknown", is_flag=True, help="Ignore columns without a field.")
@click.option("--encoding", type=click.Choice(["utf-8", "windows-1252", "latin-1"]), default="utf-8", show_default=True)
@click.option("--delimiter", default=",", show_default=True, help="Delimiter of CSV.")
@click.option(
    "--errors-max", default=1000, show_default=True, type=click.IntRange(0), help="Maximum number of refused rows."
)
@click.option("--detach", is_flag=True, help="Do not wait for the end.")
def import_(table: str, file: Path, columns: tuple[str, ...], detach: bool, **options: Any) -> None:
    """Import records from a CSV, JSON or JSON lines file."""
    pairs = [column.partition("=") for column in columns]
    options["columns"] = {column: field for column, _, field in pairs}
    with session.current().client() as client:
        run = client.tables.import_file(table, file.read_bytes(), _UNFIT.sub("_", file.name)[-200:], **options)
        if detach:
            show.answer(run.run, f"{run.id}  {run.state}: headway runs watch {run.id}")
            return
        done = run.result()
        said = f"{done['created']:,} added, {done['updated']:,} changed, {done['refused']:,} refused"
        show.answer(done, f"{said} of {show.counted(done['rows'], 'row')}")
        if done["refused"] and not session.current().json:
            click.echo(f"What was refused: headway runs results {run.id}", err=True)


@tables.command("export")
@click.argument("table")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="File; default: stdout.")
@click.option("--format", "form", type=click.Choice(["csv", "json", "jsonl"]), default="csv", show_default=True)
@filter_options
@click.option("--field", "fields", multiple=True, help="Fields, in this order.")
@click.option("--bom", is_flag=True, help="Begin with a byte order mark, for spreadsheets.")
def export(
    table: str,
    output: Path | None,
    form: str,
    where: tuple[tuple[str, str, str], ...],
    text: str | None,
    fields: tuple[str, ...],
    bom: bool,
) -> None:
    """Export records to a file."""
    asked = {"format": form, "filter": condition(where, text), "fields": list(fields), "bom": bom}
    with session.current().client() as client:
        done = client.tables.export(table, **asked).result()
        content = client.tables.download(done["file"])
    if output is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    output.write_bytes(content)
    show.answer(done, f"{show.counted(done['records'], 'record')} in {output}")
