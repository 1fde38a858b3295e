"""A simulated client: it starts runs and interferes with them, and repeats each request until there is an answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from tests.simulation.checker import FINAL
from tests.simulation.network import ConnectionLost
from tests.simulation.script import script

from headway.errors import HeadwayError, RunNotFound, RunPurged, Unavailable, UnknownTask
from headway.kernel.run import Reason
from headway.protocol.runs import BulkAction, PatchRun, RunQuery, SignalRun, StartBatch, StartRun, Terminate
from headway.protocol.times import to_text
from headway.runs.idempotency import RequestKey, request_key
from headway.runs.service import Service

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

TASKS = ("plain", "plain", "keyed", "keyed", "few", "timed", "rated", "brief")
QUEUES = (None, None, "narrow")
WHY = Reason(code="simulation")
PATIENCE = 0.05
"""How often a client gives up a request that was not answered: nobody knows then what became of it."""


class ClientTimeout(Exception):
    """The client does not want to know any more."""


class Client:
    """One after the other, it asks for this and that."""

    def __init__(self, sim: Simulation, name: str) -> None:
        self._sim, self._name = sim, name
        self._rng, self._network, self._books = sim.rng, sim.network, sim.checker
        self._keys = 0

    async def prepare(self) -> None:
        """Limit the narrow queue, before anything is in it."""
        while True:
            try:
                await self.ask("limit", lambda service: service.of(1).queues.limit("narrow", 2))
            except ClientTimeout:
                continue
            return

    async def live(self, until_s: float) -> None:
        """Ask for something again and again."""
        verbs = (
            *[self.start] * 6, self.start_batch, *[self.look] * 4, *[self.signal] * 4, *[self.terminate] * 2,
            *[self.hold] * 2, *[self.resume] * 3, *[self.retry] * 2, *[self.patch] * 3, *[self.protect] * 2,
            self.unprotect, *[self.delete] * 2, self.bulk, self.pause,
        )  # fmt: skip
        while self._sim.loop.time() < until_s:
            verb = self._rng.choice(verbs)
            try:
                await verb()
            except ClientTimeout:
                self._sim.say("gave up", self._name, verb.__name__)
            except HeadwayError as refusal:
                self._sim.say("refused", self._name, verb.__name__, refusal.code)
            await asyncio.sleep(self._rng.choice((0.0, 0.05, 0.5, 2.0)))

    def key(self) -> str:
        """Return a new idempotency key."""
        self._keys += 1
        return f"{self._name}-{self._keys}"

    async def ask(self, name: str, verb: Any) -> Any:
        """Send a request until there is an answer that is not "later"."""
        while True:
            try:
                return await self._network.call(name, verb)
            except (ConnectionLost, Unavailable):
                if self._rng.random() < PATIENCE:
                    raise ClientTimeout from None
                await asyncio.sleep(self._rng.uniform(0.05, 1.0))

    # -- starting ------------------------------------------------------------------------------------------------------

    def _spec(self, key: str) -> StartRun:
        rng = self._rng
        given = {"key": key, "script": script(rng)}
        delay = rng.choice((None, None, None, "2s", "20s"))
        return StartRun(
            task=rng.choice(TASKS),
            queue=rng.choice(QUEUES),
            key=rng.choice(("a", "b")),
            priority=rng.choice((None, 0, 9)),
            delay=delay,
            labels={"half": rng.choice(("left", "right"))},
            input=msgspec.Raw(msgspec.json.encode(given)),
        )

    async def start(self) -> None:
        """Start a run."""
        key = self.key()
        spec = self._spec(key)
        body = msgspec.json.encode(spec)
        try:
            started = await self.ask(
                "start",
                lambda service: service.of(1).runs.start(spec, request_key(key, "POST", "/v1/runs", body, 10**9)),
            )
        except (RunPurged, UnknownTask):  # a repetition that came after its end; no worker has come yet
            return
        self._books.start_answered(key, started.run.id)
        self._books.seen(started.run)

    async def start_batch(self) -> None:
        """Start several at once, all or none."""
        key = self.key()
        batch = StartBatch(runs=[self._spec(f"{key}/{number}") for number in range(3)], atomic=True)
        body = msgspec.json.encode(batch)
        started = await self.ask(
            "start batch",
            lambda service: service.of(1).runs.start_batch(
                batch, request_key(key, "POST", "/v1/runs:batch", body, 10**9)
            ),
        )
        for number, one in enumerate(started):
            if not isinstance(one, HeadwayError):
                self._books.start_answered(f"{key}/{number}", one.run.id)
                self._books.seen(one.run)

    # -- one run -------------------------------------------------------------------------------------------------------

    def _any(self) -> str | None:
        """Draw a run, rather one that goes on; built-in ones are left in their queue, which alone is served."""
        stories = [one for one in self._books.stories.values() if one.task != "headway.bulk"][-40:]
        going = [one for one in stories if one.state not in FINAL]
        some = going if going and self._rng.random() < 0.7 else stories
        return self._rng.choice(some).id if some else None

    async def _change(self, what: str, run_id: str | None, verb: Any, version: int | None = None) -> Any:
        """Ask for a change of a run, under a key, and perhaps of just the version that was seen."""
        if run_id is None:
            return None
        checker, path = self._books, f"/v1/runs/{run_id}:{what}"
        key = self.key()
        checker.asked[run_id].add((what, key))
        floor = checker.floor(run_id)

        async def request(service: Service) -> Any:
            request: RequestKey = request_key(key, "POST", path, b"{}", 10**9)
            return await verb(service, run_id, request), request.replayed

        run, replayed = await self.ask(what, request)
        if version is not None and not replayed:
            checker.changed(run_id, version, run.version)
        checker.taken[run_id].add((what, key))
        checker.seen(run, floor if run.id == run_id else 0)
        return run

    async def look(self) -> None:
        """Look at a run."""
        run_id = self._any()
        if run_id is not None:
            floor = self._books.floor(run_id)
            try:
                run = await self.ask("get", lambda service: service.of(1).runs.get(run_id))
            except RunPurged:
                self._books.gone(run_id)
            except RunNotFound:
                self._books.missing(run_id)
            else:
                self._books.seen(run, floor)

    async def signal(self) -> None:
        """Send a signal."""
        go = SignalRun(name="go")
        await self._change("signal", self._any(), lambda service, run, key: service.of(1).runs.signal(run, go, key))

    async def terminate(self) -> None:
        """Stop a run; once that is acknowledged, it is never executed again."""
        how = Terminate(grace=self._rng.choice((None, "1s")), children=self._rng.choice(("cascade", "leave")))
        run = await self._change(
            "terminate", self._any(), lambda service, run, key: service.of(1).runs.terminate(run, how, key)
        )
        if run is not None:
            self._books.stop_answered(run.id)

    async def hold(self) -> None:
        """Suspend a run."""
        await self._change("suspend", self._any(), lambda service, run, key: service.of(1).runs.suspend(run, WHY, key))

    async def resume(self, run_id: str | None = None) -> None:
        """Let a run go on."""
        held = [one.id for one in self._books.stories.values() if one.state == "suspended"]
        run_id = run_id or (self._rng.choice(held) if held else None)
        await self._change("resume", run_id, lambda service, run, key: service.of(1).runs.resume(run, WHY, key))

    async def retry(self) -> None:
        """Start a run anew."""
        ended = [one.id for one in self._books.stories.values() if one.state in {"failed", "terminated"}]
        run_id = self._rng.choice(ended) if ended else None
        await self._change("retry", run_id, lambda service, run, key: service.of(1).runs.retry(run, WHY, key))

    async def protect(self) -> None:
        """Keep a run from being removed."""
        run = await self._change(
            "protect",
            self._any(),
            lambda service, run, key: service.of(1).runs.protect(run, protected=True, request=key),
        )
        if run is not None:
            self._books.kept.setdefault(run.id, True)

    async def unprotect(self) -> None:
        """Let it be removed again."""
        run_id = self._any()
        if run_id is not None:
            self._books.kept[run_id] = False
        await self._change(
            "unprotect", run_id, lambda service, run, key: service.of(1).runs.protect(run, protected=False, request=key)
        )

    async def patch(self) -> None:
        """Change a run, on what was seen of it or on whatever it is."""
        rng, run_id = self._rng, self._any()
        if run_id is None:
            return
        version = None
        if rng.random() < 0.5:
            version = (await self.ask("get", lambda service: service.of(1).runs.get(run_id))).version
            await asyncio.sleep(rng.choice((0.0, 0.5, 5.0)))
        patch = rng.choice(
            (
                PatchRun(priority=rng.randrange(10)),
                PatchRun(queue=rng.choice(("default", "narrow"))),
                PatchRun(run_at=to_text(self._sim.true_ms() + rng.choice((-1_000, 5_000)))),
                PatchRun(labels={"half": "left", "more": "yes"}, name=f"v{version}"),
            )
        )
        await self._change(
            "patch", run_id, lambda service, run, key: service.of(1).runs.patch(run, patch, version, key), version
        )

    async def delete(self) -> None:
        """Remove a finished run."""
        ended = [one.id for one in self._books.stories.values() if one.state in FINAL]
        if ended:
            run_id = self._rng.choice(ended)
            await self.ask("delete", lambda service: service.of(1).runs.delete(run_id))
            self._books.gone(run_id)

    # -- many ----------------------------------------------------------------------------------------------------------

    async def bulk(self) -> None:
        """Do something to all that have a label."""
        action = BulkAction(
            filter=RunQuery(labels={"half": self._rng.choice(("left", "right"))}),
            action=self._rng.choice(("suspend", "resume", "terminate", "protect")),
        )
        key, given = self.key(), msgspec.json.encode(action)
        spec = StartRun(task="headway.bulk", input=msgspec.Raw(given))
        started = await self.ask(
            "bulk",
            lambda service: service.of(1).runs.start(spec, request_key(key, "POST", "/v1/runs:bulk", given, 10**9)),
        )
        self._books.start_answered(key, started.run.id)

    async def pause(self) -> None:
        """Pause a queue for a while."""
        await self.ask("pause", lambda service: service.of(1).queues.pause("narrow", paused=True))
        await asyncio.sleep(self._rng.choice((0.5, 5.0)))
        await self.ask("resume queue", lambda service: service.of(1).queues.pause("narrow", paused=False))
