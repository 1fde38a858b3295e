"""Executes the built-in tasks inside the server: a worker like others, without a process of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from headway.actions import bulk
from headway.errors import HeadwayError, LeaseLost, WorkerNotFound
from headway.model.run import Run
from headway.service.service import Service
from headway.service.sessions import Session
from headway.wire.runs import BulkAction
from headway.wire.workers import (
    AnyReport,
    ClaimRuns,
    Errored,
    ErrorReport,
    Lease,
    RegisterWorker,
    Released,
    ReportRuns,
    Stopped,
    Succeeded,
    TaskDeclaration,
)

Handler = Callable[[Service, Run], Awaitable[msgspec.Raw]]

BUILT_IN: Mapping[str, tuple[Handler, TaskDeclaration]] = {
    bulk.NAME: (
        bulk.execute,
        TaskDeclaration(
            name=bulk.NAME,
            description="One verb on every run that a filter names.",
            queue="headway",
            input_schema=msgspec.Raw(msgspec.json.encode(msgspec.json.schema(BulkAction))),
        ),
    ),
}

CAPACITY = 4
HEARTBEAT_S = 5.0
AGAIN_S = 1.0
"""Before it registers again."""

log = logging.getLogger("headway.actions")


class BuiltInWorker:
    """Claims and executes the built-in tasks, a few at a time."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="headway-actions")

    async def stop(self) -> None:
        """Hand back what is under way and end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._serve()
            except* HeadwayError:  # its session has ended (this process stood still), or the store refused
                log.exception("the built-in worker registers again")
            await asyncio.sleep(AGAIN_S)

    async def _serve(self) -> None:
        service = self._service
        declarations = [declaration for _, declaration in BUILT_IN.values()]
        worker = await service.workers.register(
            RegisterWorker(name="built-in", queues=["headway"], capacity=CAPACITY, tasks=declarations), built_in=True
        )
        session = service.sessions.open(worker.id)
        service.sessions.local.add(worker.id)
        service.sessions.connected(session)  # it lives as long as this server does
        async with asyncio.TaskGroup() as group:
            group.create_task(self._stay_alive(worker.id))
            for _ in range(CAPACITY):
                group.create_task(self._work(worker.id, session))

    async def _stay_alive(self, worker_id: str) -> None:
        while (session := self._service.sessions.get(worker_id)) is not None:
            self._service.sessions.heard(session)
            await asyncio.sleep(min(HEARTBEAT_S, self._service.settings.lease_ms / 3000))
        raise WorkerNotFound

    async def _work(self, worker_id: str, session: Session) -> None:
        # Told to drain, or given up, it gets nothing and is not kept waiting: asking on and on would hold up the loop,
        # and so the server, also the answer by which it would learn that its session has ended.
        while not (session.draining or session.over or self._service.workers.draining):
            for lease in await self._service.workers.claim(ClaimRuns(worker_id=worker_id, max=1, wait="60s")):
                await self._execute(worker_id, lease)

    async def _execute(self, worker_id: str, lease: Lease) -> None:
        handler, _ = BUILT_IN[lease.task]
        report: AnyReport
        try:
            run = await self._service.runs.get(lease.run_id)
            output = await handler(self._service, run)
            report = Succeeded(run_id=lease.run_id, epoch=lease.epoch, output=output)
        except LeaseLost:
            report = Stopped(run_id=lease.run_id, epoch=lease.epoch)
        except asyncio.CancelledError:
            report = Released(run_id=lease.run_id, epoch=lease.epoch)
            await self._report(worker_id, report)
            raise
        except HeadwayError as error:
            failure = ErrorReport(code=error.code, message=error.detail, retryable=error.status >= 500)  # noqa: PLR2004
            report = Errored(run_id=lease.run_id, epoch=lease.epoch, error=failure)
        except Exception as error:
            log.exception("built-in task failed")
            failure = ErrorReport(type=type(error).__name__, message=str(error))
            report = Errored(run_id=lease.run_id, epoch=lease.epoch, error=failure)
        await self._report(worker_id, report)

    async def _report(self, worker_id: str, report: AnyReport) -> None:
        await self._service.workers.report(ReportRuns(worker_id=worker_id, reports=[report]))
