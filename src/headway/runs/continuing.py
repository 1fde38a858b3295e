"""Retries that go on from what succeeded: the new run gets a copy of the old one's steps, in the transaction that makes it.

A copy rather than a reference, so that the old run can be removed. Copying costs about what a claim of the run costs, which
reads the same steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from msgspec.structs import replace

from headway.errors import InvalidState
from headway.features.record_tasks.model import EXECUTOR
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
from headway.runs.transitions import CHILD_RESULT, SUCCEEDED_RESULT, change, child_result
from headway.store.damage import is_json
from headway.store.unit import Unit, as_rows

_decode: Final = msgspec.json.Decoder().decode
_AFTER: Final = "\U0010ffff"
_LOST: Final = (
    '{"state":"terminated","output":null,"error":{"code":"not_taken_over","message":"the child was removed, or another retry '
    'waits for it: retry from scratch","retryable":false},"reason":null}'
)
"""The result of a child that a retry cannot wait for."""


class Inherited:
    """Count of the steps that retries took over in one transaction."""

    steps = 0


def continues(task: Task) -> bool:
    """Tell whether retries of the task go on. Those of built-in tasks do not: their cursors belong to one run and its files."""
    return task.executor != EXECUTOR and not task.name.startswith(RESERVED)


def plan(unit: Unit, run: Run) -> Inheritance:
    """Return what a retry of a final run takes over, changing nothing; raise InvalidState if children stand in the way."""
    unit.flush()
    last_step, woken = _last_step(unit, run)
    return inheritance(last_step, woken=woken, children=_children(unit, run))


def inherit(unit: Unit, run: Run, heir: Run, planned: Inheritance) -> int:
    """Give the heir, which was just inserted, what is planned; return how many steps it has now."""
    for child_id in planned.adopted:
        child = unit.run(child_id)
        assert child is not None, "it was there when it was planned"
        _adopt(unit, heir, child)
    for child_id in planned.told:
        child = unit.run(child_id)
        assert child is not None, "as above"
        unit.add_step(heir.id, CHILD_RESULT + child_id, child_result(child))
    for step, child_id in planned.failed.items():
        unit.add_step(heir.id, FAILED_CHILD + step, f'"{child_id}"')
    unit.add_step(run.id, HEIR + heir.id, "true")
    unit.flush()
    unit.database.run("inherit_steps", heir_id=heir.id, run_id=run.id, ids=as_rows(planned.left_out))
    unit.add_step(heir.id, ORIGIN, f'"{run.id}"')  # that of an earlier retry, if there was one, was copied and stays
    unit.flush()
    count = int(unit.database.rows("count_all_steps", run_id=heir.id)[0][0])
    unit.local(Inherited).steps += count
    return count


def inherit_child(unit: Unit, parent: Run, step: str, child: Run) -> Run | None:
    """Return the failed run that a child goes on from: its parent is a retry, and started it with the same task and input."""
    if parent.previous_id is None:
        return None
    known = unit.step(parent.id, FAILED_CHILD + step)
    before = None if known is None or not is_json(known.value) else unit.run(_decode(known.value))
    if before is None or isinstance(before, DamagedRun) or before.state not in (State.FAILED, State.TERMINATED):
        return None
    same = (before.task, before.input, before.organisation) == (child.task, child.input, child.organisation)
    return before if same and continues(unit.task(child.task)) else None


def take_over(unit: Unit, heir: Run, child_id: str) -> bool:
    """Let a retry wait for a child of a run of its chain; return whether it may: a step that it took over has the child's id.

    That is for workers which give the steps of children names of their own; the others were taken over with the retry. A child
    that was removed, or that another retry waits for, counts as one that was stopped. A step alone proves nothing: its value
    is what a worker says, so the child has to have been started in the chain.
    """
    if heir.previous_id is None:
        return False
    unit.flush()
    if not unit.database.rows("step_of_value", run_id=heir.id, value=f'"{child_id}"'):
        return False
    child = unit.run(child_id)
    if child is not None and set(_repeated(unit, heir.id)).isdisjoint(_repeated(unit, child.parent_id)):
        return False
    if child is not None and child.state not in FINAL and _is_orphan(unit, child):
        _adopt(unit, heir, child)
    else:
        ended = child is not None and child.state in FINAL
        unit.add_step(heir.id, CHILD_RESULT + child_id, child_result(child) if ended and child is not None else _LOST)
    return True


def _repeated(unit: Unit, run_id: str | None) -> Iterator[str]:
    """Yield the id of a run and those of the runs that it repeats, as far as they are kept."""
    while run_id is not None:
        yield run_id
        run = unit.run(run_id)
        run_id = None if run is None else run.previous_id


def _is_orphan(unit: Unit, child: Run) -> bool:
    parent = unit.run(child.parent_id or "")
    return parent is None or parent.state in FINAL


def _adopt(unit: Unit, heir: Run, child: Run) -> None:
    adopted = replace(child, parent_id=heir.id, root_id=heir.root_id)
    change(unit, child, adopted, "run.changed", '{"changed":["parent_id","root_id"]}')
    unit.later("adopt_run", expect=1, id=child.id, parent_id=heir.id, root_id=heir.root_id)


def latest(unit: Unit, run: Run) -> Run:
    """Return the newest run that goes on from a final one, or the run itself: what was sent to it is meant for that."""
    while run.state in FINAL:
        rows = unit.database.rows("last_step_named", run_id=run.id, first=HEIR, last=HEIR + _AFTER)
        heir = unit.run(rows[0][0].removeprefix(HEIR)) if rows and rows[0][0] is not None else None
        if heir is None or heir.organisation != run.organisation:
            return run
        run = heir
    return run


def _last_step(unit: Unit, run: Run) -> tuple[str, bool]:
    """Return the name of the step that the run's code recorded last, and whether a worker has claimed it since then."""
    for seq, text in unit.database.rows("last_step_event", run_id=run.id):
        name = str(_decode(text).get("name", "")) if is_json(text) else ""
        lines = unit.database.rows("read_events_of_type", run_id=run.id, after=seq, type="run.state", limit=100)
        return name, any(is_json(line[5]) and _decode(line[5]).get("cause") == "claimed" for line in lines)
    return "", False


def _children(unit: Unit, run: Run) -> Iterable[Child]:
    found = [
        (name, _decode(value) if is_json(value) else "", told)
        for name, value, told in unit.database.rows("read_child_steps", run_id=run.id)
    ]
    unknown = [child_id for _, child_id, told in found if told is None]
    if len(unknown) > CHILDREN_MAX:
        raise InvalidState(
            f"{len(unknown):,} of the run's children have not ended, or ended after it; a retry takes over at most "
            f"{CHILDREN_MAX:,}: wait for them or stop them, or retry from scratch",
            state=str(run.state),
        )
    unit.prefetch(unknown, ())
    for name, child_id, told in found:
        if told is not None:
            yield Child(
                name, child_id, State.SUCCEEDED if told.startswith(SUCCEEDED_RESULT) else State.FAILED, told=True
            )
        else:
            child = unit.run(child_id)
            gone = child is None or isinstance(child, DamagedRun) or child.organisation != run.organisation
            if child is not None and child.state not in FINAL and child.parent_id != run.id:
                gone = True  # an earlier retry of this run has it, and would not be woken any more
            yield Child(name, child_id, None if gone or child is None else child.state, told=False)
