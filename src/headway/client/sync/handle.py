# Generated from client/aio/handle.py by tools/unasync.py: change that, not this.
"""What `start` returns: wait for it, follow it, stop it, protect it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, overload

from msgspec import UNSET, UnsetType

from headway.client import encoding, outcome
from headway.client.errors import ConnectionLost, WaitTimeout
from headway.client.events import PATIENCE_S, Event
from headway.client.sync import pages
from headway.client.sync.caller import Caller, Outage, decode
from headway.client.sync.feed import run_events
from headway.client.transport import Transport
from headway.errors import HeadwayError
from headway.model.run import Reason, RunError
from headway.wire.runs import (
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
"""Limit of the request for the run's state at the end of a wait that timed out."""
HASTY_S = 0.5
"""A server that answers a long poll sooner than this without news does not hold it: then the client waits itself."""


class RunHandle:
    """One run: its id, the run as it was last seen, and everything that can be done with it."""

    def __init__(self, caller: Caller, run: RunOut) -> None:
        """Made by `client.runs`."""
        self._caller = caller
        self.run = run
        """The run as it was last seen; `refresh` looks again. Of a run that the key may start or change and not read, `brief` is
        True, and all but its id, state and version is blank."""

    @property
    def id(self) -> str:
        """The run's id."""
        return self.run.id

    @property
    def url(self) -> str:
        """Where the run is, as a whole URL: at the server that is asked now, if there are several."""
        return self._caller.servers.current.url + self.run.url

    @property
    def state(self) -> str:
        """The state in which it was last seen."""
        return self.run.state

    @property
    def final(self) -> bool:
        """Whether it was finished when last seen."""
        return self.run.final

    @property
    def error(self) -> RunError | None:
        """What its code raised last, when it was last seen."""
        return outcome.error_of(self.run)

    @property
    def reason(self) -> Reason | None:
        """Who brought it where it was last seen, and why."""
        return outcome.reason_of(self.run)

    @property
    def labels(self) -> dict[str, str]:
        """Its labels, when it was last seen."""
        return outcome.labels_of(self.run)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.run.task} {self.id} {self.run.state}>"

    def refresh(self) -> RunOut:
        """Look at the run again."""
        self.run = self._caller.get(self._path(), RunOut)
        return self.run

    def wait(self, timeout: float | None = None) -> RunOut:
        """Wait until the run is finished, whatever the outcome; raise WaitTimeout after `timeout` seconds.

        WaitTimeout says the state and progress that the run has by then. A server that restarts meanwhile is waited for too;
        if there are others, they are asked.
        """
        pace = self._caller.pace
        deadline_s = None if timeout is None else pace.now_s() + timeout
        outage = Outage(self._caller, PATIENCE_S)
        while not self.run.final:
            left_s, seen = float(LONG_POLL_S) if deadline_s is None else deadline_s - pace.now_s(), True
            try:
                began_s = pace.now_s()
                self._long_poll(outage.server(), left_s)
                outage.over()
                if not self.run.final and pace.now_s() - began_s < HASTY_S:
                    pace.pause(max(0.0, min(HASTY_S, left_s)))
            except HeadwayError as error:
                late, seen = deadline_s is not None and pace.now_s() >= deadline_s, False
                if not (late and isinstance(error, ConnectionLost)):
                    outage.outlast(error, deadline_s=deadline_s)
            if timeout is not None and deadline_s is not None and not self.run.final and pace.now_s() >= deadline_s:
                seen = seen or self._last_look(outage.server())
                if not self.run.final:
                    raise WaitTimeout.after(timeout, self.run, seen=seen)
        return self.run

    def _last_look(self, server: Transport) -> bool:
        """Look at the run when the time is up, for a moment at most; return whether the server has answered.

        The long poll before ended with the time and not with an answer, so what it began with may be old.
        """
        try:
            self.run = decode(self._caller.ask(server, "GET", self._path(), timeout_s=LAST_LOOK_S), RunOut)
        except HeadwayError:
            return False
        return True

    def _long_poll(self, server: Transport, left_s: float) -> None:
        """Ask for the run, and let the server hold the answer for as long as there is time."""
        if left_s <= 0:
            self.refresh()
            return
        wait_s = min(LONG_POLL_S, max(1, int(left_s)))
        self.run = decode(
            self._caller.ask(
                server,
                "GET",
                self._path(wait_for="final"),
                headers={"Prefer": f"wait={wait_s}"},
                timeout_s=left_s if left_s < wait_s else wait_s + 10.0,
            ),
            RunOut,
        )

    @overload
    def result(self, timeout: float | None = None) -> Any: ...

    @overload
    def result(self, timeout: float | None = None, *, type: type[T]) -> T: ...

    def result(self, timeout: float | None = None, *, type: Any = Any) -> Any:  # noqa: A002
        """Wait for the run and return what it returned, decoded to `type` if given.

        Raises RunFailed or RunTerminated, which carry the run, and WaitTimeout after `timeout` seconds.
        """
        return outcome.output_of(self.wait(timeout), type)

    def events(self, after: int = 0) -> Iterator[Event]:
        """Follow the run from after that event to its end; a lost connection is resumed where it broke.

        First comes a `snapshot`, then each event of the run's history once and in order, with `run.progress` between.
        """
        for event in run_events(self._caller, self.id, after):
            if event.run is not None:
                self.run = event.run
            yield event

    def history(self, after: int = 0) -> Iterator[EventOut]:
        """Iterate over what has happened so far."""
        return pages.events(self._caller, self._path("events"), after)

    def logs(self, after: int = 0) -> Iterator[LogOut]:
        """Iterate over the lines that its code has logged so far."""
        return pages.logs(self._caller, self._path("logs"), after)

    def results(self, after: int = 0) -> Iterator[ResultOut]:
        """Iterate over what it has published so far."""
        return pages.results(self._caller, self._path("results"), after)

    def children(self) -> Iterator[RunHandle]:
        """Iterate over the runs that it has started."""
        for run in pages.runs(self._caller, self._path("children")):
            yield RunHandle(self._caller, run)

    def attempts(self) -> list[AttemptOut]:
        """Return its tries, oldest first."""
        return (self._caller.get(self._path("attempts"), AttemptList)).data

    def waiting(self) -> WaitingOut:
        """Return why it does not run, how it runs, or how it ended, and which worker has or had it."""
        return self._caller.get(self._path("waiting"), WaitingOut)

    def output(self) -> OutputOut:
        """Return what it returned or raised, undecoded; raise NotFinished if it is not finished."""
        return self._caller.get(self._path("output"), OutputOut)

    def terminate(
        self, reason: str = "", grace: encoding.Span | None = None, *, actor: str = "", children: str = "cascade"
    ) -> RunOut:
        """Ask it to stop; code that has not stopped after `grace` is killed. Stopping twice is stopping once."""
        body = {"reason": reason, "actor": actor, "grace": encoding.span(grace), "children": children}
        return self._verb("terminate", body)

    def suspend(self, reason: str = "") -> RunOut:
        """Hold it until `resume`."""
        return self._verb("suspend", {"reason": reason})

    def resume(self, reason: str = "") -> RunOut:
        """Let it go on, whatever it waits for."""
        return self._verb("resume", {"reason": reason})

    def signal(self, name: str, payload: Any = None) -> RunOut:
        """Send it what it waits for, now or later."""
        return self._verb("signal", SignalRun(name=name, payload=encoding.raw(payload, "the payload")))

    def protect(self, reason: str = "") -> RunOut:
        """Keep it from being removed."""
        return self._verb("protect", {"reason": reason})

    def unprotect(self, reason: str = "") -> RunOut:
        """Let retention remove it again."""
        return self._verb("unprotect", {"reason": reason})

    def retry(self, reason: str = "", *, from_scratch: bool = False) -> RunHandle:
        """Do it again: return the run that repeats this failed or stopped one.

        It goes on from the steps that succeeded; with `from_scratch` it starts anew.
        """
        body: dict[str, Any] = {"reason": reason} | ({"from_scratch": True} if from_scratch else {})
        run = self._caller.post(self._path(verb="retry"), body, RunOut)
        if run.id == self.id:
            self.run = run
            return self
        return RunHandle(self._caller, run)

    def update(
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
        """Change what is given; `version` makes it conditional on nobody having changed the run since it was seen."""
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
        self.run = self._caller.patch(self._path(), body, RunOut, headers=headers)
        return self.run

    def delete(self) -> None:
        """Remove it, finished as it must be."""
        self._caller.delete(self._path())

    def _verb(self, verb: str, body: object) -> RunOut:
        self.run = self._caller.post(self._path(verb=verb), body, RunOut)
        return self.run

    def _path(self, *parts: str, verb: str = "", **query: Any) -> str:
        return encoding.path("runs", self.run.id, *parts, verb=verb, **query)
