"""Watch on the event loop: a thread that notices when the loop does not turn, and reports the task that blocks it.

An async function that blocks (`time.sleep`, a request by a blocking library, a long computation) stops every other async
task of its worker, their timers and their cancellation, and no error says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

from headway.clock import Clock
from headway.protocol.workers import BlockedLoop, LogReport
from headway.worker.attempts.running import RunningAttempts
from headway.worker.context.plans import current
from headway.worker.context.report_buffer import Sink
from headway.worker.declaration.sources import is_library

LOOKS_MAX_S: Final = 0.25
"""The longest time between two looks at the loop."""
LONGER: Final = 4
"""A loop that stays blocked is reported again when this many times the last reported time has passed."""
PLACES_MAX: Final = 1_000
"""Places in the code that are remembered as having blocked the loop."""
FRAMES_MAX: Final = 30
STACK_MAX: Final = 8_000
ADVICE: Final = (
    "nothing else runs on it until then; blocking code belongs in a plain function (executor='thread'), or into "
    "`await asyncio.to_thread(...)`"
)  # fmt: skip

_OURS: Final = (str(Path(__file__).with_name("attempt.py")), str(Path(__file__).parents[1] / "worker.py"))
_ASYNCIO: Final = str(Path(asyncio.__file__).parent)


class LoopWatch:
    """Looks at the loop several times in `threshold_ms`, reports a blocked one, and keeps it for heartbeats."""

    def __init__(
        self,
        attempts: RunningAttempts,
        sink: Sink,
        clock: Clock,
        stopping: threading.Event,
        *,
        threshold_ms: int,
        say: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        """`say` gets messages, `sink` the same for the run's log; `changed` is called when `blocked` changes."""
        self._attempts = attempts
        self._sink = sink
        self._clock = clock
        self._stopping = stopping
        self._threshold_ms = threshold_ms
        self._say = say
        self._changed = changed
        self._look_every_ms = min(int(LOOKS_MAX_S * 1000), max(10, threshold_ms // 4))
        self._looked_ms = clock.monotonic_ms()
        self._used_s = time.process_time()
        self._tell_ms = threshold_ms
        self._told = False
        self._times: dict[tuple[str, str], int] = {}
        self.blocked: BlockedLoop | None = None
        """The task that blocks the loop, at the last look."""

    @property
    def on(self) -> bool:
        """True if the watch is turned on."""
        return self._threshold_ms > 0

    def run(self) -> None:
        """Watch until the worker ends."""
        while not self._stopping.wait(self._look_every_ms / 1000):
            self.look()

    def look(self) -> None:
        """Look once."""
        now_ms, used_s = self._clock.monotonic_ms(), time.process_time()
        late_ms, used_ms = now_ms - self._looked_ms - self._look_every_ms, (used_s - self._used_s) * 1000
        self._looked_ms, self._used_s = now_ms, used_s
        if late_ms >= self._threshold_ms:
            self._stood_still(late_ms, computing=used_ms >= late_ms / 2)
            return
        held_ms = self._attempts.inline.held_ms()
        if held_ms >= self._threshold_ms:
            self._blocked(held_ms)
        elif self.blocked is not None:
            self._turns(self.blocked)

    def _blocked(self, held_ms: int) -> None:
        first = self.blocked is None
        if held_ms < self._tell_ms and not first:
            assert self.blocked is not None, "it was looked at before"
            self.blocked = _lasting(self.blocked, held_ms)
            return
        self._tell_ms = held_ms * LONGER
        self.blocked = found = self._found(held_ms)
        if self._worth_telling((found.task, found.where)) if first else self._told:
            self._told = True
            self._tell(found)
        if first:
            self._changed()

    def _turns(self, blocked: BlockedLoop) -> None:
        if self._told:
            self._say(
                f"the event loop turns again; {_holder(blocked)} had blocked it for {blocked.for_ms / 1000:.1f} s"
            )
        self.blocked, self._told, self._tell_ms = None, False, self._threshold_ms
        self._changed()

    def _tell(self, found: BlockedLoop) -> None:
        where = f" at {found.where}" if found.where else ""
        said = f"the event loop has been blocked for {found.for_ms / 1000:.1f} s by {_holder(found)}{where}: {ADVICE}"
        times = self._times.get((found.task, found.where), 1)
        often = f" (the {times}th time; the next is told at the {2 * times}th)" if times > 1 else ""
        self._say(f"{said}{often}\n{found.stack}".rstrip())
        if found.run_id:
            epoch = next((epoch for run_id, epoch in list(self._attempts.held) if run_id == found.run_id), None)
            if epoch is not None:
                message = f"{said}\n{found.stack}".rstrip()
                self._sink.put(LogReport(run_id=found.run_id, epoch=epoch, level="warning", message=message))

    def _stood_still(self, late_ms: int, *, computing: bool) -> None:
        """Tell that no thread of this process has run, this one neither."""
        why = (
            "native code computed and held Python's lock (the GIL)" if computing
            else "the process or its machine was paused, or native code waited and held Python's lock (the GIL)"
        )  # fmt: skip
        if not self._worth_telling(("", why)):
            return
        running = sorted({f"{attempt.task.name!r}" for attempt in list(self._attempts.running.values())})
        beside = f"; running: {', '.join(running[:5])}{' …' if running[5:] else ''}" if running else ""
        self._say(f"no thread of this worker has run for {late_ms / 1000:.1f} s: {why}{beside}")

    def _worth_telling(self, location: tuple[str, str]) -> bool:
        """Return True at the first, second, fourth, eighth … time for the place."""
        if len(self._times) >= PLACES_MAX:
            self._times.clear()
        times = self._times[location] = self._times.get(location, 0) + 1
        return times & (times - 1) == 0

    def _found(self, held_ms: int) -> BlockedLoop:
        loop = self._attempts.inline.loop
        task = None if loop is None else asyncio.current_task(loop)
        frame = sys._current_frames().get(self._attempts.inline.thread)  # noqa: SLF001 - there is no other way to see another thread's stack
        frames = [] if frame is None else users(frame)
        context = None if task is None else _context_of(task)
        found = None if context is None else context.get(current)
        beside = "" if task is None or found is not None else getattr(task.get_coro(), "__qualname__", "")
        stack = "".join(traceback.StackSummary.from_list(frames).format())
        return BlockedLoop(
            for_ms=held_ms,
            task=beside if found is None else found.task,
            run_id="" if found is None else found.run_id,
            where=_where(frames),
            stack=stack[-STACK_MAX:],
        )


def users(frame: FrameType | None) -> list[traceback.FrameSummary]:
    """Return the frames of user code, the innermost last: without those of the loop and of the worker around it."""
    found: list[tuple[FrameType, int]] = []
    while frame is not None and len(found) < FRAMES_MAX:
        path = frame.f_code.co_filename
        if path in _OURS or (
            path.startswith(_ASYNCIO) and frame.f_code.co_name in {"_run", "_run_once", "run_forever"}
        ):
            break
        found.append((frame, frame.f_lineno))
        frame = frame.f_back
    return list(traceback.StackSummary.extract(iter(reversed(found))))


def _where(frames: list[traceback.FrameSummary]) -> str:
    """Return the innermost line that is no library's, or the innermost one."""
    own = [frame for frame in frames if not is_library(frame.filename)] or frames
    if not own:
        return ""
    path = own[-1].filename
    with contextlib.suppress(OSError, ValueError):  # the working folder was deleted, or the file lies elsewhere
        path = str(Path(path).relative_to(Path.cwd()))
    return f"{path}:{own[-1].lineno} in {own[-1].name}"


def _holder(found: BlockedLoop) -> str:
    if found.run_id:
        return f"the task {found.task!r} (run {found.run_id})"
    return f"{found.task}(), which belongs to no run," if found.task else "a callback, which belongs to no task,"


def _lasting(found: BlockedLoop, held_ms: int) -> BlockedLoop:
    return BlockedLoop(for_ms=held_ms, task=found.task, run_id=found.run_id, where=found.where, stack=found.stack)


def _context_of(task: asyncio.Task[Any]) -> contextvars.Context | None:
    """Return the variables of an asyncio task; before Python 3.12 only the garbage collector knows where they are."""
    if sys.version_info >= (3, 12):
        return task.get_context()
    return next((part for part in gc.get_referents(task) if isinstance(part, contextvars.Context)), None)
