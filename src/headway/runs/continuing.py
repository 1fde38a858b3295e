"""Retries that continue from succeeded steps: the new run gets a copy of the old run's steps, in its first transaction.

Steps are copied rather than referenced, so that the old run can be removed. Copying costs about as much as a claim of the
run, which reads the same steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from msgspec.structs import replace

from headway.errors import InvalidState
from headway.kernel.authority import RESERVED
from headway.kernel.inheritance import (
    CHILDREN_MAX,
    FAILED_CHILD,
    HEIR,
    ORIGIN,
    Child,
    Inheritance,
    inheritance,
)
from headway.kernel.run import FINAL, DamagedRun, Run, State
from headway.kernel.task import Task
from headway.protocol.workers import EXECUTORS
from headway.runs.transitions import CHILD_RESULT, SUCCEEDED_RESULT, change, child_result
from headway.store.corruption import is_json
from headway.store.unit_of_work import UnitOfWork, as_rows

_decode: Final = msgspec.json.Decoder().decode
_AFTER: Final = "\U0010ffff"
_LOST: Final = (
    '{"state":"terminated","output":null,"error":{"code":"not_taken_over","message":"the child was removed, or another retry '
    'waits for it: retry from scratch","retryable":false},"reason":null}'
)
"""The result of a child that a retry cannot wait for."""


class InheritedSteps:
    """Count of the steps that retries took over in one transaction."""

    steps = 0


def continues(task: Task) -> bool:
    """Say whether retries of the task go on; not for tasks that the server executes, whose cursors belong to one run."""
    return task.executor in EXECUTORS and not task.name.startswith(RESERVED)


def plan(uow: UnitOfWork, run: Run) -> Inheritance:
    """Return the inheritance of a retry of a final run, changing nothing; raise InvalidState for too many unfinished children."""
    uow.flush()
    last_step, woken = _last_step(uow, run)
    return inheritance(last_step, woken=woken, children=_children(uow, run))


def inherit(uow: UnitOfWork, run: Run, heir: Run, planned: Inheritance) -> int:
    """Give the heir, which was just inserted, the planned inheritance; return the number of its steps."""
    for child_id in planned.adopted:
        child = uow.run(child_id)
        assert child is not None, "it was there when it was planned"
        _adopt(uow, heir, child)
    for child_id in planned.late_results:
        child = uow.run(child_id)
        assert child is not None, "as above"
        uow.add_step(heir.id, CHILD_RESULT + child_id, child_result(child))
    for step, child_id in planned.failed.items():
        uow.add_step(heir.id, FAILED_CHILD + step, f'"{child_id}"')
    uow.add_step(run.id, HEIR + heir.id, "true")
    uow.flush()
    uow.execute("inherit_steps", heir_id=heir.id, run_id=run.id, ids=as_rows(planned.left_out))
    uow.add_step(heir.id, ORIGIN, f'"{run.id}"')  # the origin of an earlier retry was copied and stays
    uow.flush()
    count = int(uow.database.rows("count_all_steps", run_id=heir.id)[0][0])
    uow.local(InheritedSteps).steps += count
    return count


def inherit_child(uow: UnitOfWork, parent: Run, step: str, child: Run) -> Run | None:
    """Return the failed run from which a child of a retry continues: a child of the same step, task and input; or None."""
    if parent.previous_id is None:
        return None
    known = uow.step(parent.id, FAILED_CHILD + step)
    before = None if known is None or not is_json(known.value) else uow.run(_decode(known.value))
    if before is None or isinstance(before, DamagedRun) or before.state not in (State.FAILED, State.TERMINATED):
        return None
    same = (before.task, before.input, before.organisation) == (child.task, child.input, child.organisation)
    return before if same and continues(uow.task(child.task)) else None


def take_over(uow: UnitOfWork, heir: Run, child_id: str) -> bool:
    """Let a retry wait for a child of a run of its chain; return whether an inherited step has the child's id.

    This serves workers that name the steps of children themselves; other children were inherited with the retry. A child
    that was removed, or for which another retry waits, counts as stopped. Since workers write the values of steps, the
    child also has to have been started in the chain.
    """
    if heir.previous_id is None:
        return False
    uow.flush()
    if not uow.database.rows("step_of_value", run_id=heir.id, value=f'"{child_id}"'):
        return False
    child = uow.run(child_id)
    if child is not None and set(_repeated(uow, heir.id)).isdisjoint(_repeated(uow, child.parent_id)):
        return False
    if child is not None and child.state not in FINAL and _is_orphan(uow, child):
        _adopt(uow, heir, child)
    else:
        ended = child is not None and child.state in FINAL
        uow.add_step(heir.id, CHILD_RESULT + child_id, child_result(child) if ended and child is not None else _LOST)
    return True


def _repeated(uow: UnitOfWork, run_id: str | None) -> Iterator[str]:
    """Yield the ids of a run and of the earlier runs that it repeats, as far as they are stored."""
    while run_id is not None:
        yield run_id
        run = uow.run(run_id)
        run_id = None if run is None else run.previous_id


def _is_orphan(uow: UnitOfWork, child: Run) -> bool:
    parent = uow.run(child.parent_id or "")
    return parent is None or parent.state in FINAL


def _adopt(uow: UnitOfWork, heir: Run, child: Run) -> None:
    adopted = replace(child, parent_id=heir.id, root_id=heir.root_id)
    change(uow, child, adopted, "run.changed", '{"changed":["parent_id","root_id"]}')
    uow.later("adopt_run", expect=1, id=child.id, parent_id=heir.id, root_id=heir.root_id)


def latest(uow: UnitOfWork, run: Run) -> Run:
    """Return the newest retry that continues from a final run, or the run itself."""
    while run.state in FINAL:
        rows = uow.database.rows("last_step_named", run_id=run.id, first=HEIR, last=HEIR + _AFTER)
        heir = uow.run(rows[0][0].removeprefix(HEIR)) if rows and rows[0][0] is not None else None
        if heir is None or heir.organisation != run.organisation:
            return run
        run = heir
    return run


def _last_step(uow: UnitOfWork, run: Run) -> tuple[str, bool]:
    """Return the name of the step that the run's code recorded last, and whether the run was claimed since then."""
    for seq, text in uow.database.rows("last_step_event", run_id=run.id):
        name = str(_decode(text).get("name", "")) if is_json(text) else ""
        lines = uow.database.rows("read_events_of_type", run_id=run.id, after=seq, type="run.state", limit=100)
        return name, any(is_json(line[5]) and _decode(line[5]).get("cause") == "claimed" for line in lines)
    return "", False


def _children(uow: UnitOfWork, run: Run) -> Iterable[Child]:
    found = [
        (name, _decode(value) if is_json(value) else "", told)
        for name, value, told in uow.database.rows("read_child_steps", run_id=run.id)
    ]
    unknown = [child_id for _, child_id, told in found if told is None]
    if len(unknown) > CHILDREN_MAX:
        raise InvalidState(
            f"{len(unknown):,} of the run's children have not ended, or ended after it; a retry takes over at most "
            f"{CHILDREN_MAX:,}: wait for them or stop them, or retry from scratch",
            state=str(run.state),
        )
    uow.prefetch(unknown, ())
    for name, child_id, told in found:
        if told is not None:
            yield Child(
                name, child_id, State.SUCCEEDED if told.startswith(SUCCEEDED_RESULT) else State.FAILED, has_result=True
            )
        else:
            child = uow.run(child_id)
            gone = child is None or isinstance(child, DamagedRun) or child.organisation != run.organisation
            if child is not None and child.state not in FINAL and child.parent_id != run.id:
                gone = True  # an earlier retry of this run waits for it, and would not be woken any more
            yield Child(name, child_id, None if gone or child is None else child.state, has_result=False)
