"""Handle of a run: wait for it, follow it, control it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Mapping
from typing import Any, TypeVar, overload

from msgspec import UNSET, UnsetType

from headway.client import encoding, outcome
from headway.client.aio import pages
from headway.client.aio.caller import AsyncCaller, AsyncOutage, decode
from headway.client.aio.feed import run_events
from headway.client.async_transport import AsyncTransport
from headway.client.errors import ConnectionLost, WaitTimeout
from headway.client.events import PATIENCE_S, Event
from headway.errors import HeadwayError
from headway.kernel.run import Reason, RunError
from headway.protocol.runs import (
    AttemptList,
    AttemptOut,
    EventOut,
    LogOut,
    OutputOut,
    ResultOut,
    RunOut,
    SignalRun,
    WaitingOut,
)

T = TypeVar("T")
LONG_POLL_S = 30
LAST_LOOK_S = 2.0
"""Timeout of the request for the run's state at the end of a wait that timed out."""
HASTY_S = 0.5
"""Pause before the next long poll if the server answers one without news sooner than this."""


class AsyncRunHandle:
    """One run: its id, its last known state, and its operations.

    Operations that return RunOut also store it in `run`. Each raises `run_not_found` for an id that does not exist
    and `run_purged` for a run that was removed.
    """

    def __init__(self, caller: AsyncCaller, run: RunOut) -> None:
        self._caller = caller
        self.run = run
        """Run as the server last sent it; `refresh` fetches it again.

        With a key that may start or change runs but not read them, `brief` is True and only id, state and version are
        set.
        """

    @property
    def id(self) -> str:
        """The run's id."""
        return self.run.id

    @property
    def url(self) -> str:
        """Absolute URL of the run, at the server in use."""
        return self._caller.servers.current.url + self.run.url

    @property
    def state(self) -> str:
        """Last known state."""
        return self.run.state

    @property
    def final(self) -> bool:
        """Whether the last known state is final: succeeded, failed or terminated."""
        return self.run.final

    @property
    def error(self) -> RunError | None:
        """Error of the last failed attempt, as last known, or None."""
        return outcome.error_of(self.run)

    @property
    def reason(self) -> Reason | None:
        """Reason of the last known state (code, message, actor), or None."""
        return outcome.reason_of(self.run)

    @property
    def labels(self) -> dict[str, str]:
        """Last known labels."""
        return outcome.labels_of(self.run)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.run.task} {self.id} {self.run.state}>"

    # async-only
    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the run and return its output, as `result()` does."""
        return self.result().__await__()

    # end of async-only

    async def refresh(self) -> RunOut:
        """Fetch the run again and return it.

        Raises `run_not_found` or `run_purged`.
        """
        self.run = await self._caller.get(self._path(), RunOut)
        return self.run

    async def wait(self, timeout: float | None = None) -> RunOut:  # noqa: ASYNC109 (of the run, not of this call)
        """Wait until the run is finished, whatever the outcome; raise WaitTimeout after `timeout` seconds.

        Without `timeout`, the wait has no limit. WaitTimeout carries the run's state and progress at that time; the
        run goes on. A server that restarts meanwhile is waited for, and other servers of the client are asked. Raises
        `run_not_found` or `run_purged`.
        """
        pace = self._caller.pace
        deadline_s = None if timeout is None else pace.now_s() + timeout
        outage = AsyncOutage(self._caller, PATIENCE_S)
        while not self.run.final:
            left_s, seen = float(LONG_POLL_S) if deadline_s is None else deadline_s - pace.now_s(), True
            try:
                began_s = pace.now_s()
                await self._long_poll(outage.server(), left_s)
                outage.over()
                if not self.run.final and pace.now_s() - began_s < HASTY_S:
                    await pace.pause(max(0.0, min(HASTY_S, left_s)))
            except HeadwayError as error:
                late, seen = deadline_s is not None and pace.now_s() >= deadline_s, False
                if not (late and isinstance(error, ConnectionLost)):
                    await outage.outlast(error, deadline_s=deadline_s)
            if timeout is not None and deadline_s is not None and not self.run.final and pace.now_s() >= deadline_s:
                seen = seen or await self._last_look(outage.server())
                if not self.run.final:
                    raise WaitTimeout.after(timeout, self.run, seen=seen)
        return self.run

    async def _last_look(self, server: AsyncTransport) -> bool:
        """Fetch the run once more, within LAST_LOOK_S, after a wait timed out; return whether a server answered.

        The last long poll may have ended without an answer, so the known state may be old.
        """
        try:
            self.run = decode(await self._caller.ask(server, "GET", self._path(), timeout_s=LAST_LOOK_S), RunOut)
        except HeadwayError:
            return False
        return True

    async def _long_poll(self, server: AsyncTransport, left_s: float) -> None:
        """Fetch the run by a request that the server holds until the run is finished, for up to `left_s` seconds."""
        if left_s <= 0:
            await self.refresh()
            return
        wait_s = min(LONG_POLL_S, max(1, int(left_s)))
        self.run = decode(
            await self._caller.ask(
                server,
                "GET",
                self._path(wait_for="final"),
                headers={"Prefer": f"wait={wait_s}"},
                timeout_s=left_s if left_s < wait_s else wait_s + 10.0,
            ),
            RunOut,
        )

    @overload
    async def result(self, timeout: float | None = None) -> Any: ...  # noqa: ASYNC109

    @overload
    async def result(self, timeout: float | None = None, *, type: type[T]) -> T: ...  # noqa: ASYNC109

    async def result(self, timeout: float | None = None, *, type: Any = Any) -> Any:  # noqa: A002, ASYNC109
        """Wait for the run and return its output, converted to `type` if given.

        Raises RunFailed or RunTerminated, which carry the run, WaitTimeout after `timeout` seconds (default: no
        limit), `unexpected_answer` for an output that does not fit `type`, and `run_not_found` or `run_purged`.
        """
        return outcome.output_of(await self.wait(timeout), type)

    async def events(self, after: int = 0) -> AsyncIterator[Event]:
        """Follow the run from after event number `after` to its end, across lost connections.

        The first event is a `snapshot` of the run; each event of its history follows once and in order, with
        `run.progress` between. Raises `run_not_found`, `run_purged`, `bad_cursor` or `overloaded`.
        """
        async for event in run_events(self._caller, self.id, after):
            if event.run is not None:
                self.run = event.run
            yield event

    def history(self, after: int = 0) -> AsyncIterator[EventOut]:
        """Iterate over the events that the run has so far, from after event number `after`.

        Raises `run_not_found`, `run_purged`, `bad_cursor` or `overloaded`.
        """
        return pages.events(self._caller, self._path("events"), after)

    def logs(self, after: int = 0) -> AsyncIterator[LogOut]:
        """Iterate over the log lines that the run has so far, from after line number `after`.

        Raises `run_not_found` or `run_purged`.
        """
        return pages.logs(self._caller, self._path("logs"), after)

    def results(self, after: int = 0) -> AsyncIterator[ResultOut]:
        """Iterate over the results that the run has published so far, from after result number `after`.

        Raises `run_not_found` or `run_purged`.
        """
        return pages.results(self._caller, self._path("results"), after)

    async def children(self) -> AsyncIterator[AsyncRunHandle]:
        """Iterate over the handles of the run's children, oldest first.

        Raises `run_not_found`, `run_purged` or `bad_cursor`.
        """
        async for run in pages.runs(self._caller, self._path("children")):
            yield AsyncRunHandle(self._caller, run)

    async def attempts(self) -> list[AttemptOut]:
        """Return the run's attempts, oldest first.

        Raises `run_not_found` or `run_purged`.
        """
        return (await self._caller.get(self._path("attempts"), AttemptList)).data

    async def waiting(self) -> WaitingOut:
        """Return the reasons why the run waits, or facts about how it runs or ended, and its worker.

        Raises `run_not_found` or `run_purged`.
        """
        return await self._caller.get(self._path("waiting"), WaitingOut)

    async def output(self) -> OutputOut:
        """Return the run's output and error as JSON, undecoded.

        Raises `run_not_found`, `run_purged` or `not_finished`.
        """
        return await self._caller.get(self._path("output"), OutputOut)

    async def terminate(
        self, reason: str = "", grace: encoding.Span | None = None, *, actor: str = "", children: str = "cascade"
    ) -> RunOut:
        """Request the run's end; code that has not stopped after `grace` is killed (default: the task's grace).

        A run that is stopping or terminated already is left as it is. `children` is "cascade" (default) or "leave".
        Raises `run_not_found`, `run_purged` or `invalid_state`.
        """
        body = {"reason": reason, "actor": actor, "grace": encoding.span(grace), "children": children}
        return await self._verb("terminate", body)

    async def suspend(self, reason: str = "") -> RunOut:
        """Suspend the run until `resume`; a running attempt ends and is given back.

        Raises `run_not_found`, `run_purged` or `invalid_state`.
        """
        return await self._verb("suspend", {"reason": reason})

    async def resume(self, reason: str = "") -> RunOut:
        """Queue a suspended run again, whatever it waits for.

        Raises `run_not_found`, `run_purged` or `invalid_state`.
        """
        return await self._verb("resume", {"reason": reason})

    async def signal(self, name: str, payload: Any = None) -> RunOut:
        """Deliver a named signal to the run; the run takes it when it waits for that name, now or later.

        Raises TypeError for a payload that cannot be written as JSON. Raises `run_not_found`, `run_purged` or
        `invalid_state`.
        """
        return await self._verb("signal", SignalRun(name=name, payload=encoding.raw(payload, "the payload")))

    async def protect(self, reason: str = "") -> RunOut:
        """Keep the run from removal, by retention or by hand, until `unprotect`.

        Raises `run_not_found` or `run_purged`.
        """
        return await self._verb("protect", {"reason": reason})

    async def unprotect(self, reason: str = "") -> RunOut:
        """Allow removal of the run again.

        Raises `run_not_found` or `run_purged`.
        """
        return await self._verb("unprotect", {"reason": reason})

    async def retry(self, reason: str = "", *, from_scratch: bool = False) -> AsyncRunHandle:
        """Start a new run that repeats this failed or terminated one, and return its handle.

        The new run continues after the steps that succeeded; with `from_scratch` it starts from the beginning. Raises
        `run_not_found`, `run_purged`, `invalid_state`, `unknown_task`, `task_inactive`, `damaged` or `storage_full`.
        """
        body: dict[str, Any] = {"reason": reason} | ({"from_scratch": True} if from_scratch else {})
        run = await self._caller.post(self._path(verb="retry"), body, RunOut)
        if run.id == self.id:
            self.run = run
            return self
        return AsyncRunHandle(self._caller, run)

    async def update(
        self,
        *,
        name: str | None = None,
        priority: int | None = None,
        queue: str | None = None,
        run_at: encoding.Moment | None = None,
        labels: Mapping[str, str] | None = None,
        retention: encoding.Span | UnsetType | None = UNSET,
        version: int | None = None,
    ) -> RunOut:
        """Change the given fields of the run; None leaves a field as it is, but `retention=None` keeps it for ever.

        `name`, `labels` and `retention` can change at any time, the others only while the run waits. With `version`,
        the change is made only if the run still has that version. Raises `run_not_found`, `run_purged`,
        `invalid_state` or `version_mismatch`.
        """
        given = {
            "name": name,
            "priority": priority,
            "queue": queue,
            "run_at": encoding.moment(run_at),
            "labels": labels,
        }
        body: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
        if retention is not UNSET:
            body["retention"] = encoding.span(retention)
        headers = {} if version is None else {"If-Match": f'"{version}"'}
        self.run = await self._caller.patch(self._path(), body, RunOut, headers=headers)
        return self.run

    async def delete(self) -> None:
        """Remove the run, which has to be finished.

        Raises `run_not_found`, `run_purged`, `invalid_state`, `protected` or `version_mismatch`.
        """
        await self._caller.delete(self._path())

    async def _verb(self, verb: str, body: object) -> RunOut:
        self.run = await self._caller.post(self._path(verb=verb), body, RunOut)
        return self.run

    def _path(self, *parts: str, verb: str = "", **query: Any) -> str:
        return encoding.path("runs", self.run.id, *parts, verb=verb, **query)
