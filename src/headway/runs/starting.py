"""Starts of runs: the run factory checks a request and makes a new run; `insert` adds it, or returns its duplicate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from headway.clock import Clock
from headway.config import Settings
from headway.errors import BY_CODE, DuplicateRun, HeadwayError, InvalidInput, InvalidState, TaskInactive, UnknownTask
from headway.ids import IdSource, canonical_id, time_of
from headway.kernel.admission import duplicates, may_debounce
from headway.kernel.lifecycle import Rescheduled
from headway.kernel.namespace import Namespace
from headway.kernel.query import FIRST
from headway.kernel.run import Reason, Run, State
from headway.kernel.task import Task
from headway.protocol.runs import Dedupe, StartRun
from headway.protocol.values import duration, invalid, timestamp
from headway.runs.idempotency import Repeatable
from headway.runs.inputs import canonical, pick_key
from headway.runs.schemas import TOGETHER_MAX, Question, Schemas
from headway.runs.stopping import terminate
from headway.runs.transitions import change, move
from headway.store.definition_cache import DefinitionCache
from headway.store.unit_of_work import UnitOfWork

_encode: Final = msgspec.json.Encoder().encode


class NewRun(msgspec.Struct, frozen=True):
    """A checked, complete run that is not stored yet."""

    run: Run
    labels: dict[str, str]
    dedupe: Dedupe | None = None
    ttl_ms: int | None = None


class RunFactory:
    """Makes new runs of requests, checked against task, schema and limits before the transaction."""

    def __init__(
        self, definitions: DefinitionCache, clock: Clock, ids: IdSource, schemas: Schemas, settings: Settings
    ) -> None:
        self._definitions = definitions
        self._clock = clock
        self._ids = ids
        self._schemas = schemas
        self._settings = settings

    async def make(
        self, spec: StartRun, namespace: Namespace, *, run_type: str = "api", shared_first: bool = False
    ) -> NewRun:
        """Return a new run of the organisation; a costly input is checked in a child process.

        With `shared_first` a shared task goes before the organisation's own task of the same name. Raises UnknownTask,
        TaskInactive, InvalidInput, PayloadTooLarge, MalformedJson, SchemaTooCostly, InputTooCostly or Overloaded.
        """
        new, question = self._make(spec, namespace, run_type, None, shared_first=shared_first)
        if question is not None:
            await self._schemas.judge(question, namespace.organisation)
        if self._schemas.spent > TOGETHER_MAX:
            await self._schemas.yield_when_busy()
        return new

    def make_at_once(
        self,
        spec: StartRun,
        namespace: Namespace,
        *,
        run_type: str,
        task: Task | None = None,
        shared_first: bool = False,
    ) -> NewRun:
        """Return a new run, of this task if one is given, without waiting, as in a transaction.

        Raises the errors of `make`, and InputTooCostly for an input that takes long to check.
        """
        new, question = self._make(spec, namespace, run_type, task, shared_first=shared_first)
        if question is not None:
            raise question.refusal()
        return new

    def _make(
        self, spec: StartRun, namespace: Namespace, run_type: str, task: Task | None, *, shared_first: bool = False
    ) -> tuple[NewRun, Question | None]:
        task = task or namespace.find(self._definitions.tasks, spec.task, shared_first=shared_first)
        if task is None:
            raise UnknownTask(f"no worker has declared a task named {spec.task!r}", task=spec.task)
        if not task.active:
            raise TaskInactive(f"the task {spec.task!r} is not active")
        queue = task.queue
        if spec.queue is not None or not namespace.owns(queue):
            queue = namespace.qualify(spec.queue or namespace.unqualify(queue))
        limits = self._settings
        text, value = canonical(spec.input, bytes_max=limits.input_max, depth_max=limits.depth_max, pointer="/input")
        question = None if task.input_schema == "{}" else self._schemas.check(task.input_schema, text, value)
        now_ms = self._clock.now_ms()
        ttl_ms = _ttl(spec.dedupe) if spec.dedupe is not None else None
        run_at = None if spec.run_at is None and spec.delay is None else _run_at(spec, now_ms)
        if run_at is None and spec.dedupe is not None and spec.dedupe.on_conflict == "debounce":
            run_at = now_ms + (ttl_ms or 0)
        run_id = self._ids.new(now_ms)
        key = spec.key or (None if task.key is None else pick_key(task.key, value))
        run = new_run(
            run_id,
            task,
            now_ms,
            name=spec.task if spec.name is None else spec.name,
            queue=queue,
            priority=spec.priority,
            key=None if key is None else namespace.qualify(key),
            max_attempts=spec.max_attempts,
            input=text,
            labels=_encode(spec.labels).decode() if spec.labels else "{}",
            run_type=run_type,
            parent_id=None if spec.parent_id is None else _parent(spec.parent_id),
            protected=spec.protect,
            run_at=run_at,
            keep_ms=None if spec.retention is None else duration(spec.retention, "/retention"),
            organisation=namespace.organisation,
        )
        return NewRun(run, spec.labels, spec.dedupe, ttl_ms), question


def new_run(
    run_id: str,
    task: Task,
    now_ms: int,
    *,
    input: str,  # noqa: A002 - the API's word
    name: str,
    queue: str | None = None,
    priority: int | None = None,
    key: str | None = None,
    max_attempts: int | None = None,
    labels: str = "{}",
    run_type: str = "api",
    parent_id: str | None = None,
    previous_id: str | None = None,
    protected: bool = False,
    run_at: int | None = None,
    keep_ms: int | None = None,
    organisation: int = FIRST,
) -> Run:
    """Return the initial state of a run: queued, or scheduled if its time is yet to come.

    Its time of creation is that of its id, so that the order of ids is the order of creation.
    """
    run_at = now_ms if run_at is None else run_at
    return Run(
        id=run_id,
        task=task.name,
        task_version=task.version,
        name=name,
        state=State.SCHEDULED if run_at > now_ms else State.QUEUED,
        queue=queue or task.queue,
        priority=task.priority if priority is None else priority,
        key=key,
        attempt=0,
        max_attempts=max_attempts or task.retry.max_attempts,
        crashes=0,
        epoch=0,
        worker_id=None,
        input=input,
        output=None,
        error=None,
        reason=None,
        labels=labels,
        blocked_on="[]",
        progress_done=0,
        progress_total=None,
        progress_message="",
        progress_rate=None,
        progress_at=None,
        run_type=run_type,
        parent_id=parent_id,
        root_id=run_id,
        previous_id=previous_id,
        schedule_id=None,
        protected=int(protected),
        created_at=time_of(run_id),
        run_at=run_at,
        started_at=None,
        finished_at=None,
        expires_at=None,
        keep_ms=keep_ms,
        deadline_at=None,
        parked_until=None,
        updated_at=time_of(run_id),
        seq=1,
        version=1,
        organisation=organisation,
    )


def insert(uow: UnitOfWork, new: NewRun) -> tuple[Run, bool]:
    """Add the run, or find the run with its dedupe key; return it, and whether it is new.

    Raises InvalidInput for an unknown parent, InvalidState for a stopped parent, and DuplicateRun for `on_conflict` "reject"
    or if the duplicate was removed since.
    """
    run = new.run
    if run.parent_id is not None:
        run = _under_parent(uow, run)
    if new.dedupe is not None:
        first = _first(uow, run, new)
        if first is not None:
            return first, False
    uow.queue(run.queue)
    uow.insert(run, new.labels)
    uow.record(run, "run.state", f'{{"state":"{run.state}","cause":"created","run_type":"{run.run_type}"}}')
    return run, True


def _under_parent(uow: UnitOfWork, run: Run) -> Run:
    parent = uow.run(run.parent_id or "")
    if parent is None or parent.organisation != run.organisation:
        raise InvalidInput(
            "parent_id names no run",
            errors=[{"pointer": "/parent_id", "code": "unknown_run", "message": "no such run"}],
        )
    if parent.state in (State.STOPPING, State.TERMINATED):
        raise InvalidState(f"the parent is {parent.state} and cannot start children", state=str(parent.state))
    return replace(run, root_id=parent.root_id)


def _first(uow: UnitOfWork, run: Run, new: NewRun) -> Run | None:
    """Return the run that has the dedupe key, after applying `on_conflict` to it; else take the key and return None."""
    dedupe = new.dedupe
    assert dedupe is not None
    uow.flush()  # an earlier start of the same transaction may have taken the key
    was = ""
    key = Namespace(run.organisation).qualify(dedupe.key)
    for _, _, run_id, scope, until in uow.database.rows("read_dedupe", task=run.task, key=key):
        was = run_id
        first = uow.run(run_id)
        if not duplicates(scope, until, first, uow.now_ms):
            break
        match dedupe.on_conflict:
            case "reject":
                raise DuplicateRun(f"run {run_id} has the dedupe key {dedupe.key!r}", run_id=run_id)
            case "replace":
                if first is not None:
                    because = Reason(code="replaced", message=f"replaced by {run.id}")
                    terminate(uow, first, because, None, cascade=True)
                break
            case "debounce" if first is not None and may_debounce(first):
                _take_key(uow, first.id, new, was)
                return _debounced(uow, first, run, new.ttl_ms or 0)
        if first is None:
            raise DuplicateRun(f"run {run_id}, which was removed since, had the dedupe key", run_id=run_id)
        return first
    _take_key(uow, run.id, new, was)
    return None


def _take_key(uow: UnitOfWork, run_id: str, new: NewRun, was: str) -> None:
    dedupe = new.dedupe
    assert dedupe is not None
    until = None if new.ttl_ms is None else uow.now_ms + new.ttl_ms
    run = new.run
    key = {"task": run.task, "key": Namespace(run.organisation).qualify(dedupe.key), "was": was}
    uow.later("save_dedupe", expect=1, run_id=run_id, scope=dedupe.scope, until=until, **key)


def _debounced(uow: UnitOfWork, first: Run, run: Run, ttl_ms: int) -> Run:
    """Replace the input and restart the wait."""
    after = change(uow, first, replace(first, input=run.input), "run.changed", '{"changed":["input"]}')
    return move(uow, after, Rescheduled(uow.now_ms + ttl_ms))


def _run_at(spec: StartRun, now_ms: int) -> int | None:
    if spec.run_at is not None and spec.delay is not None:
        raise invalid("/delay", "run_at and delay exclude each other")
    if spec.delay is not None:
        return now_ms + duration(spec.delay, "/delay")
    return None if spec.run_at is None else timestamp(spec.run_at, "/run_at")


def _parent(text: str) -> str:
    parent_id = canonical_id(text)
    if parent_id is None:
        raise invalid("/parent_id", "this is not a run id")
    return parent_id


def _ttl(dedupe: Dedupe) -> int | None:
    if dedupe.ttl is None:
        if dedupe.scope == "window" or dedupe.on_conflict == "debounce":
            raise invalid("/dedupe/ttl", "a window and a debounce need a ttl")
        return None
    return duration(dedupe.ttl, "/dedupe/ttl")


class StoredError(msgspec.Struct, frozen=True):
    """An error of an item of a batch, remembered under the batch's idempotency key."""

    code: str
    detail: str
    errors: list[dict[str, Any]]
    fields: dict[str, Any]


_decode_error: Final = msgspec.json.Decoder(StoredError).decode


def error_of(line: str) -> HeadwayError:
    """Return the error of a line that `StartMany` has remembered."""
    stored = _decode_error(line)
    return BY_CODE[stored.code](stored.detail, errors=stored.errors, **stored.fields)


def _line(item: tuple[Run, bool] | HeadwayError | str) -> str:
    if isinstance(item, HeadwayError):
        return _encode(StoredError(item.code, item.detail, item.errors, item.fields)).decode()
    return item if isinstance(item, str) else item[0].id


@dataclass(eq=False)
class Start(Repeatable[tuple[Run, bool] | str]):
    """Start of a run; the result is the run and whether it is new, or the id of an earlier request's run."""

    new: NewRun
    run_ids: tuple[str, ...]
    grows = True

    def apply(self, uow: UnitOfWork) -> tuple[Run, bool]:
        """Insert the run, or find the run with its dedupe key; see `insert`."""
        return insert(uow, self.new)

    def lines(self, result: tuple[Run, bool] | str) -> list[str]:
        """Return the id."""
        return [result if isinstance(result, str) else result[0].id]

    def replay(self, uow: UnitOfWork, lines: list[str]) -> str:
        """Return the id: the run may have been removed since."""
        del uow
        return lines[0]


@dataclass(eq=False)
class StartMany(Repeatable[list[tuple[Run, bool] | HeadwayError | str]]):
    """Start of a batch; the results are those of `Start`, errors, or the lines of an earlier request."""

    items: list[NewRun | HeadwayError]
    atomic: bool
    run_ids: list[str]
    weight: int
    grows = True

    def apply(self, uow: UnitOfWork) -> list[tuple[Run, bool] | HeadwayError | str]:
        """Insert the runs in order; raise the first error if the batch is atomic."""
        return [new if isinstance(new, HeadwayError) else self._one(uow, new) for new in self.items]

    def _one(self, uow: UnitOfWork, new: NewRun) -> tuple[Run, bool] | HeadwayError:
        try:
            return insert(uow, new)
        except HeadwayError as error:
            if self.atomic:
                raise
            return error

    def lines(self, result: list[tuple[Run, bool] | HeadwayError | str]) -> list[str]:
        """Return the ids of runs and the errors."""
        return [_line(item) for item in result]

    def replay(self, uow: UnitOfWork, lines: list[str]) -> list[tuple[Run, bool] | HeadwayError | str]:
        """Return the lines: the runs may have been removed since."""
        del uow
        return [*lines]
