"""The Ray cluster as the worker sees it: where runs can be begun, stopped and heard from, while a driver has joined it.

The worker imports nothing of Ray; its driver does, a child process. When that ends, all that it had on Ray has crashed, and
another driver is started. As long as none has joined, the worker claims no Ray runs, and they wait in their queue.
"""

from __future__ import annotations

import selectors
import subprocess
import threading
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Raw

from headway.clock import Clock
from headway.protocol.workers import LogReport
from headway.worker.attempts.attempt import Attempt
from headway.worker.attempts.executor import StartClock
from headway.worker.context.interrupts import Cause
from headway.worker.context.outcome import of_cause
from headway.worker.context.payload import clean
from headway.worker.context.report_buffer import Key
from headway.worker.executors.frames import CancelFrame, FrameFromChild, ReplyFrame
from headway.worker.executors.process.pool import FIRST_TRY_S, LAST_TRY_S, ChildProcess
from headway.worker.executors.ray.messages import (
    FrameFromTask,
    FrameToTask,
    FromDriver,
    JoinResult,
    KillTask,
    Message,
    PlacementPending,
    SubmitTask,
    TaskEnd,
    TaskStart,
    ToDriver,
    Withdraw,
)  # fmt: skip
from headway.worker.executors.ray.options import Settings
from headway.worker.executors.relay import Relay
from headway.worker.processes.launch import Launch
from headway.worker.protocol.session import Backoff

_decode: Final = msgspec.json.Decoder(FromDriver).decode
_decode_frame: Final = msgspec.json.Decoder(FrameFromChild).decode
_encode: Final = msgspec.json.Encoder().encode
MESSAGE_MAX: Final = 10_000
EXIT_S: Final = 5.0
"""Longest time in seconds until a driver that has closed its socket ends."""


class _RemoteRun:
    """A run on Ray, seen from the worker."""

    def __init__(self, attempt: Attempt, relay: Relay) -> None:
        self.attempt = attempt
        self.relay = relay
        self.node = ""
        self.placement_reported = False


class RayCluster:
    """Execution of attempts on a Ray cluster: `join`, `start` attempts while there is `capacity`, `close`."""

    def __init__(self, settings: Settings, launch: Launch, clock: Clock, say: Callable[[str], None]) -> None:
        """Keep the settings; `say` gets one line when the cluster is joined or lost."""
        self._settings = settings
        self._launch = launch
        self._clock = clock
        self._say = say
        self._last_warning = ""
        self._runs: dict[Key, _RemoteRun] = {}
        self._lock = threading.Lock()
        """Lock that keeps runs from a driver whose runs were just given up."""
        self._child: ChildProcess | None = None
        self._joined: ChildProcess | None = None
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._maintain, name="headway-ray", daemon=True)
        self._rest = Backoff(FIRST_TRY_S, LAST_TRY_S)
        """Pause of claims for Ray after a node could not load the app: else the same runs would circle."""
        self._rests_until_ms = 0

    @property
    def capacity(self) -> int:
        """Runs that may be there at once; none as long as no driver has joined, or for a while after a node failed."""
        resting = self._clock.monotonic_ms() < self._rests_until_ms
        return self._settings.capacity if self._joined is not None and not resting else 0

    def join(self) -> None:
        """Join, and stay joined."""
        self._keeper.start()

    def start(self, attempt: Attempt, start_clock: StartClock) -> None:
        """Have Ray execute it, as soon as it finds a place for it, which may be much later."""
        start_clock(attempt)
        lease, relay = attempt.lease, Relay(attempt, lambda answer: self._send_frame(attempt, answer))
        with self._lock:
            driver = self._joined
            if driver is not None:
                self._runs[attempt.key] = _RemoteRun(attempt, relay)
                attempt.kill = lambda: self._kill(relay)
                attempt.interrupt = lambda cause: self._interrupt(attempt, cause)
        if driver is None:  # it was lost while the claim waited; others may have a cluster
            attempt.ended(attempt, of_cause(attempt.cause or Cause.DRAIN, lease))
            return
        driver.send(SubmitTask(*attempt.key, lease.task, Raw(_encode(lease)), attempt.task.declaration.resources))
        if attempt.cause is not None:  # cancelled before there was someone to tell
            self._interrupt(attempt, attempt.cause)

    def close(self) -> None:
        """Leave the cluster; Ray ends the remaining actors and tasks."""
        self._closing.set()
        if self._child is not None:
            self._child.kill()

    # -- to the driver -------------------------------------------------------------------------------------------------

    def _send(self, message: ToDriver) -> None:
        driver = self._joined
        if driver is not None and message.key in self._runs:
            driver.send(message)

    def _send_frame(self, attempt: Attempt, frame: ReplyFrame | CancelFrame) -> None:
        self._send(FrameToTask(*attempt.key, Raw(_encode(frame))))

    def _interrupt(self, attempt: Attempt, cause: Cause) -> None:
        self._send_frame(attempt, CancelFrame(cause))
        self._send(Withdraw(*attempt.key))

    def _kill(self, relay: Relay) -> None:
        relay.killed = True
        self._send(KillTask(*relay.attempt.key))

    # -- from the driver -----------------------------------------------------------------------------------------------

    def _maintain(self) -> None:
        # The child dies with the thread that has started it, so this one stays.
        backoff = Backoff(0.5, 30.0)
        while not self._closing.is_set():
            try:
                self._child = child = ChildProcess(
                    self._launch, "headway.worker.executors.ray.driver", _encode(self._settings).decode(), self._clock
                )
            except OSError as error:
                self._warn_once(f"no Ray driver can be started: {error}")
            else:
                if self._closing.is_set():
                    child.kill()
                self._forward_all(child)
                if self._joined is not None:
                    backoff.reset()
                self._driver_lost(child)
                child.close()
            self._closing.wait(backoff.next_s())

    def _forward_all(self, driver: ChildProcess) -> None:
        """Pass everything on until the driver ends."""
        with selectors.DefaultSelector() as selector:
            selector.register(driver.pipe, selectors.EVENT_READ, "pipe")
            selector.register(driver.output, selectors.EVENT_READ, "output")
            while True:
                ready = {key.data for key, _ in selector.select()}
                if "output" in ready and not driver.forward():
                    selector.unregister(driver.output)
                if "pipe" in ready:
                    if not driver.pipe.read_some():
                        return
                    for frame in driver.pipe.frames():
                        self._handle(driver, _decode(frame))

    def _handle(self, driver: ChildProcess, message: FromDriver) -> None:
        if isinstance(message, JoinResult):
            self._on_join(driver, message)
        elif (run := self._runs.get(message.key)) is not None:
            self._on_message(run, message)

    def _on_join(self, driver: ChildProcess, message: JoinResult) -> None:
        where = self._settings.address
        if message.problem:
            self._warn_once(f"no Ray cluster takes this worker at {where!r}; it tries again: {message.problem}")
        else:
            self._joined = driver
            self._warn_once(f"joined the Ray cluster at {where!r}, of {message.nodes} nodes")

    def _on_message(self, run: _RemoteRun, message: Message) -> None:
        match message:
            case FrameFromTask(frame=frame):
                run.attempt.alive()
                try:
                    run.relay.handle_frame(_decode_frame(frame))
                except msgspec.MsgspecError:  # another version of Headway is on that node
                    self._kill(run.relay)
            case TaskStart(node=node):
                run.node = node
                if run.placement_reported:
                    self._log(run, f"The run has begun on Ray node {node}.")
                run.attempt.begun()
            case PlacementPending(text=text):
                run.placement_reported = True
                self._log(run, text)
            case TaskEnd(failure=failure):
                where = f" on node {run.node}" if run.node else ""
                self._finish(run, f"The Ray task ended{where} before the function returned. {failure}".strip())

    def _driver_lost(self, driver: ChildProcess) -> None:
        """Give up what a driver had on Ray."""
        with self._lock:
            joined, self._joined = self._joined, None
            runs = list(self._runs.values())
        try:
            driver.process.wait(EXIT_S)
        except subprocess.TimeoutExpired:
            driver.kill()
        exit_reason = driver.exit_reason()
        while driver.forward():
            pass
        driver.throttle.finish()
        if joined is not None and not self._closing.is_set():
            self._warn_once(f"the connection with the Ray cluster is lost; it joins again: {exit_reason}")
        for run in runs:
            self._finish(run, f"The connection with the Ray cluster was lost. {exit_reason}")

    def _finish(self, run: _RemoteRun, exit_reason: str) -> None:
        attempt = run.attempt
        self._runs.pop(attempt.key, None)
        attempt.interrupt = attempt.kill = None
        if run.relay.problem:
            self._rests_until_ms = self._clock.monotonic_ms() + round(self._rest.next_s() * 1000)
            self._say(f"a Ray node cannot load the app, and its run is handed back: {run.relay.problem}")
        elif run.relay.done is not None:
            self._rest.reset()
        attempt.ended(attempt, run.relay.outcome(clean(exit_reason, MESSAGE_MAX)))

    def _log(self, run: _RemoteRun, message: str) -> None:
        run_id, epoch = run.attempt.key
        run.attempt.sink.put(LogReport(run_id=run_id, epoch=epoch, message=message))

    def _warn_once(self, text: str) -> None:
        if text != self._last_warning:
            self._last_warning = text
            self._say(text)
