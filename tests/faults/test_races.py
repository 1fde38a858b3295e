"""Terminate, complete and a lapsed lease at the same moment: one of them wins, and the run ends once."""

import asyncio
import random

import msgspec
import pytest
from tests.faults import results
from tests.faults.stores import ON_BOTH
from tests.faults.verdict import clean

from headway.clock import SystemClock
from headway.config import Settings
from headway.errors import HeadwayError
from headway.ids import Signer
from headway.kernel.run import FINAL
from headway.protocol import runs as wire
from headway.protocol import workers as worker_wire
from headway.runs.service import Service
from headway.server import FEATURES
from headway.store.postgres.open import open_postgres
from headway.store.sqlite.open import open_file

ROUNDS = 300
AT_ONCE = 20

pytestmark = ON_BOTH


class ServiceOnThread:
    """A service on a store, with its writer's thread, and no HTTP."""

    def __init__(self, deployment):
        self.deployment = deployment
        if deployment.kind == "postgres":
            self.store = open_postgres(
                deployment.store_url, SystemClock(), server_id="one", host="here", pid=1, version="0"
            )
        else:
            self.store = open_file(deployment.store, SystemClock(), reserve_bytes=0)
        self.service = Service(self.store, Signer(b"x" * 32), Settings(), features=FEATURES)

    async def __aenter__(self):
        self.store.start()
        if self.deployment.kind == "postgres":
            await self.service.servers.join()
        return self

    async def __aexit__(self, *_):
        await self.store.close()
        assert clean(self.deployment) == []

    async def worker(self):
        """Register a worker and return its id."""
        task = worker_wire.TaskDeclaration(name="job")
        return (await self.service.of(1).workers.register(worker_wire.RegisterWorker(name="w", tasks=[task]))).id

    async def claim(self, worker_id, most=1):
        return await self.service.of(1).workers.claim(worker_wire.ClaimRuns(worker_id=worker_id, max=most))

    async def report(self, worker_id, lease, kind, **fields):
        report = kind(run_id=lease.run_id, epoch=lease.epoch, **fields)
        return await self.service.of(1).workers.report(worker_wire.ReportRuns(worker_id=worker_id, reports=[report]))

    async def states(self, run_id):
        """Return the states that a run has been in, in order, by its own history."""
        events = await self.service.of(1).history.events(run_id, 0, 1000)
        lines = [msgspec.json.decode(event.data) for event in events if event.type == "run.state"]
        return [line["state"] for line in lines], [line["cause"] for line in lines]


async def released_at_once(*racers):
    """Let all go at the same moment, in any order; return what each got, an error for an error."""
    barrier = asyncio.Event()

    async def one(racer):
        await barrier.wait()
        for _ in range(random.randrange(3)):
            await asyncio.sleep(0)
        return await racer()

    racing = [asyncio.ensure_future(one(racer)) for racer in random.sample(racers, len(racers))]
    await asyncio.sleep(0)
    barrier.set()
    return await asyncio.gather(*racing, return_exceptions=True)


async def one_round(bench):
    worker_id, other_id = await bench.worker(), await bench.worker()
    run_id = (await bench.service.of(1).runs.start(wire.StartRun(task="job"))).run.id
    lease = (await bench.claim(worker_id))[0]
    assert lease.run_id == run_id
    session = bench.service.sessions.get(worker_id)
    ended = asyncio.Event()

    async def terminate():
        run = await bench.service.of(1).runs.terminate(run_id, wire.Terminate())
        if run.state == "terminated":  # acknowledged and over: from here on nothing may begin
            assert await bench.claim(other_id) == []
        ended.set()

    async def complete():
        await bench.report(worker_id, lease, worker_wire.SucceededReport)

    async def fail():
        await bench.report(
            worker_id, lease, worker_wire.ErroredReport, error=worker_wire.FunctionError(message="no"), retry_after="0s"
        )

    async def lapse():
        await bench.service.leases.lapse(session)

    async def claim():
        await bench.claim(other_id)

    found = await released_at_once(terminate, random.choice([complete, fail]), lapse, claim)
    odd = [error for error in found if isinstance(error, BaseException) and not isinstance(error, HeadwayError)]
    assert odd == []
    return run_id, other_id


async def test_a_run_that_is_stopped_finished_and_lost_at_once_ends_once(deployment):
    async with ServiceOnThread(deployment) as bench:
        outcomes = set()
        for _ in range(ROUNDS):
            run_id, other_id = await one_round(bench)
            run = await bench.service.of(1).runs.get(run_id)
            states, causes = await bench.states(run_id)
            if run.state == "stopping":  # the other worker has it: it hears of the stop and confirms
                lost, stop = await heartbeat(bench, other_id, run)
                assert (lost, [asked.run_id for asked in stop]) == ([], [run_id])
                await confirm(bench, other_id, run)
                run = await bench.service.of(1).runs.get(run_id)
                states, causes = await bench.states(run_id)
            assert run.state in FINAL
            assert [state for state in states if state in FINAL] == [run.state]
            assert "claimed" not in causes[causes.index("stop_asked") :] if "stop_asked" in causes else True
            told = [cause for cause in causes if cause in {"succeeded", "errored", "crashed"}]
            assert len(told) <= 1, causes  # once the lease is lost, what its holder says does not count
            outcomes.add(tuple(causes[2:]))
        results.note(
            "a run is stopped, ends and is lost at once",
            deployment.kind,
            tries=ROUNDS,
            acknowledged=ROUNDS,
            lost=0,
            doubled=0,
        )
        assert len(outcomes) >= 4, outcomes


async def heartbeat(bench, worker_id, run):
    answer = await bench.service.of(1).workers.report(
        worker_wire.ReportRuns(worker_id=worker_id, held=[(run.id, run.epoch)])
    )
    return answer.lost, answer.stop


async def confirm(bench, worker_id, run):
    report = worker_wire.StoppedReport(run_id=run.id, epoch=run.epoch)
    answer = await bench.service.of(1).workers.report(worker_wire.ReportRuns(worker_id=worker_id, reports=[report]))
    assert answer.rejected == []


async def test_a_result_that_comes_after_an_acknowledged_stop_does_not_count(deployment):
    async with ServiceOnThread(deployment) as bench:
        worker_id = await bench.worker()
        for _ in range(AT_ONCE):
            run_id = (await bench.service.of(1).runs.start(wire.StartRun(task="job"))).run.id
            lease = (await bench.claim(worker_id))[0]
            await bench.service.of(1).runs.terminate(run_id, wire.Terminate())
            answer = await bench.report(worker_id, lease, worker_wire.SucceededReport, output=msgspec.Raw(b"1"))
            assert [(rejected.status, rejected.code) for rejected in answer.rejected] == [(409, "run_stopping")]
            run = await bench.service.of(1).runs.get(run_id)
            assert (run.state, run.output) == ("terminated", None)


@pytest.mark.parametrize("same", [True, False], ids=["same-request", "other-request"])
async def test_one_idempotency_key_in_one_batch_has_one_effect(deployment, same):
    from headway.runs.idempotency import request_key

    async with ServiceOnThread(deployment) as bench:
        await bench.worker()

        def start(number):
            spec = wire.StartRun(task="job", name="one" if same else str(number))
            body = msgspec.json.encode(spec)
            return lambda: bench.service.of(1).runs.start(spec, request_key("k", "POST", "/v1/runs", body, 60_000))

        found = await released_at_once(*(start(number) for number in range(64)))
        refused = [answer for answer in found if isinstance(answer, BaseException)]
        assert {error.code for error in refused} == (set() if same else {"idempotency_key_reused"})
        started = [answer for answer in found if not isinstance(answer, BaseException)]
        assert len(started) == (64 if same else 1)
        assert len({answer.run.id for answer in started}) == 1
        assert sum(not answer.replayed for answer in started) == 1
