"""`headway mail-server`: where the mails of an organisation are handed over."""

from __future__ import annotations

from typing import Any, Literal

import click

from headway.cli import session, show
from headway.cli.command import Group
from headway.cli.run import file_text
from headway.wire.record_tasks import MailServerOut


@click.group(cls=Group)
def mail_server() -> None:
    """Say where mails are handed over."""


@mail_server.command("show")
def show_() -> None:
    """Show it, without its password."""
    with session.current().client() as client:
        _show(client.mail_server.get())


@mail_server.command("set")
@click.argument("host")
@click.option("--sender", required=True, metavar="ADDRESS", help="The address that mails are from.")
@click.option("--sender-name", default="", help="Its name.")
@click.option("--reply-to", default="", metavar="ADDRESS", help="Where answers go.")
@click.option("--port", default=587, show_default=True, type=click.IntRange(1, 65_535))
@click.option("--security", type=click.Choice(["starttls", "tls", "plain"]), default="starttls", show_default=True)
@click.option("--username", default="", help="Whom it knows this as.")
@click.option(
    "--password-file", metavar="FILE|-", help="Where the password is; stdin for -. Absent: it stays as it is."
)
def set_(host: str, security: Literal["starttls", "tls", "plain"], password_file: str | None, **options: Any) -> None:
    """Say all that there is to say about it. The password is kept sealed and never shown."""
    password = None if password_file is None else _read(password_file)
    with session.current().client() as client:
        kept = client.mail_server.set(host, security=security, password=password, **options)
    show.answer(kept, f"Mails are handed over to {kept.host}, port {kept.port}, from {kept.sender}")


@mail_server.command("delete")
def delete() -> None:
    """Forget it and its password."""
    with session.current().client() as client:
        client.mail_server.delete()
    show.answer({"deleted": "mail-server"}, "no mail server is set any more")


def _read(path: str) -> str:
    """Return the first line: the command line itself is seen by every process of the machine."""
    return file_text(path).partition("\n")[0].removesuffix("\r")


def _show(kept: MailServerOut) -> None:
    if session.current().json:
        show.as_json(kept)
        return
    show.pairs(
        [
            ("host", kept.host),
            ("port", kept.port),
            ("security", kept.security),
            ("username", kept.username or None),
            ("password", "kept" if kept.has_password else None),
            ("sender", f"{kept.sender_name} <{kept.sender}>" if kept.sender_name else kept.sender),
            ("reply to", kept.reply_to or None),
            ("updated", kept.updated_at),
        ]
    )
