"""Run of the test kit: a handle over a service in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar, overload

from headway.client import outcome
from headway.client.encoding import raw
from headway.client.events import Event, of_line
from headway.kernel.event import Event as Line
from headway.kernel.query import Page, RunFilter
from headway.kernel.run import Reason, Run, State
from headway.protocol.runs import (
    AttemptOut,
    EventOut,
    LogOut,
    ResultOut,
    RunOut,
    SignalRun,
    Terminate,
    WaitingOut,
)
from headway.runs.service import OrganisationServices
from headway.web import present

T = TypeVar("T")
LINES_MAX = 1_000_000
"""Maximum number of history lines that a test reads at once."""
PAGE = 1000


class KitRun:
    """A run of the test kit, with the methods of the client's RunHandle, which return the client's types."""

    def __init__(self, services: OrganisationServices, settle: Callable[[], Awaitable[None]], run_id: str) -> None:
        self._services = services
        self._settle = settle
        self.id = run_id

    async def now(self) -> RunOut:
        """Return the run as it is now."""
        return present.run_out(await self._run())

    async def state(self) -> State:
        """Return the state of the run."""
        return (await self._run()).state

    @overload
    async def result(self) -> Any: ...

    @overload
    async def result(self, *, type: type[T]) -> T: ...

    async def result(self, *, type: Any = Any) -> Any:  # noqa: A002 - the word of the client
        """Return the run's output, converted to `type` if given.

        Raises RunFailed or RunTerminated, which carry the run, and AssertionError if the run is not finished.
        """
        run = await self.now()
        if not run.final:
            waits = (await self._run()).blocked_on
            raise AssertionError(f"the run is {run.state}; advance the clock, or send what it waits for: {waits}")
        return outcome.output_of(run, type)

    async def events(self, after: int = 0) -> AsyncIterator[Event]:
        """Iterate over a `snapshot` of the run and then over its events from after event number `after`."""
        run = await self.now()
        found = await self._lines(after)
        yield Event(type="snapshot", seq=(await self._run()).seq, time=run.updated_at, run_id=run.id, run=run)
        for line in found:
            yield of_line(present.event_out(line))

    async def history(self, after: int = 0) -> AsyncIterator[EventOut]:
        """Iterate over the events of the run's history, from after event number `after`."""
        for line in await self._lines(after):
            yield present.event_out(line)

    async def logs(self, after: int = 0) -> AsyncIterator[LogOut]:
        """Iterate over the log lines of the run, from after line number `after`."""
        for line in await self._lines(after, "run.log"):
            yield present.log_out(line)

    async def results(self, after: int = 0) -> AsyncIterator[ResultOut]:
        """Iterate over the results that the run published, from after result number `after`."""
        more = True
        while more:
            found, more = await self._services.history.results(self.id, after, PAGE)
            for each in found:
                after = each.number
                yield present.result_out(each)

    async def children(self) -> AsyncIterator[KitRun]:
        """Iterate over the run's children, oldest first."""
        wanted = RunFilter(parent_id=self.id)
        at: Page | None = Page(PAGE, newest_first=False)
        while at is not None:
            found, after = await self._services.runs.page(wanted, at)
            for each in found:
                yield KitRun(self._services, self._settle, each.id)
            at = Page(PAGE, after, newest_first=False) if after else None

    async def attempts(self) -> list[AttemptOut]:
        """Return the run's attempts, oldest first."""
        return [present.attempt_out(attempt) for attempt in await self._services.history.attempts(self.id)]

    async def waiting(self) -> WaitingOut:
        """Return the reasons why the run waits, or facts about how it runs or ended."""
        return present.waiting_out(*await self._services.history.waiting(self.id))

    async def signal(self, name: str, payload: Any = None) -> None:
        """Send a signal to the run, and execute what can run then; raise `invalid_state` if the run is finished."""
        await self._services.runs.signal(self.id, SignalRun(name=name, payload=raw(payload)))
        await self._settle()

    async def terminate(self, reason: str = "") -> None:
        """Terminate the run; raise `invalid_state` if it is finished otherwise."""
        await self._services.runs.terminate(self.id, Terminate(reason=reason))
        await self._settle()

    async def suspend(self, reason: str = "") -> None:
        """Suspend the run until `resume`; raise `invalid_state` if it is finished or stopping."""
        await self._services.runs.suspend(self.id, Reason(code="suspended", message=reason))

    async def resume(self, reason: str = "") -> None:
        """Resume the run, and execute what can run then; raise `invalid_state` if the run is not suspended."""
        await self._services.runs.resume(self.id, Reason(code="resumed", message=reason))
        await self._settle()

    async def retry(self, reason: str = "", *, from_scratch: bool = False) -> KitRun:
        """Start a new run that repeats this failed or terminated one, execute it, and return it; raise `invalid_state`.

        The new run continues after the steps that succeeded; with `from_scratch` it starts from the beginning.
        """
        because = Reason(code="retried", message=reason)
        again = await self._services.runs.retry(self.id, because, from_scratch=from_scratch)
        await self._settle()
        return KitRun(self._services, self._settle, again.id)

    async def _run(self) -> Run:
        return await self._services.runs.get(self.id)

    async def _lines(self, after: int, kind: str | None = None) -> list[Line]:
        return await self._services.history.events(self.id, after, LINES_MAX, kind)
