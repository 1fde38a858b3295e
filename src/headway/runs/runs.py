"""Runs of one organisation: start, read, wait, control."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec
from msgspec import UNSET

from headway.config import Settings
from headway.errors import (
    HeadwayError,
    NotFound,
    RunNotFound,
    RunPurged,
    Unavailable,
    VersionMismatch,
)
from headway.ids import IdSource, Signer, canonical_id
from headway.kernel.namespace import Namespace
from headway.kernel.query import FIRST, Page, RunFilter
from headway.kernel.run import KEEP, TOKEN_WAIT, Reason, Run
from headway.protocol.runs import PatchRun, SignalRun, StartBatch, StartRun, Terminate
from headway.protocol.times import to_text
from headway.protocol.values import duration, invalid, timestamp
from headway.runs import control
from headway.runs.idempotency import KeyedCommand, Repeatable, RequestKey, keyed
from headway.runs.inputs import canonical
from headway.runs.reporting import token_of
from headway.runs.starting import NewRun, RunFactory, Start, StartMany, error_of
from headway.runs.stopping import FamilyStop, finish
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

AGAIN_S: Final = 1.0
"""Pause in seconds before a failed read of a wait is repeated."""

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
_decode_labels: Final = msgspec.json.Decoder(dict[str, str]).decode


class StartResult(msgspec.Struct, frozen=True):
    """Result of a start."""

    run: Run
    created: bool
    """False if an earlier run has the dedupe key."""
    replayed: bool
    """Whether an earlier request with the same idempotency key started the run."""


@dataclass(eq=False)
class ChangeRun(Repeatable[Run]):
    """Application of an operation to a run; the result is the run after it, or the new run that it has made."""

    run_id: str
    operation: Callable[[UnitOfWork, Run], Run]
    organisation: int | None
    """The run's organisation; None: any."""
    version: int | None = None
    """The version that the run must have; None: any."""

    def __post_init__(self) -> None:
        self.run_ids = (self.run_id,)

    def apply(self, uow: UnitOfWork) -> Run:
        """Raise RunNotFound, VersionMismatch, and the errors of the operation."""
        run = uow.run(self.run_id)
        if run is None or self.organisation not in (None, run.organisation):
            raise RunNotFound
        if self.version is not None and run.version != self.version:
            raise VersionMismatch(f"the run is at version {run.version}, not {self.version}", version=run.version)
        return self.operation(uow, run)

    def lines(self, result: Run) -> list[str]:
        """Return the id."""
        return [result.id]

    def replay(self, uow: UnitOfWork, lines: list[str]) -> Run:
        """Return the run as it is now; raise RunNotFound if it was removed since."""
        run = uow.run(lines[0])
        if run is None:
            raise RunNotFound
        return run


@dataclass(eq=False)
class TerminateRun(ChangeRun):
    """A stop of a run, with its children or without."""

    unfinished = False
    """Whether children are left for other transactions; set by `apply`."""

    def apply(self, uow: UnitOfWork) -> Run:
        after = super().apply(uow)
        self.unfinished = uow.local(FamilyStop).unfinished
        return after


class Runs:
    """Operations on the runs of one organisation, with its own names; other runs raise RunNotFound."""

    def __init__(
        self,
        store: Store,
        run_factory: RunFactory,
        ids: IdSource,
        signer: Signer,
        settings: Settings,
        namespace: Namespace,
    ) -> None:
        self._store = store
        self._definitions = store.definitions
        self._namespace = namespace
        self._organisation = namespace.organisation
        self._run_factory = run_factory
        self._ids = ids
        self._signer = signer
        self._settings = settings

    # -- starting ----------------------------------------------------------------------------------------------------

    async def start(self, spec: StartRun, request: RequestKey | None = None, *, run_type: str = "api") -> StartResult:
        """Start a run, or find the run that it duplicates; the run is on disk when this returns.

        `run_type` names the surface. With `validate_only` the request is checked and nothing is stored. Raises
        UnknownTask, TaskInactive, InvalidInput, PayloadTooLarge, MalformedJson, SchemaTooCostly, InputTooCostly,
        InvalidState for a parent that was stopped, DuplicateRun, IdempotencyKeyReused, Overloaded, and StorageFull on a
        full disk.
        """
        namespace = self._namespace
        if self._definitions.shared:
            await self._store.know(namespace, (spec.task,))
        new = await self._run_factory.make(spec, namespace, run_type=run_type)
        if spec.validate_only:
            return StartResult(namespace.run(new.run), created=False, replayed=False)
        command = Start(new, () if new.run.parent_id is None else (new.run.parent_id,))
        made = await self._store.write(command if request is None else KeyedCommand(command, request, namespace))
        if isinstance(made, str):
            return StartResult(await self.get(made), created=False, replayed=True)
        run, created = made
        return StartResult(run if self._organisation == FIRST else namespace.run(run), created, replayed=False)

    async def start_batch(
        self, batch: StartBatch, request: RequestKey | None = None
    ) -> list[StartResult | HeadwayError]:
        """Start up to 1,000 runs in one transaction; return a result or an error for each, in their order.

        If the batch is atomic, the first error is raised instead, with its `index`, and no run starts. Otherwise raises
        IdempotencyKeyReused and StorageFull.
        """
        namespace = self._namespace
        await self._store.know(namespace, (spec.task for spec in batch.runs))
        items: list[NewRun | HeadwayError] = []
        for index, spec in enumerate(batch.runs):
            try:
                items.append(await self._run_factory.make(spec, namespace))
            except HeadwayError as error:
                if batch.atomic:
                    error.fields["index"] = index
                    raise
                items.append(error)
        parents = {new.run.parent_id for new in items if not isinstance(new, HeadwayError)} - {None}
        command = StartMany(items, batch.atomic, [parent for parent in parents if parent], len(items))
        results = await self._store.write(keyed(command, request, namespace))
        return [
            result
            if isinstance(result, HeadwayError)
            else await self._replayed(result)
            if isinstance(result, str)
            else StartResult(namespace.run(result[0]), result[1], replayed=False)
            for result in results
        ]

    async def _replayed(self, line: str) -> StartResult | HeadwayError:
        """Return the result of an item of an earlier request: the run as it is now, or the same error."""
        if canonical_id(line) is None:
            return error_of(line)
        try:
            return StartResult(await self.get(line), created=False, replayed=True)
        except HeadwayError as error:  # it was removed since
            return error

    # -- reading -----------------------------------------------------------------------------------------------------

    async def get(self, run_id: str) -> Run:
        """Return the run; raise RunNotFound, or RunPurged with time and policy of the removal."""
        run = await self._store.read.run(run_id)
        if run is None or run.organisation != self._organisation:
            raise await self._missing(run_id)
        return run if self._organisation == FIRST else self._namespace.run(run)

    async def stored(self, run_id: str) -> Run:
        """Return the run with qualified names; raise RunNotFound or RunPurged."""
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
        """Return the run as soon as `until` is true of it, or after `wait_s` seconds. No change is missed.

        The first read raises RunNotFound, RunPurged or Unavailable; later failures are repeated.
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
        """Return a page of runs, which may be short or empty, and the position of the next page, "" after the last."""
        found, after = await self._store.read.page(self._namespace.wanted(wanted), at)
        return [self._namespace.run(run) for run in found], after

    async def count(self, wanted: RunFilter, group_by: str | None) -> dict[str, int]:
        """Return the number of runs by group: state, task, queue or a label; from the counters where they suffice."""
        namespace = self._namespace
        counts: dict[str, int] = {}
        if wanted == RunFilter() and group_by in ("state", "task", "queue"):
            place = {"task": 0, "queue": 1, "state": 2}[group_by]
            found = [(where[place], n) for where, n in self._store.counters.above_zero() if namespace.owns(where[1])]
        else:
            found = list((await self._store.read.count(namespace.wanted(wanted), group_by)).items())
        for group, number in found:
            name = namespace.unqualify(group)
            counts[name] = counts.get(name, 0) + number
        return counts

    # -- changing ----------------------------------------------------------------------------------------------------

    async def _change(self, command: ChangeRun, request: RequestKey | None = None) -> Run:
        """Apply the command; return the run after it, with the organisation's own names."""
        try:
            run = await self._store.write(keyed(command, request, self._namespace))
        except RunNotFound:
            raise await self._missing(command.run_id) from None
        return self._namespace.run(run)

    async def patch(self, run_id: str, patch: PatchRun, version: int | None, request: RequestKey | None = None) -> Run:
        """Change fields of the run and return it; `version` is the version that it must have (`If-Match`).

        Raises RunNotFound, RunPurged, VersionMismatch, InvalidInput for a time or duration that cannot be read, and
        InvalidState for fields that cannot change in the run's state: queue and priority of a run that was claimed.
        """
        run_at = UNSET if patch.run_at is UNSET else timestamp(patch.run_at, "/run_at")
        keep_ms = UNSET if patch.retention is UNSET else _keep(patch.retention)
        work = partial(control.patch, patch=patch, run_at=run_at, keep_ms=keep_ms)
        return await self._change(ChangeRun(run_id, work, self._organisation, version), request)

    async def terminate(self, run_id: str, how: Terminate, request: RequestKey | None = None) -> Run:
        """Ask the run to stop, and its children unless `how.children` is "leave"; return the run.

        Running code has `how.grace`, by default that of its task, to end. A run that is stopping or terminated stays as
        it is. Raises RunNotFound, RunPurged, and InvalidState for a run that succeeded or failed.
        """
        grace_ms = None if how.grace is None else duration(how.grace, "/grace")
        reason = Reason(code="terminated", message=how.reason, actor=how.actor)
        work = partial(control.terminate, reason=reason, grace_ms=grace_ms, cascade=how.children == "cascade")
        command = TerminateRun(run_id, work, self._organisation)
        after = await self._change(command, request)
        if command.unfinished:
            await finish(self._store)
        return after

    async def suspend(self, run_id: str, reason: Reason, request: RequestKey | None = None) -> Run:
        """Suspend the run until it is resumed, and return it. Running code loses its lease; its attempt is given back.

        Raises RunNotFound, RunPurged, and InvalidState for a run that is stopping or final.
        """
        return await self._change(
            ChangeRun(run_id, partial(control.suspend, reason=reason), self._organisation), request
        )

    async def resume(self, run_id: str, reason: Reason, request: RequestKey | None = None) -> Run:
        """Queue a suspended run, whatever it waits for, and return it.

        Raises RunNotFound, RunPurged, and InvalidState for a run that is not suspended.
        """
        return await self._change(
            ChangeRun(run_id, partial(control.resume, reason=reason), self._organisation), request
        )

    async def signal(self, run_id: str, signal: SignalRun, request: RequestKey | None = None) -> Run:
        """Send the run a message, which is kept until the run asks for it; return the run.

        Raises RunNotFound, RunPurged, InvalidState for a finished run, InvalidInput for a name that begins like that of
        a token's wait, and PayloadTooLarge or MalformedJson for the payload.
        """
        if signal.name.startswith(TOKEN_WAIT):
            message = (
                f"names of signals do not begin with {TOKEN_WAIT}: the wait of a token is completed with its token"
            )
            raise invalid("/name", message, "reserved")
        work = partial(control.signal, name=signal.name, payload=self._payload(signal.payload, "/payload"))
        return await self._change(ChangeRun(run_id, work, self._organisation), request)

    async def complete_token(self, token: str, value: msgspec.Raw, request: RequestKey | None = None) -> Run:
        """Complete the wait of a token of any organisation with a value; return the run.

        If the run has ended and a retry goes on from it, the retry's wait is completed. Raises NotFound for an unknown
        token, AlreadyCompleted at the second call, and PayloadTooLarge, MalformedJson or InvalidInput for the value.
        """
        found = token_of(self._signer, token)
        if found is None:
            raise NotFound("no run waits for this token")
        run_id, name = found
        work = partial(control.complete_token, name=name, payload=self._payload(value, "/value"))
        return await self._change(ChangeRun(run_id, work, None), request)

    def _payload(self, value: msgspec.Raw, pointer: str) -> str:
        limits = self._settings
        return canonical(value, bytes_max=limits.input_max, depth_max=limits.depth_max, pointer=pointer)[0]

    async def retry(
        self, run_id: str, reason: Reason, request: RequestKey | None = None, *, from_scratch: bool = False
    ) -> Run:
        """Start a new run with the input of a failed or terminated one, and return it; `previous_id` names the old run.

        It continues from the steps that succeeded, unless `from_scratch`. Raises RunNotFound, RunPurged, UnknownTask,
        TaskInactive, Damaged, and InvalidState for a run in another state or with too many unfinished children.
        """
        new_id = self._ids.new(self._store.clock.now_ms())
        work = partial(control.retry, new_id=new_id, reason=reason, from_scratch=from_scratch)
        return await self._change(ChangeRun(run_id, work, self._organisation), request)

    async def protect(
        self, run_id: str, *, protected: bool, reason: Reason | None = None, request: RequestKey | None = None
    ) -> Run:
        """Protect the run from removal, or end its protection; return the run. Raises RunNotFound and RunPurged."""
        reason = reason or Reason(code="protected" if protected else "unprotected")
        work = partial(control.protect, reason=reason, protected=protected)
        return await self._change(ChangeRun(run_id, work, self._organisation), request)

    async def delete(self, run_id: str, version: int | None = None) -> None:
        """Remove a finished run; `version` is the version that it must have (`If-Match`).

        Raises RunNotFound, RunPurged, VersionMismatch, InvalidState for an unfinished run, and Protected.
        """
        await self._change(ChangeRun(run_id, control.delete, self._organisation, version))


def _keep(text: str | None) -> int:
    return KEEP if text is None else duration(text, "/retention")
