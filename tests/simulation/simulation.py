"""One seed: a server, its disk, workers, clients and a network that all fail as the seed says, and then heal.

First everything goes wrong for a while (safety: the books are held against each commit and each answer). Then nothing
fails any more, people let go what they hold, and every run has to end within ten minutes (liveness).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from tests.simulation.chance import rates
from tests.simulation.checker import HistoryChecker, hold
from tests.simulation.client import Client, ClientTimeout
from tests.simulation.clock import START_MS, SimulatedClock
from tests.simulation.disk import Disk
from tests.simulation.loop import SimulatedProcess, VirtualLoop
from tests.simulation.network import Network
from tests.simulation.server import Server
from tests.simulation.worker import Worker

from headway.errors import HeadwayError

HEALED_WITHIN_S = 600.0
STILL_UNDER_WAY_S = 15.0
"""How long a message may be under way when the weather has become calm."""
STEPS = 40
"""For how many virtual seconds things go wrong."""
WALL_OFF_MAX_MS = 240_000


class Outcome(msgspec.Struct, frozen=True):
    """What one seed has come to."""

    seed: int
    digest: str
    """Of everything that happened: the same seed has the same."""
    steps: int
    """Callbacks of the loop."""
    runs: int
    lines: int
    """Lines of history."""
    deaths: int
    """Of the server."""
    ended_s: float
    """Virtual seconds, altogether."""
    healed_s: float
    """Virtual seconds from the last fault until every run had ended."""
    faults: dict[str, int]
    causes: dict[str, int]
    """How often each event of the engine happened."""


class Failed(AssertionError):
    """A seed that has broken a promise; says which, and how to see it again."""


class Simulation:
    """Everything of one seed."""

    def __init__(self, seed: int, *, steps: int = STEPS, tell: Callable[[str], None] | None = None) -> None:
        """`steps` is for how many virtual seconds things go wrong; `tell` gets each line of what happens."""
        self.seed = seed
        self.rng = random.Random(seed)
        self._tell = tell
        self._digest = hashlib.blake2b(digest_size=16)
        self._faults: dict[str, int] = {}
        self._wrong_s = steps
        self.rates = rates(self.rng)
        self.loop = VirtualLoop(self.rng)
        self.clock = SimulatedClock(self.loop)
        self.disk = Disk(START_MS)
        self.checker = HistoryChecker(self.disk.database.connection, self.say)
        self.network = Network(self.loop, self.rates, self.rng, self.say)
        self.network.on_bug = self.fail
        self.server = Server(
            self.loop, self.clock, self.disk, self.network, self.rates, self.rng, self._committed, self.say
        )
        self._over: asyncio.Future[None] = self.loop.create_future()
        self.workers: list[Worker] = []

    def say(self, *words: Any) -> None:
        """Note something that happened."""
        line = f"{self.loop.time():.6f} {' '.join(map(str, words))}\n"
        self._digest.update(line.encode())
        if words[0] != "wrote":
            self._faults[str(words[0])] = self._faults.get(str(words[0]), 0) + 1
        if self._tell is not None:
            self._tell(line)

    def true_ms(self) -> int:
        """Return the time as a right clock has it."""
        return START_MS + int(self.loop.time() * 1000)

    def begin(self, coroutine: Coroutine[Any, Any, Any], life: SimulatedProcess) -> asyncio.Task[Any]:
        """Begin a task of a process of ours; what it raises is the end of the simulation."""
        task = life.spawn(coroutine)
        task.add_done_callback(self._ended, context=self.network.nowhere)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.fail(task.exception())

    def fail(self, error: BaseException | None) -> None:
        """End the simulation; the first failure counts."""
        if not self._over.done() and error is not None:
            self._over.set_exception(error)

    def _committed(self) -> None:
        try:
            self.checker.committed()
        except Exception as error:  # noqa: BLE001 - the writer would take it for a failure of its own
            self.fail(error)

    # -- the course of it ----------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Let it happen; raise Failed if a promise is broken."""
        log = _Bugs(self.fail)
        logger = logging.getLogger("headway")
        propagated = logger.propagate
        chance = random.getstate()
        random.seed(self.seed)
        logger.addHandler(log)
        logger.propagate = False
        try:
            main = self.loop.create_task(self._main())
            return self.loop.run_until_complete(main)
        except Exception as error:
            raise Failed(
                f"seed {self.seed}, at {self.loop.time():.3f} s: {type(error).__name__}: {error}\n"
                f"see it again: python -m tests.simulation --seed {self.seed} --trace"
            ) from error
        finally:
            logger.removeHandler(log)
            logger.propagate = propagated
            random.setstate(chance)
            self._close()

    def _close(self) -> None:
        for life in (self.server.life, *(worker.life for worker in self.workers), self._people):
            if life is not None:
                life.kill()
        for task in asyncio.all_tasks(self.loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        self.loop.close()
        self.disk.database.close()

    async def _main(self) -> Outcome:
        self._people = SimulatedProcess(self.loop, "people")
        self.server.start()
        self.workers = [Worker(self, f"worker-{number}") for number in range(self.rng.choice((1, 2, 3)))]
        clients = [Client(self, f"client-{number}") for number in range(self.rng.choice((1, 2, 3)))]
        await self._until(self.begin(clients[0].prepare(), self._people))
        course = [self.begin(client.live(float(self._wrong_s)), self._people) for client in clients]
        course.append(self.begin(self._go_wrong(float(self._wrong_s)), self._people))
        await self._until(asyncio.gather(*course))
        healed_from = self.loop.time()
        self.say("calm")
        await self._until(self.begin(self._heal(clients[0]), self._people))
        assert self.server.service is not None
        self.checker.close(self.server.service.store.definitions)
        hold(not self.loop.failures, "loop", str(self.loop.failures[:1]))
        return Outcome(
            seed=self.seed,
            digest=self._digest.hexdigest(),
            steps=self.loop.steps,
            runs=len(self.checker.stories),
            lines=sum(story.seq for story in self.checker.stories.values()),
            deaths=self.server.deaths,
            ended_s=self.loop.time(),
            healed_s=self.loop.time() - healed_from,
            faults=self._faults,
            causes=dict(sum((story.causes for story in self.checker.stories.values()), Counter())),
        )

    async def _until(self, course: asyncio.Future[Any]) -> None:
        """Wait for the end of something, or for a promise that is broken."""
        await asyncio.wait((course, self._over), return_when=asyncio.FIRST_COMPLETED)
        if self._over.done():
            self._over.result()
        course.result()

    async def _go_wrong(self, until_s: float) -> None:
        """Every second, whatever the weather has."""
        rng = self.rng
        while self.loop.time() < until_s:
            await asyncio.sleep(rng.uniform(0.5, 1.5))
            if self.rates.hits(rng, "wall_clock_jumps"):
                self.clock.off_ms = rng.randrange(-WALL_OFF_MAX_MS, WALL_OFF_MAX_MS)
                self.say("wall clock", self.clock.off_ms)
            if self.server.up:
                self._trouble_server()
            for worker in self.workers:
                if worker.life is not None and not worker.life.dead:
                    self._trouble_worker(worker, worker.life)

    def _trouble_server(self) -> None:
        life = self.server.life
        assert life is not None
        if self.rates.hits(self.rng, "server_dies"):
            self.server.crash()
        elif self.rates.hits(self.rng, "server_stands_still"):
            self._stand_still(life)

    def _trouble_worker(self, worker: Worker, life: SimulatedProcess) -> None:
        if self.rates.hits(self.rng, "worker_dies"):
            worker.die()
        elif self.rates.hits(self.rng, "worker_stands_still"):
            self._stand_still(life)
        elif self.rates.hits(self.rng, "worker_goes") and not worker.going:
            self.begin(worker.go(), life)
        if self.rates.hits(self.rng, "worker_lies"):
            self.begin(worker.lie(), self._people)

    def _stand_still(self, life: SimulatedProcess) -> None:
        if life.late is None:
            for_s = self.rng.choice((0.5, 5.0, 16.0, 40.0))
            self.say("stands still", life.name, for_s)
            life.stop()
            self.network.later(for_s, self._go_on, life)

    def _go_on(self, life: SimulatedProcess) -> None:
        if not life.dead:
            self.say("goes on", life.name)
            life.go_on()

    async def _heal(self, client: Client) -> None:
        """Nothing fails any more, and people undo what they have done: everything has to end."""
        self.rates.calm()
        self.clock.off_ms = 0
        await asyncio.sleep(STILL_UNDER_WAY_S)
        while not await self._undo(
            client.ask("open", lambda service: service.of(1).queues.pause("narrow", paused=False))
        ):
            pass  # the server may have died in the last moment, and be away for longer than a client has patience
        deadline = self.loop.time() + HEALED_WITHIN_S
        while left := self.checker.unfinished():
            hold(
                self.loop.time() < deadline, left[0].id, f"it is still {left[0].state} ten minutes after the last fault"
            )
            for story in left:
                if story.state == "suspended" and story.held:
                    await self._undo(client.resume(story.id))
            await asyncio.sleep(2.0)

    async def _undo(self, asked: Coroutine[Any, Any, Any]) -> bool:
        """Tell whether there was an answer, be it a refusal."""
        try:
            await asked
        except (ClientTimeout, HeadwayError) as refusal:
            self.say("refused", type(refusal).__name__)
            return not isinstance(refusal, ClientTimeout)
        return True


class _Bugs(logging.Handler):
    """Listens to the product's log for what it takes for a bug of its own."""

    def __init__(self, fail: Callable[[BaseException | None], None]) -> None:
        super().__init__(logging.ERROR)
        self._fail = fail

    def emit(self, record: logging.LogRecord) -> None:
        """An error that is logged with another exception than one that is raised on purpose is a bug."""
        if record.exc_info and record.exc_info[1] is not None and not _meant(record.exc_info[1]):
            self._fail(record.exc_info[1])


def _meant(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(_meant, error.exceptions))
    return isinstance(error, HeadwayError)
