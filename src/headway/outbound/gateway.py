"""The one way out: a server's guard, its callers and mailers, and the processes that its templates run in."""

from __future__ import annotations

from headway.outbound.guard import Guard
from headway.outbound.http import Caller
from headway.outbound.mail import Mailer
from headway.outbound.templates import Templates


class Gateway:
    """Whatever sends something has it from here; nothing is opened before it is needed."""

    def __init__(
        self,
        guard: Guard,
        *,
        caller: Caller | None = None,
        mailer: Mailer | None = None,
        templates: Templates | None = None,
    ) -> None:
        self.guard = guard
        self.caller = caller or Caller(guard)
        self.mailer = mailer or Mailer(guard)
        self.templates = templates or Templates()

    async def close(self) -> None:
        """Let go of every connection and process."""
        await self.caller.close()
        await self.mailer.close()
        await self.templates.close()
