"""Stopping a run and its family: so many runs in one transaction, and what is left is written down until it is done.

The run itself is stopped first, and from then on it starts no more children: what is to be stopped does not grow. Each
open row says whose children are still to be asked, and from which on; it is written and removed in the transactions
that do the work, so whoever comes next, also after a crash, goes on where the last one was.
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
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork, as_rows

AT_ONCE: Final = 500
"""Open rows that one transaction goes on with."""
FAMILY_MAX: Final = 500
"""Descendants that one transaction asks to stop."""

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Reason).decode


class FamilyStop:
    """Budget of one transaction for stopping descendants."""

    def __init__(self) -> None:
        self.room = FAMILY_MAX
        """Descendants that may still be asked to stop."""
        self.unfinished = False
        """Whether some are left for other transactions."""


class Open(msgspec.Struct, frozen=True):
    """A run whose unfinished children are to be stopped; fields in the order of the columns."""

    run_id: str
    after: str
    """The last child that was asked."""
    reason: str
    grace_ms: int | None


def terminate(uow: UnitOfWork, run: Run, reason: Reason, grace_ms: int | None, *, cascade: bool) -> Run:
    """Ask a run to stop, and its unfinished children with it; what is stopping or stopped already stays as it is.

    The transaction asks as many of them as it has room for; `finish` asks the rest.
    """
    _ask(uow, run, reason, grace_ms)
    if cascade:
        because = Reason(code="parent_terminated", message=reason.message, actor=reason.actor)
        _descend(uow, [Open(run.id, "", _encode(because).decode(), grace_ms)])
    after = uow.run(run.id)
    assert after is not None
    return after


async def finish(store: Store) -> None:
    """Stop what is left of families, a transaction after the other, so that nothing else has to wait for long."""
    while await store.read.families_left():
        await store.write(go_on, weight=AT_ONCE)


def go_on(uow: UnitOfWork) -> None:
    """Go on where earlier transactions had no more room."""
    uow.flush()
    left = [Open(*row) for row in uow.database.rows("read_cascades", limit=AT_ONCE)]
    uow.later("delete_cascades", ids=as_rows([parent.run_id for parent in left]))
    _descend(uow, left)


def _ask(uow: UnitOfWork, run: Run, reason: Reason, grace_ms: int | None) -> None:
    now = uow.run(run.id)
    assert now is not None
    if now.state not in FINAL and now.state is not State.STOPPING:
        move(uow, now, StopAsked(reason, grace_ms))


def _descend(uow: UnitOfWork, parents: Iterable[Open]) -> None:
    left = deque(parents)
    family = uow.local(FamilyStop)
    while left and family.room > 0:
        parent, room = left.popleft(), family.room
        children = uow.find("find_children", parent_id=parent.run_id, after=parent.after, limit=room)
        family.room -= max(1, len(children))
        reason = _decode(parent.reason)
        for child in children:
            _ask(uow, child, reason, parent.grace_ms)
        if children:
            having = uow.database.rows("parents_among", ids=as_rows([child.id for child in children]))
            left += [replace(parent, run_id=run_id, after="") for (run_id,) in having]
        if len(children) == room:
            left.append(replace(parent, after=children[-1].id))
    if left:
        uow.later("save_cascades", rows=as_rows([astuple(parent) for parent in left]))
        family.unfinished = True
        uow.emit(DeadlineSet(uow.now_ms))  # wakes the rescuer, in case that the caller ends before `finish`
