"""Permissions: the effects of requests with the scope that each needs on every route, and decisions on principals; pure.

A route checks its own scope. Its further effects are listed here, and every surface checks them against this table:
to start a run by a schedule needs the same scope as to start it at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple

from headway.kernel.authority import OPERATING, RESERVED, Principal, Scope
from headway.kernel.namespace import Namespace
from headway.kernel.query import FIRST
from headway.kernel.task import Task

Effect = Literal[
    "start a run", "replace a run", "delay a run", "act on many runs", "count runs", "import records", "export records",
    "choose records", "change records", "send records", "remove records", "convert records", "see why records failed",
    "see missed slots", "see a run", "see a schedule", "see a task", "see a queue", "see a worker", "see a table",
    "see records", "see the mail server",
]  # fmt: skip


class Need(NamedTuple):
    """The scope that an effect needs, and the requests that have it."""

    scope: Scope
    where: str


NEEDS: Final[Mapping[Effect, Need]] = {
    "start a run": Need(
        "run:start",
        "at once; later, by making, changing, resuming, triggering or back-filling a schedule; or for records, by an action "
        "of a record task",
    ),
    "replace a run": Need("run:control", "a start with `dedupe.on_conflict: replace`, which terminates the first run"),
    "delay a run": Need("run:control", "a start with `debounce`, which gives the first run another input and time"),
    "act on many runs": Need("run:control", "`headway.bulk`, however it is started"),
    "count runs": Need("run:read", "a bulk action with `dry_run`"),
    "import records": Need("record:write", "`headway.import`, however it is started, and repeating such a run"),
    "export records": Need("record:read", "`headway.export`, however it is started, and repeating such a run"),
    "choose records": Need("record:read", "making or changing a record task, which looks at records"),
    "change records": Need("record:write", "making or changing a record task that updates or inserts"),
    "send records": Need(
        "record:read", "making or changing a record task that mails, calls or starts runs with records"
    ),
    "remove records": Need("record:write", "removing a table, or a field"),
    "convert records": Need("record:write", "changing more of a field than its name, default and connection"),
    "see why records failed": Need("record:read", "the errors of a record task's records, which quote values"),
    "see missed slots": Need("schedule:read", "a back-fill with `dry_run`"),
    "see a run": Need("run:read", "more of it than `id`, `state`, `final`, `version` and `url`"),
    "see a schedule": Need("schedule:read", "more of it than `id`, `state`, `version` and `url`"),
    "see a task": Need("task:read", "more of it than `name`, `active`, `version` and `url`"),
    "see a queue": Need("queue:read", "more of it than `name`, `paused` and `url`"),
    "see a worker": Need("worker:read", "more of it than `id`, `state` and `url`; a worker sees itself"),
    "see a table": Need("table:read", "more of it, or of a field, than `id`, `version` and `url`"),
    "see records": Need(
        "record:read", "more of one than `id` and `version`; values that do not fit a field's new type"
    ),
    "see the mail server": Need("mail:read", "more than when it was changed"),
}
"""Each effect with its scope. A test walks the routes with keys of one scope each and holds them to it."""

OF_BUILT_IN: Final[Mapping[str, Effect]] = {
    "headway.bulk": "act on many runs", "headway.import": "import records", "headway.export": "export records",
}  # fmt: skip
"""The effect of a run of a built-in task, by task; those not listed act on many runs."""
OF_CONFLICT: Final[Mapping[str, tuple[Effect, ...]]] = {"replace": ("replace a run",), "debounce": ("delay a run",)}
"""The effect of a start on the run with the same dedupe key, by `on_conflict`."""
OF_ACTION: Final[Mapping[str, tuple[Effect, ...]]] = {
    "update": ("change records",), "update_connected": ("change records",), "insert": ("change records",),
    "email": ("send records",), "webhook": ("send records",), "run": ("send records",),
}  # fmt: skip
"""The effect of a record task's action on records, by its name."""

_START: Final[tuple[Effect, ...]] = ("start a run",)


def of_task(task: str) -> tuple[Effect, ...]:
    """Return the effects of a run of the task; none for a task that workers execute."""
    return (OF_BUILT_IN.get(task, "act on many runs"),) if task.startswith(RESERVED) else ()


def of_start(task: str, on_conflict: str = "return") -> tuple[Effect, ...]:
    """Return the effects of starting a run of the task."""
    if on_conflict == "return" and not task.startswith(RESERVED):
        return _START
    return (*_START, *of_task(task), *OF_CONFLICT.get(on_conflict, ()))


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
    return principal.queues is None or queue in map(Namespace(principal.organisation).qualify, principal.queues)


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
