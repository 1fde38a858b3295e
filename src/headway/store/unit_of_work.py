"""Unit of work of one transaction: runs are loaded once, changed in memory, and written in a constant number of statements.

It belongs to the writer. Commands that share its transaction see each other's changes in order. The database is written
at `flush`; nothing is promised before the commit. A command that raises after it has changed something spoils the
transaction: the writer rolls back and applies the others again, which costs nothing when nothing goes wrong.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Final, Literal, TypeVar

import msgspec
from msgspec.structs import asdict, astuple, replace

from headway import failpoints
from headway.kernel.event import Step
from headway.kernel.namespace import Namespace
from headway.kernel.organisation import Organisation
from headway.kernel.run import DamagedRun, Run, State
from headway.kernel.task import Task
from headway.kernel.worker import Queue, Worker
from headway.notify.events import CommitEvent, DeadlineSet, RunDue, Timer
from headway.store.corruption import INVALID_JSON, MARK, is_json, parse
from headway.store.counters import CounterChanges, Lane, Note
from headway.store.database import Database, Outdated
from headway.store.definition_cache import DefinitionCache, Definitions, decode_task
from headway.store.statements import RUN_COLUMNS

_encode: Final = msgspec.json.Encoder().encode

Shape = Literal["insert_runs", "insert_claimed", "save_claimed", "save_finished", "save_runs"]
"""The statements that carry runs to the store, each with just the columns that it may change."""

_IDENTITY: Final = {
    "id", "task", "task_version", "parent_id", "root_id", "previous_id", "schedule_id", "created_at", "run_type",
    "organisation",
}  # fmt: skip
_BORN: Final = (
    "id", "task", "task_version", "name", "state", "queue", "priority", "key", "max_attempts", "input", "labels",
    "run_type", "parent_id", "root_id", "previous_id", "schedule_id", "protected", "created_at", "run_at", "keep_ms",
    "organisation",
)  # fmt: skip
_COLUMNS: Final[dict[Shape, tuple[str, ...]]] = {
    "insert_runs": _BORN,
    "insert_claimed": (*_BORN, "worker_id", "started_at", "deadline_at"),
    "save_claimed": (
        "id", "attempt", "epoch", "worker_id", "started_at", "deadline_at", "updated_at", "seq", "version",
    ),
    "save_finished": (
        "id", "state", "output", "error", "reason", "crashes", "finished_at", "expires_at", "seq", "version",
    ),
    "save_runs": ("id", *(column for column in RUN_COLUMNS if column not in _IDENTITY)),
}  # fmt: skip
_PICK: Final[dict[Shape, Callable[[Run], tuple[Any, ...]]]] = {
    shape: attrgetter(*columns) for shape, columns in _COLUMNS.items()
}

QUEUED: Final = State.QUEUED  # a member is looked up through its class's descriptor: too slow for every run
SCHEDULED: Final = State.SCHEDULED

_STATES: Final = {state.value: state for state in State}

CACHED_MAX: Final = 50_000

L = TypeVar("L")

HookTable = Mapping[State, tuple[tuple[Callable[[Run], Any], Callable[["UnitOfWork", Run, Run, Any], None]], ...]]
"""State after a transition → (predicate, reaction) of each hook that reacts to it, in order."""
NO_HOOKS: Final[HookTable] = dict.fromkeys(State, ())


def claim_order(run: Run) -> tuple[int, int, str]:
    """Return the sort key of claims: priority, then age."""
    return -run.priority, run.run_at, run.id


def as_rows(rows: Iterable[Any]) -> str:
    """Return rows as the JSON text that `@rows` reads."""
    return _encode(rows if isinstance(rows, list) else list(rows)).decode()


class Announcements(msgspec.Struct, eq=False):
    """Announcements of one transaction, or of several that were committed one after the other."""

    run_ids: dict[str, None] = {}
    """Runs that changed."""
    lanes: dict[Lane, None] = {}
    """Lanes with runs left that can be claimed."""
    timers: dict[type[Timer], int] = {}
    """The earliest moment of each kind, in milliseconds."""
    events: dict[CommitEvent, None] = {}
    definitions: bool = False
    """Whether tasks, queues or organisations changed."""

    def set_timer(self, kind: type[Timer], at_ms: int) -> None:
        """Keep the moment if it is the earliest of its kind."""
        known = self.timers.get(kind)
        if known is None or at_ms < known:
            self.timers[kind] = at_ms

    def include(self, other: Announcements) -> None:
        """Add the announcements of a later transaction."""
        self.run_ids.update(other.run_ids)
        self.lanes.update(other.lanes)
        self.events.update(other.events)
        self.definitions = self.definitions or other.definitions
        for kind, at_ms in other.timers.items():
            self.set_timer(kind, at_ms)

    def all_events(self) -> Iterator[CommitEvent]:
        """Yield the timers and the other events."""
        for kind, at_ms in self.timers.items():
            yield kind(at_ms)
        yield from self.events


class UnitOfWork:
    """The work of one transaction."""

    def __init__(
        self,
        database: Database,
        definitions: DefinitionCache,
        cache: dict[str, Run],
        now_ms: int,
        shard: int | None = None,
        hooks: HookTable = NO_HOOKS,
        removals: Sequence[str] = (),
    ) -> None:
        """`cache` holds leased runs as they were committed, which need not be read again.

        `shard` is the number of the rows in which the counters are changed; None: that of `definitions` at the commit.
        `removals` are statements of features that delete rows of removed runs.
        """
        self.database = database
        self.definitions = definitions
        self.counters = definitions.counters
        self.now_ms = now_ms
        self.hooks = hooks
        self.removals = removals
        self.announced = Announcements()
        """Announcements of this transaction after its commit."""
        self.notes: list[Note] = []
        """Notes for the meters of tasks, which count them after the commit."""
        self.changes = 0
        """Number of changes so far, counted by the methods; the transaction is undone if a command raises after one."""
        self.ready: dict[Lane, bool] = {}
        """Lanes in which a run may now be claimable; True: by a change in this transaction."""
        self._counted = CounterChanges(notes=self.notes)
        self._defined = Definitions()
        self._deferred: dict[Callable[[UnitOfWork, list[Any]], None], dict[Any, None]] = {}
        self._last: dict[Callable[[Database, list[Any]], None], list[Any]] = {}
        self._locals: dict[type, Any] = {}
        self._cache = cache
        self._shard = shard
        self._for_cache: dict[str, Run | None] = {}
        """Saved runs, and None for removed ones, for the cache after the commit."""
        self._runs: dict[str, Run | None] = {}
        self._from_cache: set[str] = set()
        """Runs that may be older than in the store, since other servers share it."""
        self._replies: dict[str, tuple[str, str] | None] = {}
        self._inserted: dict[str, Run] = {}
        self._inserted_claimed: dict[str, Run] = {}
        self._saved: dict[str, Shape] = {}
        self._versions: dict[str, int] = {}
        """Versions that the saved runs have in the store."""
        self._events: list[tuple[str, int, str, int, str]] = []
        self._events_written = 0
        self._steps: dict[tuple[str, str], Step] = {}
        self._results: dict[tuple[str, int], tuple[str, int, str, str, int]] = {}
        self._labels: dict[tuple[str, str, str], None] = {}
        self._statements: list[tuple[int | None, str, dict[str, Any]]] = []
        self._remembered: dict[str, tuple[str, str, str, int]] = {}

    # -- reading -----------------------------------------------------------------------------------------------------

    def prefetch(self, run_ids: Iterable[str], keys: Collection[str], trusted: Iterable[str] = ()) -> None:
        """Load the runs and idempotency keys that the commands of the batch need, in one statement each.

        Where servers share a database, the copies in memory may be old. Only for those that are `trusted` they do: what
        is decided on them is a change, which is refused when it is saved.
        """
        exact = not self.definitions.shared
        wanted = []
        for run_id in run_ids:
            if run_id not in self._runs and not (exact and self._is_cached(run_id)):
                self._runs[run_id] = None
                wanted.append(run_id)
        for run_id in trusted:
            if run_id not in self._runs and not self._is_cached(run_id):
                self._runs[run_id] = None
                wanted.append(run_id)
        if wanted:
            self.seen(self.database.rows("load_runs", ids=as_rows(wanted)))
        if keys:
            for key, fingerprint, reply in self.database.rows(
                "read_idempotency", ids=as_rows(keys), now_ms=self.now_ms
            ):
                self._replies[key] = (fingerprint, reply)

    def _is_cached(self, run_id: str) -> bool:
        cached = self._cache.get(run_id)
        if cached is not None:
            self._runs[run_id] = cached
            if self.definitions.shared:
                self._from_cache.add(run_id)
        return cached is not None

    def doubt(self, run_id: str) -> None:
        """Raise Outdated if the run is a copy that may be old, so that a refusal is decided again on the stored one."""
        if run_id in self._from_cache:
            raise Outdated(f"{run_id} was a copy")

    def run(self, run_id: str) -> Run | None:
        """Return the run as it is at this point of the transaction, or None."""
        if run_id not in self._runs:
            self.prefetch((run_id,), ())
        return self._runs[run_id]

    def seen(self, rows: Iterable[tuple[Any, ...]]) -> list[Run]:
        """Return the runs that a statement found, as they are at this point of the transaction."""
        found = []
        for row in rows:
            run = self._runs.get(row[0])
            if run is None:
                run = self._runs[row[0]] = make_run(row)
            found.append(run)
        return found

    def find(self, name: str, /, **binds: Any) -> list[Run]:
        """Return the runs that a named statement finds, with this transaction's own changes written first."""
        self.flush()
        return self.seen(self.database.rows(name, **binds))

    @property
    def tasks(self) -> Mapping[str, Task]:
        """Definitions of tasks at this point of the transaction."""
        return ChainMap(self._defined.tasks, self.definitions.tasks)

    def task(self, name: str) -> Task:
        """Return the task's definition at this point of the transaction."""
        if self._defined.tasks and name in self._defined.tasks:
            return self._defined.tasks[name]
        return self.definitions.tasks.get(name) or self.definitions.task(name)

    def reply(self, key: str) -> tuple[str, str] | None:
        """Return (fingerprint, reply) of a request that was answered before under this idempotency key."""
        return self._replies.get(key)

    def step(self, run_id: str, name: str) -> Step | None:
        """Return a recorded step of a run."""
        step = self._steps.get((run_id, name))
        if step is None:
            for row in self.database.rows("read_step", run_id=run_id, name=name):
                return Step(*row)
        return step

    def count_steps(self, run_id: str, prefix: str) -> int:
        """Return how many steps of a run are named `prefix` and a number; `prefix` ends in a #, and may hold others."""
        marks = prefix.count("#")
        stored = self.database.rows(
            "count_steps", run_id=run_id, first=prefix, last=prefix + "\U0010ffff", marks=marks
        )[0][0]
        pending = sum(
            1
            for of_run, name in self._steps
            if of_run == run_id and name.startswith(prefix) and name.count("#") == marks
        )
        return int(stored) + pending

    # -- changing ----------------------------------------------------------------------------------------------------

    def insert(self, run: Run, labels: dict[str, str]) -> None:
        """Add a new run."""
        self._runs[run.id] = self._inserted[run.id] = run
        if labels:
            self._labels.update(dict.fromkeys(label_rows(run, labels)))
        counted = self._counted
        counts, group, lane = counted.counts, (run.task, run.queue, run.state), (run.task, run.queue)
        counts[group] = counts.get(group, 0) + 1
        counted.started[lane] = counted.started.get(lane, 0) + 1
        self._announce(run)

    def newborn(self, lanes: Collection[Lane]) -> list[Run] | None:
        """Return the runs that were born in these lanes and not written yet, best first; None if others may be ready."""
        if not self._inserted:
            return None
        here = set(lanes)
        found = [run for run in self._inserted.values() if run.state is QUEUED and (run.queue, run.task) in here]
        queued = self.counters.counts, self._counted.counts
        ready = sum(counts.get((task, queue, QUEUED), 0) for queue, task in here for counts in queued)
        if ready != len(found) or not found:
            return None
        found.sort(key=claim_order)
        return found

    def save(self, run: Run, before: Run, shape: Shape = "save_runs") -> None:
        """Keep the run as it is now; `shape` says which of its columns may differ from `before`."""
        run_id = run.id
        self._runs[run_id] = self._for_cache[run_id] = run
        if shape == "save_claimed" and run_id in self._inserted and run_id not in self._saved:
            del self._inserted[run_id]
            self._inserted_claimed[run_id] = run
        else:
            self._versions.setdefault(run_id, before.version)
            if self._saved.setdefault(run_id, shape) != shape:
                self._saved[run_id] = "save_runs"
        if run.state is not before.state or run.queue != before.queue:
            counts, old, new = (
                self._counted.counts,
                (before.task, before.queue, before.state),
                (run.task, run.queue, run.state),
            )
            counts[old] = counts.get(old, 0) - 1
            counts[new] = counts.get(new, 0) + 1
            if run.finished_at is not None:
                finished = self._counted.finished
                finished[new] = finished.get(new, 0) + 1
        self._announce(run)

    def _announce(self, run: Run) -> None:
        self.changes += 1
        announced = self.announced
        announced.run_ids[run.id] = None
        state = run.state
        if state is QUEUED:
            if run.parked_until is None:
                self.ready[run.queue, run.task] = True
            else:
                announced.set_timer(RunDue, run.parked_until)
        elif state is SCHEDULED:
            announced.set_timer(RunDue, run.run_at)
        elif run.deadline_at is not None:
            announced.set_timer(DeadlineSet, run.deadline_at)

    def record(self, run: Run, kind: str, data: str) -> None:
        """Append a line to the run's history; the run's `seq` must already say its number. Its times never go back."""
        self.changes += 1
        time = self.now_ms
        if run.seq == 1:
            time = run.created_at
        elif time < run.updated_at:
            time = run.updated_at
        self._events.append((run.id, run.seq, kind, time, data))

    def add_step(self, run_id: str, name: str, value: str) -> None:
        """Record a step; the first record of a name counts."""
        self.changes += 1
        self._steps.setdefault((run_id, name), Step(run_id, name, value, self.now_ms))

    def add_result(self, run_id: str, name: str, value: str) -> int:
        """Publish a result of a run; return its number."""
        self.changes += 1
        pending = [number for of_run, number in self._results if of_run == run_id]
        number = max(pending) if pending else int(self.database.rows("last_result", run_id=run_id)[0][0])
        number += 1
        self._results[run_id, number] = (run_id, number, name, value, self.now_ms)
        return number

    def remember(self, key: str, fingerprint: str, reply: str, expires_at: int) -> None:
        """Keep the reply to a request under its idempotency key."""
        self.changes += 1
        self._replies[key] = (fingerprint, reply)
        self._remembered[key] = (key, fingerprint, reply, expires_at)

    def later(self, name: str, /, expect: int | None = None, **binds: Any) -> None:
        """Carry out a statement at the next flush; raise Outdated then if it does not change `expect` rows."""
        self.changes += 1
        self._statements.append((expect, name, binds))

    def execute(self, name: str, /, expect: int | None = None, **binds: Any) -> None:
        """Carry out a statement that changes rows now; raise Outdated if it does not change `expect` rows."""
        self.changes += 1
        if expect is None:
            self.database.run(name, **binds)
        else:
            self.database.must(expect, name, **binds)

    def delete_rows(self, name: str, /, **binds: Any) -> list[tuple[Any, ...]]:
        """Carry out a statement that deletes rows now; return a row for each deleted one."""
        self.changes += 1
        return self.database.rows(name, **binds)

    def define(self, task: Task) -> None:
        """Save a task's definition."""
        self._defined.tasks[task.name] = task
        self.announced.definitions = True
        self.later("save_task", name=task.name, definition=_encode(task).decode(), updated_at=self.now_ms)

    def queue(self, name: str) -> Queue:
        """Return the queue; it exists from its first use."""
        known = self._defined.queues.get(name) or self.definitions.queues.get(name)
        if known is None:
            known = self._defined.queues[name] = Queue(name, 0, None, self.now_ms, self.now_ms)
            self.announced.definitions = True
            self.later("make_queue", **msgspec.structs.asdict(known))
        return known

    def queue_now(self, name: str) -> Queue:
        """Return the queue to change it: as it is in the store, if another server may have changed it."""
        known = self.queue(name)
        if self.definitions.shared:
            self.flush()
            known = Queue(*self.database.rows("read_queue", name=name)[0])
        return known

    def task_now(self, name: str) -> Task | None:
        """Return the task's definition to change it: as it is in the store, if another server may have changed it."""
        if self.definitions.shared:
            self.flush()
            for (text,) in self.database.rows("read_task", name=name):
                return decode_task(text) if is_json(text) else None
        return self._defined.tasks.get(name) or self.definitions.tasks.get(name)

    def take_turn(self) -> None:
        """Let no other server decide under limits until this transaction is over: it would count rows that are not inserted yet."""
        if self.definitions.shared:
            self.database.rows("lock_fact", name="limits")

    def save_queue(self, queue: Queue) -> None:
        """Keep the queue as it is now."""
        self._defined.queues[queue.name] = queue
        self.announced.definitions = True
        self.later("save_queue", **msgspec.structs.asdict(queue))

    def save_organisation(self, organisation: Organisation) -> None:
        """Keep the organisation as it is now."""
        self._defined.organisations[organisation.id] = organisation
        self.announced.definitions = True
        self.later("save_organisation", **msgspec.structs.asdict(organisation))

    def save_worker(self, worker: Worker) -> None:
        """Keep the worker's session as it is now."""
        self.later("save_worker", **msgspec.structs.asdict(worker))

    def emit(self, event: CommitEvent) -> None:
        """Announce `event` after the commit."""
        if isinstance(event, Timer):
            self.announced.set_timer(type(event), event.at_ms)
        else:
            self.announced.events[event] = None

    def defer(self, work: Callable[[UnitOfWork, list[Any]], None], key: Any) -> None:
        """Call `work` once after all commands of this transaction, before claims, with the keys that were deferred to it."""
        self.changes += 1
        self._deferred.setdefault(work, {})[key] = None

    def carry_out_deferred(self) -> None:
        """Call the deferred functions in the order of their first deferral, and then functions deferred by them."""
        while self._deferred:
            work = next(iter(self._deferred))
            work(self, list(self._deferred.pop(work)))

    def do_last(self, work: Callable[[Database, list[Any]], None], item: Any) -> None:
        """Call `work` once, with the items that were given for it, as the last of the transaction: it may wait for other servers."""
        self.changes += 1
        self._last.setdefault(work, []).append(item)

    def local(self, kind: type[L]) -> L:
        """Return this transaction's object of a class, made without arguments when it is first asked for."""
        found = self._locals.get(kind)
        if found is None:
            found = self._locals[kind] = kind()
        return found

    def open_lane(self, queue: str, task: str) -> None:
        """Let claims look at a lane, here and on other servers, since a change in this transaction made room in it."""
        self.ready[queue, task] = True

    def expect(self, lanes: Iterable[Lane]) -> None:
        """Let claims look at lanes in which a run may be claimable by other transactions."""
        for lane in lanes:
            self.ready.setdefault(lane, False)

    def remove(self, runs: list[Run], policy: str) -> None:
        """Remove runs with their events, steps, results and labels; tombstones stay."""
        self.flush()
        self.changes += len(runs)
        ids = as_rows([run.id for run in runs])
        for statement in ("runs", "run_events", "run_steps", "run_results", "run_labels"):
            self.database.run(f"delete_{statement}", ids=ids)
        for name in self.removals:
            self.database.run(name, ids=ids)
        stones = [(run.id, self.now_ms, policy, run.organisation) for run in runs]
        self.database.run("insert_tombstones", rows=as_rows(stones))
        for run in runs:
            self._runs[run.id] = self._for_cache[run.id] = None
            self.announced.run_ids[run.id] = None
            group = (run.task, run.queue, run.state)
            self._counted.counts[group] = self._counted.counts.get(group, 0) - 1

    # -- the end -----------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write everything that is pending, in a constant number of statements."""
        run, must = self.database.run, self.database.must
        born: tuple[tuple[Shape, dict[str, Run]], ...] = (
            ("insert_runs", self._inserted),
            ("insert_claimed", self._inserted_claimed),
        )
        for shape, runs in born:
            if runs:
                run(shape, rows=_encode(list(map(_PICK[shape], runs.values()))).decode())
                runs.clear()
        if self._saved:
            shapes: dict[Shape, list[Any]] = {}
            for run_id, shape in self._saved.items():
                row = _PICK[shape](self._runs[run_id])  # type: ignore[arg-type]  # saved, so there
                shapes.setdefault(shape, []).append((*row, self._versions[run_id]))
            for shape, rows in shapes.items():
                must(len(rows), shape, rows=_encode(rows).decode())
            self._saved.clear()
            self._versions.clear()
        if self._events:
            run("insert_events", rows=_encode(self._events).decode(), first=self._events_written)
            self._events_written += len(self._events)
            self._events.clear()
        if self._results:
            run("insert_results", rows=as_rows(self._results.values()))
            self._results.clear()
        if self._remembered:
            remembered = as_rows(self._remembered.values())
            must(len(self._remembered), "save_idempotency", rows=remembered, now_ms=self.now_ms)
            self._remembered.clear()
        if self._steps:
            run("insert_steps", rows=as_rows([astuple(step) for step in self._steps.values()]))
            self._steps.clear()
        if self._labels:
            run("insert_labels", rows=as_rows(self._labels))
            self._labels.clear()
        for expect, name, binds in self._statements:
            if expect is None:
                run(name, **binds)
            else:
                must(expect, name, **binds)
        self._statements.clear()

    def seal(self) -> None:
        """Flush for the last time, with the counters, and carry out the work for the end; the commit comes next."""
        self.flush()
        counts = []
        for group, delta in self._counted.counts.items():
            if delta:
                counts.append((*group, delta))
        if counts:
            shard = self.counters.shard if self._shard is None else self._shard
            self.database.run("add_counters", rows=_encode(counts).decode(), shard=shard)
        for lane, opened in self.ready.items():
            if opened:
                self.announced.lanes[lane] = None
        for work, items in self._last.items():
            work(self.database, items)

    def commit(self, messages: Callable[[Announcements], Sequence[str]] | None = None) -> None:
        """Seal and commit, with messages to other servers; then bring counters, definitions and the cache of runs up to date."""
        self.seal()
        if failpoints.ARMED:
            failpoints.point("writer.before_commit")
        self.database.settle()
        sent = () if messages is None else messages(self.announced)
        learn = partial(self.definitions.learn, self._defined) if self.announced.definitions else None
        self.counters.commit(self.database, sent, self._counted, learn)
        cache = self._cache
        for run_id, run in self._for_cache.items():
            if run is None or run.worker_id is None:
                cache.pop(run_id, None)
            elif run_id in cache or len(cache) < CACHED_MAX:  # never leave an older one there
                cache[run_id] = run


def label_rows(run: Run, labels: dict[str, str]) -> list[tuple[str, str, str]]:
    """Return the rows that lists find the run by; their names are its organisation's, as those of queues are."""
    inside = Namespace(run.organisation).qualify
    return [(inside(name), value, run.id) for name, value in labels.items()]


def make_run(row: tuple[Any, ...]) -> Run:
    """Return the run of a row with `@run_columns`: a DamagedRun, if a part of it cannot be read."""
    try:
        run = Run(row[0], row[1], row[2], row[3], _STATES[row[4]], *row[5:])
    except KeyError:  # an unknown state: the run cannot go on
        run = Run(row[0], row[1], row[2], row[3], State.FAILED, *row[5:])
        return _damaged(run, row, "state")
    try:
        for text in row[13:19]:  # the documents
            if text is not None and text != "{}" and text != "[]":  # noqa: PLR1714 - this is faster
                parse(text)
    except INVALID_JSON:
        return _damaged(run, row)
    return run


def _damaged(run: Run, row: tuple[Any, ...], *names: str) -> DamagedRun:
    wrong = {name for name in _DOCUMENTS if not is_json(getattr(run, name) or "null")}
    wrong |= {
        name for name, cell in zip(RUN_COLUMNS, row, strict=True) if cell.__class__ is str and cell.startswith(MARK)
    }
    made = DamagedRun(**asdict(run), damaged=tuple(sorted({*names, *wrong})))
    # Values that other rows rely on are dropped; input and result stay, so that the run is known to be damaged.
    small = tuple(name for name in made.damaged if name not in ("input", "output"))
    return replace(replace(made, damaged=small).without(), damaged=made.damaged)


_DOCUMENTS: Final = ("input", "output", "error", "reason", "labels", "blocked_on")
