"""Runs in child processes: what crashes, eats memory or ignores its end there harms only itself.

Each run in a child has a thread here that attends to it: hands over the lease, passes reports and answers on, forwards
output, and says what happened if the child dies. Children are kept for the next run, and never kept after a cancelled one.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from typing import Final

import msgspec

from headway.clock import Clock
from headway.errors import HeadwayError
from headway.wire.workers import AnyReport, Errored, ErrorReport, ProgressReport, Reply, Stopped
from headway.worker.attempt import Attempt
from headway.worker.frames import SEND_TIMEOUT_S, Answered, Cancel, Done, Execute, FromChild, Pipe, Ready, ToChild, Told
from headway.worker.interrupts import Cause
from headway.worker.outbox import Question
from headway.worker.outcome import of_cause
from headway.worker.stdio import READ_BYTES, Throttle, to_stdout

_decode: Final = msgspec.json.Decoder(FromChild).decode
LOOK_AGAIN_S: Final = 0.5
"""A dead child is noticed at once by its pidfd or its closed socket; where neither works, after this long."""


class ChildProcess:
    """One child, started and loading the app."""

    def __init__(self, spec: str, clock: Clock) -> None:
        """Start it; it is of use as soon as it has said Ready, which nobody waits for."""
        ours, theirs = socket.socketpair()
        ours.settimeout(SEND_TIMEOUT_S)
        self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-c", _boot(), spec, str(theirs.fileno()), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C at the terminal is for the worker, and killing reaches grandchildren
        )
        theirs.close()
        assert self.process.stdout is not None, "it is piped"
        self.output = self.process.stdout
        os.set_blocking(self.output.fileno(), False)
        self.pipe = Pipe(ours)
        self.throttle = Throttle(to_stdout, clock)

    def send(self, frame: ToChild) -> None:
        """Send a frame; a child that does not take it is as good as dead."""
        try:
            self.pipe.send(frame)
        except OSError:
            self.kill()

    def kill(self) -> None:
        """End it and what it has started, now."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    def close(self) -> None:
        """Reap it."""
        self.kill()
        self.process.wait()
        self.pipe.close()
        self.output.close()

    def forward(self) -> bool:
        """Pass on what it has printed; return False if there is no more now."""
        try:
            chunk = os.read(self.output.fileno(), READ_BYTES)
        except OSError:
            return False
        self.throttle.feed(chunk)
        return bool(chunk)

    def obituary(self) -> str:
        """Say how it died."""
        code = self.process.wait()
        if code >= 0:
            return f"The process ended with exit code {code} before the function returned."
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"The process was killed by {name}."


class ChildPool:
    """The children of a worker; as many as runs are in them at once, the idle ones waiting for the next."""

    def __init__(self, spec: str, clock: Clock) -> None:
        """Start none yet."""
        self._spec = spec
        self._clock = clock
        self._idle: list[ChildProcess] = []
        self._lock = threading.Lock()

    def execute(self, attempt: Attempt) -> None:
        """Carry the attempt to its outcome in a child; blocks this thread, which must outlive the child (PDEATHSIG)."""
        if attempt.cause is not None:
            attempt.ended(attempt, of_cause(attempt.cause, attempt.lease))
            return
        child = self._take()
        outcome, reusable = _Attendance(child, attempt).run()
        if reusable:
            with self._lock:
                self._idle.append(child)
        else:
            child.close()
        attempt.ended(attempt, outcome)

    def close(self) -> None:
        """End the idle children."""
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
        return ChildProcess(self._spec, self._clock)


class _Attendance:
    """One run in one child, seen from the worker."""

    def __init__(self, child: ChildProcess, attempt: Attempt) -> None:
        self._child = child
        self._attempt = attempt
        self._done: Done | None = None
        self._problem = ""
        self._killed = False

    def run(self) -> tuple[AnyReport | None, bool]:
        """Return the outcome, and whether the child can be used again."""
        child, attempt = self._child, self._attempt
        child.send(Execute(attempt.lease))
        attempt.kill = self._kill
        attempt.interrupt = self._interrupt
        if attempt.cause is not None:  # cancelled before there was someone to tell
            self._interrupt(attempt.cause)
        self._attend()
        attempt.interrupt = attempt.kill = None
        while child.forward():
            pass
        child.throttle.finish()
        if self._done is not None:
            return self._done.outcome, attempt.cause is None and not self._killed
        return self._died(), False

    def _attend(self) -> None:
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
            while alive and self._done is None:
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
                self._heed(_decode(frame))
        except (msgspec.MsgspecError, OSError):
            self._child.kill()  # user code has written into the socket: nothing it says can be trusted
            return False
        return True

    def _heed(self, frame: FromChild) -> None:
        match frame:
            case Told(report, 0):
                if isinstance(report, ProgressReport):
                    self._attempt.sink.progress(report)
                else:
                    self._attempt.sink.put(report)
            case Told(report, number):
                self._pass_on(report, number)
            case Done():
                self._done = frame
            case Ready(problem):
                self._problem = problem

    def _pass_on(self, report: AnyReport, number: int) -> None:
        def answer(reply: Reply | None, error: BaseException | None) -> None:
            code = error.code if isinstance(error, HeadwayError) else "lease_lost" if error else ""
            self._child.send(Answered(number, reply, code, str(error) if error else ""))

        assert isinstance(report, Question), "only questions are numbered"
        self._attempt.sink.ask(report, answer)

    def _interrupt(self, cause: Cause) -> None:
        self._child.send(Cancel(cause))

    def _kill(self) -> None:
        self._killed = True
        self._child.kill()

    def _died(self) -> AnyReport | None:
        attempt, message = self._attempt, self._child.obituary()
        self._child.kill()  # what it has started goes too
        if attempt.cause is not None:
            outcome = of_cause(attempt.cause, attempt.lease)
            if isinstance(outcome, Stopped):
                return msgspec.structs.replace(outcome, killed=self._killed)
            return outcome
        if self._problem:
            return crashed(attempt, f"The app could not be loaded in a child process: {self._problem}")
        return crashed(attempt, message)


def _boot() -> str:
    """Return a program that finds modules where this process does, without telling the processes that it starts."""
    return f"import sys; sys.path[:] = {sys.path!r}; from headway.worker.child import main; main()"


def crashed(attempt: Attempt, message: str) -> Errored:
    """Return the report of a child that died."""
    error = ErrorReport(code="crashed", type="Crash", message=message, retryable=True)
    return Errored(run_id=attempt.lease.run_id, epoch=attempt.lease.epoch, error=error)
