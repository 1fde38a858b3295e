"""Claims: selection of queued runs for a worker within all limits; runs that wait for their key are parked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec.structs import replace

from headway.kernel.admission import Headroom, Live, in_fair_order
from headway.kernel.lifecycle import Claimed, Errored, Event
from headway.kernel.namespace import Namespace
from headway.kernel.run import PARKED, DamagedRun, Run, RunError, State
from headway.kernel.task import Task
from headway.notify.events import ClaimsLeft, LaneClosed
from headway.protocol.workers import Lease
from headway.runs.sessions import Session, Sessions
from headway.runs.transitions import move
from headway.store.command import Command
from headway.store.corruption import is_json
from headway.store.counters import Lane
from headway.store.unit_of_work import UnitOfWork, as_rows, claim_order

_EMPTY: Final = msgspec.Raw(b"{}")
_NO_STEPS: Final[dict[str, msgspec.Raw]] = {}

FAR: Final = frozenset({"ray"})
"""Executors whose runs cannot take their worker down."""
LANES_WHOLE: Final = 2
"""Most lanes of which a claim reads all runs that it could get; of more lanes it reads heads."""
HEAD_MIN: Final = 8
"""Fewest runs that are read of each of more lanes."""
TURN_MIN: Final = 2
"""Fewest runs that are read of each lane if the lanes have several organisations."""
LOOKED_AT_MAX: Final = 2_000
"""Most runs that one claim looks at; if all of them have to wait for their keys, the next claim looks at others."""


@dataclass(eq=False, kw_only=True)
class Claim(Command[list[Lease]]):
    """A worker's claim; the result are the leases of the claimed runs."""

    worker_id: str
    lanes: Callable[[Lane], bool]
    """Predicate of the lanes whose runs the worker can execute: `takes` with its tasks and queues."""
    max: int
    capacity: Mapping[str, int]
    """Executor → number of its runs that the worker can begin; `max` for others."""
    sessions: Sessions
    session: Session
    number: int = 0
    """The claim's number; see `UndeliveredLeases`."""

    def apply(self, uow: UnitOfWork) -> list[Lease]:
        """Claim runs, unless the worker's session ends or drains by now."""
        session = self.session
        if not self.sessions.may_claim(session):
            return []
        leases = claim(uow, self)
        if leases:
            session.claims.ended(self.number)
        return leases


def takes(tasks: Container[str], queues: Collection[str], lane: Lane) -> bool:
    """Return whether a worker with these tasks and queues (none: all queues) claims from the lane.

    For a shared task these are the queues of the same name in every organisation.
    """
    queue, task = lane
    return task in tasks and (not queues or queue in queues or Namespace.unqualify(queue) in queues)


def is_limited(task: Task) -> bool:
    """Return whether a limit applies to claims of the task."""
    return (
        task.concurrency is not None
        or task.rate is not None
        or task.concurrency_per_key is not None
        or task.rate_per_key is not None
    )


def _limited_by_key(task: Task) -> bool:
    return task.concurrency_per_key is not None or task.rate_per_key is not None


class ClaimCapacity:
    """Remaining capacity of a worker's executors while a claim takes runs."""

    def __init__(self, wanted: Claim) -> None:
        self._left = dict(wanted.capacity)
        self._max = wanted.max

    def of(self, executor: str) -> int:
        """Return the number of further runs of the executor that the worker can begin."""
        return self._left.get(executor, self._max)

    def suffice(self, executors: Iterable[str]) -> bool:
        """Return whether no executor of these can run out of capacity within the claim."""
        return not self._left or all(self.of(executor) >= self._max for executor in executors)

    def take(self, task: Task, run: Run) -> bool:
        """Take capacity for the run; return False if there is none.

        A run that crashed a worker before is executed in a child process, unless its executor is remote.
        """
        executor = "process" if run.crashes and task.executor not in FAR else task.executor
        left = self.of(executor)
        if left > 0 and executor in self._left:
            self._left[executor] = left - 1
        return left > 0


def claim(uow: UnitOfWork, wanted: Claim) -> list[Lease]:
    """Claim up to `max` runs: highest priority first, then the longest due; return their leases.

    A run that was damaged on disk fails, and others are claimed instead.
    """
    while True:
        taken = _take(uow, wanted)
        leases = _leases(uow, taken)
        if leases or not taken:
            return leases


def _take(uow: UnitOfWork, wanted: Claim) -> list[Run]:
    lanes: set[Lane] = set()
    plain = []
    for lane in uow.counters.lanes_with_work.union(uow.ready):
        if wanted.lanes(lane):
            task, queue = uow.task(lane[1]), uow.queue(lane[0])
            if task.active and not queue.paused:
                lanes.add(lane)
                if not (is_limited(task) or queue.concurrency is not None):
                    plain.append(lane)
    free = len(plain) == len(lanes) and ClaimCapacity(wanted).suffice(uow.task(task).executor for _, task in plain)
    taken = _claim_freely(uow, wanted, plain) if free else None
    if taken is None:
        taken = _claim_within_limits(uow, wanted, plain, lanes)
    if _several(uow, lanes):
        uow.definitions.serve(run.organisation for run in taken)
    return taken


def _several(uow: UnitOfWork, lanes: Iterable[Lane]) -> bool:
    """Return whether the lanes belong to more than one organisation."""
    return len(uow.definitions.organisations) > 1 and len({Namespace.owner(queue) for queue, _ in lanes}) > 1


def _claim_freely(uow: UnitOfWork, wanted: Claim, lanes: list[Lane]) -> list[Run] | None:
    """Claim the best runs of lanes without limits; return None if too many of them need a child process.

    A run that was started in this transaction, and is alone in its lane, is claimed before it is written.
    """
    ready = uow.newborn(lanes)
    if ready is not None:
        ready = (in_fair_order(ready, uow.definitions.served) if _several(uow, lanes) else ready)[: wanted.max]
    else:
        ready = _find_ready(uow, lanes, wanted.max) if lanes else []
        children = 0
        for run in ready:
            children += run.crashes > 0 and uow.task(run.task).executor not in FAR
        if wanted.capacity and children > ClaimCapacity(wanted).of("process"):
            return None
    taken = [move(uow, run, Claimed(wanted.worker_id)) for run in ready]
    if len(ready) < wanted.max:
        for lane in lanes:  # nothing more is ready there: later claims of this transaction need not look
            uow.ready.pop(lane, None)
    return taken


def _find_ready(uow: UnitOfWork, lanes: list[Lane], limit: int, statement: str = "find_ready") -> list[Run]:
    """Return the best ready runs of the lanes, in order; lanes of several organisations take turns.

    Of many lanes only the heads are read, since a claim gets few runs of each. A lane whose heads are all among the best
    may have further runs that are better than another lane's head: only such lanes are read again, deeper.
    """
    in_turn = _several(uow, lanes)

    def best_of(found: list[Run]) -> list[Run]:
        return (in_fair_order(found, uow.definitions.served) if in_turn else sorted(found, key=claim_order))[:limit]

    def ask(lanes: list[Lane], each: int) -> list[Run]:
        return uow.find(statement, rows=as_rows(lanes), limit=each * len(lanes) if in_turn else limit, each=each)

    least = TURN_MIN if in_turn else HEAD_MIN
    each = limit if len(lanes) <= LANES_WHOLE else min(limit, max(least, 2 * limit // len(lanes)))
    found = ask(lanes, each)
    best = best_of(found) if in_turn else found
    while each < limit:
        heads = Counter((run.queue, run.task) for run in best)
        deep = [lane for lane, count in heads.items() if count >= each]
        if not deep:
            break
        each = limit if len(deep) <= LANES_WHOLE else min(limit, each * 4)
        found = [run for run in found if (run.queue, run.task) not in deep] + ask(deep, each)
        best = best_of(found)
    return best


def _claim_within_limits(uow: UnitOfWork, wanted: Claim, plain: list[Lane], lanes: set[Lane]) -> list[Run]:
    uow.flush()
    if len(plain) < len(lanes):
        uow.take_turn()
        headroom = headroom_now(uow)
    else:
        headroom = Headroom({}, uow.now_ms)
    capacity = ClaimCapacity(wanted)
    _learn_rates(uow, headroom, ((task, None) for _, task in lanes))
    taken: list[Run] = []
    looked_at = 0
    while len(taken) < wanted.max and looked_at < LOOKED_AT_MAX:
        found, more = _in_turn(uow, wanted.max - len(taken), plain, lanes, headroom, capacity)
        looked_at += len(found)
        _learn_rates(uow, headroom, ((run.task, run.key) for run in found))
        parked = 0
        for run in found:
            if len(taken) == wanted.max:
                break
            task = uow.task(run.task)
            if headroom.of_lane(task, uow.queue(run.queue)) <= 0:
                continue
            until = headroom.park_until(task, run)
            if until is not None:
                park(uow, run, until)
                parked += 1
                continue
            if not capacity.take(task, run):
                continue
            headroom.take(task, run)
            taken.append(move(uow, run, Claimed(wanted.worker_id)))
        uow.flush()
        if not parked and not more:
            break
    else:
        if looked_at >= LOOKED_AT_MAX:
            uow.emit(ClaimsLeft(uow.now_ms))
    _save_rates(uow, headroom, lanes)
    return taken


def _in_turn(
    uow: UnitOfWork, limit: int, plain: list[Lane], lanes: Iterable[Lane], headroom: Headroom, capacity: ClaimCapacity
) -> tuple[list[Run], bool]:
    """Return the candidates of each organisation in order, organisations in turns, and whether there may be more."""
    if not _several(uow, lanes):
        return _candidates(uow, limit, plain, lanes, headroom, capacity)
    owners: dict[int, list[Lane]] = {}
    for lane in lanes:
        owners.setdefault(Namespace.owner(lane[0]), []).append(lane)
    found: list[Run] = []
    left = False
    for own in owners.values():
        best, more = _candidates(uow, limit, [lane for lane in plain if lane in own], own, headroom, capacity)
        found += best
        left = left or more
    return in_fair_order(found, uow.definitions.served), left


def _candidates(
    uow: UnitOfWork, limit: int, plain: list[Lane], lanes: Iterable[Lane], headroom: Headroom, capacity: ClaimCapacity
) -> tuple[list[Run], bool]:
    """Return the best ready runs in order, and whether there may be more.

    A lane that returned as many runs as were read may have more: runs that come after its last one have to wait until the
    lane is read again, or a run of lower priority would be claimed first.
    """
    groups: dict[str, list[Lane]] = {}
    for lane in plain:
        groups.setdefault(uow.task(lane[1]).executor, []).append(lane)
    probes = [(group, min(limit, capacity.of(executor))) for executor, group in groups.items()]
    for lane in lanes:
        if lane not in plain:
            task = uow.task(lane[1])
            probes.append(([lane], min(limit, headroom.of_lane(task, uow.queue(lane[0])), capacity.of(task.executor))))
    # Without capacity for a child process, runs that need one are not read: they would stand before all others.
    careful = capacity.of("process") <= 0
    found: list[Run] = []
    ends = []
    for probed, most in probes:
        if most <= 0:
            continue
        near = uow.task(probed[0][1]).executor not in FAR
        ready = _find_ready(uow, probed, most, "find_unscathed" if careful and near else "find_ready")
        found += ready
        if len(ready) == most:
            ends.append(claim_order(ready[-1]))
    found.sort(key=claim_order)
    if not ends:
        return found, False
    end = min(ends)
    return [run for run in found if claim_order(run) <= end], True


def headroom_now(uow: UnitOfWork) -> Headroom:
    """Return the headroom under every concurrency limit, from the live leases."""
    live: Live = {(task, queue, key): count for task, queue, key, count in uow.database.rows("live_counts")}
    return Headroom(live, uow.now_ms)


def _learn_rates(uow: UnitOfWork, headroom: Headroom, places: Iterable[tuple[str, str | None]]) -> None:
    """Read the state of rates of these (task, key) into the headroom."""
    wanted: dict[str, set[str]] = {}
    for name, key in places:
        task = uow.task(name)
        if task.rate is not None:
            wanted.setdefault(name, set()).add("")
        if task.rate_per_key is not None and key is not None:
            wanted.setdefault(name, set()).add(key)
    for name, keys in wanted.items():
        rows = uow.database.rows("read_rates", task=name, ids=as_rows(keys))
        headroom.know({(of_task, key): next_at_us for of_task, key, next_at_us in rows})


def _save_rates(uow: UnitOfWork, headroom: Headroom, lanes: Iterable[Lane]) -> None:
    if headroom.spent:
        rows = [(task, key, next_at_us) for (task, key), next_at_us in headroom.spent.items()]
        uow.execute("save_rates", rows=as_rows(rows))
    for queue, name in lanes:
        opens_at = headroom.opens_at_ms(uow.task(name))
        if opens_at is not None:
            uow.emit(LaneClosed(queue, name, opens_at))


def park(uow: UnitOfWork, run: Run, until: int) -> None:
    """Park a queued run, which a limit of its key keeps from being claimed, until a time."""
    uow.save(replace(run, parked_until=until, version=run.version + 1), run)


def unpark(uow: UnitOfWork, run: Run) -> None:
    """Make a parked run ready again; the next claim checks the limits."""
    if run.state is State.QUEUED and run.parked_until is not None:
        uow.save(replace(run, parked_until=None, version=run.version + 1), run)


def unpark_freed(uow: UnitOfWork, freed: list[tuple[str, str]]) -> None:
    """Un-park runs of each (task, key) of which this transaction freed a slot, as many as its limit admits now."""
    keys = [(task, key) for task, key in freed if uow.task(task).concurrency_per_key is not None]
    if not keys:
        return
    uow.flush()
    uow.take_turn()
    # Another server may just have made a queue, and parked runs in it.
    queues = [row[0] for row in uow.database.rows("read_queues")] if uow.definitions.shared else []
    headroom = headroom_now(uow)
    for task, key in keys:
        free = min(headroom.of_key(uow.task(task), key), LOOKED_AT_MAX)
        if free <= 0:
            continue
        owns = Namespace(Namespace.owner(key)).owns
        # In every queue, since one may be paused or without workers; the claim parks surplus runs again.
        for queue in filter(owns, queues or [queue for queue, _ in uow.definitions.lanes_of(task)]):
            for run in uow.seen(uow.database.rows("find_parked", task=task, key=key, queue=queue, limit=free)):
                if run.parked_until == PARKED:
                    unpark(uow, run)
    uow.flush()


def free_slot(uow: UnitOfWork, run: Run, after: Run, event: Event) -> None:
    """Open the lanes that a limit of the run's task or queue may have closed, and un-park runs of its key: a slot is free."""
    del after, event
    task = uow.task(run.task)
    if is_limited(task):
        if run.key is not None and _limited_by_key(task):
            uow.defer(unpark_freed, (run.task, run.key))
        for queue, name in uow.definitions.lanes_of(run.task):
            uow.open_lane(queue, name)
    if uow.queue(run.queue).concurrency is not None:
        for queue, name in uow.definitions.lanes_in(run.queue):
            uow.open_lane(queue, name)


def pass_on_key(uow: UnitOfWork, run: Run, after: Run, event: Event) -> None:
    """Un-park the next run of the key of a run that leaves its queue without a claim."""
    del after
    if run.state is State.QUEUED and type(event) is not Claimed:
        free_key(uow, run)


def free_key(uow: UnitOfWork, run: Run) -> None:
    """Un-park the next run of a run's key: this one was un-parked for its slot, and does not take it."""
    if run.key is not None and uow.task(run.task).concurrency_per_key is not None:
        uow.defer(unpark_freed, (run.task, run.key))


def error_of_damage(what: tuple[str, ...]) -> RunError:
    """Return the error of a damaged run; `what` are its damaged parts."""
    message = f"it was damaged on the server's disk: its {', '.join(what)[:500]} cannot be read"
    return RunError(code="damaged", message=message, retryable=False)


def _leases(uow: UnitOfWork, runs: list[Run]) -> list[Lease]:
    steps: dict[str, dict[str, msgspec.Raw]] = {}
    # A run that was only started and claimed has no steps, except the inherited steps of a retry.
    known = [run.id for run in runs if run.seq > 2 or run.previous_id is not None]  # noqa: PLR2004
    damaged = {run.id: run.damaged for run in runs if isinstance(run, DamagedRun)}
    for run_id, name, value, _ in uow.database.rows("read_steps", ids=as_rows(known)) if known else ():
        steps.setdefault(run_id, {})[name] = msgspec.Raw(value.encode())
        if not is_json(value):
            damaged[run_id] = (*damaged.get(run_id, ()), f"step {name}")
    if damaged:
        for run in runs:
            if run.id in damaged:
                move(uow, run, Errored(error_of_damage(damaged[run.id])))
        runs = [run for run in runs if run.id not in damaged]
    return [
        Lease(
            run_id=run.id,
            task=Namespace.unqualify(run.task),
            epoch=run.epoch,
            attempt=run.attempt,
            max_attempts=run.max_attempts,
            input=_EMPTY if run.input == "{}" else msgspec.Raw(run.input.encode()),
            crashes=run.crashes,
            name=run.name,
            key=None if run.key is None else Namespace.unqualify(run.key),
            parent_id=run.parent_id,
            root_id=run.root_id,
            labels=_EMPTY if run.labels == "{}" else msgspec.Raw(run.labels.encode()),
            created_at=run.created_at,
            steps=steps.get(run.id, _NO_STEPS) if steps else _NO_STEPS,
        )
        for run in runs
    ]
