"""One invocation of the command line: its server and its form of output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from headway.cli.exits import Exit

if TYPE_CHECKING:
    from headway.cli.output import Unwritten
    from headway.client.sync.client import Client


@dataclass
class Session:
    """Values of the global options."""

    url: str | None = None
    """One URL, or several with commas between."""
    key_file: str | None = None
    """File with the key, so that no list of processes shows the key."""
    ca: str | None = None
    """File with the certificates of authorities."""
    json: bool = False
    outcome: Exit = Exit.SUCCEEDED
    """Exit code if the answer cannot be written: that of the work done so far."""
    unwritten: Unwritten | None = None
    """Answer that could not be written, of a command with further work."""

    def client(self) -> Client:
        """Return a client with few retries, since a person waits at the screen."""
        from headway.client.credential import key  # noqa: PLC0415
        from headway.client.sync.client import Client  # noqa: PLC0415 (`--help` needs none)

        return Client(self.url, key=key(file=self.key_file), ca=self.ca, retries=2)


def current() -> Session:
    """Return the session of the running command."""
    root = click.get_current_context().find_root()
    if not isinstance(root.obj, Session):
        root.obj = Session()
    return root.obj
