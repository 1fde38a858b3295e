"""Mail server of the organisation (`client.mail_server`)."""

from __future__ import annotations

from typing import Literal

from headway.client.aio.caller import AsyncCaller
from headway.protocol.record_tasks import MailServerOut

_PATH = "/v1/mail-server"


class AsyncMailServer:
    """Mail server through which the organisation's record tasks send; there is one or none."""

    def __init__(self, caller: AsyncCaller) -> None:
        self._caller = caller

    async def get(self) -> MailServerOut:
        """Return the mail server, without its password.

        Raises `not_found` if none is set.
        """
        return await self._caller.get(_PATH, MailServerOut)

    async def set(
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
        """Replace the settings of the mail server.

        Without `password` the stored one stays, if `host` and `username` do. The password is stored encrypted and
        never returned. Raises `target_refused` for a host in the server's own network that its operator has not
        allowed.
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
        return await self._caller.put(_PATH, body | ({} if password is None else {"password": password}), MailServerOut)

    async def delete(self) -> None:
        """Remove the mail server and its password."""
        await self._caller.delete(_PATH)
