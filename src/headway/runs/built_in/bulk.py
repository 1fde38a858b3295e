"""Built-in task headway.bulk: one verb on every run that a filter names, in transactions of a chunk and the checkpoint.

After a crash it goes on behind the last chunk that was committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec.structs import replace

from headway.errors import BadParameter, HeadwayError, InvalidState
from headway.ids import IdSource
from headway.kernel.authority import RESERVED
from headway.kernel.namespace import Namespace
from headway.kernel.query import RunFilter
from headway.kernel.run import Reason, Run
from headway.protocol.runs import BulkAction
from headway.runs import control
from headway.runs.built_in.task import built_in
from headway.runs.checkpoints import last_checkpoint, leased_run, save_checkpoint
from headway.runs.continuing import InheritedSteps
from headway.runs.filters import to_filter
from headway.runs.service import Service
from headway.runs.stopping import finish
from headway.store.command import Command
from headway.store.unit_of_work import UnitOfWork

CHUNK: Final = 500
"""Number of runs of one transaction."""
INHERITED: Final = 10_000
"""Number of steps copied by retries after which a transaction takes no further run."""
REASONS: Final = {
    "terminate": "terminated", "suspend": "suspended", "resume": "resumed", "retry": "retried", "protect": "protected",
    "unprotect": "unprotected",
}  # fmt: skip
"""Code of the reason by action: the code of the verb on a single run."""


class BulkProgress(msgspec.Struct, frozen=True):
    """Progress of a bulk run, and its checkpoint."""

    after: str = ""
    changed: int = 0
    passed: int = 0
    """Runs that the action does not apply to."""
    total: int | None = None
    """Number of runs that the filter named when it began."""


@dataclass
class BulkChunk(Command[BulkProgress]):
    """One verb on some runs, with the bulk run's checkpoint; the result is the progress after it."""

    bulk: Run
    ids: Sequence[str]
    action: BulkAction
    before: BulkProgress
    source: IdSource

    def __post_init__(self) -> None:
        """Load all of its runs beforehand."""
        self.run_ids = (self.bulk.id, *self.ids)
        self.weight = len(self.ids)

    def apply(self, uow: UnitOfWork) -> BulkProgress:
        """Apply the verb where it applies; raise LeaseLost if the bulk run is not under this lease any more."""
        leased_run(uow, self.bulk)
        changed, passed, upto = _apply(uow, self.ids, self.action, self.source)
        before = self.before
        after = BulkProgress(upto, before.changed + changed, before.passed + passed, before.total)
        save_checkpoint(uow, self.bulk, upto, after, after.changed + after.passed, after.total)
        return after


class Bulk:
    """A bulk run: the filter's runs are of its own organisation."""

    def __init__(self, service: Service, run: Run, wanted: RunFilter, action: BulkAction) -> None:
        self._store = service.store
        self._ids = service.ids
        self._run = run
        self._wanted = wanted
        self._action = action

    async def begin(self) -> BulkProgress:
        """Return the progress of earlier attempts; of a new run, the number of runs that the filter names."""
        done = await last_checkpoint(self._store, self._run, BulkProgress)
        if done is not None:
            return done
        return BulkProgress(total=sum((await self._store.read.count(self._wanted, None)).values()))

    async def chunk(self, done: BulkProgress) -> BulkProgress | None:
        """Apply the verb to the next chunk; return the progress, or None when all is done; raise LeaseLost."""
        found = await self._store.read.ids(self._wanted, done.after, CHUNK)
        ids = [run_id for run_id in found if run_id < self._run.id]
        if not ids:
            return None
        after = await self._store.write(BulkChunk(self._run, ids, self._action, done, self._ids))
        await finish(self._store)
        return after


async def execute(service: Service, run: Run) -> msgspec.Raw:
    """Apply the action to the runs that matched when the run was created, after an earlier attempt's checkpoint."""
    action = msgspec.json.decode(run.input, type=BulkAction)
    wanted = Namespace(run.organisation).wanted(to_filter(action.filter))
    if wanted.created_before is None:  # what comes later, also in the same millisecond, has a higher id
        wanted = replace(wanted, created_before=run.created_at + 1)
    bulk = Bulk(service, run, wanted, action)
    done = await bulk.begin()
    while (further := await bulk.chunk(done)) is not None:
        done = further
    return msgspec.Raw(msgspec.json.encode({"changed": done.changed, "passed_over": done.passed}))


TASK: Final = built_in("headway.bulk", "One verb on every run that a filter names.", BulkAction, execute)


def _apply(uow: UnitOfWork, ids: Iterable[str], action: BulkAction, source: IdSource) -> tuple[int, int, str]:
    """Apply the action; return the numbers of runs that it changed and did not apply to, and the id of the last one.

    Ends early when the transaction has copied as many steps as one should.
    """
    changed = passed = 0
    upto = ""
    verb = action.action
    reason = Reason(code=REASONS.get(verb, verb), message=action.reason, actor="bulk")
    for run_id in ids:
        if uow.local(InheritedSteps).steps >= INHERITED:
            break
        upto = run_id
        run = uow.run(run_id)
        if run is None:
            continue
        before = uow.changes
        try:
            _one(uow, run, action, reason, source)
        except HeadwayError:
            if uow.changes != before:  # half a change must not be committed
                raise
            passed += 1
        else:
            changed += uow.changes != before
            passed += uow.changes == before
    return changed, passed, upto


def _one(uow: UnitOfWork, run: Run, action: BulkAction, reason: Reason, source: IdSource) -> None:
    match action.action:
        case "terminate":
            control.terminate(uow, run, reason)
        case "retry" if run.task.startswith(RESERVED):
            raise InvalidState(
                "runs of built-in tasks are retried one by one, with a key that has the scopes of their action",
                state=str(run.state),
            )
        case "retry":
            control.retry(uow, run, source.new(uow.now_ms), reason, from_scratch=action.from_scratch)
        case "suspend":
            control.suspend(uow, run, reason)
        case "resume":
            control.resume(uow, run, reason)
        case "protect" | "unprotect":
            control.protect(uow, run, reason, protected=action.action == "protect")
        case "delete":
            control.delete(uow, run)
        case _:
            raise BadParameter(f"there is no bulk action {action.action!r}")
