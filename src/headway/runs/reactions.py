"""Reactions of the core to transitions: stop messages, slots, keys and parents. Features add theirs after these."""

from __future__ import annotations

from operator import attrgetter
from typing import Final

import msgspec

from headway.kernel.lifecycle import Event, Held, StopAsked
from headway.kernel.run import FINAL, LEASED, Blocker, Run, State
from headway.notify.events import StopRequested
from headway.runs.claiming import free_slot, pass_on_key
from headway.runs.hooks import Hook
from headway.runs.transitions import CHILD_RESULT, change, child_result, unblock
from headway.store.unit_of_work import UnitOfWork

_encode: Final = msgspec.json.Encoder().encode

_LEFT: Final = frozenset(State) - LEASED
"""States in which no worker holds the run."""


def tell_worker(uow: UnitOfWork, run: Run, after: Run, event: Event) -> None:
    """Send the worker that holds the run a message to end its attempt."""
    del after
    assert run.worker_id is not None
    if isinstance(event, StopAsked):
        grace_ms = uow.task(run.task).grace_ms if event.grace_ms is None else event.grace_ms
        uow.emit(StopRequested(run.worker_id, run.id, run.epoch, grace_ms, event.reason.message))
    elif isinstance(event, Held):
        uow.emit(StopRequested(run.worker_id, run.id, run.epoch, 0, "suspended"))


def tell_parent(uow: UnitOfWork, run: Run, after: Run, event: Event) -> None:
    """Record the end of a child as a step of its parent, which resumes if it waits for the child."""
    del event
    parent = uow.run(run.parent_id or "")
    if parent is None or parent.state in FINAL:
        return
    uow.add_step(parent.id, CHILD_RESULT + run.id, child_result(after))
    if parent.seq == 1:  # a claim reads steps only of runs with history after their start
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
"""Hooks in order: messages to the worker, slots and keys for other runs, then the parent."""
