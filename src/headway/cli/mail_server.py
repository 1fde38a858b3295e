"""Mail server of an organisation: `headway mail-server`."""

from __future__ import annotations

from typing import Any, Literal

import click

from headway.cli import session, show
from headway.cli.command import Group
from headway.cli.run import file_text
from headway.protocol.record_tasks import MailServerOut


@click.group(cls=Group)
def mail_server() -> None:
    """Show, set or remove the mail server that takes the organisation's mails."""


@mail_server.command("show")
def show_() -> None:
    """Show the mail server, without its password."""
    with session.current().client() as client:
        _show(client.mail_server.get())


@mail_server.command("set")
@click.argument("host")
@click.option("--sender", required=True, metavar="ADDRESS", help="Sender address.")
@click.option("--sender-name", default="", help="Sender name.")
@click.option("--reply-to", default="", metavar="ADDRESS", help="Reply-To address.")
@click.option("--port", default=587, show_default=True, type=click.IntRange(1, 65_535), help="Port.")
@click.option(
    "--security",
    type=click.Choice(["starttls", "tls", "plain"]),
    default="starttls",
    show_default=True,
    help="Encryption of the connection.",
)
@click.option("--username", default="", help="User name at the mail server.")
@click.option("--password-file", metavar="FILE|-", help="File with the password; - for stdin. Default: unchanged.")
def set_(host: str, security: Literal["starttls", "tls", "plain"], password_file: str | None, **options: Any) -> None:
    """Replace the settings of the mail server. The password is stored encrypted and never shown."""
    password = None if password_file is None else _read(password_file)
    with session.current().client() as client:
        kept = client.mail_server.set(host, security=security, password=password, **options)
    show.answer(kept, f"Mails are handed over to {kept.host}, port {kept.port}, from {kept.sender}")


@mail_server.command("delete")
def delete() -> None:
    """Remove the mail server and its password."""
    with session.current().client() as client:
        client.mail_server.delete()
    show.answer({"deleted": "mail-server"}, "no mail server is set any more")


def _read(path: str) -> str:
    """Return the first line of a file; every process of the machine can see the command line itself."""
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
