"""Permissions: decisions on what a principal may do; pure."""

from __future__ import annotations

from collections.abc import Iterable

from headway.kernel.authority import OPERATING, Principal, Scope
from headway.kernel.effects import NEEDS, Effect
from headway.kernel.query import FIRST
from headway.kernel.space import Space
from headway.kernel.task import Task


def may(principal: Principal, scope: Scope) -> bool:
    """Whether the principal may use a route of this scope; every right not granted is refused."""
    if scope == "caller":
        return True
    if scope in OPERATING and principal.organisation != FIRST:
        return False
    return scope in principal.scopes


def lacking(principal: Principal, effects: Iterable[Effect]) -> Effect | None:
    """Return the first of the effects whose scope the principal lacks, or None."""
    for effect in effects:
        if not may(principal, NEEDS[effect].scope):
            return effect
    return None


def lacking_for_child(principal: Principal, effects: Iterable[Effect], queue: str) -> Effect | None:
    """Return the first effect of starting a child run in the queue that the worker's key does not allow, or None.

    It acts for its organisation: in the queues of its key it starts runs of any task. Of the built-in ones that is so for an
    export: the worker gets a name of a file by it, which it cannot read without record:read. A key that is not bound to
    queues may also replace and delay runs, as it could claim and end each of them. All else needs what it does.
    """
    given: set[Effect] = set()
    if within(principal, queue):
        given |= {"start a run", "export records"}
    if principal.queues is None:
        given |= {"replace a run", "delay a run"}
    return lacking(principal, (effect for effect in effects if effect not in given))


def within(principal: Principal, queue: str) -> bool:
    """Return whether the principal's key may use a queue (a qualified name); a key without queues may use all."""
    return principal.queues is None or queue in map(Space(principal.organisation).inside, principal.queues)


def declares_beyond(principal: Principal, task: Task, known: Task | None) -> bool:
    """Whether declaring the task reaches beyond the queues that a worker's key is bound to.

    `known` is what the organisation means by its name until now. Both have to be in the key's queues, and a task that is
    shared with the organisation would be hidden by one of its own.
    """
    if principal.queues is None:
        return False
    return not within(principal, task.queue) or (
        known is not None and (known.name != task.name or not within(principal, known.queue))
    )


def beyond(principal: Principal, scopes: Iterable[str], queues: Iterable[str] | None) -> list[str]:
    """Return the rights that the principal lacks and so cannot grant: scopes, and queues as `queue NAME`."""
    missing = sorted(set(scopes) - principal.scopes)
    if principal.queues is not None:
        missing += (
            ["all queues"] if queues is None else [f"queue {name}" for name in sorted({*queues} - {*principal.queues})]
        )
    return missing
