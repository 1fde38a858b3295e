"""Rescue of runs: of workers that are gone, past a deadline, and left by a stop of their parent."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from headway.kernel.lifecycle import Abandoned, Errored, Resumed
from headway.kernel.run import Reason, Run, RunError, State
from headway.notify.events import CommitEvent, DeadlineSet, MessagesMissed, SessionsChanged
from headway.runs.service import Service
from headway.runs.stopping import finish
from headway.runs.transitions import move
from headway.store.command import Command
from headway.store.unit_of_work import UnitOfWork

CHUNK = 1_000
SPACE_EVERY_MS = 2_000
"""Interval of checks of the disk's free space."""
FAMILIES_EVERY_MS = 10_000
"""Interval at which the only server of a store continues stops that it has left unfinished."""

log = logging.getLogger("headway.rescuer")


@dataclass
class EndOverdue(Command[int | None]):
    """End of runs past their deadline; the result is the next deadline, or None."""

    unheard_ms: int
    """Milliseconds until every worker can have reported, after a pause of this server; until then none of theirs is ended."""

    def apply(self, uow: UnitOfWork) -> int | None:
        leased_ms = 0 if self.unheard_ms else uow.now_ms
        overdue = uow.find("find_overdue", now_ms=uow.now_ms, leased_ms=leased_ms, limit=CHUNK)
        for run in overdue:
            _end(uow, run)
        uow.flush()
        if not self.unheard_ms:
            deadline_at: int | None = uow.database.rows("next_due")[0][1]
            return deadline_at
        waiting_at, leased_at = uow.database.rows("next_deadlines")[0]
        if leased_at is not None:  # a run without a worker has no reports to wait for
            leased_at = max(leased_at, uow.now_ms + self.unheard_ms)
        return min((at for at in (waiting_at, leased_at) if at is not None), default=None)


class Rescuer:
    """Loop that ends lapsed sessions and overdue runs, continues stops, and checks the disk's free space."""

    name = "rescuer"
    wakes_on: tuple[type[CommitEvent], ...] = (DeadlineSet, SessionsChanged, MessagesMissed)

    def __init__(self, service: Service) -> None:
        self._service = service
        self._store = service.store
        self._deadline_ms: int | None = 0
        """The next known deadline; the store is read only when it has passed."""
        self._families_at_ms = 0
        """Time of the next continuation of stops, by the monotonic clock."""
        events = service.store.events
        events.subscribe(DeadlineSet, lambda deadline: self.note(deadline.at_ms))
        events.subscribe(MessagesMissed, lambda _: self.note(self._store.clock.now_ms()))

    def note(self, deadline_ms: int) -> None:
        """Note a deadline that a commit has set."""
        self._deadline_ms = deadline_ms if self._deadline_ms is None else min(self._deadline_ms, deadline_ms)

    async def tick(self) -> int | None:
        """End lapsed sessions and overdue runs; return the milliseconds until the next tick."""
        store, sessions = self._store, self._service.sessions
        store.check_space()
        for session in sessions.lapsed():
            why = "the server that its worker spoke to stood still" if session.kept_silent else ""
            lost = await self._service.leases.lapse(session, given_up=why)
            if lost is None:
                log.info("worker.heard worker_id=%s", session.worker_id)
            elif lost:
                log.warning("worker.lapsed worker_id=%s runs=%d", session.worker_id, lost)
            else:  # as a rule it was drained, and had handed all runs back
                log.info("worker.gone worker_id=%s", session.worker_id)
        while self._deadline_ms is not None and self._deadline_ms <= store.clock.now_ms():
            passed, self._deadline_ms = self._deadline_ms, None  # a deadline that is noted meanwhile is kept
            unheard_ms = sessions.clock.unheard_ms()
            try:
                next_ms = await store.write(EndOverdue(unheard_ms))
            except BaseException:
                self.note(passed)
                raise
            if next_ms is not None:
                self.note(next_ms)
        if store.peers is not None or store.clock.monotonic_ms() >= self._families_at_ms:
            await finish(store)
            self._families_at_ms = store.clock.monotonic_ms() + FAMILIES_EVERY_MS
        waits = [SPACE_EVERY_MS]
        if self._deadline_ms is not None:
            waits.append(self._deadline_ms - store.clock.now_ms())
        expiry_ms = sessions.next_expiry_in_ms()
        if expiry_ms is not None:
            waits.append(expiry_ms)
        return max(1, min(waits))


def _end(uow: UnitOfWork, run: Run) -> None:
    match run.state:
        case State.RUNNING:
            error = RunError(code="timeout", message="the attempt exceeded its timeout, and its worker did not end it")
            move(uow, run, Errored(error))
        case State.STOPPING:
            move(uow, run, Abandoned())
        case State.SUSPENDED:
            move(uow, run, Resumed(Reason(code="timeout", message="its wait has timed out")), timed_out=True)
        case _:
            raise AssertionError(f"a run that is {run.state} has no deadline")
