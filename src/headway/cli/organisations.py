"""`headway organisations`: parties that share a server and see nothing of each other."""

from __future__ import annotations

import click

from headway.cli import finding, session, show
from headway.cli.command import Group


@click.group(cls=Group)
def organisations() -> None:
    """Make, list, change, disable and enable organisations."""


@organisations.command("create")
@click.argument("name")
@click.option("--zone", default="UTC", show_default=True, help="The time zone in which its days are counted.")
@click.option("--per-minute", type=click.IntRange(1), help="How often all of its keys together may ask in a minute.")
@click.option("--per-day", type=click.IntRange(1), help="The same for a day.")
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
@click.option("--name", help="What people call it.")
@click.option("--zone", help="The time zone in which its days are counted.")
@click.option("--per-minute", type=click.IntRange(1), help="How often all of its keys together may ask in a minute.")
@click.option("--per-day", type=click.IntRange(1), help="The same for a day.")
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
    """Let none of its keys work; what runs goes on."""
    with session.current().client() as client:
        changed = client.organisations.update(finding.organisation_id(client, organisation_id), state="disabled")
    show.answer(changed, f"{changed.id} is disabled")


@organisations.command("enable")
@click.argument("organisation_id", metavar="ORGANISATION")
def enable(organisation_id: str) -> None:
    """Let its keys work again."""
    with session.current().client() as client:
        changed = client.organisations.update(finding.organisation_id(client, organisation_id), state="active")
    show.answer(changed, f"{changed.id} is active")
