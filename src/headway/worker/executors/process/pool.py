"""Runs in child processes: what crashes, eats memory or ignores its end there harms only itself.

Each run in a child has a thread here that attends to it: hands over the lease, passes reports and answers on, forwards
output, and says what happened if the child dies. Children are kept for the next run, and never kept after a cancelled one.

A child that dies before it has loaded the app is no crash of the run, which is handed back. Then no run is begun until a
child that is started for nothing else has loaded the app.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from headway.clock import Clock
from headway.protocol.workers import AnyReport, ReleasedReport
from headway.worker.attempts.attempt import Attempt
from headway.worker.attempts.executor import StartClock
from headway.worker.context.interrupts import Cause
from headway.worker.context.outcome import of_cause
from headway.worker.executors.frames import SEND_TIMEOUT_S, CancelFrame, ExecuteFrame, FrameFromChild, LoadFrame, Pipe
from headway.worker.executors.relay import Relay, handed_back
from headway.worker.processes.launch import Launch
from headway.worker.processes.stdio import READ_BYTES, Throttle, to_stdout
from headway.worker.protocol.session import Backoff

_decode: Final = msgspec.json.Decoder(FrameFromChild).decode
PROGRAM: Final = "headway.worker.executors.process.program"
HOLD_S: Final = 2.0
"""Time that a run waits for a usable child before it is handed back, so that it is not claimed again at once."""
FIRST_TRY_S: Final = 1.0
LAST_TRY_S: Final = 30.0
"""Times between tries to load the app in a child: the first and the longest."""
LOOK_AGAIN_S: Final = 0.5
"""A dead child is noticed at once by its pidfd or its closed socket; where neither works, after this long."""


class ChildProcess:
    """One child with a program of ours, whose arguments are its own, the socket's number, and our process id."""

    def __init__(
        self, launch: Launch, program: str, argument: str, clock: Clock, write: Callable[[bytes], None] = to_stdout
    ) -> None:
        """Start the child, without waiting until it has loaded the app. Raise OSError if that is not possible.

        `write` gets its output.
        """
        ours, theirs = socket.socketpair()
        ours.settimeout(SEND_TIMEOUT_S)
        try:
            self.process = launch.start(
                program, argument, str(theirs.fileno()), str(os.getpid()),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C at the terminal is for the worker, and killing reaches grandchildren
            )  # fmt: skip
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        assert self.process.stdout is not None, "it is piped"
        self.output = self.process.stdout
        os.set_blocking(self.output.fileno(), False)
        self.pipe = Pipe(ours)
        self.throttle = Throttle(write, clock)
        self.loaded = False
        """True once the child has loaded the app."""

    def send(self, frame: msgspec.Struct) -> None:
        """Send a frame; a child that does not take it is as good as dead."""
        try:
            self.pipe.send(frame)
        except OSError:
            self.kill()

    def kill(self) -> None:
        """Kill the child and all processes of its session."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    def close(self) -> None:
        """Kill and reap the child, and close its pipes."""
        self.kill()
        self.process.wait()
        self.pipe.close()
        self.output.close()

    def forward(self) -> bool:
        """Pass its output on; return False if there is no more now."""
        try:
            chunk = os.read(self.output.fileno(), READ_BYTES)
        except OSError:
            return False
        self.throttle.feed(chunk)
        return bool(chunk)

    def exit_reason(self) -> str:
        """Return the way in which the process ended, in a sentence."""
        code = self.process.wait()
        if code >= 0:
            return f"The process ended with exit code {code} before the function returned."
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"The process was killed by {name}."


class ProcessExecutor:
    """Attempts in child processes, each attended to by a thread here; idle children wait for the next attempt."""

    def __init__(
        self, spec: str, launch: Launch, clock: Clock, processes: int, say: Callable[[str], None] = lambda _: None
    ) -> None:
        """Start none yet; `say` gets a line when children cannot load the app, and when they can again."""
        self._processes = processes
        self._threads = ThreadPoolExecutor(processes, "headway-child")
        self._spec = spec
        self._launch = launch
        self._clock = clock
        self._say = say
        self._idle: list[ChildProcess] = []
        self._lock = threading.Lock()
        self._usable = threading.Event()
        self._usable.set()
        self._closing = threading.Event()

    @property
    def capacity(self) -> int:
        """Most children at once; 0 after children failed to load the app, so that no run is claimed for one."""
        return self._processes if self._usable.is_set() else 0

    def start(self, attempt: Attempt, start_clock: StartClock) -> None:
        """Execute the attempt in the next free child, or a new one."""
        attempt.future = self._threads.submit(self._attend, attempt, start_clock)

    def _attend(self, attempt: Attempt, start_clock: StartClock) -> None:
        """Carry the attempt to its outcome; this thread must outlive the child (PDEATHSIG)."""
        start_clock(attempt)
        # One may be claimed nevertheless: a run that took a worker down has the room of its task's executor.
        self._usable.wait(HOLD_S)
        if attempt.cause is not None:
            attempt.ended(attempt, of_cause(attempt.cause, attempt.lease))
        elif not self._usable.is_set():
            attempt.ended(attempt, handed_back(attempt, "this worker waits until a child process can load it"))
        else:
            attempt.ended(attempt, self._execute(attempt))

    def _execute(self, attempt: Attempt) -> AnyReport | None:
        try:
            child = self._take()
        except OSError as error:
            return self._fail(attempt, f"no process can be started: {error}")
        execution = _ChildExecution(child, attempt)
        outcome, reusable = execution.run()
        if reusable:
            with self._lock:
                self._idle.append(child)
            return outcome
        child.close()
        if child.loaded or attempt.cause is not None:
            return outcome
        return self._fail(attempt, execution.relay.problem or child.exit_reason())

    def close(self) -> None:
        """End the idle children, and start no more attempts."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._closing.set()
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.close()

    def _take(self) -> ChildProcess:
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.process.poll() is None:
                    return child
                child.close()
        return ChildProcess(self._launch, PROGRAM, self._spec, self._clock)

    def _fail(self, attempt: Attempt, problem: str) -> ReleasedReport:
        """Begin no more runs until a child has loaded the app; hand this one back."""
        with self._lock:
            first = self._usable.is_set()
            self._usable.clear()
        if first:
            self._say(f"no child process can load the app, and runs that need one are left to other workers: {problem}")
            threading.Thread(target=self._try_again, name="headway-loader", daemon=True).start()
        return handed_back(attempt, problem)

    def _try_again(self) -> None:
        backoff = Backoff(FIRST_TRY_S, LAST_TRY_S)
        while not self._closing.wait(backoff.next_s()):
            with contextlib.suppress(OSError):
                child = ChildProcess(self._launch, PROGRAM, self._spec, self._clock, write=lambda _: None)
                try:
                    self._load(child)
                finally:
                    child.close()
                if child.loaded:
                    self._usable.set()
                    self._say("child processes can load the app again")
                    return

    def _load(self, child: ChildProcess) -> None:
        """Wait until a child has loaded the app, or has ended without."""
        with selectors.DefaultSelector() as selector:
            selector.register(child.pipe, selectors.EVENT_READ)
            while not (child.loaded or self._closing.is_set()):
                ready = selector.select(LOOK_AGAIN_S)
                child.forward()
                if ready and not child.pipe.read_some():
                    return
                child.loaded = any(_decode(frame) == LoadFrame() for frame in child.pipe.frames())
                if not child.loaded and child.process.poll() is not None and not ready:
                    return


class _ChildExecution:
    """One run in one child, seen from the worker."""

    def __init__(self, child: ChildProcess, attempt: Attempt) -> None:
        self.relay = Relay(attempt, child.send)
        self._child = child
        self._attempt = attempt

    def run(self) -> tuple[AnyReport | None, bool]:
        """Return the outcome, and whether the child can be used again."""
        child, attempt, relay = self._child, self._attempt, self.relay
        child.send(ExecuteFrame(attempt.lease))
        attempt.kill = self._kill
        attempt.interrupt = self._interrupt
        if attempt.cause is not None:  # cancelled before there was someone to tell
            self._interrupt(attempt.cause)
        self._forward_all()
        attempt.interrupt = attempt.kill = None
        while child.forward():
            pass
        child.throttle.finish()
        if relay.done is not None:
            return relay.outcome(""), attempt.cause is None and not relay.killed
        exit_reason = child.exit_reason()
        child.kill()  # its child processes are ended too
        return relay.outcome(exit_reason), False

    def _forward_all(self) -> None:
        """Pass everything on until the child is done or dead."""
        child = self._child
        with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
            selector.register(child.pipe, selectors.EVENT_READ, "pipe")
            selector.register(child.output, selectors.EVENT_READ, "output")
            with contextlib.suppress(OSError, AttributeError):
                pidfd = os.pidfd_open(child.process.pid)
                stack.callback(os.close, pidfd)
                selector.register(pidfd, selectors.EVENT_READ, "death")
            alive = True
            while alive and self.relay.done is None:
                ready = {key.data for key, _ in selector.select(LOOK_AGAIN_S)}
                if "output" in ready and not child.forward():
                    selector.unregister(child.output)  # it has closed its output, which is not its end
                if "pipe" in ready:
                    alive = self._read()
                if alive and child.process.poll() is not None:
                    while self._read(wait=False):
                        pass
                    alive = False

    def _read(self, *, wait: bool = True) -> bool:
        if not self._child.pipe.read_some(wait=wait):
            return False
        self._attempt.alive()
        try:
            for frame in self._child.pipe.frames():
                message = _decode(frame)
                self._child.loaded |= message == LoadFrame()
                self.relay.handle_frame(message)
        except (msgspec.MsgspecError, OSError):
            self._child.kill()  # user code has written into the socket: nothing it says can be trusted
            return False
        return True

    def _interrupt(self, cause: Cause) -> None:
        self._child.send(CancelFrame(cause))

    def _kill(self) -> None:
        self.relay.killed = True
        self._child.kill()
