"""Servers that share a store: `headway servers`."""

from __future__ import annotations

import click

from headway.cli import session, show
from headway.cli.command import Group


@click.group(cls=Group)
def servers() -> None:
    """List the servers that share the store."""


@servers.command("list")
def list_() -> None:
    """List the servers, oldest first; the answering one is marked."""
    with session.current().client() as client:
        found = client.servers()
    if session.current().json:
        show.as_json({"data": found})
        return
    rows = [
        [f"{server.host}:{server.pid}{'*' if server.this else ''}", server.version, show.age(server.created_at),
         show.age(server.heard_at), server.id]
        for server in found
    ]  # fmt: skip
    show.table(("HOST", "VERSION", "UP", "HEARD", "ID"), rows, empty="No servers.", names=("HOST",))
