"""Users, whose keys work while they are active: `headway users`."""

from __future__ import annotations

import click

from headway.cli import finding, session, show
from headway.cli.command import Group


@click.group(cls=Group)
def users() -> None:
    """Make, list, disable and enable users."""


@users.command("create")
@click.argument("name")
@click.option("--email", default="", help="E-mail address.")
def create(name: str, email: str) -> None:
    """Make a user and print the id."""
    with session.current().client() as client:
        made = client.users.create(name, email=email)
    show.answer(made, made.id)


@users.command("list")
def list_() -> None:
    """List the users."""
    with session.current().client() as client:
        found = client.users.list()
    if session.current().json:
        show.as_json({"data": found})
        return
    rows = [[user.id, user.name, user.email, user.state] for user in found]
    show.table(("USER", "NAME", "EMAIL", "STATE"), rows, empty="No users.", ids=("USER",), names=("NAME", "EMAIL"))


@users.command("disable")
@click.argument("user_id", metavar="USER")
def disable(user_id: str) -> None:
    """Refuse all keys of a user and close their streams and sessions."""
    with session.current().client() as client:
        changed = client.users.update(finding.user_id(client, user_id), state="disabled")
    show.answer(changed, f"{changed.id} is disabled")


@users.command("enable")
@click.argument("user_id", metavar="USER")
def enable(user_id: str) -> None:
    """Accept a user's keys again."""
    with session.current().client() as client:
        changed = client.users.update(finding.user_id(client, user_id), state="active")
    show.answer(changed, f"{changed.id} is active")
