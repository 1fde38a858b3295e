"""Runs: start, look, wait, change, stop, repeat, remove."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from headway.config import Settings
from headway.engine.lifecycle import Held, Rescheduled, Resumed
from headway.engine.progress import advance
from headway.engine.retention import expires_at
from headway.errors import (
    AlreadyCompleted,
    BadParameter,
    HeadwayError,
    InvalidState,
    LeaseLost,
    NotFound,
    Protected,
    RunNotFound,
    RunPurged,
    TaskInactive,
    VersionMismatch,
)
from headway.ids import IdSource, Signer
from headway.ids import canonical as canonical_id
from headway.model.query import Page, RunFilter
from headway.model.run import FINAL, KEEP, Blocker, Reason, Run, State
from headway.service.idempotency import RequestKey, keys_of, once
from headway.service.inputs import canonical
from headway.service.reporting import SIGNAL, token_of
from headway.service.starting import Draft, Drafter, duration, insert, new_run, timestamp
from headway.service.transitions import change, move, passed_on, terminate, unblock
from headway.storage.catalog import Catalog
from headway.storage.store import Store
from headway.storage.unit import Unit
from headway.wire.runs import BulkAction, PatchRun, SignalRun, StartBatch, StartRun, Terminate
from headway.wire.times import to_text

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
_decode_labels: Final = msgspec.json.Decoder(dict[str, str]).decode

CHUNK: Final = 500
"""Runs that a bulk action touches in one transaction."""


class Started(msgspec.Struct, frozen=True):
    """A run that a start answers with."""

    run: Run
    created: bool
    """False: an earlier run has the dedupe key."""
    replayed: bool
    """True: an earlier request with the same idempotency key started it."""


CURSOR: Final = "cursor:"


class BulkDone(msgspec.Struct, frozen=True):
    """How far a bulk action has come."""

    after: str = ""
    changed: int = 0
    passed: int = 0
    """Runs that the action does not apply to."""


class Runs:
    """Every verb on runs."""

    def __init__(self, store: Store, drafter: Drafter, ids: IdSource, signer: Signer, settings: Settings) -> None:
        self._store = store
        self._drafter = drafter
        self._ids = ids
        self._signer = signer
        self._settings = settings

    @property
    def _catalog(self) -> Catalog:
        return self._store.catalog

    # -- starting ----------------------------------------------------------------------------------------------------

    async def start(self, spec: StartRun, request: RequestKey | None = None) -> Started:
        """Start a run; when this returns it is on disk. Raises what `Drafter.draft` and `insert` raise.

        With `validate_only` everything is checked and nothing is kept.
        """
        draft = self._drafter.draft(spec)
        if spec.validate_only:
            return Started(draft.run, created=False, replayed=False)
        made: list[tuple[Run, bool]] = []

        def work(unit: Unit) -> tuple[list[str], bool]:
            made.clear()

            def start(unit: Unit) -> list[str]:
                made.append(insert(unit, draft))
                return [made[0][0].id]

            return once(unit, request, start)

        parent = () if draft.run.parent_id is None else (draft.run.parent_id,)
        lines, replayed = await self._store.write(work, run_ids=parent, keys=keys_of(request), grows=True)
        if replayed:
            return Started(await self.get(lines[0]), created=False, replayed=True)
        run, created = made[0]
        return Started(run, created, replayed=False)

    async def start_batch(self, batch: StartBatch, request: RequestKey | None = None) -> list[Started | HeadwayError]:
        """Start up to 1,000 runs in one transaction, answered in order; atomic: all, or the first error is raised."""
        drafts: list[Draft | HeadwayError] = []
        for index, spec in enumerate(batch.runs):
            try:
                drafts.append(self._drafter.draft(spec))
            except HeadwayError as error:
                if batch.atomic:
                    error.fields["index"] = index
                    raise
                drafts.append(error)
        made: list[tuple[Run, bool] | HeadwayError] = []

        def start(unit: Unit) -> list[str]:
            made.clear()
            for draft in drafts:
                if isinstance(draft, HeadwayError):
                    made.append(draft)
                    continue
                try:
                    made.append(insert(unit, draft))
                except HeadwayError as error:
                    if batch.atomic:
                        raise
                    made.append(error)
            return [item.code if isinstance(item, HeadwayError) else item[0].id for item in made]

        def work(unit: Unit) -> tuple[list[str], bool]:
            return once(unit, request, start)

        parents = {draft.run.parent_id for draft in drafts if not isinstance(draft, HeadwayError)} - {None}
        lines, replayed = await self._store.write(
            work,
            run_ids=[parent for parent in parents if parent],
            keys=keys_of(request),
            grows=True,
            weight=len(drafts),
        )
        if replayed:
            return [await self._replayed(line, draft) for line, draft in zip(lines, drafts, strict=True)]
        return [item if isinstance(item, HeadwayError) else Started(*item, replayed=False) for item in made]

    async def _replayed(self, line: str, draft: object) -> Started | HeadwayError:
        if canonical_id(line) is not None:
            return Started(await self.get(line), created=False, replayed=True)
        return draft if isinstance(draft, HeadwayError) else HeadwayError(line)

    # -- looking -----------------------------------------------------------------------------------------------------

    async def get(self, run_id: str) -> Run:
        """Return the run; raise RunNotFound, or RunPurged with when and why."""
        run = await self._store.read.run(run_id)
        if run is None:
            raise await self._missing(run_id)
        return run

    async def _missing(self, run_id: str) -> HeadwayError:
        stone = await self._store.read.tombstone(run_id)
        if stone is None:
            return RunNotFound(f"there is no run {run_id}")
        return RunPurged(
            f"run {run_id} was removed", removed_at=to_text(stone.removed_at), policy=stone.policy, run_id=run_id
        )

    async def wait(self, run_id: str, wait_s: float, until: Callable[[Run], bool]) -> Run:
        """Return the run as soon as `until` says so, or as it is when the time is up. No change is missed."""
        changed = asyncio.Event()
        with self._store.notifier.watching(run_id, changed.set):
            run = await self.get(run_id)
            try:
                async with asyncio.timeout(wait_s):
                    while not until(run):
                        await changed.wait()
                        changed.clear()
                        run = await self.get(run_id)
            except TimeoutError:
                pass
        return run

    async def page(self, wanted: RunFilter, at: Page) -> tuple[list[Run], bool]:
        """Return a page of runs, and whether there are more."""
        found = await self._store.read.page(wanted, at, at.size + 1)
        return found[: at.size], len(found) > at.size

    async def count(self, wanted: RunFilter, group_by: str | None) -> dict[str, int]:
        """Return how many runs there are, by group. What the counters know is not counted again."""
        if wanted == RunFilter() and group_by in ("state", "task", "queue"):
            place = {"task": 0, "queue": 1, "state": 2}[group_by]
            counts: dict[str, int] = {}
            for where, number in self._catalog.counts.items():
                if number:
                    counts[where[place]] = counts.get(where[place], 0) + number
            return counts
        return await self._store.read.count(wanted, group_by)

    # -- changing ----------------------------------------------------------------------------------------------------

    async def _change(
        self,
        run_id: str,
        work: Callable[[Unit, Run], Run],
        request: RequestKey | None = None,
        version: int | None = None,
    ) -> Run:
        """Carry out `work` on the run as it is in the transaction; return it as it is after."""
        after: list[Run] = []

        def whole(unit: Unit) -> None:
            after.clear()

            def change_it(unit: Unit) -> list[str]:
                run = unit.run(run_id)
                if run is None:
                    raise RunNotFound
                if version is not None and run.version != version:
                    raise VersionMismatch(f"the run is at version {run.version}, not {version}", version=run.version)
                after.append(work(unit, run))
                return [after[0].id]

            lines, replayed = once(unit, request, change_it)
            if replayed:
                run = unit.run(lines[0])
                if run is None:
                    raise RunNotFound
                after.append(run)

        try:
            await self._store.write(whole, run_ids=(run_id,), keys=keys_of(request))
        except RunNotFound:
            raise await self._missing(run_id) from None
        return after[0]

    async def patch(self, run_id: str, patch: PatchRun, version: int | None, request: RequestKey | None = None) -> Run:
        """Change what may be changed; raise InvalidState for what may not any more, VersionMismatch for a stale ETag."""
        run_at = UNSET if patch.run_at is UNSET else timestamp(patch.run_at, "/run_at")
        keep_ms = UNSET if patch.retention is UNSET else _keep(patch.retention)

        def work(unit: Unit, run: Run) -> Run:
            if patch == PatchRun():
                return run
            changes: dict[str, object] = {
                name: value
                for name, value in (("name", patch.name), ("priority", patch.priority), ("queue", patch.queue))
                if value is not UNSET
            }
            _still_waits(run, changes.keys() - {"name"}, (State.SCHEDULED, State.QUEUED, State.SUSPENDED))
            if run_at is not UNSET:
                _still_waits(run, {"run_at"}, (State.SCHEDULED, State.QUEUED))
            if "queue" in changes:
                unit.queue(str(changes["queue"]))
            if patch.labels is not UNSET:
                changes["labels"] = _encode(patch.labels).decode()
                unit.later("delete_run_labels", ids=f'["{run.id}"]')
                rows = [(name, value, run.id) for name, value in patch.labels.items()]
                unit.later("insert_labels", rows=_encode(rows).decode())
            if keep_ms is not UNSET:
                changes["keep_ms"] = keep_ms
            after = replace(run, **changes)
            if after.finished_at is not None:
                after = replace(
                    after, expires_at=expires_at(after, after.state, unit.task(run.task), after.finished_at)
                )
            if run.state is State.QUEUED and changes.keys() & {"priority", "queue"}:  # it competes anew
                after = replace(after, parked_until=None)
                passed_on(unit, run)
            line = _encode({"changed": sorted([*changes, *(("run_at",) if run_at is not UNSET else ())])}).decode()
            after = change(unit, run, after, "run.changed", line)
            return after if run_at is UNSET or run_at == run.run_at else move(unit, after, Rescheduled(run_at))

        return await self._change(run_id, work, request, version)

    async def terminate(self, run_id: str, how: Terminate, request: RequestKey | None = None) -> Run:
        """Ask the run to stop; asking again changes nothing. Raises InvalidState for a run that ended otherwise."""
        grace_ms = None if how.grace is None else duration(how.grace, "/grace")
        reason = Reason(code="terminated", message=how.reason, actor=how.actor)

        def work(unit: Unit, run: Run) -> Run:
            if run.state in (State.SUCCEEDED, State.FAILED):
                raise InvalidState(f"the run has {run.state}; there is nothing to stop", state=str(run.state))
            return terminate(unit, run, reason, grace_ms, cascade=how.children == "cascade")

        return await self._change(run_id, work, request)

    async def suspend(self, run_id: str, reason: Reason, request: RequestKey | None = None) -> Run:
        """Hold the run until it is resumed. Running code loses its lease at once; its attempt is given back."""
        return await self._change(
            run_id,
            lambda unit, run: run if _held(run) else move(unit, run, Held(reason)),
            request,
        )

    async def resume(self, run_id: str, reason: Reason, request: RequestKey | None = None) -> Run:
        """Queue a suspended run again, whatever it waits for. A run that is not suspended raises InvalidState."""
        return await self._change(run_id, lambda unit, run: move(unit, run, Resumed(reason)), request)

    async def signal(self, run_id: str, signal: SignalRun, request: RequestKey | None = None) -> Run:
        """Give the run a message; it is kept until the run asks for it. Raises InvalidState for a finished run."""
        limits = self._settings
        payload, _ = canonical(
            signal.payload, bytes_max=limits.input_max, depth_max=limits.depth_max, pointer="/payload"
        )
        return await self._change(run_id, lambda unit, run: _signal(unit, run, signal.name, payload), request)

    async def complete_token(self, token: str, value: msgspec.Raw) -> Run:
        """Complete the wait that the token stands for; raise NotFound for a token of nobody, AlreadyCompleted for the second."""
        found = token_of(self._signer, token)
        if found is None:
            raise NotFound("no run waits for this token")
        run_id, name = found
        limits = self._settings
        payload, _ = canonical(value, bytes_max=limits.input_max, depth_max=limits.depth_max, pointer="/value")

        def work(unit: Unit, run: Run) -> Run:
            signal = f"token:{name}"
            if unit.step(run.id, f"{SIGNAL}{signal}#1") is not None:
                raise AlreadyCompleted
            return _signal(unit, run, signal, payload)

        return await self._change(run_id, work)

    async def retry(self, run_id: str, reason: Reason, request: RequestKey | None = None) -> Run:
        """Start a new run with the input of one that has failed or was terminated; raise InvalidState for others.

        What is final stays as it is: the new run names the old one in `previous_id`.
        """
        new_id = self._ids.new(self._store.clock.now_ms())

        def work(unit: Unit, run: Run) -> Run:
            if run.state not in (State.FAILED, State.TERMINATED):
                raise InvalidState(
                    f"only a failed or terminated run is retried; this one is {run.state}", state=str(run.state)
                )
            return repeat(unit, run, new_id, reason)

        return await self._change(run_id, work, request)

    async def protect(self, run_id: str, *, protected: bool, request: RequestKey | None = None) -> Run:
        """Keep the run from being removed, or let it go again."""

        def work(unit: Unit, run: Run) -> Run:
            if bool(run.protected) == protected:
                return run
            line = f'{{"changed":["protected"],"protected":{str(protected).lower()}}}'
            return change(unit, run, replace(run, protected=int(protected)), "run.changed", line)

        return await self._change(run_id, work, request)

    async def delete(self, run_id: str, version: int | None = None) -> None:
        """Remove a finished run; raise InvalidState for a live one, Protected for a protected one, or VersionMismatch."""
        await self._change(run_id, _delete, version=version)

    # -- many --------------------------------------------------------------------------------------------------------

    async def bulk_chunk(self, bulk: Run, wanted: RunFilter, action: BulkAction, done: BulkDone) -> BulkDone | None:
        """Carry out the next chunk of a bulk action, with its cursor in the same transaction; None when all is done.

        Raises LeaseLost if the bulk run is not under this lease any more.
        """
        ids = [run_id for run_id in await self._store.read.ids(wanted, done.after, CHUNK) if run_id < bulk.id]
        if not ids:
            return None

        def work(unit: Unit) -> BulkDone:
            current = unit.run(bulk.id)
            if current is None or current.epoch != bulk.epoch or current.state is not State.RUNNING:
                raise LeaseLost
            changed, passed = _apply(unit, ids, action, self._ids)
            after = BulkDone(after=ids[-1], changed=done.changed + changed, passed=done.passed + passed)
            unit.add_step(bulk.id, f"{CURSOR}{ids[-1]}", _encode(after).decode())
            current = unit.run(bulk.id)
            assert current is not None
            change(
                unit, current, advance(current, after.changed + after.passed, current.progress_total, "", unit.now_ms)
            )
            return after

        return await self._store.write(work, run_ids=[bulk.id, *ids], weight=len(ids))

    async def bulk_done(self, run_id: str) -> BulkDone:
        """Return how far earlier attempts of a bulk run have come."""
        steps = [step for step in await self._store.read.steps(run_id) if step.name.startswith(CURSOR)]
        last = max(steps, key=lambda step: step.name, default=None)
        return BulkDone() if last is None else msgspec.json.decode(last.value, type=BulkDone)


def repeat(unit: Unit, run: Run, new_id: str, reason: Reason) -> Run:
    """Start a run anew with the same input, under a new id; its history begins with who wanted that, and why."""
    task = unit.task(run.task)
    if not task.active:
        raise TaskInactive(f"the task {task.name!r} is not active")
    again = new_run(
        new_id,
        task,
        unit.now_ms,
        name=run.name,
        queue=run.queue,
        priority=run.priority,
        key=run.key,
        max_attempts=run.max_attempts,
        input=run.input,
        labels=run.labels,
        run_type="retry",
        previous_id=run.id,
        keep_ms=run.keep_ms,
    )
    unit.queue(again.queue)
    unit.insert(again, _decode_labels(again.labels))
    line = {"state": again.state, "cause": "created", "run_type": "retry", "previous_id": run.id, "reason": reason}
    unit.record(again, "run.state", _encode(line).decode())
    return again


def _apply(unit: Unit, ids: Iterable[str], action: BulkAction, source: IdSource) -> tuple[int, int]:
    """Carry out the action on each run that it applies to; return how many, and how many it does not apply to."""
    changed = passed = 0
    reason = Reason(code=action.action, message=action.reason, actor="bulk")
    for run_id in ids:
        run = unit.run(run_id)
        if run is None:
            continue
        try:
            _verb(unit, run, action.action, reason, source)
            changed += 1
        except HeadwayError:
            passed += 1
    return changed, passed


def _verb(unit: Unit, run: Run, action: str, reason: Reason, source: IdSource) -> None:
    match action:
        case "terminate":
            if run.state in FINAL or run.state is State.STOPPING:
                raise InvalidState("nothing to stop")
            terminate(unit, run, reason, None, cascade=True)
        case "retry":
            if run.state not in (State.FAILED, State.TERMINATED):
                raise InvalidState("nothing to retry")
            repeat(unit, run, source.new(unit.now_ms), reason)
        case "suspend":
            move(unit, run, Held(reason))
        case "resume":
            move(unit, run, Resumed(reason))
        case "protect" | "unprotect":
            protected = int(action == "protect")
            if run.protected == protected:
                raise InvalidState("nothing to change")
            line = _encode({"changed": ["protected"], "protected": bool(protected)}).decode()
            change(unit, run, replace(run, protected=protected), "run.changed", line)
        case "delete":
            _delete(unit, run)
        case _:
            raise BadParameter(f"there is no bulk action {action!r}")


def _delete(unit: Unit, run: Run) -> Run:
    if run.state not in FINAL:
        raise InvalidState(f"the run is {run.state}; terminate it first", state=str(run.state))
    if run.protected:
        raise Protected
    unit.remove([run], "deleted")
    return run


def _signal(unit: Unit, run: Run, name: str, payload: str) -> Run:
    if run.state in FINAL:
        raise InvalidState(f"the run has {run.state} and takes no signals", state=str(run.state))
    number = unit.count_steps(run.id, f"{SIGNAL}{name}#") + 1
    unit.add_step(run.id, f"{SIGNAL}{name}#{number}", payload)
    line = _encode({"name": name, "number": number, "payload": msgspec.Raw(payload.encode())}).decode()
    run = change(unit, run, run, "run.signal", line)
    return unblock(unit, run, Blocker(kind="signal", name=name, number=number))


def _held(run: Run) -> bool:
    return run.state is State.SUSPENDED and any(blocker["kind"] == "hold" for blocker in _decode(run.blocked_on))


def _still_waits(run: Run, names: AbstractSet[str], states: tuple[State, ...]) -> None:
    if names and run.state not in states:
        raise InvalidState(
            f"{', '.join(sorted(names))} cannot change while the run is {run.state}", state=str(run.state)
        )


def _keep(text: str | None) -> int:
    return KEEP if text is None else duration(text, "/retention")
