"""A simulated worker: it speaks the worker protocol as the real one does, and does what its runs' scripts say.

It has a process of its own (a `Life`), which may stand still for longer than its lease, be killed, and be begun anew.
What it believes of its leases is its own: it goes on executing what it has lost until it hears of that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec
from tests.simulation.loop import SimulatedProcess
from tests.simulation.network import ConnectionLost

from headway.errors import HeadwayError, Unavailable, WorkerNotFound
from headway.protocol import workers as wire
from headway.protocol.runs import StartRun
from headway.protocol.times import to_text

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

RETRY = {"max_attempts": 3, "backoff": "1s", "factor": 2, "jitter": 0}
DECLARED = [
    msgspec.convert({"grace": "2s", "retry": RETRY, "name": name, **fields}, wire.TaskDeclaration)
    for name, fields in {
        "plain": {},
        "keyed": {"concurrency_per_key": 1},
        "few": {"concurrency": 2},
        "timed": {"timeout": "5s"},
        "rated": {"rate": {"limit": 2, "period": "5s"}, "rate_per_key": {"limit": 1, "period": "4s"}},
        "brief": {"retention": dict.fromkeys(("succeeded", "failed", "terminated"), "10s")},
    }.items()
]
BEAT_S = 5.0
CAPACITY = 4
CALM_WORK_S = 3.0

Answer = tuple[wire.Rejection | None, wire.Reply | None]


class AttemptLost(Exception):
    """The attempt is over: its lease is not this worker's any more."""


class Attempt:
    """One lease, as the worker has it."""

    def __init__(self, lease: wire.Lease) -> None:
        self.lease = lease
        self.key = (lease.run_id, lease.epoch)
        self.task: asyncio.Task[None] | None = None
        self.ending = False
        self.told: list[wire.AnyReport] = []


class Worker:
    """One worker after the other, under one name."""

    def __init__(self, sim: Simulation, name: str) -> None:
        self._sim, self._name = sim, name
        self._rng, self._network, self._books = sim.rng, sim.network, sim.checker
        self.life: SimulatedProcess | None = None
        self.begin()

    def begin(self) -> None:
        """Begin a process."""
        self.id = ""
        self.attempts: dict[tuple[str, int], Attempt] = {}
        self._outbox: deque[tuple[wire.AnyReport, asyncio.Future[Answer]]] = deque()
        self._past: list[tuple[str, int]] = []
        self._claims = 0
        self._claiming: list[int] = []
        """The claim under way."""
        self._heard = 0
        """The last heartbeat that was answered."""
        self._books.nobody_executes(self)
        self._put = asyncio.Event()
        self.going = False
        self.life = SimulatedProcess(self._sim.loop, self._name)
        for part in (self._serve, self._listen, self._beat, self._send):
            self._sim.begin(part(), self.life)

    def die(self) -> None:
        """kill -9, and somebody who starts it again after a while."""
        assert self.life is not None
        if self.life.dead:
            return
        self._sim.say("died", self._name)
        self.life.kill()
        self._network.dead(self.life)
        self._network.later(self._rng.choice((0.2, 3.0, 25.0)), self.begin)

    async def _call(self, name: str, verb: Any, **how: Any) -> Any:
        """Ask until there is an answer that is not "later"; raise what else it is."""
        while True:
            try:
                return await self._network.call(name, verb, **how)
            except (ConnectionLost, Unavailable):
                await asyncio.sleep(self._rng.uniform(0.05, 1.0))

    # -- its standing --------------------------------------------------------------------------------------------------

    async def _register(self) -> None:
        asked = wire.RegisterWorker(name=self._name, capacity=CAPACITY, tasks=DECLARED)
        worker = await self._call("register", lambda service: service.of(1).workers.register(asked))
        self.id = worker.id
        self._sim.say("registered", self._name, worker.id)

    def _unknown(self) -> None:
        """The server does not know this worker any more: all leases are lost, and it registers anew."""
        for attempt in tuple(self.attempts.values()):
            self._drop(attempt)
        self.id = ""

    async def _serve(self) -> None:
        """Claim whenever there is room."""
        while not self.going:
            if not self.id:
                await self._register()
            room = CAPACITY - len(self.attempts)
            if room <= 0:
                await asyncio.sleep(0.2)
                continue
            self._claims += 1
            self._claiming = [self._claims]
            asked = wire.ClaimRuns(
                worker_id=self.id,
                max=room,
                wait=self._rng.choice(("0s", "2s", "20s", "20s", "20s")),
                number=self._claims,
            )
            try:
                leases = await self._network.call(
                    "claim",
                    lambda service, asked=asked: service.of(1).workers.claim(asked),
                    within_s=22.0,
                    patient=True,
                )
            except (ConnectionLost, Unavailable):
                leases = []
            except WorkerNotFound:
                self._unknown()
                leases = []
            for lease in leases:
                self._execute(lease)
            self._claiming = []
            if not leases:
                await asyncio.sleep(self._rng.choice((0.0, 0.5, 2.0)))

    async def _listen(self) -> None:
        """Keep a signals stream open."""
        while True:
            if self.id:
                worker_id = self.id
                stream = self._network.stream(
                    lambda service, worker_id=worker_id: service.of(1).workers.signals(worker_id)
                )
                try:
                    while self.id == worker_id:
                        message = await stream.next()
                        if isinstance(message, wire.StopSignal):
                            self._stop(message)
                except (ConnectionLost, HeadwayError):
                    pass
                self._network.close(stream)
            await asyncio.sleep(self._rng.uniform(0.1, 1.0))

    async def _beat(self) -> None:
        """Say every few seconds what it holds; learn what it has lost, and what is to stop."""
        while True:
            await asyncio.sleep(BEAT_S)
            if not self.id:
                continue
            asked = wire.ReportRuns(
                worker_id=self.id, held=list(self.attempts), claiming=self._claiming, heard=self._heard
            )
            try:
                said = await self._network.call(
                    "beat", lambda service, asked=asked: service.of(1).workers.report(asked)
                )
            except (ConnectionLost, Unavailable):
                continue
            except WorkerNotFound:
                self._unknown()
                continue
            self._heard = said.beat
            for run_id, epoch in said.lost:
                attempt = self.attempts.get((run_id, epoch))
                if attempt is not None:
                    self._drop(attempt)
            for message in said.stop:
                self._stop(message)

    # -- reports -------------------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        """Send what attempts have to say, in order, until it is answered."""
        while True:
            await self._put.wait()
            self._put.clear()
            while self._outbox:
                batch = [self._outbox.popleft() for _ in range(min(len(self._outbox), 5))]
                await self._send_batch(batch)

    async def _send_batch(self, batch: list[tuple[wire.AnyReport, asyncio.Future[Answer]]]) -> None:
        asked = wire.ReportRuns(worker_id=self.id, reports=[report for report, _ in batch])
        rejected: dict[int, wire.Rejection] = {}
        replies: dict[int, wire.Reply] = {}
        try:
            said = await self._call("report", lambda service: service.of(1).workers.report(asked))
        except HeadwayError as error:  # it is not known any more
            self._unknown()
            refusal = wire.Rejection(index=0, status=error.status, code=error.code, detail=error.detail)
            rejected = dict.fromkeys(range(len(batch)), refusal)
        else:
            rejected = {one.index: one for one in said.rejected}
            replies = {one.index: one for one in said.replies}
        for index, (report, answer) in enumerate(batch):
            if index not in rejected:
                self._taken(report)
            if not answer.done():
                answer.set_result((rejected.get(index), replies.get(index)))

    def _taken(self, report: wire.AnyReport) -> None:
        causes = _causes(report)
        if causes:
            self._books.outcome_taken(report.run_id, report.epoch, causes)

    def _report(self, report: wire.AnyReport) -> asyncio.Future[Answer]:
        answer: asyncio.Future[Answer] = self._sim.loop.create_future()
        self._outbox.append((report, answer))
        self._put.set()
        return answer

    async def _tell(self, attempt: Attempt, kind: type[Any], **fields: Any) -> wire.Reply | None:
        """Report and wait until that is durable; raise Lost if it was not taken."""
        run_id, epoch = attempt.key
        rejected, reply = await self._report(kind(run_id=run_id, epoch=epoch, **fields))
        if rejected is not None:
            raise AttemptLost(rejected.code)
        return reply

    # -- executing -----------------------------------------------------------------------------------------------------

    def _execute(self, lease: wire.Lease) -> None:
        attempt = Attempt(lease)
        if attempt.key in self.attempts:
            return
        assert self.life is not None
        self._past.append(attempt.key)
        self._books.begun(self, *attempt.key)
        self.attempts[attempt.key] = attempt
        attempt.task = self._sim.begin(self._attempt(attempt), self.life)

    def _drop(self, attempt: Attempt) -> None:
        """Give up an attempt without a word."""
        self.attempts.pop(attempt.key, None)
        self._books.over(self, *attempt.key)
        if attempt.task is not None:
            attempt.task.cancel()

    def _stop(self, message: wire.StopSignal) -> None:
        """Somebody wants a run to stop: its function does so at once, or is killed after its grace."""
        attempt = self.attempts.get((message.run_id, message.epoch))
        if attempt is None or attempt.ending:
            return
        attempt.ending = True
        deaf = self._sim.rates.hits(self._rng, "deaf")
        delay = message.grace_ms / 1000 if deaf else self._rng.uniform(0.0, 0.5)
        assert self.life is not None
        self._sim.begin(self._end(attempt, delay, killed=deaf), self.life)

    async def _end(self, attempt: Attempt, delay_s: float, *, killed: bool) -> None:
        await asyncio.sleep(delay_s)
        if attempt.key in self.attempts:
            self._drop(attempt)
            run_id, epoch = attempt.key
            self._report(wire.StoppedReport(run_id=run_id, epoch=epoch, killed=killed))

    async def _attempt(self, attempt: Attempt) -> None:
        try:
            await self._play(attempt)
        except AttemptLost:
            pass
        finally:
            self.attempts.pop(attempt.key, None)
            self._books.over(self, *attempt.key)

    async def _play(self, attempt: Attempt) -> None:
        """Carry out the script, from its top: what earlier attempts have recorded is not done again."""
        lease, epoch = attempt.lease, attempt.lease.epoch
        given = msgspec.json.decode(lease.input)
        for number, (verb, *how) in enumerate(given["script"]):
            if await self._act(attempt, f"{number}", verb, *how):
                return
        if self._rng.random() < 0.1:
            await self._tell(attempt, wire.LogReport, message=str(epoch))
        await self._tell(attempt, wire.SucceededReport, output=_json(epoch))

    async def _act(self, attempt: Attempt, name: str, verb: str, *how: Any) -> bool:
        """Do one thing; return whether the attempt is over with it."""
        lease, epoch = attempt.lease, attempt.lease.epoch
        match verb:
            case "work":
                # Of one key one runs at once: long ones that are left would have more to do than there is time to heal.
                await asyncio.sleep(min(how[0], CALM_WORK_S) if self._sim.rates.is_calm else how[0])
            case "log":
                await self._tell(attempt, wire.LogReport, message=str(epoch))
            case "progress":
                await self._tell(attempt, wire.ProgressReport, done=epoch, total=10, message=str(epoch))
            case "publish":
                await self._tell(attempt, wire.ResultReport, name=name, value=_json(epoch))
            case "step":
                await self._step(attempt, name)
            case "sleep":
                if await self._step(attempt, name):
                    until = to_text(self._sim.true_ms() + how[0])
                    await self._tell(attempt, wire.SleptReport, until=until)
                    return True
            case "wait":
                if f"signal:go#{how[0]}" not in lease.steps and await self._step(attempt, name):
                    go = wire.BlockerSpec(kind="signal", name="go", number=how[0])
                    await self._tell(attempt, wire.SuspendedReport, blockers=[go], timeout=f"{how[1]}ms")
                    return True
            case "child":
                return await self._child(attempt, name, *how)
            case "fail" if lease.attempt - lease.crashes <= how[0]:
                await self._tell(attempt, wire.ErroredReport, error=wire.FunctionError(message=str(epoch)))
                return True
            case "give up":
                await self._tell(
                    attempt, wire.ErroredReport, error=wire.FunctionError(message=str(epoch), retryable=False)
                )
                return True
            case "die" if lease.crashes < how[0]:
                self._network.later(0.0, self.die)
                await asyncio.sleep(1.0)
            case "break down" if lease.crashes < how[0]:
                await self._tell(
                    attempt, wire.ErroredReport, error=wire.FunctionError(code="crashed", message=str(epoch))
                )
                return True
            case "release" if await self._step(attempt, name):
                await self._tell(attempt, wire.ReleasedReport)
                return True
        return False

    async def _step(self, attempt: Attempt, name: str) -> bool:
        """Do a step, unless it is recorded; return whether it was done now."""
        if name in attempt.lease.steps:
            return False
        self._books.effects[attempt.lease.run_id, name].append(attempt.lease.epoch)
        await self._tell(attempt, wire.StepReport, name=name, value=_json(attempt.lease.epoch))
        return True

    async def _child(self, attempt: Attempt, name: str, task: str, script: Any) -> bool:
        lease = attempt.lease
        if name in lease.steps:
            child = msgspec.json.decode(lease.steps[name])
        else:
            given = StartRun(task=task, key="a", input=_json({"script": script, "child": name}))
            reply = await self._tell(attempt, wire.ChildReport, name=name, run=given)
            assert reply is not None
            child = reply.run_id
        if f"child-result:{child}" in lease.steps:
            return False
        blocker = wire.BlockerSpec(kind="run", run_id=child)
        await self._tell(attempt, wire.SuspendedReport, blockers=[blocker])
        return True

    # -- what goes wrong -----------------------------------------------------------------------------------------------

    async def lie(self) -> None:
        """Report on leases that are over, or that others hold: nothing of it may be taken."""
        checker = self._books
        old = [key for key in self._past if checker.stories[key[0]].epoch > key[1]]
        others = [(one.id, one.epoch) for one in checker.running.values() if one.worker != self.id]
        worker_id = self.id
        keys = old[-3:] + others[:3]
        if not keys or not worker_id:
            return
        run_id, epoch = self._rng.choice(keys)
        kind: Any = self._rng.choice(
            (
                wire.SucceededReport,
                wire.ReleasedReport,
                wire.StoppedReport,
                wire.LogReport,
                wire.StepReport,
                wire.ProgressReport,
            )
        )
        fields: dict[str, Any] = {
            wire.SucceededReport: {"output": _json(epoch)},
            wire.LogReport: {"message": str(epoch)},
            wire.StepReport: {"name": "lie", "value": _json(epoch)},
            wire.ProgressReport: {"done": 99},
        }.get(kind, {})
        asked = wire.ReportRuns(worker_id=worker_id, reports=[kind(run_id=run_id, epoch=epoch, **fields)])
        try:
            said = await self._network.call("lie", lambda service: service.of(1).workers.report(asked))
        except (ConnectionLost, HeadwayError):
            return
        checker.lie_answered(run_id, epoch, taken=not said.rejected)

    async def go(self) -> None:
        """End as one who is told to: hand everything back, then leave."""
        self.going = True
        left = []
        for attempt in tuple(self.attempts.values()):
            self._drop(attempt)
            run_id, epoch = attempt.key
            left.append(self._report(wire.ReleasedReport(run_id=run_id, epoch=epoch)))
        if left:
            await asyncio.wait(left, timeout=10)
        self._network.later(0.0, self.die)


def _json(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _causes(report: wire.AnyReport) -> tuple[str, ...]:
    """Return how the history may spell a report that ends a lease."""
    match report:
        case wire.ErroredReport() if report.error.code == "crashed":
            return ("crashed",)
        case (
            wire.SucceededReport()
            | wire.ErroredReport()
            | wire.SuspendedReport()
            | wire.SleptReport()
            | wire.ReleasedReport()
            | wire.StoppedReport()
        ):
            return (type(report).__struct_config__.tag,)
    return ()
