"""Checkpoints of tasks that the server executes: the progress of a long run, stored by the transactions that make it.

After a crash the next attempt continues where the last transaction ended: nothing is done twice, nothing is left out. A
checkpoint is a step of the run; its name ends with a number or an id that rises.
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

CHECKPOINT: Final = "cursor:"
"""Prefix of the names of steps that are checkpoints; the last one counts."""
_encode: Final = msgspec.json.Encoder().encode


def leased_run(uow: UnitOfWork, run: Run) -> Run:
    """Return the run as it is now; raise LeaseLost, before anything is changed, if its lease was lost."""
    current = uow.run(run.id)
    if current is None or current.epoch != run.epoch or current.state is not State.RUNNING:
        raise LeaseLost
    return current


def save_checkpoint(
    uow: UnitOfWork, run: Run, position: int | str, checkpoint: object, done: int, total: int | None, message: str = ""
) -> None:
    """Store a checkpoint with the changes of this transaction, and the run's progress (`done` of `total`).

    `position` is a number or an id, higher than those of all earlier checkpoints.
    """
    mark = position if isinstance(position, str) else f"{position:012}"
    uow.add_step(run.id, f"{CHECKPOINT}{mark}", _encode(checkpoint).decode())
    current = leased_run(uow, run)
    change(uow, current, advance(current, done, total, message, uow.now_ms))


async def last_checkpoint(store: Store, run: Run, kind: type[T]) -> T | None:
    """Return the last checkpoint of all attempts of the run, or None."""
    steps = [step for step in await store.read.steps(run.id) if step.name.startswith(CHECKPOINT)]
    found = max(steps, key=lambda step: step.name, default=None)
    return None if found is None else msgspec.json.decode(found.value, type=kind)
