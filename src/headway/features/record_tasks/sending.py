"""Mails and calls for a record, tried a few times, under an id that stays the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from headway.errors import HeadwayError, LeaseLost, TargetUnreachable
from headway.features.record_tasks.actions import Secrets
from headway.features.record_tasks.job import Job
from headway.features.record_tasks.mail_server import MailServers
from headway.features.record_tasks.model import Action, Email, Webhook
from headway.features.record_tasks.rules import EMAIL_PARTS, body_of, message_id
from headway.features.record_tasks.run import RecordRun
from headway.features.record_tasks.service import RecordTasks
from headway.kernel.run import State
from headway.outbound.failure import SendFailed
from headway.outbound.letter import Mail, MailServer
from headway.runs.service import Service

WAIT_S: Final = (1.0, 4.0)
"""Waits before the second and the third try, in seconds; longer if the target asks, up to twice the last."""
UNREACHABLE_MAX: Final = 20
"""Number of consecutive records that failed because of the target, after which the run is retried later."""


class Sender:
    """Sender for the records of one run."""

    def __init__(self, service: Service, run: RecordRun) -> None:
        self._service = service
        self._run = run
        self._gateway = service.gateway
        self._server: MailServer | None = None
        self._secrets: dict[int, Secrets] = {}
        self._unreachable: set[str] = set()
        """Records that failed because of the target."""
        self._failures = 0

    async def prepare(self, actions: Sequence[Action]) -> None:
        """Load the mail server for mails; raise NotFound if none is set, Conflict if its password cannot be opened."""
        if any(isinstance(action, Email) for action in actions):
            self._server = await self._run.services.get(MailServers).open()

    async def mail(self, index: int, action: Email, job: Job, texts: Sequence[str]) -> None:
        """Send the record's mail, or let the record fail; raise LeaseLost."""
        del action  # `texts` are its templates, rendered
        server = self._server
        assert server is not None, "it was looked up at the beginning"
        parts: dict[str, Any] = dict(zip(EMAIL_PARTS, texts, strict=True))
        mail = Mail(
            **parts | {"subject": parts["subject"].strip(" \t")},
            message_id=message_id(self._run.checkpoint.origin, job.record.id, index),
            at_ms=self._service.store.clock.now_ms(),
        )
        await self._try(index, job, lambda: self._gateway.mailer.send(server, mail))

    async def call(
        self,
        index: int,
        action: Webhook,
        job: Job,
        record: Mapping[str, Any],
        rendered: str | None,
        variables: Mapping[str, str],
    ) -> None:
        """Call the webhook for the record, or let the record fail; raise InvalidBody, or LeaseLost."""
        body = body_of(variables["task"], self._run.run.id, record, job.record.id, rendered)
        name = message_id(self._run.checkpoint.origin, job.record.id, index)
        try:
            target = self._gateway.policy.url(action.url)
            if index not in self._secrets:
                self._secrets[index] = self._run.services.get(RecordTasks).secrets(self._run.checkpoint.task, action)
        except HeadwayError as error:
            self.failed(index, job, SendFailed(error.code, error.detail, retryable=False, unreachable=True))
            return
        secrets = self._secrets[index]

        async def post() -> None:
            await self._gateway.caller.post(
                target, body, message_id=f"msg_{name}", at_s=self._service.store.clock.now_ms() // 1000,
                secrets=[secrets.secret] if secrets.secret else (), headers=secrets.headers,
            )  # fmt: skip

        await self._try(index, job, post)

    async def _try(self, index: int, job: Job, send: Callable[[], Awaitable[None]]) -> None:
        for wait_s in (*WAIT_S, None):
            await self._check_lease()
            try:
                await send()
            except SendFailed as failure:
                if wait_s is None or not failure.retryable or (failure.unreachable and self._failures):
                    self.failed(index, job, failure)
                    return
                await asyncio.sleep(min(max(wait_s, (failure.after_ms or 0) / 1000), 2 * WAIT_S[-1]))
            else:
                job.sent = True
                return

    async def _check_lease(self) -> None:
        """Raise LeaseLost if the run has to stop, or has a newer attempt, so that nothing more is sent for it."""
        run = self._run.run
        now = await self._service.store.read.run(run.id)
        if now is None or now.epoch != run.epoch or now.state is not State.RUNNING:
            raise LeaseLost

    def failed(self, index: int, job: Job, failure: SendFailed) -> None:
        """Let the record fail."""
        if failure.unreachable:
            self._unreachable.add(job.record.id)
        job.fail(index, failure.code, failure.message)

    def check_reachable(self, jobs: Sequence[Job]) -> None:
        """Raise TargetUnreachable after many consecutive failures of the target."""
        for job in jobs:
            self._failures = self._failures + 1 if job.record.id in self._unreachable else 0
            if self._failures >= UNREACHABLE_MAX and job.error is not None:
                raise TargetUnreachable(f"{job.error.message}; {self._failures} records in a row failed with it")
        self._unreachable.clear()
