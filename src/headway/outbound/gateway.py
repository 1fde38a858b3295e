"""Gateway for outbound traffic: a server's policy, its callers and mailers, and the processes for evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway.evaluation.children import EvaluationPool
from headway.outbound.egress import EgressPolicy
from headway.outbound.templates import Templates

if TYPE_CHECKING:
    from headway.outbound.http import Caller
    from headway.outbound.mail import Mailer


class Gateway:
    """Source of all senders; nothing is opened before it is needed."""

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        caller: Caller | None = None,
        mailer: Mailer | None = None,
        children: EvaluationPool | None = None,
    ) -> None:
        self.policy = policy
        self._caller = caller
        self._mailer = mailer
        self.children = children or EvaluationPool()
        """Child processes that render templates, and check inputs too costly for the event loop."""
        self.templates = Templates(self.children)

    @property
    def caller(self) -> Caller:
        """Caller of webhooks; its library takes a fifth of a second to load, which most servers never need."""
        if self._caller is None:
            from headway.outbound.http import Caller  # noqa: PLC0415 - see above

            self._caller = Caller(self.policy)
        return self._caller

    @property
    def mailer(self) -> Mailer:
        """Mailer, loaded late as well."""
        if self._mailer is None:
            from headway.outbound.mail import Mailer  # noqa: PLC0415 - see above

            self._mailer = Mailer(self.policy)
        return self._mailer

    async def close(self) -> None:
        """Close all connections and processes."""
        if self._caller is not None:
            await self._caller.close()
        if self._mailer is not None:
            await self._mailer.close()
        await self.children.close()
