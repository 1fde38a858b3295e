"""Workers inside the server, without processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

import msgspec

from headway.errors import HeadwayError, LeaseLost, Unavailable, WorkerNotFound
from headway.kernel.query import FIRST
from headway.kernel.run import Run
from headway.protocol.workers import (
    AnyReport,
    ClaimRuns,
    ErroredReport,
    FunctionError,
    Lease,
    RegisterWorker,
    ReleasedReport,
    ReportRuns,
    StoppedReport,
    SucceededReport,
)
from headway.runs.built_in.task import BuiltInTask, Execute, ServerExecutor
from headway.runs.service import Service
from headway.runs.sessions import Session
from headway.store.query_context import BACKGROUND_S, QUERY_CONTEXT, QueryContext

T = TypeVar("T")

CAPACITY: Final = 4
"""Number of runs of built-in tasks at once."""
HEARTBEAT_S: Final = 5.0
"""Time between heartbeats, in seconds; a third of a lease if that is shorter."""
RETRY_S: Final = 1.0
"""Pause, in seconds, before another registration, and before another request to an unavailable store."""
HELD_REPORTS: Final = 3
"""Number of heartbeats that name the held leases after an unanswered claim; the second without a lease returns it."""

log = logging.getLogger("headway.actions")


class BuiltInWorker:
    """Worker that claims and executes runs, a few at a time; it waits while the store is not available.

    The built-in tasks have one worker, and each kind of tasks that a feature executes another, so that a run which
    waits for a slow receiver holds up no bulk action.
    """

    def __init__(
        self, service: Service, asked: RegisterWorker, execute_of: Callable[[str], Execute], executor: str = ""
    ) -> None:
        """`execute_of` returns the coroutine function for a task's name; `executor` is that of `Workers.register`."""
        self._service = service
        self._asked = asked
        self._execute_of = execute_of
        self._executor = executor
        self._task: asyncio.Task[None] | None = None
        self._held: set[tuple[str, int]] = set()
        self._held_reports = 0
        """Number of further heartbeats that name the held leases, since an unanswered claim may have got others."""
        self._claims = 0
        self._claiming: set[int] = set()
        self._beat = 0

    @classmethod
    def of_tasks(cls, service: Service, tasks: Mapping[str, BuiltInTask]) -> BuiltInWorker:
        """Return the worker of the built-in tasks, which it declares."""
        declarations = [task.declaration for task in tasks.values()]
        asked = RegisterWorker(name="built-in", queues=["headway"], capacity=CAPACITY, tasks=declarations)
        return cls(service, asked, lambda name: tasks[name].execute)

    @classmethod
    def of_executor(cls, service: Service, executor: ServerExecutor) -> BuiltInWorker:
        """Return the worker of all tasks with this executor."""
        asked = RegisterWorker(name=f"built-in-{executor.name}", capacity=executor.capacity)
        return cls(service, asked, lambda _: executor.execute, executor.name)

    def start(self) -> None:
        """Start on the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="headway-built-in")

    async def stop(self) -> None:
        """Hand back the runs in progress and end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._serve()
            except* HeadwayError as group:  # its session has ended: this process stood still
                log.warning("actions.again error=%s: the built-in worker registers again", group.exceptions[0])
            await asyncio.sleep(RETRY_S)

    async def _serve(self) -> None:
        service = self._service
        worker = await _when_available(
            lambda: service.of(FIRST).workers.register(self._asked, built_in=True, executor=self._executor)
        )
        session = service.sessions.open(worker.id)
        service.sessions.local.add(worker.id)
        service.sessions.connected(session)  # it lives as long as this server does
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send_heartbeats(worker.id))
            for _ in range(self._asked.capacity):
                group.create_task(self._work(worker.id, session))

    async def _send_heartbeats(self, worker_id: str) -> None:
        while (session := self._service.sessions.get(worker_id)) is not None:
            self._service.sessions.heard(session)
            if self._held_reports:
                await self._report_held(worker_id)
            await asyncio.sleep(min(HEARTBEAT_S, self._service.settings.lease_ms / 3000))
        raise WorkerNotFound

    async def _report_held(self, worker_id: str) -> None:
        with contextlib.suppress(Unavailable):
            answer = await self._service.of(FIRST).workers.report(
                ReportRuns(
                    worker_id=worker_id, held=sorted(self._held), claiming=sorted(self._claiming), heard=self._beat
                )
            )
            self._beat = answer.beat
            self._held_reports -= 1

    async def _work(self, worker_id: str, session: Session) -> None:
        # While it drains, or after the end of its session, a claim gets nothing at once: a loop of claims would block the
        # event loop, and with it the signal that ends the session.
        while self._service.sessions.may_claim(session):
            self._claims = number = self._claims + 1
            self._claiming.add(number)
            leases: list[Lease] | None
            try:
                leases = await self._service.of(FIRST).workers.claim(
                    ClaimRuns(worker_id=worker_id, max=1, wait="60s", number=number)
                )
                self._held.update((lease.run_id, lease.epoch) for lease in leases)
            except Unavailable:
                leases = None
                self._held_reports = HELD_REPORTS
            finally:
                self._claiming.discard(number)
            if leases is None:
                await asyncio.sleep(RETRY_S)
                continue
            for lease in leases:
                try:
                    await self._execute(worker_id, lease)
                finally:
                    self._held.discard((lease.run_id, lease.epoch))

    async def _execute(self, worker_id: str, lease: Lease) -> None:
        execute = self._execute_of(lease.task)
        report: AnyReport
        try:
            output = await _when_available(lambda: self._handle(execute, lease))
            report = SucceededReport(run_id=lease.run_id, epoch=lease.epoch, output=output)
        except LeaseLost:
            report = StoppedReport(run_id=lease.run_id, epoch=lease.epoch)
        except asyncio.CancelledError:
            report = ReleasedReport(run_id=lease.run_id, epoch=lease.epoch)
            with contextlib.suppress(Unavailable):  # without time to wait: the lease expires instead
                await self._report(worker_id, report)
            raise
        except HeadwayError as error:
            failure = FunctionError(code=error.code, message=error.detail, retryable=error.status >= 500)  # noqa: PLR2004
            report = ErroredReport(run_id=lease.run_id, epoch=lease.epoch, error=failure)
        except Exception as error:
            log.exception("built-in task failed")
            failure = FunctionError(type=type(error).__name__, message=str(error))
            report = ErroredReport(run_id=lease.run_id, epoch=lease.epoch, error=failure)
        await _when_available(lambda: self._report(worker_id, report))

    async def _handle(self, execute: Execute, lease: Lease) -> msgspec.Raw:
        """Execute the run; its reads use the share of threads of its organisation."""
        run = await leased(self._service, lease)
        QUERY_CONTEXT.set(QueryContext(run.organisation, BACKGROUND_S))
        try:
            return await execute(self._service, run)
        finally:
            QUERY_CONTEXT.set(None)  # not `reset`: a dying server closes its tasks in another context

    async def _report(self, worker_id: str, report: AnyReport) -> None:
        await self._service.of(FIRST).workers.report(ReportRuns(worker_id=worker_id, reports=[report]))


async def leased(service: Service, lease: Lease) -> Run:
    """Return the run of a lease, in any organisation; raise LeaseLost if it was removed."""
    run = await service.store.read.run(lease.run_id)
    if run is None:
        raise LeaseLost
    return run


async def _when_available(work: Callable[[], Awaitable[T]]) -> T:
    """Return the result of `work` once the store is available; it may be executed more than once."""
    while True:
        try:
            return await work()
        except Unavailable:
            await asyncio.sleep(RETRY_S)
