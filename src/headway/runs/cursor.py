"""The cursor of a built-in task that works through much: how far it is, kept by the transactions that bring it there.

After a crash an attempt goes on where the last transaction has ended: nothing is done twice, nothing is left out. A cursor
is a step of the run, under a name with a number or an id that rises.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from headway.errors import LeaseLost
from headway.kernel.progress import advance
from headway.kernel.run import Run, State
from headway.runs.transitions import change
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

T = TypeVar("T")

CURSOR: Final = "cursor:"
"""Steps of this prefix say how far it is; the last of them counts."""
_encode: Final = msgspec.json.Encoder().encode


def held(uow: UnitOfWork, run: Run) -> Run:
    """Return the run as it is now; raise LeaseLost if it is not under this lease any more, before anything is changed."""
    current = uow.run(run.id)
    if current is None or current.epoch != run.epoch or current.state is not State.RUNNING:
        raise LeaseLost
    return current


def keep(
    uow: UnitOfWork, run: Run, place: int | str, cursor: object, done: int, total: int | None, message: str = ""
) -> None:
    """Keep how far the run is, with what this transaction has done; `place` is after that of all before: a number, or an id."""
    mark = place if isinstance(place, str) else f"{place:012}"
    uow.add_step(run.id, f"{CURSOR}{mark}", _encode(cursor).decode())
    current = held(uow, run)
    change(uow, current, advance(current, done, total, message, uow.now_ms))


async def last(store: Store, run: Run, kind: type[T]) -> T | None:
    """Return how far earlier attempts of the run have come; None if it has not begun."""
    steps = [step for step in await store.read.steps(run.id) if step.name.startswith(CURSOR)]
    found = max(steps, key=lambda step: step.name, default=None)
    return None if found is None else msgspec.json.decode(found.value, type=kind)
