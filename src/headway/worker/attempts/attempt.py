"""One attempt: a lease carried to its outcome, whatever the function does.

An attempt is executed by `run_async` on an event loop or by `run_blocking` in a thread; `cancel` may be called from any
thread. Its outcome is handed to `ended` exactly once. It knows nothing of the worker around it, so the test kit and a
child process execute attempts in the same way.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any

from headway.clock import Clock
from headway.protocol.workers import AnyReport, Executor, Lease
from headway.worker.context.context import Context
from headway.worker.context.interrupts import Cancelled, Cause
from headway.worker.context.outcome import of_error, of_value
from headway.worker.context.plans import AttemptState, current
from headway.worker.context.report_buffer import Key, Sink
from headway.worker.context.sync_context import SyncContext
from headway.worker.declaration.app import App, TaskFunction

Ended = Callable[["Attempt", AnyReport | None], None]


class Attempt(AttemptState):
    """One try of a run on this worker."""

    __slots__ = (
        "active_ms", "deadline_ms", "ended", "escalate_ms", "executor", "future", "handle", "interrupt", "key", "kill",
        "loop", "task", "watched",
    )  # fmt: skip

    def __init__(self, task: TaskFunction, lease: Lease, sink: Sink, clock: Clock, ended: Ended) -> None:
        self.task = task
        self.lease = lease
        self.sink = sink
        self.clock = clock
        self.cause = None
        self.over = False
        self.key: Key = (lease.run_id, lease.epoch)
        self.ended = ended
        self.loop: asyncio.AbstractEventLoop | None = None
        self.handle: asyncio.Task[Any] | None = None
        self.pending = None
        self.future: Future[None] | None = None
        """Place in the line of the attempts that wait for a thread."""
        self.interrupt: Callable[[Cause], None] | None = None
        """Callback that cancels a function that runs elsewhere."""
        self.kill: Callable[[], None] | None = None
        """Callback that kills the attempt's own process; None without one."""
        self.deadline_ms: int | None = None
        self.active_ms: int | None = None
        """Monotonic time of the last sign of life; only kept if the task has a heartbeat timeout."""
        self.executor: Executor = task.executor
        """Executor of the attempt: a child process instead of the task's own, if the run took a worker down before."""
        self.escalate_ms: int | None = None
        """Monotonic time at which the grace of a cancelled function ends."""
        self.watched = False

    @property
    def on_loop(self) -> bool:
        """True if the attempt is executed on the worker's loop."""
        return self.executor == "inline"

    @property
    def killable(self) -> bool:
        """True if the attempt has a process whose end does not end the worker."""
        return self.executor in {"process", "ray"}

    def start_clock(self) -> None:
        """Compute the deadline, if the task has timeouts."""
        task = self.task
        if task.timed:
            self.deadline_ms = None if task.timeout_ms is None else self.clock.monotonic_ms() + task.timeout_ms
            if self.executor != "ray":  # there it may wait for a place, and says nothing meanwhile
                self.begun()

    def begun(self) -> None:
        """Expect signs of life from now on: the function begins."""
        if self.task.heartbeat_timeout_ms is not None:
            self.active_ms = self.clock.monotonic_ms()

    def alive(self) -> None:
        """Note a sign of life."""
        if self.active_ms is not None:
            self.active_ms = self.clock.monotonic_ms()

    async def run_async(self) -> None:
        """Execute an async function, or a plain one with `executor="inline"`, on this loop."""
        # Not before: a task that is cancelled ahead of its first step would end without an outcome.
        self.handle = asyncio.current_task()
        try:
            outcome = await self._called()
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is an outcome, and must not end the worker
            outcome = of_error(error, self.task.do_not_retry, self.lease, self.cause)
        self.handle = None
        self.ended(self, outcome)

    async def _called(self) -> AnyReport | None:
        task, lease = self.task, self.lease
        if self.cause is not None:
            raise Cancelled(self.cause)
        if task.is_async:
            context: Context | SyncContext = Context(self)
            current.set(context)
            value = task.call(context, lease.input)
            if inspect.isawaitable(value):  # a decorator may have an answer without calling what it wraps
                value = await value
        else:
            context = SyncContext(self)
            current.set(context)
            value = task.call(context, lease.input)
        return of_value(value, lease, self.cause, task.signature.dump)

    def run_blocking(self) -> None:
        """Execute the function in this thread, in a context of its own; an async function gets a loop of its own."""
        copy_context().run(self._run_blocking)  # what it sets (decimal precision, context variables) ends with it

    def _run_blocking(self) -> None:
        if self.task.is_async:
            asyncio.run(self._alone())
            return
        context = SyncContext(self)
        current.set(context)
        try:
            if self.cause is not None:
                raise Cancelled(self.cause)  # noqa: TRY301 - before it has begun
            value = self.task.call(context, self.lease.input)
            outcome = of_value(value, self.lease, self.cause, self.task.signature.dump)
        except BaseException as error:  # noqa: BLE001 - as above
            outcome = of_error(error, self.task.do_not_retry, self.lease, self.cause)
        self.ended(self, outcome)

    async def _alone(self) -> None:
        self.loop = asyncio.get_running_loop()
        await asyncio.wait((asyncio.ensure_future(self.run_async()),))

    def cancel(self, cause: Cause, grace_ms: int | None = None) -> None:
        """Ask the function to end; the first cause counts, except that a lost lease overrides all."""
        if cause is Cause.LOST or self.cause is None:
            self.cause = cause
        else:
            return
        if grace_ms is not None:
            self.escalate_ms = self.clock.monotonic_ms() + grace_ms
        if self.interrupt is not None:
            self.interrupt(cause)
        if self.pending:
            for future in list(self.pending):
                with contextlib.suppress(Exception):  # it was answered in this moment
                    future.set_exception(Cancelled(self.cause))
        if self.loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and the function with it
                self.loop.call_soon_threadsafe(self._cancel_handle)

    def _cancel_handle(self) -> None:
        if self.handle is not None:
            self.handle.cancel()


async def execute(app: App, lease: Lease, sink: Sink, clock: Clock) -> AnyReport | None:
    """Execute one lease on this loop, whatever its executor, and return its outcome (not put into the sink).

    The test kit calls this. None means that the lease was lost, so that there is nothing to report.
    """
    outcomes: list[AnyReport | None] = []

    def ended(_: Attempt, outcome: AnyReport | None) -> None:
        outcomes.append(outcome)

    attempt = Attempt(app.find(lease.task), lease, sink, clock, ended)
    attempt.start_clock()
    if attempt.task.is_async:
        attempt.loop = asyncio.get_running_loop()
        await asyncio.create_task(attempt.run_async())
    else:
        await asyncio.to_thread(attempt.run_blocking)
    return outcomes[0]
