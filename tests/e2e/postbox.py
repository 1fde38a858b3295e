"""A mail server that listens, on a thread of its own: what arrives is kept, and it can be made to wait before it takes anything."""

from __future__ import annotations

import asyncio
import email
import threading
from email.message import EmailMessage
from email.policy import default
from typing import Any, Self

from aiosmtpd.controller import Controller
from tests.faults.server import free_port


class Postbox:
    """Use it with `with`; until `open` is set, no mail is taken."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], EmailMessage]] = []
        """Of each its recipients, and what it says."""
        self.open = threading.Event()
        self.port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Take a mail."""
        await asyncio.get_running_loop().run_in_executor(None, self.open.wait)
        message: Any = email.message_from_bytes(envelope.content, policy=default)
        self.mails.append((list(envelope.rcpt_tos), message))
        return "250 OK"

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.open.set()
        self._controller.stop()
