"""Test kit: a service in memory with a manual clock, which starts runs and executes them on demand."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import msgspec

from headway.client.encoding import raw, schedule_body, start_body
from headway.client.events import Event, of_line
from headway.clock import ManualClock
from headway.config import Settings
from headway.durations import parse_ms
from headway.features.schedules.loop import SchedulerLoop
from headway.features.schedules.model import PastSlot, Schedule
from headway.features.schedules.service import Schedules
from headway.features.schedules.store import ScheduleReader
from headway.ids import Signer
from headway.kernel.query import FIRST
from headway.protocol.runs import StartRun
from headway.protocol.schedules import CreateSchedule
from headway.protocol.workers import ClaimRuns, Lease, RegisterWorker, SucceededReport
from headway.runs.built_in.worker import leased
from headway.runs.idempotency import request_key
from headway.runs.loops.pruner import Pruner
from headway.runs.loops.rescuer import Rescuer
from headway.runs.loops.stager import Stager
from headway.runs.service import Service
from headway.server import BUILT_IN, FEATURES
from headway.store.sqlite.open import open_memory
from headway.testing.run import PAGE, KitRun
from headway.testing.sink import DirectSink
from headway.web import present
from headway.worker.attempts.attempt import execute
from headway.worker.context.capture import LogCapture
from headway.worker.declaration.app import App, TaskFunction

ROUNDS_MAX = 10_000
"""Maximum number of claims without the clock moving; more means a task that never stops starting others."""


class Kit:
    """A service in memory, its manual clock, and a worker that executes runs on demand.

    Methods raise the errors of the client's methods of the same name.
    """

    def __init__(self, app: App, service: Service, clock: ManualClock) -> None:
        self.app = app
        self.service = service
        self.services = service.of(FIRST)
        self.clock = clock
        self._worker_id = ""
        self._stager = Stager(service)
        self._rescuer = Rescuer(service)
        self._pruner = Pruner(service)
        self._scheduler = SchedulerLoop(service)

    async def open(self) -> None:
        """Register the app's tasks and schedules."""
        declarations = [task.declaration for task in self.app.tasks.values()]
        declarations += [task.declaration for task in BUILT_IN.values()]
        schedules = list(self.app.schedules.values())
        registration = RegisterWorker(name="kit", capacity=1000, tasks=declarations, schedules=schedules)
        self._worker_id = (await self.service.of(FIRST).workers.register(registration, built_in=True)).id
        session = self.service.sessions.open(self._worker_id)
        self.service.sessions.connected(session)

    async def start(
        self,
        task: str | TaskFunction,
        /,
        input: Mapping[str, Any] | None = None,  # noqa: A002 - the word of the client
        *,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> KitRun:
        """Start a run, as `client.runs.start` does, and execute everything that can run now.

        Raises as that does, such as `unknown_task`, `invalid_input` or `duplicate_run`.
        """
        body = msgspec.json.encode(start_body(task, input, **options))
        spec = msgspec.json.decode(body, type=StartRun)
        keep_ms = self.service.settings.idempotency_ms
        key = request_key(idempotency_key, "POST", "/v1/runs", body, keep_ms) if idempotency_key else None
        started = await self.services.runs.start(spec, key)
        await self.settle()
        return self.run(started.run.id)

    async def schedule(
        self,
        name: str,
        task: str | TaskFunction,
        occurrence: str,
        given: Mapping[str, Any] | None = None,
        /,
        **more: Any,
    ) -> Schedule:
        """Make a schedule, as `client.schedules.create` does; `advance` passes its slots.

        Raises as that does, such as `unknown_task`, `invalid_schedule` or `schedule_exists`.
        """
        said = {"name": name, "task": task, "occurrence": occurrence, "input": given or {}, **more}
        body = msgspec.json.encode(schedule_body(said))
        return await self.services.get(Schedules).create(msgspec.json.decode(body, type=CreateSchedule))

    async def slots(self, name: str) -> list[PastSlot]:
        """Return the past slots of a schedule, oldest first, up to the newest 1,000.

        Raises `schedule_not_found`.
        """
        found, _ = await self.services.get(Schedules).slots(name, None, None, 1_000)
        return found[::-1]

    async def events(self, *, after: int = 0) -> AsyncIterator[Event]:
        """Iterate over the events of all runs so far, as `client.events` does from after a position."""
        more = True
        while more:
            found, after, more = await self.services.history.all_events(after, PAGE)
            for line in found:
                yield of_line(present.event_out(line), position=line.position)

    async def complete_token(self, token: str, value: Any = None) -> KitRun:
        """Complete the wait of a suspended run, as `client.complete_token` does, and execute what can run then.

        Raises `not_found`, `already_completed` or `invalid_state`.
        """
        run = await self.services.runs.complete_token(token, raw(value))
        await self.settle()
        return self.run(run.id)

    def run(self, run_id: str) -> KitRun:
        """Return a run by its id: a child, for example."""
        return KitRun(self.services, self.settle, run_id)

    async def advance(self, duration: str) -> None:
        """Move the clock by a duration such as "3 days", stopping at each due time to execute the due runs.

        Raises ValueError for a text that is not a duration.
        """
        until = self.clock.now_ms() + parse_ms(duration)
        await self.settle()
        while True:
            next_ms = await self._next_moment()
            if next_ms is None or next_ms > until:
                break
            self.clock.advance(max(1, next_ms - self.clock.now_ms()))
            await self.settle()
        self.clock.advance(max(0, until - self.clock.now_ms()))
        await self.settle()

    async def settle(self) -> None:
        """Execute everything that can run without the clock moving.

        Raises AssertionError after 10,000 rounds, if tasks keep starting others.
        """
        for _ in range(ROUNDS_MAX):
            session = self.service.sessions.get(self._worker_id)
            assert session is not None, "the kit's worker lives as long as the kit"
            self.service.sessions.heard(session)
            await self._scheduler.tick()
            await self._stager.tick()
            await self._rescuer.tick()
            await self._pruner.tick()
            leases = await self.service.of(FIRST).workers.claim(ClaimRuns(worker_id=self._worker_id, max=100))
            if not leases:
                return
            await asyncio.gather(*(self._execute(lease) for lease in leases))
        raise AssertionError(f"after {ROUNDS_MAX} rounds there is still something to execute")

    async def _execute(self, lease: Lease) -> None:
        sink = DirectSink(self.service, self._worker_id)
        if lease.task in BUILT_IN:
            output = await BUILT_IN[lease.task].execute(self.service, await leased(self.service, lease))
            sink.put(SucceededReport(run_id=lease.run_id, epoch=lease.epoch, output=output))
        else:
            outcome = await execute(self.app, lease, sink, self.clock)
            if outcome is not None:
                sink.put(outcome)
        await sink.send()

    async def _next_moment(self) -> int | None:
        rows = await self.service.store.read.next_due()
        slot_at = await ScheduleReader(self.service.store.read).next_slot_at()
        moments = (*rows, slot_at, *self.service.closed_lanes.values())
        return min((moment for moment in moments if moment is not None and moment < 1 << 62), default=None)


@asynccontextmanager
async def service(app: App, *, now_ms: int = 1_800_000_000_000, settings: Settings | None = None) -> AsyncIterator[Kit]:
    """Open a service in memory for the tasks of `app`, its clock at `now_ms` (milliseconds UTC; default: January 2027).

    `settings` are a server's settings (default: the defaults).
    """
    clock = ManualClock(now_ms)
    store = open_memory(clock)
    store.start()
    kit = Kit(
        app,
        Service(store, Signer(b"the test kit's secret, 32 bytes.."), settings or Settings(), features=FEATURES),
        clock,
    )
    await kit.open()
    try:
        with _logging_of(app):
            yield kit
    finally:
        await kit.service.gateway.close()
        await store.close()


@contextmanager
def _logging_of(app: App) -> Iterator[None]:
    """Send records of Python's `logging` in tasks to the logs of their runs, as a worker does."""
    if not app.capture_logging:
        yield
        return
    root = logging.getLogger()
    level, captured = root.level, LogCapture()
    if level == logging.WARNING:  # the default: the app has not set a level, though a test runner has a handler
        root.setLevel(logging.INFO)
    try:
        yield
    finally:
        captured.remove()
        root.setLevel(level)
