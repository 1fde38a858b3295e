"""Hooks: in-transaction reactions to transitions of runs, in one ordered tuple.

A hook names the states that it reacts to and the runs that concern it, so that a run without parent, key, limits or schedule
pays for none of them. Hooks that look at a whole transaction defer that to its end (`UnitOfWork.defer`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from headway.kernel.lifecycle import Event
from headway.kernel.run import Run, State
from headway.store.unit_of_work import HookTable, UnitOfWork


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """One reaction to transitions."""

    name: str
    states: frozenset[State]
    """States after the transition."""
    concerns: Callable[[Run], Any]
    """Predicate on the run before the transition, such as `attrgetter("parent_id")`; a false value skips the hook."""
    on_transition: Callable[[UnitOfWork, Run, Run, Event], None]
    """Called with the run before and after the transition, and the event that caused it."""


def table(hooks: Iterable[Hook]) -> HookTable:
    """Return the hooks by the states that they react to, in their order."""
    hooks = tuple(hooks)
    return {
        state: tuple((hook.concerns, hook.on_transition) for hook in hooks if state in hook.states) for state in State
    }
