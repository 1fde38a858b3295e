"""Start gate: the checks that every start of runs passes on every surface, in one order: drain, scopes, load."""

from __future__ import annotations

import msgspec

from headway.errors import Draining
from headway.kernel.permissions import Effect, of_start
from headway.protocol.runs import StartRun
from headway.runs.runs import Started
from headway.web.call import Call
from headway.web.limiter import Permit


class StartPolicy(msgspec.Struct, frozen=True):
    """Start policy of a surface."""

    run_type: str = "api"
    """Type of the runs that are started on the surface."""


class StartGate:
    """The start gate of one surface."""

    def __init__(self, policy: StartPolicy) -> None:
        self._run_type = policy.run_type

    def check(self, call: Call, *effects: Effect) -> None:
        """Raise Draining, or Forbidden for a scope that the caller's key lacks."""
        if call.server.draining:
            raise Draining
        call.check(*effects)

    def permit(self, call: Call, *effects: Effect) -> Permit:
        """Check, and count the start for as long as the block lasts. Raises as `check`."""
        self.check(call, *effects)
        return Permit(call.server.limiter)

    async def start(self, call: Call, spec: StartRun) -> Started:
        """Start a run, or find the one of an earlier start with the same Idempotency-Key or dedupe key.

        Raises Draining, Forbidden, BadParameter (Idempotency-Key), and what `Runs.start` raises.
        """
        with self.permit(call, *effects_of(spec)):
            return await call.service.runs.start(spec, call.request_key(), run_type=self._run_type)


def effects_of(spec: StartRun) -> tuple[Effect, ...]:
    """Return the effects of a start."""
    return of_start(spec.task) if spec.dedupe is None else of_start(spec.task, spec.dedupe.on_conflict)
