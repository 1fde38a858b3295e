"""The server of a simulation: the real service, store, writer and loops, put together as `headway serve` does it."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.simulation.chance import FaultRates
from tests.simulation.clock import SimulatedClock
from tests.simulation.disk import Crash, Disk, Mounted
from tests.simulation.loop import SimulatedProcess, VirtualLoop
from tests.simulation.network import Network

from headway.config import Settings
from headway.ids import IdSource, Signer
from headway.notify.events import StorageStopped
from headway.runs.built_in.worker import BuiltInWorker
from headway.runs.service import Service
from headway.server import BUILT_IN, FEATURES, begin_loops
from headway.store.sqlite.dialect import SQLITE
from headway.store.store import Store

SETTINGS = Settings()


class Server:
    """One process after the other, on one disk."""

    def __init__(
        self, loop: VirtualLoop, clock: SimulatedClock, disk: Disk, network: Network, rates: FaultRates,
        rng: random.Random, committed: Callable[[], None], say: Callable[..., None],
    ) -> None:  # fmt: skip
        self._loop, self._clock, self._disk, self._network = loop, clock, disk, network
        self._weather, self._rng, self._committed, self._say = rates, rng, committed, say
        self.life: SimulatedProcess | None = None
        self.service: Service | None = None
        """None while nobody listens."""
        self.deaths = 0
        network.server = self

    def start(self) -> None:
        """Begin a process."""
        self.life = SimulatedProcess(self._loop, f"server-{self.deaths}")
        self.life.spawn(self._open(self.life))

    async def _open(self, life: SimulatedProcess) -> None:
        database = Mounted(self._disk, self._weather, self._rng, self._committed, self._say)
        store = Store(
            clock=self._clock,
            dialect=SQLITE,
            writing=database,
            near=self._disk.database,
            far=None,
            threaded=False,
        )
        self._let_writer_take_its_time(store, life)
        store.events.subscribe(StorageStopped, lambda _: self._network.later(0.1, self._end, life))
        store.start()
        service = Service(
            store,
            Signer(b"the simulation's secret, 32 byte"),
            SETTINGS,
            IdSource(self._rng.randbytes),
            features=FEATURES,
        )
        await service.leases.restore()
        begin_loops(service)
        BuiltInWorker.of_tasks(service, BUILT_IN).start()
        self.service = service
        self._say("serving", life.name)

    def _let_writer_take_its_time(self, store: Store, life: SimulatedProcess) -> None:
        """Commit a while after it was asked to, as the writer's thread does: what comes meanwhile shares the transaction."""
        writer, loop = store.writer, self._loop
        commit = writer._once
        planned = False

        def soon() -> None:
            nonlocal planned
            if not planned:
                planned = True
                loop.call_later(self._rng.choice((0.0, 0.001, 0.02)), life.call, now, context=self._network.nowhere)

        def now() -> None:
            nonlocal planned
            if life.dead:
                return
            if life.late is not None:  # it stands still
                self._network.later(0.1, life.call, now)
                return
            planned = False
            try:
                commit()
            except Crash:
                self._network.later(0.0, self._end, life)
                life.stop()
            else:
                if writer._todo:
                    soon()

        writer._once = soon  # type: ignore[method-assign]

    def _end(self, life: SimulatedProcess) -> None:
        if not life.dead:
            self.crash()

    def crash(self) -> None:
        """kill -9, and somebody who starts it again after a while."""
        assert self.life is not None
        self._say("dead", self.life.name)
        self.life.kill()
        self._disk.cut()
        self.service = None
        self.deaths += 1
        self._network.refused()
        self._network.later(self._rng.choice((0.3, 2.0, 6.0, 20.0)), self.start)

    @property
    def up(self) -> bool:
        """Whether it lives."""
        return self.life is not None and not self.life.dead
