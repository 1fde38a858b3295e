"""The program of a child process: load the app, execute leases one after the other, report through the socket.

Its arguments: MODULE:APP FD PARENT_PID. User code has the main thread; a second thread reads
what the worker says, a third sends what the function reports.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import sys
import threading
from queue import SimpleQueue
from typing import Final

import msgspec

from headway.clock import SystemClock
from headway.errors import BY_CODE, HeadwayError
from headway.protocol.workers import AnyReport
from headway.worker.attempts.attempt import Attempt
from headway.worker.attempts.global_state import GlobalState
from headway.worker.context.capture import LogCapture
from headway.worker.context.outcome import task_missing
from headway.worker.context.report_buffer import OUTCOMES, PendingRequest, ReplyCallback, ReportBuffer
from headway.worker.declaration.app import App
from headway.worker.declaration.loading import AppNotLoaded, load_app
from headway.worker.executors.frames import (
    CancelFrame,
    ExecuteFrame,
    FrameToChild,
    LoadFrame,
    OutcomeFrame,
    Pipe,
    ReplyFrame,
    ReportFrame,
)
from headway.worker.processes.orphan import die_with

_decode: Final = msgspec.json.Decoder(FrameToChild).decode


class ChildProgram:
    """Executor of the leases that the worker sends."""

    def __init__(self, app: App, pipe: Pipe, state: GlobalState) -> None:
        self._app = app
        self._state = state
        self._pipe = pipe
        self._clock = SystemClock()
        self._buffer = ReportBuffer()
        self._questions: dict[int, ReplyCallback] = {}
        self._attempts: SimpleQueue[Attempt] = SimpleQueue()
        self._attempt: Attempt | None = None
        self._pid = os.getpid()
        self._memory = resource.getrlimit(resource.RLIMIT_AS)
        self._over = threading.Event()

    def run(self) -> None:
        """Execute leases until the worker closes the socket."""
        for work in (self._listen, self._speak):
            threading.Thread(target=work, daemon=True).start()
        while True:
            attempt = self._attempts.get()
            limit = attempt.task.memory_limit
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_AS, (limit, self._memory[1]))
            attempt.run_blocking()

    def _ended(self, attempt: Attempt, outcome: AnyReport | None) -> None:
        if os.getpid() != self._pid:
            os._exit(0)  # user code forked, and this is the copy: the original reports
        attempt.over = True
        resource.setrlimit(resource.RLIMIT_AS, self._memory)  # the limit is the function's, not the report's
        with contextlib.suppress(Exception):  # user code may have replaced or closed them
            sys.stdout.flush()
            sys.stderr.flush()
        self._state.ended(attempt.task.name)
        self._state.look()
        self._over.clear()
        if outcome is not None:
            self._buffer.finish(outcome)
            self._over.wait()
        else:
            self._pipe.send(OutcomeFrame(None))

    def _listen(self) -> None:
        while (frame := self._pipe.receive()) is not None:
            match _decode(frame):
                case ExecuteFrame(lease):
                    task = self._app.tasks.get(lease.task)
                    if task is None:  # the app has changed since the worker loaded it
                        self._pipe.send(OutcomeFrame(task_missing(lease, "The app as a child process loads it")))
                        continue
                    self._attempt = Attempt(task, lease, self._buffer, self._clock, self._ended)
                    self._attempts.put(self._attempt)
                case CancelFrame(cause):
                    if self._attempt is not None:
                        self._attempt.cancel(cause)
                case ReplyFrame(number, reply, code, detail):
                    error = BY_CODE.get(code, HeadwayError)(detail) if code else None
                    self._questions.pop(number)(reply, error)
        os._exit(0)

    def _speak(self) -> None:
        number = 0
        while True:
            self._buffer.wait(self._buffer.next_due_s(self._clock.monotonic_ms()))
            for entry in self._buffer.take(self._clock.monotonic_ms()):
                if isinstance(entry, PendingRequest):
                    number += 1
                    self._questions[number] = entry.answer
                    self._pipe.send(ReportFrame(entry.report, number))
                elif isinstance(entry, OUTCOMES):
                    self._pipe.send(OutcomeFrame(entry))
                    self._over.set()
                else:
                    self._pipe.send(ReportFrame(entry))


def main() -> None:
    """Run the child."""
    spec, descriptor, parent = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    die_with(parent)
    os.set_inheritable(descriptor, False)
    pipe = Pipe(socket.socket(fileno=descriptor))
    try:
        app = load_app(spec)
    except AppNotLoaded as error:
        sys.stderr.write(error.traceback)
        pipe.send(LoadFrame(str(error)))
        return
    state = GlobalState(_say)
    state.begin(LogCapture() if app.capture_logging else None)
    pipe.send(LoadFrame())
    ChildProgram(app, pipe, state).run()


def _say(text: str) -> None:
    with contextlib.suppress(Exception):
        print(f"headway worker: {text}", file=sys.__stderr__, flush=True)
