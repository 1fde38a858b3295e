"""Reactions of the core to transitions: stop messages, slots, keys and parents. Features add theirs after these."""

from __future__ import annotations

from operator import attrgetter
from typing import Final

import msgspec

from headway.kernel.lifecycle import Claimed, Event, Held, StopAsked
from headway.kernel.run import FINAL, LEASED, Blocker, Run, State
from headway.notify.events import StopRequested
from headway.runs.claiming import unpark_freed
from headway.runs.hooks import Hook
from headway.runs.transitions import CHILD_RESULT, change, child_result, unblock
from headway.store.unit_of_work import UnitOfWork

_encode: Final = msgspec.json.Encoder().encode

_LEFT: Final = frozenset(State) - LEASED
"""States in which no worker holds the run."""


def tell_worker(uow: UnitOfWork, run: Run, after: Run, event: Event) -> None:
    """Have the worker that holds the run end its attempt."""
    del after
    assert run.worker_id is not None
    if isinstance(event, StopAsked):
        grace_ms = uow.task(run.task).grace_ms if event.grace_ms is None else event.grace_ms
        uow.emit(StopRequested(run.worker_id, run.id, run.epoch, grace_ms, event.reason.message))
    elif isinstance(event, Held):
        uow.emit(StopRequested(run.worker_id, run.id, run.epoch, 0, "suspended"))


def free_slot(uow: UnitOfWork, run: Run, after: Run, event: Event) -> None:
    """Open the lanes that a limit on the run's task or queue may have closed: one of its slots is free."""
    del after, event
    task = uow.task(run.task)
    if task.limited:
        if run.key is not None and task.limited_by_key:
            uow.defer(unpark_freed, (run.task, run.key))
        for queue, name in uow.definitions.lanes_of(run.task):
            uow.open_lane(queue, name)
    if uow.queue(run.queue).concurrency is not None:
        for queue, name in uow.definitions.lanes_in(run.queue):
            uow.open_lane(queue, name)


def pass_on_key(uow: UnitOfWork, run: Run, after: Run, event: Event) -> None:
    """Free the slot of a queued run's key for the next: the run leaves its queue without a claim."""
    del after
    if run.state is State.QUEUED and type(event) is not Claimed:
        free_key(uow, run)


def free_key(uow: UnitOfWork, run: Run) -> None:
    """Let the next parked run of the key compete: this one was un-parked for its slot, and does not take it."""
    if run.key is not None and uow.task(run.task).concurrency_per_key is not None:
        uow.defer(unpark_freed, (run.task, run.key))


def tell_parent(uow: UnitOfWork, run: Run, after: Run, event: Event) -> None:
    """Record how a child ended as a step of its parent, which goes on if it waits for the child."""
    del event
    parent = uow.run(run.parent_id or "")
    if parent is None or parent.state in FINAL:
        return
    uow.add_step(parent.id, CHILD_RESULT + run.id, child_result(after))
    if parent.seq == 1:  # a claim looks for steps only where something has happened since the start
        line = _encode({"name": CHILD_RESULT + run.id, "attempt": parent.attempt}).decode()
        parent = change(uow, parent, parent, "run.step", line)
    unblock(uow, parent, Blocker(kind="run", run_id=run.id))


_held: Final = attrgetter("worker_id")

HOOKS: Final = (
    Hook(name="worker", states=frozenset({State.STOPPING, State.SUSPENDED}), concerns=_held, on_transition=tell_worker),
    Hook(name="slot", states=_LEFT, concerns=_held, on_transition=free_slot),
    Hook(name="key", states=_LEFT, concerns=attrgetter("key"), on_transition=pass_on_key),
    Hook(name="parent", states=FINAL, concerns=attrgetter("parent_id"), on_transition=tell_parent),
)
"""In this order: messages to the worker, room for other runs, then runs that wait for this one."""
