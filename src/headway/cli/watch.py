"""Display of a run in progress: a bar on a terminal, plain lines elsewhere, JSON lines for programs.

All of it goes to stderr, so that stdout carries the result alone.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import Any, Protocol

import click

from headway.cli import session, show
from headway.cli.exits import OF_STATE, Exit
from headway.cli.printable import indented, one_line, printable
from headway.cli.remarks import Remarks
from headway.client.errors import ConnectionLost, WaitTimeout
from headway.client.events import Event
from headway.client.sync.client import Client
from headway.client.sync.handle import RunHandle
from headway.clock import SystemClock
from headway.errors import Forbidden, HeadwayError
from headway.protocol.runs import RunOut


class Screen(Protocol):
    """Display of a run's life."""

    def state(self, state: str, remark: str) -> None:
        """Show a new state with its remark."""

    def progress(self, done: int, total: int | None, message: str, rate: float | None, eta: str | None) -> None:
        """Show new progress."""

    def log(self, level: str, message: str) -> None:
        """Show a log line."""

    def close(self) -> None:
        """Leave the display in its last state."""


def follow(client: Client, handle: RunHandle, *, timeout_s: float | None = None, lines: bool = False) -> RunOut:
    """Show a run until it is finished and return it; raise WaitTimeout after the timeout.

    `lines` prints each event as a line of JSON on stdout instead. Ctrl-C leaves the run alone.
    """
    session.current().outcome = Exit.DETACHED  # until the end of the run is known
    screen = _silent() if lines or session.current().json else _screen(handle)
    out_of_time = threading.Event()

    def stop_looking() -> None:
        out_of_time.set()
        client.close()

    alarm = threading.Timer(timeout_s or 0, stop_looking)
    alarm.daemon = True
    if timeout_s is not None:
        alarm.start()
    try:
        remarks = Remarks(handle.run)
        known = 0  # the snapshot is ahead of the history that follows it: old states are not news
        for event in handle.events():
            if lines:
                show.as_json_line(event)
            if event.type == "snapshot":
                known = event.seq
            if event.type != "run.state" or event.seq > known:
                _show(screen, event, remarks)
        alarm.cancel()
        handle.refresh()
        return handle.wait()
    except ConnectionLost:
        if not out_of_time.is_set():
            raise
        return _last_look(handle.run, timeout_s or 0)
    finally:
        alarm.cancel()
        screen.close()


def _last_look(run: RunOut, timeout_s: float) -> RunOut:
    """Return the run if it is finished now; else raise WaitTimeout with its present or last known state."""
    seen = False
    with contextlib.suppress(HeadwayError), session.current().client() as client:  # to end the watch its own was closed
        run, seen = client.runs.get(run.id).run, True
    if not run.final:
        raise WaitTimeout.after(timeout_s, run, seen=seen)
    return run


def to_the_end(client: Client, handle: RunHandle, *, timeout_s: float | None = None) -> int:
    """Show a run until it is finished, print its result, and return the exit code."""
    try:
        run = follow(client, handle, timeout_s=timeout_s)
    except KeyboardInterrupt:
        click.echo(
            f"\nThe run goes on. Watch it: headway runs watch {one_line(handle.id)}\n"
            f"                 Stop it:  headway runs stop {one_line(handle.id)}",
            err=True,
        )
        return Exit.DETACHED
    except Forbidden as error:
        if handle.run.brief is not True:
            raise
        # The run was started: without its id the caller would start another.
        said = f"run {handle.id} is {handle.state}, and the key may not watch it: {error.detail}"
        raise Forbidden(said, **error.fields) from None
    conclude(run)
    return OF_STATE[run.state]


def conclude(run: RunOut) -> None:
    """Print the outcome of a run: its result on stdout, everything else on stderr."""
    session.current().outcome = OF_STATE[run.state]
    if session.current().json:
        show.as_json(run)
        return
    said = click.style(one_line(run.state), fg=show.COLOURS.get(run.state), bold=True)
    run_id = one_line(run.id)
    click.echo(f"{one_line(run.task)} {said} after {show.duration(run)}  {click.style(run_id, dim=True)}", err=True)
    if run.state == "succeeded":
        click.echo(show.pretty(run.output))
        return
    error, reason = show.decoded(run.error), show.decoded(run.reason)
    if reason:
        said = " ".join(filter(None, [reason.get("message") or reason["code"], show.by(reason)]))
        click.echo(printable(said), err=True)
    if error:
        click.echo(printable(show.failure(error)).rstrip("\n"), err=True)
    click.echo(f"Its log: headway runs logs {run_id}    Again: headway runs retry {run_id}", err=True)


def _show(screen: Screen, event: Event, remarks: Remarks) -> None:
    now_ms = SystemClock().now_ms()
    if event.run is not None:
        shown = event.run.progress
        screen.state(event.run.state, remarks.of_run(event.run, now_ms))
        screen.progress(shown.done, shown.total, shown.message, shown.rate, shown.eta)
    elif event.type == "run.progress":
        data: dict[str, Any] = event.data
        screen.progress(
            data.get("done", 0), data.get("total"), data.get("message", ""), data.get("rate"), data.get("eta")
        )
    elif event.type == "run.log":
        screen.log(event.data.get("level", "info"), event.data.get("message", ""))
    elif event.type == "run.step_failed":
        screen.log("warning", _step_failure(event.data))
    elif event.type == "run.state":
        screen.state(event.data.get("state", ""), remarks.of_change(event.data, now_ms))


def _step_failure(data: dict[str, Any]) -> str:
    said = show.in_a_line(data.get("error") or {})
    again = f"again at {data['retry_at']}" if data.get("retry_at") else "for good"
    return f"step {data.get('name', '')!r} failed, try {data.get('number', '?')}: {said} ({again})"


def _screen(handle: RunHandle) -> Screen:
    if not sys.stderr.isatty():
        return PlainScreen()
    from headway.cli.bar import Bar  # noqa: PLC0415 (imports rich)

    return Bar(handle.run.task)


class PlainScreen:
    """Lines for files and pipes: one per percent, not per report."""

    def __init__(self) -> None:
        self._state = ""
        self._shown: tuple[int, int | None] = (0, None)

    def state(self, state: str, remark: str) -> None:
        if state and state != self._state:
            self._state = state
            click.echo(f"state: {one_line(state)}{f': {one_line(remark)}' if remark else ''}", err=True)

    def progress(self, done: int, total: int | None, message: str, rate: float | None, eta: str | None) -> None:
        """Print progress that moved far enough for a line."""
        del rate
        step = 100 * done // total // 5 if total else done
        if not done or (step, total) == self._shown:
            return
        self._shown = (step, total)
        far = f"{done}/{total} ({100 * done // total} %)" if total else str(done)
        left = show.left(eta)
        click.echo(f"progress: {far}{f', {left}' if left else ''}{' ' if message else ''}{one_line(message)}", err=True)

    def log(self, level: str, message: str) -> None:
        click.echo(f"{one_line(level)}: {indented(message)}", err=True)

    def close(self) -> None:
        """Do nothing: lines leave nothing open."""


def _silent() -> Screen:
    class Silent(PlainScreen):
        def state(self, state: str, remark: str) -> None:
            del state, remark

        def progress(self, *_: Any) -> None:
            pass

        def log(self, level: str, message: str) -> None:
            del level, message

    return Silent()
