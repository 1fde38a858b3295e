"""One verb on many runs, a chunk a transaction, each with its cursor: what is done is not done again after a crash."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from headway.errors import BadParameter, HeadwayError, InvalidState
from headway.ids import IdSource
from headway.kernel.authority import RESERVED
from headway.kernel.query import RunFilter
from headway.kernel.run import Reason, Run
from headway.protocol.runs import BulkAction
from headway.runs import verbs
from headway.runs.continuing import Inherited
from headway.runs.cursor import held, keep, last
from headway.runs.stopping import finish
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

CHUNK: Final = 500
"""Runs that a bulk action touches in one transaction."""
INHERITED: Final = 10_000
"""Steps that retries may have copied in a transaction for it to go on to the next run."""
REASONS: Final = {"terminate": "terminated", "suspend": "suspended", "resume": "resumed", "retry": "retried"}
"""The reason's code, by the action: the same as if one had done it to each run by itself."""


class BulkDone(msgspec.Struct, frozen=True):
    """How far a bulk action has come."""

    after: str = ""
    changed: int = 0
    passed: int = 0
    """Runs that the action does not apply to."""
    total: int | None = None
    """How many runs there were when it began."""


class Bulk:
    """Carries out bulk runs, for the built-in worker. What a filter names is a run of the bulk run's own organisation."""

    def __init__(self, store: Store, ids: IdSource) -> None:
        self._store = store
        self._ids = ids

    async def begin(self, bulk: Run, wanted: RunFilter) -> BulkDone:
        """Return how far earlier attempts of a bulk run have come; of one that is new, how much there is to do."""
        done = await last(self._store, bulk, BulkDone)
        if done is not None:
            return done
        return BulkDone(total=sum((await self._store.read.count(wanted, None)).values()))

    async def chunk(self, bulk: Run, wanted: RunFilter, action: BulkAction, done: BulkDone) -> BulkDone | None:
        """Carry out the next chunk of a bulk action, with its cursor in the same transaction; None when all is done.

        Raises LeaseLost if the bulk run is not under this lease any more.
        """
        ids = [run_id for run_id in await self._store.read.ids(wanted, done.after, CHUNK) if run_id < bulk.id]
        if not ids:
            return None

        def work(uow: UnitOfWork) -> BulkDone:
            held(uow, bulk)
            changed, passed, upto = _apply(uow, ids, action, self._ids)
            after = BulkDone(upto, done.changed + changed, done.passed + passed, done.total)
            keep(uow, bulk, upto, after, after.changed + after.passed, after.total)
            return after

        after = await self._store.write(work, run_ids=[bulk.id, *ids], weight=len(ids))
        await finish(self._store)
        return after


def _apply(uow: UnitOfWork, ids: Iterable[str], action: BulkAction, source: IdSource) -> tuple[int, int, str]:
    """Carry out the action on each run that it applies to; return how many, how many it does not apply to, and the last one.

    Ends early when the transaction has copied as many steps as one should.
    """
    changed = passed = 0
    upto = ""
    verb = action.action
    reason = Reason(code=REASONS.get(verb, verb), message=action.reason, actor="bulk")
    for run_id in ids:
        if uow.local(Inherited).steps >= INHERITED:
            break
        upto = run_id
        run = uow.run(run_id)
        if run is None:
            continue
        before = uow.changes
        try:
            _one(uow, run, action, reason, source)
        except HeadwayError:
            passed += 1
        else:
            changed += uow.changes != before
            passed += uow.changes == before
    return changed, passed, upto


def _one(uow: UnitOfWork, run: Run, action: BulkAction, reason: Reason, source: IdSource) -> None:
    match action.action:
        case "terminate":
            verbs.terminate(uow, run, reason)
        case "retry" if run.task.startswith(RESERVED):
            raise InvalidState(
                "runs of built-in tasks are repeated one by one, by who may do what they do", state=str(run.state)
            )
        case "retry":
            verbs.retry(uow, run, source.new(uow.now_ms), reason, from_scratch=action.from_scratch)
        case "suspend":
            verbs.suspend(uow, run, reason)
        case "resume":
            verbs.resume(uow, run, reason)
        case "protect" | "unprotect":
            verbs.protect(uow, run, protected=action.action == "protect")
        case "delete":
            verbs.delete(uow, run)
        case _:
            raise BadParameter(f"there is no bulk action {action.action!r}")
