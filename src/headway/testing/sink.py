"""Report sink of the test kit: reports go straight to the service, in order and in batches."""

from __future__ import annotations

import asyncio
from collections import deque

from headway.errors import BY_CODE, HeadwayError
from headway.kernel.query import FIRST
from headway.protocol.workers import AnyReport, ProgressReport, Rejection, Reply, ReportRuns
from headway.runs.service import Service
from headway.worker.context.report_buffer import ReplyCallback, RequestReport


class DirectSink:
    """Sink whose reports may be put from any thread and are sent from the loop."""

    def __init__(self, service: Service, worker_id: str) -> None:
        self._service = service
        self._worker_id = worker_id
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[AnyReport, ReplyCallback | None]] = deque()
        self._sending = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, report: AnyReport) -> None:
        """Add a report to the next batch."""
        self._waiting.append((report, None))

    def progress(self, report: ProgressReport) -> None:
        """Add a progress report to the next batch; a test keeps every one."""
        self._waiting.append((report, None))

    def ask(self, report: RequestReport, answer: ReplyCallback) -> None:
        """Send a request at once, with all reports put before."""
        self._waiting.append((report, answer))
        self._loop.call_soon_threadsafe(self._send_soon)

    def _send_soon(self) -> None:
        task = self._loop.create_task(self.send())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def send(self) -> None:
        """Send all reports of the batch."""
        async with self._sending:
            batch = list(self._waiting)
            self._waiting.clear()
            if not batch:
                return
            asked = ReportRuns(worker_id=self._worker_id, reports=[report for report, _ in batch])
            reported = await self._service.of(FIRST).workers.report(asked)
        rejected = {refusal.index: refusal for refusal in reported.rejected}
        replies = {reply.index: reply for reply in reported.replies}
        for index, (_, answer) in enumerate(batch):
            if answer is not None:
                _tell(answer, rejected.get(index), replies.get(index))


def _tell(answer: ReplyCallback, refusal: Rejection | None, reply: Reply | None) -> None:
    if refusal is None:
        answer(reply, None)
    else:
        answer(None, BY_CODE.get(refusal.code, HeadwayError)(refusal.detail))
