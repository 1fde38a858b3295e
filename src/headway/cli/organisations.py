"""Organisations, the tenants of a server: `headway organisations`."""

from __future__ import annotations

import click

from headway.cli import finding, session, show
from headway.cli.command import Group


@click.group(cls=Group)
def organisations() -> None:
    """Make, list, change, disable and enable organisations."""


@organisations.command("create")
@click.argument("name")
@click.option("--zone", default="UTC", show_default=True, help="Time zone of its days.")
@click.option("--per-minute", type=click.IntRange(1), help="Requests per minute, all keys together.")
@click.option("--per-day", type=click.IntRange(1), help="Requests per day, all keys together.")
def create(name: str, zone: str, per_minute: int | None, per_day: int | None) -> None:
    """Make an organisation and print its id; `headway keys create --organisation ID` makes its first key."""
    with session.current().client() as client:
        made = client.organisations.create(name, zone=zone, per_minute=per_minute, per_day=per_day)
    show.answer(made, made.id)


@organisations.command("list")
def list_() -> None:
    """List the organisations."""
    with session.current().client() as client:
        found = client.organisations.list()
    if session.current().json:
        show.as_json({"data": found})
        return
    rows = [[one.id, one.name, one.zone, one.state, one.per_minute or "any", one.per_day or "any"] for one in found]
    columns = ("ORGANISATION", "NAME", "ZONE", "STATE", "PER MINUTE", "PER DAY")
    show.table(columns, rows, empty="No organisations.", ids=("ORGANISATION",), names=("NAME", "ZONE"))


@organisations.command("update")
@click.argument("organisation_id", metavar="ORGANISATION")
@click.option("--name", help="Name for people.")
@click.option("--zone", help="Time zone of its days.")
@click.option("--per-minute", type=click.IntRange(1), help="Requests per minute, all keys together.")
@click.option("--per-day", type=click.IntRange(1), help="Requests per day, all keys together.")
def update(organisation_id: str, **changes: object) -> None:
    """Change an organisation."""
    said = {name: value for name, value in changes.items() if value is not None}
    if not said:
        raise click.UsageError("nothing to change; see --help")
    with session.current().client() as client:
        changed = client.organisations.update(finding.organisation_id(client, organisation_id), **said)
    show.answer(changed, f"{changed.id} is changed")


@organisations.command("disable")
@click.argument("organisation_id", metavar="ORGANISATION")
def disable(organisation_id: str) -> None:
    """Refuse all keys of an organisation; runs in progress go on."""
    with session.current().client() as client:
        changed = client.organisations.update(finding.organisation_id(client, organisation_id), state="disabled")
    show.answer(changed, f"{changed.id} is disabled")


@organisations.command("enable")
@click.argument("organisation_id", metavar="ORGANISATION")
def enable(organisation_id: str) -> None:
    """Accept the keys of an organisation again."""
    with session.current().client() as client:
        changed = client.organisations.update(finding.organisation_id(client, organisation_id), state="active")
    show.answer(changed, f"{changed.id} is active")
