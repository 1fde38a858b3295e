"""Executor of record tasks: a task's actions for each page of records, whose changes are one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from headway.errors import HeadwayError, RecordFailed
from headway.features.record_tasks.job import Job, RecordKey
from headway.features.record_tasks.model import EXECUTOR, Action, Email, Insert, Start, Update, UpdateConnected, Webhook
from headway.features.record_tasks.patch import PATCH_SIZE_FIRST
from headway.features.record_tasks.rules import (
    InvalidBody,
    connected,
    connections,
    named_records,
    resolved,
    sends,
    shown,
    templates_of,
)
from headway.features.record_tasks.run import RecordRun
from headway.features.record_tasks.sending import Sender
from headway.features.tables.changes import ConstraintError, updated_values
from headway.features.tables.model import Record, Table
from headway.features.tables.records import Records
from headway.features.tables.rules.conditions import Moment
from headway.kernel.run import Run
from headway.outbound.failure import SendFailed
from headway.protocol.runs import StartRun
from headway.runs.built_in.task import ServerExecutor
from headway.runs.service import Service

PAGE: Final = 500
"""Records of one transaction."""
PAGE_SENT: Final = 16
"""Number of records of one transaction with a mail or a call for each, which may be sent again after a crash."""
PARALLEL: Final = 8
"""Maximum number of calls and mails of one run at once."""

_encode: Final = msgspec.json.Encoder().encode


async def execute(service: Service, run: Run) -> msgspec.Raw:
    """Apply the task's actions to its records, after an earlier attempt's checkpoint; return the counts of records.

    Raises RecordTaskNotFound, Conflict if the task does not fit its table any more, RecordFailed with `on_error: stop`,
    TargetUnreachable, and LeaseLost.
    """
    services = service.of(run.organisation)
    record_run = await RecordRun.begin(service.store, services, run)
    if not (record_run.uniform and await _patch(record_run)):
        await _Pages(service, record_run).all()
    checkpoint = record_run.checkpoint
    return msgspec.Raw(
        _encode({"total": max(checkpoint.total, checkpoint.done), "done": checkpoint.done, "failed": checkpoint.failed})
    )


RECORDS: Final = ServerExecutor(EXECUTOR, execute, capacity=16)


async def _patch(record_run: RecordRun) -> bool:
    """Give the same values to all records, many with one statement; return whether none are left for single jobs."""
    limit: int | None = PATCH_SIZE_FIRST
    while limit is not None and not record_run.exhausted:
        limit = await record_run.patch(limit)
    return limit is not None


class _Pages:
    """Execution of one run, page by page."""

    def __init__(self, service: Service, run: RecordRun) -> None:
        self._service = service
        self._run = run
        self._task = run.checkpoint.task
        self._sends = sends(self._task.actions)
        self._sender = Sender(service, run)
        local = Moment(run.checkpoint.began_at, run.services.get(Records).zone).local
        self._variables = {
            "task": run.services.namespace.unqualify(self._task.name),
            "run": run.run.id,
            "today": local.date().isoformat(),
            "now": local.isoformat(timespec="seconds"),
        }

    async def all(self) -> None:
        """Process all pages; raise RecordFailed if a record failed and the task stops there."""
        final = self._sends or self._run.table.external is not None
        most = PAGE_SENT if self._sends else PAGE
        if final and self._task.on_error == "stop":  # nothing may have happened to the records after a failed one
            most = 1
        size = most
        await self._sender.prepare(self._task.actions)
        while jobs := await self._run.page(size):
            for index, action in enumerate(self._task.actions):
                await self._apply(index, action, [job for job in jobs if job.error is None])
            taken = await self._run.commit(jobs)
            if self._task.on_error == "stop":
                _stop_at(jobs[:taken])
            self._sender.check_reachable(jobs[:taken])
            if taken < len(jobs):  # records have changed meanwhile: fewer at once, as long as that happens
                self._run.exhausted = False
                size = max(1, taken)
            else:
                size = min(size * 2, most)

    async def _apply(self, index: int, action: Action, jobs: list[Job]) -> None:
        if not jobs:
            return
        match action:
            case Update():
                for job, texts in await self._rendered(index, action, jobs):
                    self._change(index, job, resolved(action.values, job.values, texts))
            case UpdateConnected():
                await self._update_connected(index, action, jobs)
            case Insert():
                for job, texts in await self._rendered(index, action, jobs):
                    key = (action.table_id, self._service.ids.new(self._service.store.clock.now_ms()))
                    job.inserts.append((key, resolved(action.values, job.values, texts)))
            case Start():
                for job, texts in await self._rendered(index, action, jobs):
                    await self._start(index, action, job, resolved(action.input, job.values, texts))
            case Email():
                rendered = await self._rendered(index, action, jobs)
                await _send_all(rendered, lambda job, texts: self._sender.mail(index, action, job, texts))
            case Webhook():
                rendered = await self._rendered(index, action, jobs)
                await _send_all(rendered, lambda job, texts: self._call(index, action, job, texts))

    def _change(self, index: int, job: Job, given: dict[str, Any]) -> None:
        """Change the job's values, which later actions see."""
        try:
            job.values = updated_values(job.table, given, job.values, self._run.services.get(Records).zone)
        except ConstraintError as error:
            job.fail(index, "value", str(error))
        else:
            job.given |= given

    async def _update_connected(self, index: int, action: UpdateConnected, jobs: list[Job]) -> None:
        field = next(field for field in connections(self._run.table) if field.id == action.connection)
        templates = templates_of(action)
        found = await self._run.connected(jobs, [field]) if templates else {}
        wanted: list[tuple[Job, RecordKey]] = []
        for job in jobs:
            for record_id in named_records(field, job.values):
                key = (field.table_id or "", record_id)
                if templates and key in found:
                    job.reads[key] = found[key][1].version
                wanted.append((job, key))
        if not templates:
            for job, key in wanted:
                job.others.append((key, resolved(action.values, job.values, ())))
            return
        there = [(job, key) for job, key in wanted if key in found]
        contexts = await self._contexts([job for job, _ in there])
        for context, (_, key) in zip(contexts, there, strict=True):
            table, record = found[key]
            context["target"] = shown(table, record.id, record.values)
        outcomes = await self._service.gateway.templates.render(templates, contexts, self._run.services.organisation)
        for (job, key), outcome in zip(there, outcomes, strict=True):
            if isinstance(outcome, SendFailed):
                self._sender.failed(index, job, outcome)
            else:
                job.others.append((key, resolved(action.values, job.values, outcome)))

    async def _start(self, index: int, action: Start, job: Job, given: dict[str, Any]) -> None:
        body = msgspec.Raw(_encode(given or {"record": job.record.id}))
        labels = {"record_run": self._run.run.id, "record": job.record.id[:255]}
        spec = StartRun(task=action.task, input=body, labels=labels)
        try:
            job.starts.append(
                await self._service.run_factory.make(spec, self._run.services.namespace, run_type="record")
            )
        except HeadwayError as error:
            job.fail(index, error.code, error.detail)

    async def _call(self, index: int, action: Webhook, job: Job, texts: Sequence[str]) -> None:
        record = {field.name: job.values.get(field.id) for field in job.table.fields}
        try:
            await self._sender.call(index, action, job, record, texts[0] if texts else None, self._variables)
        except InvalidBody as error:
            job.fail(index, "bad_body", str(error))

    # -- templates -----------------------------------------------------------------------------------------------------

    async def _rendered(self, index: int, action: Action, jobs: list[Job]) -> list[tuple[Job, list[str]]]:
        """Return jobs with the action's rendered templates, without the jobs of failed templates."""
        templates = templates_of(action)
        if not templates:
            return [(job, []) for job in jobs]
        outcomes = await self._service.gateway.templates.render(
            templates, await self._contexts(jobs), self._run.services.organisation
        )
        done = []
        for job, outcome in zip(jobs, outcomes, strict=True):
            if isinstance(outcome, SendFailed):
                self._sender.failed(index, job, outcome)
            else:
                done.append((job, outcome))
        return done

    async def _contexts(self, jobs: list[Job]) -> list[dict[str, Any]]:
        """Return the variables of templates for each job."""
        found: dict[RecordKey, tuple[Table, Record]] = {}
        fields = connections(self._run.table) if self._task.connected else []
        if fields:
            found = await self._run.connected(jobs, fields)
        contexts = []
        for job in jobs:
            context: dict[str, Any] = {**self._variables, "record": shown(job.table, job.record.id, job.values)}
            if fields:
                context["connected"] = connected(job.table, job.values, found)
                for field in fields:
                    for record_id in named_records(field, job.values):
                        key = (field.table_id or "", record_id)
                        if key in found:
                            job.reads.setdefault(key, found[key][1].version)
            contexts.append(context)
        return contexts


def _stop_at(jobs: Sequence[Job]) -> None:
    failed = next((job.error for job in jobs if job.error is not None), None)
    if failed is not None:
        raise RecordFailed(f"record {failed.record_id} failed: {failed.message}", record_id=failed.record_id)


async def _send_all(work: Sequence[tuple[Job, list[str]]], send: Callable[[Job, list[str]], Awaitable[None]]) -> None:
    """Send for each job, at most PARALLEL at once; raise LeaseLost, and other errors of the run."""
    room = asyncio.Semaphore(PARALLEL)

    async def one(job: Job, texts: list[str]) -> None:
        async with room:
            await send(job, texts)

    try:
        async with asyncio.TaskGroup() as group:
            for job, texts in work:
                group.create_task(one(job, texts))
    except* HeadwayError as raised:
        first = next(iter(_leaves(raised)))
        raise first from None


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(each)
        else:
            yield each
