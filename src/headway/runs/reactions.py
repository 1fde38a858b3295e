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
from headway.store.unit import Unit

_encode: Final = msgspec.json.Encoder().encode

_LEFT: Final = frozenset(State) - LEASED
"""States in which no worker holds the run."""


def tell_worker(unit: Unit, run: Run, after: Run, event: Event) -> None:
    """Have the worker that holds the run end its attempt."""
    del after
    assert run.worker_id is not None
    if isinstance(event, StopAsked):
        grace_ms = unit.task(run.task).grace_ms if event.grace_ms is None else event.grace_ms
        unit.emit(StopRequested(run.worker_id, run.id, run.epoch, grace_ms, event.reason.message))
    elif isinstance(event, Held):
        unit.emit(StopRequested(run.worker_id, run.id, run.epoch, 0, "suspended"))


def free_slot(unit: Unit, run: Run, after: Run, event: Event) -> None:
    """Open the lanes that a limit on the run's task or queue may have closed: one of its slots is free."""
    del after, event
    task = unit.task(run.task)
    if task.limited:
        if run.key is not None and task.limited_by_key:
            unit.defer(unpark_freed, (run.task, run.key))
        for queue, name in unit.catalog.lanes_of(run.task):
            unit.open_lane(queue, name)
    if unit.queue(run.queue).concurrency is not None:
        for queue, name in unit.catalog.lanes_in(run.queue):
            unit.open_lane(queue, name)


def pass_on_key(unit: Unit, run: Run, after: Run, event: Event) -> None:
    """Free the slot of a queued run's key for the next: the run leaves its queue without a claim."""
    del after
    if run.state is State.QUEUED and type(event) is not Claimed:
        free_key(unit, run)


def free_key(unit: Unit, run: Run) -> None:
    """Let the next parked run of the key compete: this one was un-parked for its slot, and does not take it."""
    if run.key is not None and unit.task(run.task).concurrency_per_key is not None:
        unit.defer(unpark_freed, (run.task, run.key))


def tell_parent(unit: Unit, run: Run, after: Run, event: Event) -> None:
    """Record how a child ended as a step of its parent, which goes on if it waits for the child."""
    del event
    parent = unit.run(run.parent_id or "")
    if parent is None or parent.state in FINAL:
        return
    unit.add_step(parent.id, CHILD_RESULT + run.id, child_result(after))
    if parent.seq == 1:  # a claim looks for steps only where something has happened since the start
        line = _encode({"name": CHILD_RESULT + run.id, "attempt": parent.attempt}).decode()
        parent = change(unit, parent, parent, "run.step", line)
    unblock(unit, parent, Blocker(kind="run", run_id=run.id))


_held: Final = attrgetter("worker_id")

HOOKS: Final = (
    Hook(name="worker", states=frozenset({State.STOPPING, State.SUSPENDED}), concerns=_held, on_transition=tell_worker),
    Hook(name="slot", states=_LEFT, concerns=_held, on_transition=free_slot),
    Hook(name="key", states=_LEFT, concerns=attrgetter("key"), on_transition=pass_on_key),
    Hook(name="parent", states=FINAL, concerns=attrgetter("parent_id"), on_transition=tell_parent),
)
"""In this order: messages to the worker, room for other runs, then runs that wait for this one."""
