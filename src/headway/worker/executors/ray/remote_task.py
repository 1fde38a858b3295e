"""The program of a Ray task: load the app, execute one lease, report through the mailbox.

User code has the main thread; a second one fetches what the worker says, a third sends what the function reports. If
either cannot go on, the process ends: a function that nobody hears must not go on by itself.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, Protocol

import msgspec

from headway.clock import SystemClock
from headway.errors import BY_CODE, HeadwayError
from headway.protocol.workers import AnyReport, Lease
from headway.worker.attempts.attempt import Attempt
from headway.worker.attempts.global_state import GlobalState
from headway.worker.context.capture import LogCapture
from headway.worker.context.interrupts import Cause
from headway.worker.context.outcome import task_missing
from headway.worker.context.report_buffer import OUTCOMES, PendingRequest, ReplyCallback, ReportBuffer
from headway.worker.declaration.app import App
from headway.worker.declaration.loading import AppNotLoaded, load_app
from headway.worker.executors.frames import (
    CancelFrame,
    FrameFromChild,
    FrameToChild,
    LoadFrame,
    OutcomeFrame,
    ReplyFrame,
    ReportFrame,
)

_decode: Final = msgspec.json.Decoder(FrameToChild).decode
_encode: Final = msgspec.json.Encoder().encode
_states: list[GlobalState] = []
"""State of this process since its first run: Ray uses its processes again."""


class Call(Protocol):
    """A blocking call of a mailbox method, from any thread but the main one."""

    def __call__(self, verb: str, *given: Any) -> Any: ...


def execute(mailbox: Any, spec: str, lease: bytes) -> None:
    """Be the Ray task."""
    import ray  # noqa: PLC0415 - the tests of RemoteTask run without Ray

    def call(verb: str, *given: Any) -> Any:
        return ray.get(getattr(mailbox, verb).remote(*given))

    RemoteTask(call, spec, msgspec.json.decode(lease, type=Lease), ray.util.get_node_ip_address()).run()


class RemoteTask:
    """One lease in a process of Ray's."""

    def __init__(
        self, call: Call, spec: str, lease: Lease, node: str, *, leave: Callable[[int], object] = os._exit
    ) -> None:
        """`leave` ends the process."""
        self._call = call
        self._spec = spec
        self._lease = lease
        self._key = (lease.run_id, lease.epoch)
        self._node = node
        self._leave = leave
        self._clock = SystemClock()
        self._buffer = ReportBuffer()
        self._questions: dict[int, ReplyCallback] = {}
        self._admitted: SimpleQueue[bool] = SimpleQueue()
        self._attempt: Attempt | None = None
        self._cause: Cause | None = None
        self._last: FrameFromChild | None = None
        self._over = threading.Event()
        self._pid = os.getpid()

    def run(self) -> None:
        """Execute the lease; return when its outcome is in the mailbox, or at once if the lease was withdrawn."""
        # All calls are made from these threads: while the main thread waits for Ray, Ray lends its CPU to others.
        self._start(self._listen)
        if not self._admitted.get():
            return
        self._start(self._speak)
        app = self._app()
        if app is None:
            return
        task = app.tasks.get(self._lease.task)
        if task is None:
            self._finish(task_missing(self._lease, f"The app on Ray node {self._node}"))
            return
        self._attempt = Attempt(task, self._lease, self._buffer, self._clock, self._ended)
        if self._cause is not None:
            self._attempt.cancel(self._cause)
        self._attempt.run_blocking()

    def _app(self) -> App | None:
        try:
            app = load_app(self._spec)
        except AppNotLoaded as error:
            self._say_last(LoadFrame(str(error)))
            return None
        if not _states:
            _states.append(GlobalState(_say))
            _states[0].begin(LogCapture() if app.capture_logging else None)
        return app

    def _ended(self, attempt: Attempt, outcome: AnyReport | None) -> None:
        if os.getpid() != self._pid:
            os._exit(0)  # user code forked, and this is the copy: the original reports
        attempt.over = True
        with contextlib.suppress(Exception):  # user code may have replaced or closed them
            sys.stdout.flush()
            sys.stderr.flush()
        for state in _states:
            state.ended(attempt.task.name)
            state.look()
        self._finish(outcome)

    def _finish(self, outcome: AnyReport | None) -> None:
        if outcome is None:
            self._say_last(OutcomeFrame(None))
        else:
            self._buffer.finish(outcome)
            self._over.wait()

    def _say_last(self, frame: FrameFromChild) -> None:
        """Send a frame after all reports."""
        self._last = frame
        self._buffer.wake()
        self._over.wait()

    def _start(self, work: Callable[[], None]) -> None:
        threading.Thread(target=self._or_leave, args=(work,), name="headway-remote-task", daemon=True).start()

    def _or_leave(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException:  # noqa: BLE001 - the mailbox has gone, or a frame is not what it should be
            if not self._over.is_set():
                traceback.print_exc()
        if not self._over.is_set():
            self._leave(1)

    def _listen(self) -> None:
        admitted = self._call("enter", self._key, self._node)
        if not admitted:
            self._over.set()
        self._admitted.put(admitted)
        while not self._over.is_set():
            frames = self._call("fetch", self._key)
            if frames is None:
                return
            for frame in frames:
                self._handle(_decode(frame))

    def _handle(self, frame: FrameToChild) -> None:
        match frame:
            case CancelFrame(cause):
                self._cause = cause
                if self._attempt is not None:
                    self._attempt.cancel(cause)
            case ReplyFrame(number, reply, code, detail):
                error = BY_CODE.get(code, HeadwayError)(detail) if code else None
                self._questions.pop(number)(reply, error)

    def _speak(self) -> None:
        number = 0
        while not self._over.is_set():
            self._buffer.wait(self._buffer.next_due_s(self._clock.monotonic_ms()))
            frames: list[FrameFromChild] = []
            for entry in self._buffer.take(self._clock.monotonic_ms()):
                if isinstance(entry, PendingRequest):
                    number += 1
                    self._questions[number] = entry.answer
                    frames.append(ReportFrame(entry.report, number))
                elif isinstance(entry, OUTCOMES):
                    frames.append(OutcomeFrame(entry))
                else:
                    frames.append(ReportFrame(entry))
            if self._last is not None and not len(self._buffer):
                frames.append(self._last)
            # One call after the other, so that everything arrives in its order.
            if frames and not self._call("send", self._key, [_encode(frame) for frame in frames]):
                return
            if frames and (frames[-1] is self._last or isinstance(frames[-1], OutcomeFrame)):
                self._over.set()


def _say(text: str) -> None:
    with contextlib.suppress(Exception):
        print(f"headway: {text}", file=sys.__stderr__, flush=True)
