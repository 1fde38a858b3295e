"""Stops of a run and its descendants: a limited number in one transaction, and a record of the rest.

The run itself is stopped first, and from then on it starts no more children, so its descendants do not increase. Each
record names a parent and the last of its children that was asked. Records are written and removed in the transactions
that ask the children, so the next transaction, also after a crash, continues after the last one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec.structs import astuple, replace

from headway.kernel.lifecycle import StopAsked
from headway.kernel.run import FINAL, Reason, Run, State
from headway.notify.events import DeadlineSet
from headway.runs.transitions import move
from headway.store.command import Command
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork, as_rows

AT_ONCE: Final = 500
"""Records that one transaction continues."""
FAMILY_MAX: Final = 500
"""Most descendants that one transaction asks to stop."""

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Reason).decode


class FamilyStop:
    """Budget of one transaction for stopping descendants."""

    def __init__(self) -> None:
        self.left = FAMILY_MAX
        """Descendants that may still be asked to stop."""
        self.unfinished = False
        """Whether descendants are left for other transactions."""


class OpenParent(msgspec.Struct, frozen=True):
    """A run with unfinished children to be stopped; fields in the order of the columns."""

    run_id: str
    after: str
    """The last child that was asked."""
    reason: str
    grace_ms: int | None


def terminate(uow: UnitOfWork, run: Run, reason: Reason, grace_ms: int | None, *, cascade: bool) -> Run:
    """Ask a run to stop, and with `cascade` its unfinished descendants; stopping and final runs stay as they are.

    The transaction asks at most FAMILY_MAX descendants; `finish` asks the rest.
    """
    _ask(uow, run, reason, grace_ms)
    if cascade:
        because = Reason(code="parent_terminated", message=reason.message, actor=reason.actor)
        _descend(uow, [OpenParent(run.id, "", _encode(because).decode(), grace_ms)])
    after = uow.run(run.id)
    assert after is not None
    return after


async def finish(store: Store) -> None:
    """Stop the descendants that are left, in one transaction after the other, so that other commands do not wait long."""
    while await store.read.families_left():
        await store.write(ContinueStops())


class ContinueStops(Command[None]):
    """Stop of further descendants of the recorded parents."""

    weight = AT_ONCE

    def apply(self, uow: UnitOfWork) -> None:
        uow.flush()
        left = [OpenParent(*row) for row in uow.database.rows("read_cascades", limit=AT_ONCE)]
        uow.later("delete_cascades", ids=as_rows([parent.run_id for parent in left]))
        _descend(uow, left)


def _ask(uow: UnitOfWork, run: Run, reason: Reason, grace_ms: int | None) -> None:
    now = uow.run(run.id)
    assert now is not None
    if now.state not in FINAL and now.state is not State.STOPPING:
        move(uow, now, StopAsked(reason, grace_ms))


def _descend(uow: UnitOfWork, parents: Iterable[OpenParent]) -> None:
    left = deque(parents)
    family = uow.local(FamilyStop)
    while left and family.left > 0:
        parent, most = left.popleft(), family.left
        children = uow.find("find_children", parent_id=parent.run_id, after=parent.after, limit=most)
        family.left -= max(1, len(children))
        reason = _decode(parent.reason)
        for child in children:
            _ask(uow, child, reason, parent.grace_ms)
        if children:
            having = uow.database.rows("parents_among", ids=as_rows([child.id for child in children]))
            left += [replace(parent, run_id=run_id, after="") for (run_id,) in having]
        if len(children) == most:
            left.append(replace(parent, after=children[-1].id))
    if left:
        uow.later("save_cascades", rows=as_rows([astuple(parent) for parent in left]))
        family.unfinished = True
        uow.emit(DeadlineSet(uow.now_ms))  # wakes the rescuer, in case that the caller ends before `finish`
