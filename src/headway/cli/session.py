"""One invocation of the command line: which server, which form of output."""

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
    """What the global options said."""

    url: str | None = None
    """One, or several with commas between."""
    key_file: str | None = None
    """A file, so that no list of processes shows the key."""
    ca: str | None = None
    """A file with the certificates of authorities."""
    json: bool = False
    outcome: Exit = Exit.SUCCEEDED
    """The exit code if the answer cannot be written: that of what has been done so far."""
    unwritten: Unwritten | None = None
    """An answer that could not be written, of a command that had more to do."""

    def client(self) -> Client:
        """Return a client that gives up soon: someone is looking at the screen."""
        from headway.client.credential import key  # noqa: PLC0415
        from headway.client.sync.client import Client  # noqa: PLC0415 (`--help` needs none)

        return Client(self.url, key=key(file=self.key_file), ca=self.ca, retries=2)


def current() -> Session:
    """Return the session of the command that runs."""
    root = click.get_current_context().find_root()
    if not isinstance(root.obj, Session):
        root.obj = Session()
    return root.obj
