"""Conversion of runs, tasks, workers and events to the structs of the API."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Raw, UnsetType

from headway.durations import format_ms
from headway.kernel.event import Event, Result
from headway.kernel.history import Attempt
from headway.kernel.progress import eta, percent
from headway.kernel.run import PARKED, DamagedRun, Run
from headway.kernel.situation import CurrentAttempt
from headway.kernel.task import Limit, Task
from headway.kernel.waiting import Cause
from headway.kernel.worker import LoopBlock, Queue, Worker, WorkerHealth
from headway.protocol import runs as wire
from headway.protocol.times import to_text, to_text_or_none
from headway.protocol.workers import BlockedOut, QueueOut, RateOut, RetentionOut, RetryOut, TaskOut, WorkerOut

_decode_names: Final = msgspec.json.Decoder(list[str]).decode
_encode: Final = msgspec.json.Encoder().encode
_NOTHING: Final = wire.ProgressOut(done=0, total=None, percent=None, message="", rate=None, eta=None)
_EMPTY: Final = Raw(b"{}")
_NONE: Final = Raw(b"[]")


def run_out(run: Run) -> wire.RunOut:
    """Return a run's struct. Stored JSON is passed on as it is."""
    damaged: list[str] | UnsetType = UNSET
    if run.__class__ is not Run:
        assert isinstance(run, DamagedRun)
        run, damaged = run.without(), list(run.damaged)
    created_at = to_text(run.created_at)
    return wire.RunOut(
        id=run.id,
        task=run.task,
        task_version=run.task_version,
        name=run.name,
        state=run.state,
        final=run.finished_at is not None,
        reason=None if run.reason is None else Raw(run.reason),
        priority=run.priority,
        queue=run.queue,
        key=run.key,
        attempt=run.attempt,
        max_attempts=run.max_attempts,
        crashes=run.crashes,
        progress=_NOTHING if run.progress_at is None else progress_out(run),
        input=_EMPTY if run.input == "{}" else Raw(run.input),
        output=None if run.output is None else Raw(run.output),
        error=None if run.error is None else Raw(run.error),
        labels=_EMPTY if run.labels == "{}" else Raw(run.labels),
        blocked_on=_NONE if run.blocked_on == "[]" else Raw(run.blocked_on),
        run_type=run.run_type,
        parent_id=run.parent_id,
        root_id=run.root_id,
        previous_id=run.previous_id,
        schedule_id=run.schedule_id,
        worker_id=run.worker_id,
        protected=bool(run.protected),
        created_at=created_at,
        updated_at=created_at if run.updated_at == run.created_at else to_text(run.updated_at),
        run_at=created_at if run.run_at == run.created_at else to_text(run.run_at),
        started_at=None if run.started_at is None else to_text(run.started_at),
        finished_at=None if run.finished_at is None else to_text(run.finished_at),
        expires_at=None if run.expires_at is None else to_text(run.expires_at),
        version=run.version,
        url=f"/v1/runs/{run.id}",
        damaged=damaged,
    )


def run_json(run: Run) -> bytes:
    """Return a run as JSON."""
    return _encode(run_out(run))


def progress_out(run: Run) -> wire.ProgressOut:
    """Return a run's progress."""
    return wire.ProgressOut(
        done=run.progress_done,
        total=run.progress_total,
        percent=percent(run.progress_done, run.progress_total),
        message=run.progress_message,
        rate=None if run.progress_rate is None else round(run.progress_rate, 3),
        eta=to_text_or_none(eta(run)),
    )


def output_out(run: Run) -> wire.OutputOut:
    """Return a run's end: state, output and error."""
    return wire.OutputOut(
        run_id=run.id,
        state=run.state,
        output=None if run.output is None else Raw(run.output),
        error=None if run.error is None else Raw(run.error),
    )


def event_out(event: Event) -> wire.EventOut:
    """Return an event's struct."""
    return wire.EventOut(
        seq=event.seq, type=event.type, time=to_text(event.time), run_id=event.run_id, data=Raw(event.data)
    )


class _LogLine(msgspec.Struct):
    message: str = ""
    level: str = "info"
    attempt: int = 0
    fields: dict[str, object] = {}


_decode_log: Final = msgspec.json.Decoder(_LogLine).decode


def log_out(event: Event) -> wire.LogOut:
    """Return the struct of a log line, which is an event of its run."""
    line = _decode_log(event.data)
    return wire.LogOut(
        seq=event.seq,
        time=to_text(event.time),
        level=line.level,
        message=line.message,
        attempt=line.attempt,
        fields=line.fields,
    )


def result_out(result: Result) -> wire.ResultOut:
    """Return the struct of a published result."""
    return wire.ResultOut(
        number=result.number, name=result.name, value=Raw(result.value), created_at=to_text(result.created_at)
    )


def attempt_out(attempt: Attempt) -> wire.AttemptOut:
    """Return an attempt's struct."""
    return wire.AttemptOut(
        number=attempt.number,
        epoch=attempt.epoch,
        worker_id=attempt.worker_id,
        started_at=to_text(attempt.started_at),
        finished_at=to_text_or_none(attempt.finished_at),
        outcome=attempt.outcome,
        error=None if attempt.error is None else Raw(_encode(attempt.error)),
        clock_set_back=attempt.clock_set_back,
    )


def cause_out(cause: Cause) -> wire.WaitingCause:
    """Return the struct of a cause for which a run waits, or of a remark on its state."""
    until = None if cause.until is None or cause.until >= PARKED else to_text(cause.until)
    return wire.WaitingCause(
        code=cause.code,
        message=cause.message,
        position=cause.position,
        limit=cause.limit,
        until=until,
        run_id=cause.run_id,
        name=cause.name,
        since=to_text_or_none(cause.since),
        worker_id=cause.worker_id,
        details=cause.details,
    )


def waiting_out(run: Run, causes: Iterable[Cause], work: CurrentAttempt | None) -> wire.WaitingOut:
    """Return the causes of a run's state, and the worker that has or had it."""
    worker = None if work is None else _work_out(work)
    return wire.WaitingOut(run_id=run.id, state=run.state, causes=list(map(cause_out, causes)), worker=worker)


def _work_out(work: CurrentAttempt) -> wire.WaitingWorker:
    heard_at = None if work.health is None else to_text(work.health.heard_at)
    return wire.WaitingWorker(id=work.worker_id, name=work.worker or None, heard_at=heard_at)


def task_out(task: Task, counts: dict[str, int]) -> TaskOut:
    """Return a task's struct with the number of its runs by state."""
    retry, keep = task.retry, task.retention
    return TaskOut(
        name=task.name,
        title=task.title,
        version=task.version,
        description=task.description,
        active=task.active,
        executor=task.executor,
        queue=task.queue,
        priority=task.priority,
        input_schema=Raw(task.input_schema),
        output_schema=None if task.output_schema is None else Raw(task.output_schema),
        retry=RetryOut(
            max_attempts=retry.max_attempts,
            backoff=format_ms(retry.first_ms),
            factor=retry.factor,
            max_backoff=format_ms(retry.longest_ms),
            jitter=retry.jitter,
            do_not_retry=list(retry.do_not_retry),
        ),
        max_crashes=task.max_crashes,
        timeout=_span(task.timeout_ms),
        heartbeat_timeout=_span(task.heartbeat_timeout_ms),
        grace=format_ms(task.grace_ms),
        concurrency=task.concurrency,
        concurrency_per_key=task.concurrency_per_key,
        rate=_rate(task.rate),
        rate_per_key=_rate(task.rate_per_key),
        key=task.key,
        retention=RetentionOut(
            succeeded=_span(keep.succeeded_ms), failed=_span(keep.failed_ms), terminated=_span(keep.terminated_ms)
        ),
        resources=task.resources,
        shared=task.shared,
        counts=counts,
        created_at=to_text(task.created_at),
        updated_at=to_text(task.updated_at),
        url=f"/v1/tasks/{_quoted(task.name)}",
    )


def _span(ms: int | None) -> str | None:
    return None if ms is None else format_ms(ms)


def _rate(limit: Limit | None) -> RateOut | None:
    return None if limit is None else RateOut(limit=limit.count, period=format_ms(limit.period_ms))


def blocked_out(blocked: LoopBlock) -> BlockedOut:
    """Return the struct of a block of a worker's event loop."""
    return BlockedOut(
        since=to_text(blocked.since),
        task=blocked.task,
        run_id=blocked.run_id or None,
        where=blocked.where,
        stack=blocked.stack,
    )


def worker_out(worker: Worker, leases: int, lease_ms: int, health: WorkerHealth | None = None) -> WorkerOut:
    """Return a worker's struct; its heartbeat interval is a third of its lease."""
    return WorkerOut(
        id=worker.id,
        name=worker.name,
        host=worker.host,
        pid=worker.pid,
        version=worker.version,
        queues=_decode_names(worker.queues),
        tasks=_decode_names(worker.tasks),
        capacity=worker.capacity,
        state=worker.state,
        leases=leases,
        created_at=to_text(worker.created_at),
        heard_at=to_text(worker.heard_at),
        lease_ms=lease_ms,
        heartbeat_ms=max(1, lease_ms // 3),
        blocked=None if health is None or health.blocked is None else blocked_out(health.blocked),
        url=f"/v1/workers/{worker.id}",
    )


def queue_out(queue: Queue, counts: dict[str, int], oldest: int | None) -> QueueOut:
    """Return a queue's struct with the number of its runs by state; `oldest` is a time in milliseconds."""
    return QueueOut(
        name=queue.name,
        paused=bool(queue.paused),
        concurrency=queue.concurrency,
        counts=counts,
        depth=counts.get("queued", 0),
        oldest_queued_at=to_text_or_none(oldest),
        created_at=to_text(queue.created_at),
        updated_at=to_text(queue.updated_at),
        url=f"/v1/queues/{_quoted(queue.name)}",
    )


def _quoted(name: str) -> str:
    return quote(name, safe="")
