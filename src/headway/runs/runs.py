"""Runs: start, look, wait, change, stop, repeat, remove."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from headway.config import Settings
from headway.errors import (
    AlreadyCompleted,
    HeadwayError,
    InvalidState,
    NotFound,
    RunNotFound,
    RunPurged,
    Unavailable,
    VersionMismatch,
)
from headway.ids import IdSource, Signer, canonical_id
from headway.kernel.lifecycle import Rescheduled
from headway.kernel.query import FIRST, Page, RunFilter
from headway.kernel.retention import expires_at
from headway.kernel.run import KEEP, TOKEN_WAIT, Reason, Run, State
from headway.kernel.space import Space
from headway.protocol.runs import PatchRun, SignalRun, StartBatch, StartRun, Terminate
from headway.protocol.times import to_text
from headway.protocol.values import duration, invalid, timestamp
from headway.runs import verbs
from headway.runs.claiming import free_key
from headway.runs.continuing import latest
from headway.runs.idempotency import Keyed, Repeatable, RequestKey, keyed
from headway.runs.inputs import canonical
from headway.runs.reporting import SIGNAL, token_of
from headway.runs.starting import NewRun, RunFactory, Start, StartMany, error_of
from headway.runs.stopping import FamilyStop, finish
from headway.runs.transitions import change, move
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork, as_rows, label_rows

AGAIN_S: Final = 1.0
"""Before who waits reads again what could not be read: it may be there again without a change."""

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
_decode_labels: Final = msgspec.json.Decoder(dict[str, str]).decode


class Started(msgspec.Struct, frozen=True):
    """A run that a start answers with."""

    run: Run
    created: bool
    """False: an earlier run has the dedupe key."""
    replayed: bool
    """True: an earlier request with the same idempotency key started it."""


@dataclass(eq=False)
class ChangeRun(Repeatable[Run]):
    """Apply a verb to a run; the result is the run after it, or the new run that the verb has made."""

    run_id: str
    verb: Callable[[UnitOfWork, Run], Run]
    organisation: int | None
    """The run's organisation; None: any."""
    version: int | None = None
    """The version that the run must have; None: any."""

    def __post_init__(self) -> None:
        self.run_ids = (self.run_id,)

    def apply(self, uow: UnitOfWork) -> Run:
        """Raise RunNotFound, VersionMismatch, and what the verb raises."""
        run = uow.run(self.run_id)
        if run is None or self.organisation not in (None, run.organisation):
            raise RunNotFound
        if self.version is not None and run.version != self.version:
            raise VersionMismatch(f"the run is at version {run.version}, not {self.version}", version=run.version)
        return self.verb(uow, run)

    def lines(self, result: Run) -> list[str]:
        """Return the id."""
        return [result.id]

    def replay(self, uow: UnitOfWork, lines: list[str]) -> Run:
        """Return the run as it is now; raise RunNotFound if it was removed since."""
        run = uow.run(lines[0])
        if run is None:
            raise RunNotFound
        return run


class Runs:
    """Every verb on the runs of one organisation; those of others are not there. Names are the organisation's own."""

    def __init__(
        self, store: Store, run_factory: RunFactory, ids: IdSource, signer: Signer, settings: Settings, space: Space
    ) -> None:
        self._store = store
        self._catalog = store.definitions
        self._space = space
        self._organisation = space.organisation
        self._drafter = run_factory
        self._ids = ids
        self._signer = signer
        self._settings = settings

    # -- starting ----------------------------------------------------------------------------------------------------

    async def start(self, spec: StartRun, request: RequestKey | None = None, *, run_type: str = "api") -> Started:
        """Start a run; when this returns it is on disk. Raises what `RunFactory.draft` and `insert` raise.

        `run_type` says on which surface. With `validate_only` everything is checked and nothing is kept.
        """
        space = self._space
        if self._catalog.shared:
            await self._store.know(space, (spec.task,))
        draft = await self._drafter.draft(spec, space, run_type=run_type)
        if spec.validate_only:
            return Started(space.run(draft.run), created=False, replayed=False)
        command = Start(draft, () if draft.run.parent_id is None else (draft.run.parent_id,))
        made = await self._store.write(command if request is None else Keyed(command, request, space))
        if isinstance(made, str):
            return Started(await self.get(made), created=False, replayed=True)
        run, created = made
        return Started(run if self._organisation == FIRST else space.run(run), created, replayed=False)

    async def start_batch(self, batch: StartBatch, request: RequestKey | None = None) -> list[Started | HeadwayError]:
        """Start up to 1,000 runs in one transaction, answered in order; atomic: all, or the first error is raised."""
        space = self._space
        await self._store.know(space, (spec.task for spec in batch.runs))
        drafts: list[NewRun | HeadwayError] = []
        for index, spec in enumerate(batch.runs):
            try:
                drafts.append(await self._drafter.draft(spec, space))
            except HeadwayError as error:
                if batch.atomic:
                    error.fields["index"] = index
                    raise
                drafts.append(error)
        parents = {draft.run.parent_id for draft in drafts if not isinstance(draft, HeadwayError)} - {None}
        command = StartMany(drafts, batch.atomic, [parent for parent in parents if parent], len(drafts))
        items = await self._store.write(keyed(command, request, space))
        return [
            item
            if isinstance(item, HeadwayError)
            else await self._replayed(item)
            if isinstance(item, str)
            else Started(space.run(item[0]), item[1], replayed=False)
            for item in items
        ]

    async def _replayed(self, line: str) -> Started | HeadwayError:
        """Return again what an item was answered with: the run as it is now, or the same error."""
        if canonical_id(line) is None:
            return error_of(line)
        try:
            return Started(await self.get(line), created=False, replayed=True)
        except HeadwayError as error:  # it was removed since
            return error

    # -- looking -----------------------------------------------------------------------------------------------------

    async def get(self, run_id: str) -> Run:
        """Return the run; raise RunNotFound, or RunPurged with when and why."""
        run = await self._store.read.run(run_id)
        if run is None or run.organisation != self._organisation:
            raise await self._missing(run_id)
        return run if self._organisation == FIRST else self._space.run(run)

    async def kept(self, run_id: str) -> Run:
        """Return the run with its names as they are kept; raise as `get` does."""
        run = await self._store.read.run(run_id)
        if run is None or run.organisation != self._organisation:
            raise await self._missing(run_id)
        return run

    async def _missing(self, run_id: str) -> HeadwayError:
        stone = await self._store.read.tombstone(run_id)
        if stone is None or stone.organisation != self._organisation:
            return RunNotFound(f"there is no run {run_id}")
        return RunPurged(
            f"run {run_id} was removed", removed_at=to_text(stone.removed_at), policy=stone.policy, run_id=run_id
        )

    async def wait(self, run_id: str, wait_s: float, until: Callable[[Run], bool]) -> Run:
        """Return the run as soon as `until` says so, or as it is when the time is up. No change is missed.

        Only the first read raises Unavailable; after that the wait goes on until something can be read again.
        """
        changed = asyncio.Event()
        with self._store.notifier.watching(run_id, changed.set):
            run = await self.get(run_id)
            try:
                async with asyncio.timeout(wait_s):
                    while not until(run):
                        await changed.wait()
                        changed.clear()
                        try:
                            run = await self.get(run_id)
                        except Unavailable:
                            asyncio.get_running_loop().call_later(AGAIN_S, changed.set)
            except TimeoutError:
                pass
        return run

    async def page(self, wanted: RunFilter, at: Page) -> tuple[list[Run], str]:
        """Return a page of runs, and where the next one starts ("" if this is the last). It may be short, even empty."""
        found, after = await self._store.read.page(self._space.wanted(wanted), at)
        return [self._space.run(run) for run in found], after

    async def count(self, wanted: RunFilter, group_by: str | None) -> dict[str, int]:
        """Return how many runs there are, by group. What the counters know is not counted again."""
        space = self._space
        counts: dict[str, int] = {}
        if wanted == RunFilter() and group_by in ("state", "task", "queue"):
            place = {"task": 0, "queue": 1, "state": 2}[group_by]
            found = [(where[place], n) for where, n in self._store.counters.above_zero() if space.owns(where[1])]
        else:
            found = list((await self._store.read.count(space.wanted(wanted), group_by)).items())
        for group, number in found:
            name = space.outside(group)
            counts[name] = counts.get(name, 0) + number
        return counts

    # -- changing ----------------------------------------------------------------------------------------------------

    async def _change(
        self,
        run_id: str,
        work: Callable[[UnitOfWork, Run], Run],
        request: RequestKey | None = None,
        version: int | None = None,
        *,
        anyones: bool = False,
    ) -> Run:
        """Apply a ChangeRun; return the run as it is after, with the organisation's own names.

        With `anyones` it may be any organisation's run: for who holds something better than being of its own.
        """
        command = ChangeRun(run_id, work, None if anyones else self._organisation, version)
        try:
            run = await self._store.write(keyed(command, request, self._space))
        except RunNotFound:
            raise await self._missing(run_id) from None
        return self._space.run(run)

    async def patch(self, run_id: str, patch: PatchRun, version: int | None, request: RequestKey | None = None) -> Run:
        """Change what may be changed; raise InvalidState for what may not any more, VersionMismatch for a stale ETag."""
        run_at = UNSET if patch.run_at is UNSET else timestamp(patch.run_at, "/run_at")
        keep_ms = UNSET if patch.retention is UNSET else _keep(patch.retention)

        def work(uow: UnitOfWork, run: Run) -> Run:
            return _patched(uow, run, patch, run_at, keep_ms)

        return await self._change(run_id, work, request, version)

    async def terminate(self, run_id: str, how: Terminate, request: RequestKey | None = None) -> Run:
        """Ask the run to stop; asking again changes nothing. Raises InvalidState for a run that ended otherwise."""
        grace_ms = None if how.grace is None else duration(how.grace, "/grace")
        reason = Reason(code="terminated", message=how.reason, actor=how.actor)

        left = False

        def work(uow: UnitOfWork, run: Run) -> Run:
            nonlocal left
            after = verbs.terminate(uow, run, reason, grace_ms, cascade=how.children == "cascade")
            left = uow.local(FamilyStop).unfinished
            return after

        after = await self._change(run_id, work, request)
        if left:
            await finish(self._store)
        return after

    async def suspend(self, run_id: str, reason: Reason, request: RequestKey | None = None) -> Run:
        """Hold the run until it is resumed. Running code loses its lease at once; its attempt is given back."""
        return await self._change(run_id, lambda uow, run: verbs.suspend(uow, run, reason), request)

    async def resume(self, run_id: str, reason: Reason, request: RequestKey | None = None) -> Run:
        """Queue a suspended run again, whatever it waits for. A run that is not suspended raises InvalidState."""
        return await self._change(run_id, lambda uow, run: verbs.resume(uow, run, reason), request)

    async def signal(self, run_id: str, signal: SignalRun, request: RequestKey | None = None) -> Run:
        """Give the run a message; it is kept until the run asks for it.

        Raises InvalidState for a finished run, and InvalidInput for the name of a token's wait.
        """
        if signal.name.startswith(TOKEN_WAIT):
            message = (
                f"names of signals do not begin with {TOKEN_WAIT}: the wait of a token is completed with its token"
            )
            raise invalid("/name", message, "reserved")
        limits = self._settings
        payload, _ = canonical(
            signal.payload, bytes_max=limits.input_max, depth_max=limits.depth_max, pointer="/payload"
        )
        return await self._change(run_id, lambda uow, run: verbs.signal(uow, run, signal.name, payload), request)

    async def complete_token(self, token: str, value: msgspec.Raw, request: RequestKey | None = None) -> Run:
        """Complete the wait of a token; raise NotFound for an unknown one, AlreadyCompleted for the second time.

        If the run has ended and a retry goes on from it, the retry's wait is completed.
        """
        found = token_of(self._signer, token)
        if found is None:
            raise NotFound("no run waits for this token")
        run_id, name = found
        limits = self._settings
        payload, _ = canonical(value, bytes_max=limits.input_max, depth_max=limits.depth_max, pointer="/value")

        def work(uow: UnitOfWork, run: Run) -> Run:
            signal, run = f"{TOKEN_WAIT}{name}", latest(uow, run)
            if uow.step(run.id, f"{SIGNAL}{signal}#1") is not None:
                raise AlreadyCompleted
            return verbs.signal(uow, run, signal, payload)

        # Whoever holds the token comes from outside: the run is that of the token, and so is whose it is.
        return await self._change(run_id, work, request, anyones=True)

    async def retry(
        self, run_id: str, reason: Reason, request: RequestKey | None = None, *, from_scratch: bool = False
    ) -> Run:
        """Start a new run with the input of one that has failed or was terminated; raise InvalidState for others.

        It goes on from the steps that succeeded, unless `from_scratch`. What is final stays as it is: the new run names the
        old one in `previous_id`.
        """
        new_id = self._ids.new(self._store.clock.now_ms())

        def work(uow: UnitOfWork, run: Run) -> Run:
            return verbs.retry(uow, run, new_id, reason, from_scratch=from_scratch)

        return await self._change(run_id, work, request)

    async def protect(self, run_id: str, *, protected: bool, request: RequestKey | None = None) -> Run:
        """Keep the run from being removed, or let it go again."""
        return await self._change(run_id, lambda uow, run: verbs.protect(uow, run, protected=protected), request)

    async def delete(self, run_id: str, version: int | None = None) -> None:
        """Remove a finished run; raise InvalidState for a live one, Protected for a protected one, or VersionMismatch."""
        await self._change(run_id, verbs.delete, version=version)


def _patched(uow: UnitOfWork, run: Run, patch: PatchRun, run_at: int | UnsetType, keep_ms: int | UnsetType) -> Run:
    if patch == PatchRun():
        return run
    changes: dict[str, Any] = {
        name: value
        for name, value in (("name", patch.name), ("priority", patch.priority), ("queue", patch.queue))
        if value is not UNSET
    }
    _still_waits(run, changes.keys() - {"name"}, (State.SCHEDULED, State.QUEUED, State.SUSPENDED))
    if run_at is not UNSET:
        _still_waits(run, {"run_at"}, (State.SCHEDULED, State.QUEUED))
    if "queue" in changes:
        changes["queue"] = Space(run.organisation).inside(str(changes["queue"]))
        uow.queue(changes["queue"])
    if patch.labels is not UNSET:
        changes["labels"] = _encode(patch.labels).decode()
        uow.later("delete_run_labels", ids=f'["{run.id}"]')
        uow.later("insert_labels", rows=as_rows(label_rows(run, patch.labels)))
    if keep_ms is not UNSET:
        changes["keep_ms"] = keep_ms
    after = replace(run, **changes)
    if after.finished_at is not None:
        after = replace(after, expires_at=expires_at(after, after.state, uow.task(run.task), after.finished_at))
    if run.state is State.QUEUED and changes.keys() & {"priority", "queue"}:  # it competes anew
        after = replace(after, parked_until=None)
        free_key(uow, run)
    line = _encode({"changed": sorted([*changes, *(("run_at",) if run_at is not UNSET else ())])}).decode()
    after = change(uow, run, after, "run.changed", line)
    return after if run_at is UNSET or run_at == run.run_at else move(uow, after, Rescheduled(run_at))


def _still_waits(run: Run, names: AbstractSet[str], states: tuple[State, ...]) -> None:
    if names and run.state not in states:
        raise InvalidState(
            f"{', '.join(sorted(names))} cannot change while the run is {run.state}", state=str(run.state)
        )


def _keep(text: str | None) -> int:
    return KEEP if text is None else duration(text, "/retention")
