"""Core of both contexts: plans that yield reports and pauses, and the two ways to carry a plan out.

A plan decides what a call on the context means. `AsyncPlanRunner` awaits what the plan yields, `PlanRunner` blocks its
thread for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterable, Generator, Iterable
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any, Final, Literal, TypeVar

import msgspec
from msgspec import Raw

from headway.client.encoding import Task
from headway.clock import Clock
from headway.errors import LeaseLost, RunStopping
from headway.kernel.inheritance import ORIGIN, STEP_FAILURE
from headway.kernel.retry import delay_ms
from headway.kernel.task import RetryPolicy
from headway.protocol.times import to_text as time_text
from headway.protocol.workers import (  # fmt: skip
    BlockerSpec,
    ChildReport,
    Lease,
    LogReport,
    ProgressReport,
    Reply,
    ResultReport,
    StepFailure,
    StepFailureReport,
    StepReport,
    TokenReport,
)
from headway.worker.context.child_runs import StartOptions, output_of, to_start
from headway.worker.context.interrupts import (
    Cancelled,
    Cause,
    RetryLater,
    SignalTimeout,
    SleepRun,
    StepFailed,
    SuspendRun,
)
from headway.worker.context.journal import Journal, current_step, valid
from headway.worker.context.outcome import may_retry, report_of
from headway.worker.context.payload import clean, to_json
from headway.worker.context.report_buffer import RequestReport, Sink
from headway.worker.context.track import Message, Track
from headway.worker.declaration.options import Duration, Retry, to_ms

T = TypeVar("T")
Level = Literal["debug", "info", "warning", "error"]
Plan = Generator[RequestReport | float, Reply | None, T]
"""Yields reports that must be durable, or seconds to pass, before it goes on."""

SHORT_SLEEP_MS: Final = 2_000
"""Shorter sleeps are slept where the function stands; longer ones let go of the worker."""
LOOK_AGAIN_MS: Final = 1_000
"""Interval at which a wait on the worker checks whether the run may leave the worker."""
FIELDS_MAX: Final = 32_768

current: ContextVar[ContextCore | None] = ContextVar("headway_context", default=None)


class AttemptState:
    """State of the attempt that a context belongs to."""

    __slots__ = ("cause", "clock", "lease", "over", "pending", "sink")

    lease: Lease
    sink: Sink
    clock: Clock
    cause: Cause | None
    """Set once the function is to end."""
    over: bool
    """True once the outcome is known: later reports of stray threads are dropped."""
    pending: set[Future[Any]] | None
    """Futures that blocked threads wait for; a cancellation resolves them."""

    def alive(self) -> None:
        """Note a sign of life."""
        raise NotImplementedError


class ContextCore:
    """Properties, progress, logs and plans of both contexts."""

    __slots__ = ("_attempt", "_book")

    def __init__(self, attempt: AttemptState) -> None:
        self._attempt = attempt
        self._book: Journal | None = None  # most runs never look

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._attempt.lease.run_id

    @property
    def task(self) -> str:
        """The task's name."""
        return self._attempt.lease.task

    @property
    def name(self) -> str:
        """The run's name for people; the task's name if the run has none."""
        return self._attempt.lease.name or self._attempt.lease.task

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1."""
        return self._attempt.lease.attempt

    @property
    def max_attempts(self) -> int:
        """Most attempts of the run."""
        return self._attempt.lease.max_attempts

    @property
    def labels(self) -> dict[str, str]:
        """The run's labels."""
        return msgspec.json.decode(self._attempt.lease.labels, type=dict[str, str])

    @property
    def key(self) -> str | None:
        """Key of the run for limits per key."""
        return self._attempt.lease.key

    @property
    def parent_id(self) -> str | None:
        """The run that started this one."""
        return self._attempt.lease.parent_id

    @property
    def fencing_token(self) -> int:
        """Rises with every attempt: give it to systems that refuse writes with a lower one than they have seen."""
        return self._attempt.lease.epoch

    @property
    def idempotency_key(self) -> str:
        """The same in every attempt, another in every step: give it to systems that must not do a thing twice.

        A retry that goes on from an earlier run has that run's keys: what failed there may have been done.
        """
        scope, journal = current_step.get(), self._journal
        run_id = str(journal.value(ORIGIN)) if journal.has(ORIGIN) else self.run_id
        return run_id if scope is None else f"{run_id}/{scope.step}"

    def idempotency_key_for(self, name: str) -> str:
        """Return the key for one of several outside calls in the same place."""
        return f"{self.idempotency_key}/{name}"

    @property
    def cancelled(self) -> bool:
        """Whether the run is asked to stop, or its lease is lost; the next call on the context raises Cancelled."""
        return self._attempt.cause is not None

    def progress(self, done: int, total: int | None = None, message: str = "") -> None:
        """Say how far the run is; cheap enough for every turn of a loop, since only the latest is sent."""
        self._check()
        if done < 0 or (total is not None and total < 0):
            raise ValueError("progress must not be negative")
        lease = self._attempt.lease
        report = ProgressReport(
            run_id=lease.run_id, epoch=lease.epoch, done=int(done), total=None if total is None else int(total),
            message=clean(message, 1000) if message else "",
        )  # fmt: skip
        if not self._attempt.over:
            self._attempt.sink.progress(report)

    def track(
        self, items: Iterable[T] | AsyncIterable[T], total: int | None = None, message: Message[T] = None
    ) -> Track[T]:
        """Loop over `items` and report progress: `for x in ctx.track(items)`, or `async for`."""
        return Track(items, self.progress, total, message)

    def log(self, message: str, level: Level = "info", **fields: Any) -> None:
        """Add a line to the run's log."""
        self._check()
        if level not in {"debug", "info", "warning", "error"}:
            raise ValueError(f"{level!r} is not a level: debug, info, warning, error")
        self.add_log(str(message), level, fields)

    def publish(self, value: Any, name: str = "") -> None:
        """Add a result that others can read while the run goes on. Another attempt publishes again."""
        self._check()
        lease, text = self._attempt.lease, to_json(value)
        if not self._attempt.over:
            self._attempt.sink.put(
                ResultReport(run_id=lease.run_id, epoch=lease.epoch, value=Raw(text), name=clean(name, 1000))
            )

    def add_log(self, message: str, level: Level, fields: dict[str, Any]) -> None:
        """Add a line without looking at cancellation first."""
        lease = self._attempt.lease
        report = LogReport(
            run_id=lease.run_id, epoch=lease.epoch, message=clean(message, 32_000), level=level,
            fields=_plain(fields) if fields else {},
        )  # fmt: skip
        if not self._attempt.over:
            self._attempt.sink.put(report)

    def _check(self) -> None:
        attempt = self._attempt
        if attempt.cause is not None:
            raise Cancelled(attempt.cause)
        attempt.alive()

    @property
    def _journal(self) -> Journal:
        if self._book is None:
            self._book = Journal(self._attempt.lease.steps)
        return self._book

    def _report_step(self, name: str, text: bytes) -> StepReport:
        return StepReport(run_id=self.run_id, epoch=self.fencing_token, name=name, value=Raw(text))

    def _turn(self, step: str, cause: Exception | None) -> Plan[None]:
        """Wait until a step that has failed may be tried again; raise StepFailed if it may not.

        A longer wait lets go of the worker, unless the function of another step is under way, which would be lost.
        """
        number, failure = self._journal.failures(step)
        if failure is None:
            return
        if failure.retry_at is None:
            error = {"code": failure.code, "type": failure.type, "message": failure.message}
            raise StepFailed(step, number, error) from cause
        attempt = self._attempt
        left_ms = failure.retry_at - attempt.clock.now_ms()
        while left_ms > 0:
            if left_ms >= SHORT_SLEEP_MS and not self._journal.busy():
                raise SleepRun(failure.retry_at, left_ms)
            yield min(left_ms, LOOK_AGAIN_MS) / 1000
            left_ms -= LOOK_AGAIN_MS
            self._check()
        if attempt.over:  # of a task that the function has left behind: the step is for the next attempt
            raise Cancelled(Cause.LOST)

    def _failed(self, step: str, policy: RetryPolicy, error: Exception) -> Plan[None]:
        """Record that a try of the step has failed, and when the next one is."""
        number = self._journal.failures(step)[0] + 1
        final = number >= policy.max_attempts or not may_retry(error, policy.do_not_retry)
        pause_ms = to_ms(error.delay) if isinstance(error, RetryLater) else delay_ms(policy, number, random.random())  # noqa: S311
        retry_at = None if final else self._attempt.clock.now_ms() + pause_ms
        report = report_of(error, retryable=not final)
        yield StepFailureReport(
            run_id=self.run_id, epoch=self.fencing_token, name=step, number=number, error=report,
            retry_at=None if retry_at is None else time_text(retry_at),
        )  # fmt: skip
        failure = StepFailure(retry_at=retry_at, code=report.code, type=report.type, message=report.message)
        self._journal.record(f"{STEP_FAILURE}{step}:{number}", msgspec.json.encode(failure))

    def _sleep(self, duration: Duration) -> Plan[None]:
        self._check()
        pause_ms, name = to_ms(duration), f"sleep:{self._journal.count('sleep:')}"
        now_ms = self._attempt.clock.now_ms()
        recorded = self._journal.has(name)
        wake_ms = int(self._journal.value(name)) if recorded else now_ms + pause_ms
        if wake_ms - now_ms < SHORT_SLEEP_MS:
            yield max(0, wake_ms - now_ms) / 1000
            return
        if not recorded:
            # Not waited for: it is in the same request as the outcome that follows, in front of it.
            self._attempt.sink.put(self._report_step(name, str(wake_ms).encode()))
        raise SleepRun(wake_ms, wake_ms - now_ms)

    def _wait_for_signal(self, name: str, timeout: Duration | None) -> Plan[Any]:
        self._check()
        journal = self._journal
        number = journal.count(f"signal:{valid(name)}")
        step, expired = f"signal:{name}#{number}", f"signal-expired:{name}#{number}"
        if journal.has(expired):
            raise SignalTimeout(f"no signal {name!r} came in time")
        if journal.has(step):
            return journal.value(step)
        left_ms = None if timeout is None else self._left_ms(f"signal-timeout:{name}#{number}", timeout)
        if left_ms is not None and left_ms <= 0:
            # Recorded, so that a signal that comes later does not change what this function has seen.
            yield self._report_step(expired, b"true")
            journal.record(expired, b"true")
            raise SignalTimeout(f"no signal {name!r} came in time")
        raise SuspendRun([BlockerSpec(kind="signal", name=name, number=number)], left_ms)

    def _suspend(self, blockers: tuple[str | BlockerSpec, ...], timeout: Duration | None) -> dict[str, Any]:
        self._check()
        if not blockers and timeout is None:
            raise ValueError("name a signal to wait for, or a timeout")
        journal = self._journal
        name = f"suspend:{journal.count('suspend:')}"
        specs = [self._blocker(blocker) for blocker in blockers]
        if not journal.has(name):
            self._attempt.sink.put(self._report_step(name, b"true"))
            raise SuspendRun(specs, None if timeout is None else to_ms(timeout))
        steps = {spec.name or spec.run_id: _step_of(spec) for spec in specs}
        return {key: journal.value(step) for key, step in steps.items() if journal.has(step)}

    def _blocker(self, blocker: str | BlockerSpec) -> BlockerSpec:
        spec = BlockerSpec(kind="signal", name=valid(blocker)) if isinstance(blocker, str) else blocker
        if spec.kind == "signal":
            spec = msgspec.structs.replace(spec, number=self._journal.count(f"signal:{spec.name}"))
        return spec

    def _left_ms(self, name: str, timeout: Duration) -> int:
        """Return how long is left of a timeout that began in the attempt that first came here."""
        now_ms = self._attempt.clock.now_ms()
        if self._journal.has(name):
            return int(self._journal.value(name)) - now_ms
        left_ms = to_ms(timeout)
        self._attempt.sink.put(self._report_step(name, str(now_ms + left_ms).encode()))
        return left_ms

    def _token(self, name: str) -> Plan[str]:
        self._check()
        reply = yield TokenReport(run_id=self.run_id, epoch=self.fencing_token, name=valid(name))
        assert reply is not None, "a token report is answered"
        return reply.token

    def _start(self, task: Task, step: str | None, options: StartOptions | None, given: dict[str, Any]) -> Plan[str]:
        self._check()
        start = to_start(task, options or StartOptions(), given, self.run_id)
        base = f"child:{valid(step or start.task)}"
        name = f"{base}#{self._journal.count(base)}"
        if self._journal.has(name):
            return str(self._journal.value(name))
        reply = yield ChildReport(run_id=self.run_id, epoch=self.fencing_token, name=name, run=start)
        assert reply is not None, "a child report is answered"
        return reply.run_id

    def _results(self, run_ids: list[str]) -> list[Any]:
        self._check()
        journal = self._journal
        missing = [run_id for run_id in run_ids if not journal.has(f"child-result:{run_id}")]
        if missing:
            raise SuspendRun([BlockerSpec(kind="run", run_id=run_id) for run_id in missing])
        return [output_of(run_id, journal.value(f"child-result:{run_id}")) for run_id in run_ids]


class AsyncPlanRunner(ContextCore):
    """Carries out plans in a coroutine."""

    __slots__ = ()

    async def _drive(self, plan: Plan[T]) -> T:
        try:
            need = next(plan)
            while True:
                if isinstance(need, float | int):
                    await asyncio.sleep(need)
                    need = plan.send(None)
                else:
                    need = plan.send(await self._ask(need))
        except StopIteration as end:
            value: T = end.value
            return value

    async def _ask(self, report: RequestReport) -> Reply | None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Reply | None] = loop.create_future()

        def answer(reply: Reply | None, error: BaseException | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and no caller waits any more
                loop.call_soon_threadsafe(_settle, future, reply, error)

        self._attempt.sink.ask(report, answer)
        return await future


class PlanRunner(ContextCore):
    """Carries out plans in a thread, which waits."""

    __slots__ = ()

    def _drive(self, plan: Plan[T]) -> T:
        try:
            need = next(plan)
            while True:
                if isinstance(need, float | int):
                    self._pause(need)
                    need = plan.send(None)
                else:
                    need = plan.send(self._ask(need))
        except StopIteration as end:
            value: T = end.value
            return value

    def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            self._wait(Future(), seconds)

    def _ask(self, report: RequestReport) -> Reply | None:
        future: Future[Reply | None] = Future()
        self._attempt.sink.ask(report, lambda reply, error: _settle(future, reply, error))
        return self._wait(future, None)

    def _wait(self, future: Future[Reply | None], timeout_s: float | None) -> Reply | None:
        attempt = self._attempt
        if attempt.pending is None:
            attempt.pending = set()
        attempt.pending.add(future)
        try:
            self._check()  # after it is in the set: a cancellation before was not told, one after is
            return future.result(timeout_s)
        finally:
            attempt.pending.discard(future)


def _settle(
    future: asyncio.Future[Reply | None] | Future[Reply | None], reply: Reply | None, error: BaseException | None
) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(reply)
    elif isinstance(error, LeaseLost):
        future.set_exception(Cancelled(Cause.LOST))
    elif isinstance(error, RunStopping):
        future.set_exception(Cancelled(Cause.STOP))
    else:
        future.set_exception(error)


def step_policy(retry: Retry | None) -> RetryPolicy | None:
    """Return the policy of a step's retries; raise TypeError or ValueError for other values."""
    if retry is None:
        return None
    if not isinstance(retry, Retry):
        raise TypeError(
            f"retry= of a step takes a headway.Retry, not {type(retry).__name__}; a function that takes an argument of that "
            "name is given it by functools.partial"
        )
    return retry.policy()


def _step_of(spec: BlockerSpec) -> str:
    return f"signal:{spec.name}#{spec.number}" if spec.kind == "signal" else f"child-result:{spec.run_id}"


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a copy that JSON can carry: other values are shown by repr."""
    try:
        text = to_json(fields)
    except ValueError:
        text = to_json({clean(str(key), 200): clean(repr(value), 1000) for key, value in fields.items()})
    if len(text) > FIELDS_MAX:
        return {"left_out": f"{len(text)} bytes of fields; {FIELDS_MAX} are allowed"}
    return dict(msgspec.json.decode(text))
