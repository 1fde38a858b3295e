"""Running attempts: every lease that the worker holds, its executor, and the ways to end it.

`running` has what has not ended; `held` also what has ended and is not yet acknowledged. Both are plain dicts that
several threads touch with single operations only, which the interpreter makes atomic.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from headway.clock import Clock
from headway.protocol.workers import EXECUTORS, AnyReport, Lease, ReleasedReport, StopSignal
from headway.protocol.workers import Executor as ExecutorName
from headway.worker.attempts.attempt import Attempt
from headway.worker.attempts.executor import Executor
from headway.worker.attempts.global_state import GlobalState
from headway.worker.context.interrupts import Cause
from headway.worker.context.outcome import of_cause, task_missing
from headway.worker.context.report_buffer import Key, ReportBuffer
from headway.worker.declaration.app import TaskFunction
from headway.worker.executors.inline import InlineExecutor

LOST_GRACE_MS: Final = 5_000
"""Longest time for which a child process may go on after its lease is lost, in milliseconds."""
UNWIND_MS: Final = 2_000
"""Shortest grace of a cancelled function where only the end of the worker could end it, in milliseconds."""


class RunningAttempts:
    """The attempts of one worker."""

    def __init__(
        self,
        tasks: Mapping[str, TaskFunction],
        report_buffer: ReportBuffer,
        clock: Clock,
        inline: InlineExecutor,
        executors: Mapping[ExecutorName, Executor],
        *,
        capacity: int,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Start empty; a task whose executor is not among these is left to other workers."""
        self._tasks = dict(tasks)
        self._buffer = report_buffer
        self._clock = clock
        self.inline = inline
        self._executors = dict(executors)
        self.capacity = capacity
        self._used = {task.executor for task in tasks.values()}
        self._in: dict[ExecutorName, dict[Key, Attempt]] = {executor: {} for executor in EXECUTORS}
        """Attempts with a thread or process, or waiting for one; the loop's are not counted by executor."""
        self.most = min(capacity, max((self._capacity_of(name) or capacity for name in self._used), default=capacity))
        """Most runs at once, by the executors of the tasks."""
        self.running: dict[Key, Attempt] = {}
        self.state = GlobalState(say, self._in_this_process)
        self._looks_soon = False
        self.held: dict[Key, Attempt] = {}
        self._withheld: deque[AnyReport] = deque()
        """Outcomes of runs whose lease has lapsed."""
        self.watched: dict[Key, Attempt] = {}
        """Attempts with a deadline, which the watchdog looks at."""
        self.closing = False
        self.claiming = False
        """True while a claim may still bring leases, which would be lost if the worker ended now."""
        self._room = threading.Event()
        self._room_wanted = capacity + 1
        self.changed = threading.Event()

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the loop on which inline tasks run, which is this thread's."""
        self.inline.bind(loop, self._time)

    @property
    def free(self) -> int:
        """Number of further runs, in the executor with the most room."""
        free = self.capacity - len(self.running)
        return min(free, max((self._room_in(executor) for executor in self._used), default=free))

    def rooms(self, most: int) -> dict[ExecutorName, int]:
        """Return the executors that have room for fewer than `most`, and for how many: what is claimed is begun at once."""
        rooms = {executor: self._room_in(executor) for executor in EXECUTORS}
        return {executor: max(0, room) for executor, room in rooms.items() if room < most}

    def _room_in(self, executor: ExecutorName) -> int:
        return self._capacity_of(executor) - len(self._in[executor])

    def _capacity_of(self, name: ExecutorName) -> int:
        executor = self._executors.get(name)
        if executor is not None:
            return executor.capacity
        return 0 if name == "ray" and name in self._used else self.capacity

    def wait_for_room(self, wanted: int, timeout_s: float) -> None:
        """Return when that many more may run, or after the timeout."""
        self._room_wanted = wanted
        self._room.clear()
        if self.free < wanted and not self.closing:
            self._room.wait(timeout_s)
        self._room_wanted = self.capacity + 1

    def wake(self) -> None:
        """Make `wait_for_room` return."""
        self._room.set()

    def accept(self, leases: Iterable[Lease]) -> None:
        """Begin to execute them; called by the claimer."""
        for lease in leases:
            task = self._tasks.get(lease.task)
            if task is None:
                self._refuse(lease)
                continue
            attempt = Attempt(task, lease, self._buffer, self._clock, self.ended)
            self.held[attempt.key] = self.running[attempt.key] = attempt
            if lease.crashes and not attempt.killable:
                # A run that took a worker down before is not let near the others again.
                attempt.executor = "process"
            if attempt.executor == "inline":
                self.inline.put(attempt)
                continue
            self._in[attempt.executor][attempt.key] = attempt
            self._executors[attempt.executor].start(attempt, self._time)
        self.inline.start()

    def take_back(self) -> int:
        """Hand back what the loop has not taken up, because user code blocks it; return how many."""
        count = 0
        while (attempt := self.inline.withdraw()) is not None:
            self.hand_back(attempt)
            count += 1
        return count

    def refuse_all(self, leases: Iterable[Lease]) -> None:
        """Hand back leases that came too late to be begun."""
        for lease in leases:
            attempt = Attempt(next(iter(self._tasks.values())), lease, self._buffer, self._clock, self.ended)
            self.held[attempt.key] = self.running[attempt.key] = attempt
            self.hand_back(attempt)

    def ended(self, attempt: Attempt, outcome: AnyReport | None) -> None:
        """Take the outcome; the first one counts, since a function that was given up may still come to an end."""
        if self.running.pop(attempt.key, None) is None:
            return
        attempt.over = True
        self._in[attempt.executor].pop(attempt.key, None)
        if not attempt.killable:
            self._look_after(attempt)
        if outcome is not None and attempt.cause is Cause.LAPSED:
            self._withheld.append(outcome)
        elif outcome is not None:
            self._buffer.finish(outcome)
        if attempt.watched:
            self.watched.pop(attempt.key, None)
        if self._room_wanted <= self.capacity and self.free >= self._room_wanted:
            self._room.set()
        if self.closing:
            self.changed.set()

    def _look_after(self, attempt: Attempt) -> None:
        """Compare the process-wide state after a run: on the loop once for all runs that end in one turn."""
        self.state.ended(attempt.task.name)
        if attempt.executor == "thread":
            self.state.look_quickly()
        elif not self._looks_soon and self.inline.here:
            assert self.inline.loop is not None, "this is its thread"
            self._looks_soon = True
            self.inline.loop.call_soon(self._look)

    def _look(self) -> None:
        self._looks_soon = False
        self.state.look_quickly()

    def _in_this_process(self) -> dict[Key, str]:
        return {attempt.key: attempt.task.name for attempt in list(self.running.values()) if not attempt.killable}

    def heard(self) -> None:
        """Hand back the runs whose lease has lapsed, once a server answers again.

        Not before: a claim of this worker may still wait at the server, and take it again, for an answer that is lost.
        """
        while self._withheld:
            self._buffer.finish(self._withheld.popleft())

    def acknowledged(self, key: Key) -> None:
        """Note that the server has taken the outcome, durably."""
        self.held.pop(key, None)

    def stop(self, signal: StopSignal) -> None:
        """Ask a run to stop, on request of the server."""
        attempt = self.running.get((signal.run_id, signal.epoch))
        if attempt is not None:
            self.cancel(attempt, Cause.STOP, signal.grace_ms)

    def lose(self, key: Key) -> None:
        """End a function whose lease is gone, and say nothing more about the run."""
        attempt = self.held.pop(key, None)
        if attempt is not None and key in self.running:
            self.cancel(attempt, Cause.LOST, min(attempt.task.grace_ms, LOST_GRACE_MS))

    def lapse_all(self) -> int:
        """Cancel all functions whose lease has lapsed; return how many. Their runs are handed back later.

        Those that have ended already are still reported: the server knows whose the lease is.
        """
        running = [attempt for attempt in list(self.running.values()) if attempt.cause is None]
        for attempt in running:
            self.cancel(attempt, Cause.LAPSED, min(attempt.task.grace_ms, LOST_GRACE_MS))
        return len(running)

    def lose_all(self) -> None:
        """Cancel all functions without reporting their runs."""
        for key in list(self.held):
            self.lose(key)

    def cancel(self, attempt: Attempt, cause: Cause, grace_ms: int) -> None:
        """Ask a function to end, and have it watched until it does."""
        self.watch(attempt)
        attempt.cancel(cause, grace_ms if attempt.killable else max(grace_ms, UNWIND_MS))
        if attempt.future is not None and attempt.future.cancel():  # it has not begun
            self.ended(attempt, of_cause(attempt.cause or cause, attempt.lease))

    def watch(self, attempt: Attempt) -> None:
        """Have the watchdog look at an attempt until its end."""
        attempt.watched = True
        self.watched[attempt.key] = attempt
        if attempt.key not in self.running:
            self.watched.pop(attempt.key, None)
        self.changed.set()

    def hand_back(self, attempt: Attempt) -> None:
        """Give the lease back without counting the attempt, whatever the function still does."""
        attempt.cause = attempt.cause or Cause.DRAIN
        if attempt.kill is not None:
            attempt.kill()
        outcome = ReleasedReport(run_id=attempt.lease.run_id, epoch=attempt.lease.epoch)
        self.ended(attempt, outcome if attempt.key in self.held else None)

    def give_up(self, attempt: Attempt, outcome: AnyReport | None) -> None:
        """Report for a function that does not end."""
        self.ended(attempt, outcome)

    def _time(self, attempt: Attempt) -> None:
        if attempt.task.timed:
            attempt.start_clock()
            self.watch(attempt)

    def _refuse(self, lease: Lease) -> None:
        attempt = Attempt(next(iter(self._tasks.values())), lease, self._buffer, self._clock, self.ended)
        self.held[attempt.key] = self.running[attempt.key] = attempt
        self.ended(attempt, task_missing(lease, "This worker"))
