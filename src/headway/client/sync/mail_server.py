# Generated from client/aio/mail_server.py by tools/unasync.py: change that, not this.
"""client.mail_server: where the mails of an organisation are handed over."""

from __future__ import annotations

from typing import Literal

from headway.client.sync.caller import Caller
from headway.wire.record_tasks import MailServerOut

_PATH = "/v1/mail-server"


class MailServer:
    """The mail server of the organisation; there is one or none."""

    def __init__(self, caller: Caller) -> None:
        """Made by the client."""
        self._caller = caller

    def get(self) -> MailServerOut:
        """Return it, without its password; raise NotFound if none is set."""
        return self._caller.get(_PATH, MailServerOut)

    def set(
        self,
        host: str,
        sender: str,
        *,
        port: int = 587,
        security: Literal["starttls", "tls", "plain"] = "starttls",
        username: str = "",
        password: str | None = None,
        sender_name: str = "",
        reply_to: str = "",
    ) -> MailServerOut:
        """Say all that there is to say about it; without `password` that stays, if host and user name do.

        The password is kept sealed and never shown. Raises TargetRefused for a server inside that is not allowed.
        """
        body = {
            "host": host,
            "sender": sender,
            "port": port,
            "security": security,
            "username": username,
            "sender_name": sender_name,
            "reply_to": reply_to,
        }
        return self._caller.put(_PATH, body | ({} if password is None else {"password": password}), MailServerOut)

    def delete(self) -> None:
        """Forget it and its password."""
        self._caller.delete(_PATH)
