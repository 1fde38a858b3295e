"""Whatever is done to a service, in whatever order: it does what the reference says, step by step."""

import asyncio
import logging
import os
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.faults.stores import TIMES
from tests.harness import START, declare, on_disk, on_postgres, raw, spec
from tests.model.reference import FINAL, LEASED, Reference

from headway.errors import HeadwayError
from headway.kernel.namespace import Namespace
from headway.kernel.query import Page, RunFilter
from headway.kernel.run import Reason
from headway.protocol import workers as wire
from headway.protocol.runs import PatchRun, SignalRun
from headway.protocol.times import to_text

RETRY = {"max_attempts": 2, "backoff": "2s", "factor": 1, "jitter": 0}
COMMON = {
    "retry": RETRY,
    "max_crashes": 2,
    "grace": "1s",
    "retention": dict.fromkeys(("succeeded", "failed", "terminated"), "60s"),
}
TASKS = (
    declare("plain", **COMMON),
    declare("keyed", concurrency_per_key=1, **COMMON),
    declare("timed", timeout="20s", **COMMON),
)
WHY = Reason(code="test")
FIRED = Counter()
"""How often each verb was taken and refused, over all runs of the machine."""

tasks = st.sampled_from(["plain", "keyed", "keyed", "timed"])
priorities = st.sampled_from([5, 5, 5, 0, 9])
names = st.sampled_from(["go", "go#1", "pay"])
delays = st.sampled_from([0, 0, 0, 1_000, 10_000])
pick = st.integers(0, 10**6)
KINDS = {
    "succeed": (wire.SucceededReport, {"output": raw(1)}),
    "crash": (wire.ErroredReport, {"error": wire.FunctionError(code="crashed")}),
    "release": (wire.ReleasedReport, {}),
    "stopped": (wire.StoppedReport, {}),
}


def may(often=1, **given):
    """Make the method something that may happen, with what is drawn for it, `often` times as likely as others."""

    def mark(method):
        method.often, method.given = often, given
        return method

    return mark


def when(possible):
    """Say when it may happen."""

    def mark(method):
        method.possible = possible
        return method

    return mark


class Life(RuleBasedStateMachine):
    """Every verb, against the service on a file and against the reference.

    One rule draws what happens next, with weights: left to itself, Hypothesis leaves out whole sorts of rules in each
    example, and few runs would ever be executed.
    """

    @rule(data=st.data())
    def step(self, data):
        """Let something happen."""
        everything = vars(Life).values()
        verbs = [verb for verb in everything if hasattr(verb, "often") and getattr(verb, "possible", bool)(self)]
        weighted = [verb for turn in range(8) for verb in verbs if verb.often > turn]
        chosen = data.draw(st.sampled_from(weighted), "what")
        chosen(self, **{name: data.draw(strategy, name) for name, strategy in chosen.given.items()})

    @initialize()
    def begin(self):
        self.runner = asyncio.Runner()
        self.harness = self.do(self._open())
        self.model = Reference(START)
        self.leases = []
        self.known = []
        self.add_worker()

    async def _open(self):
        """Begin on a store of this life's own."""
        shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.folder = Path(tempfile.mkdtemp(dir=shared))
        return on_disk(self.folder / "s.db")

    def remove(self):
        """Leave nothing of the store."""
        shutil.rmtree(self.folder)

    def do(self, coroutine):
        """Carry it out on the loop."""
        return self.runner.run(coroutine)

    def verb(self, name, expected, coroutine):
        """Carry out a verb, which must be answered as the reference says; a run that it returns is the one in the store."""
        try:
            answer = self.do(coroutine)
            code = answer.rejected[0].code if isinstance(answer, wire.ReportAnswer) and answer.rejected else None
        except HeadwayError as error:
            answer, code = None, error.code
        assert expected == code, (name, expected, code)
        FIRED[name, expected] += 1
        if hasattr(answer, "epoch"):
            assert answer == self.do(self.harness.runs.get(answer.id)), name
        return answer

    def any(self, number):
        """Return a run's id, of those that are there."""
        there = sorted(self.model.runs)
        return there[number % len(there)]

    has_runs = when(lambda self: self.model.runs)

    # -- people --------------------------------------------------------------------------------------------------------

    @may(5, task=tasks, priority=priorities, key=st.sampled_from("ab"), delay=delays)
    def start(self, task, priority, key, delay):
        run = self.do(self.harness.start(task, priority=priority, key=key, delay=f"{delay}ms"))
        self.model.start(run.id, task, priority, key, delay)
        FIRED["start", None] += 1

    @has_runs
    @may(number=pick, task=tasks, key=st.sampled_from("ab"))
    def start_under(self, number, task, key):
        parent = self.any(number)
        refused = self.model.runs[parent]["state"] in ("stopping", "terminated")
        run = self.verb(
            "start under", "invalid_state" if refused else None, self.harness.start(task, parent_id=parent, key=key)
        )
        if run is not None:
            self.model.start(run.id, task, 5, key, 0, parent)

    @has_runs
    @may(number=pick, cascade=st.booleans())
    def terminate(self, number, cascade):
        run = self.any(number)
        how = self.harness.stop(run, children="cascade" if cascade else "leave")
        self.verb("terminate", self.model.terminate(run, cascade=cascade), how)

    @has_runs
    @may(number=pick)
    def hold(self, number):
        run = self.any(number)
        self.verb("hold", self.model.hold(run), self.harness.runs.suspend(run, WHY))

    @has_runs
    @may(number=pick)
    def resume(self, number):
        run = self.any(number)
        self.verb("resume", self.model.resume(run), self.harness.runs.resume(run, WHY))

    @has_runs
    @may(number=pick, name=names)
    def signal(self, number, name):
        run = self.any(number)
        self.verb("signal", self.model.signal(run, name), self.harness.runs.signal(run, SignalRun(name=name)))

    @has_runs
    @may(number=pick)
    def retry(self, number):
        run = self.any(number)
        ended = self.model.runs[run]["state"] in ("failed", "terminated")
        new = self.verb("retry", None if ended else "invalid_state", self.harness.runs.retry(run, WHY))
        if new is not None:
            assert run == new.previous_id
            self.model.retry(run, new.id)

    @has_runs
    @may(number=pick, protected=st.booleans())
    def protect(self, number, protected):
        run = self.any(number)
        self.verb(
            "protect", self.model.protect(run, int(protected)), self.harness.runs.protect(run, protected=protected)
        )

    @has_runs
    @may(2, number=pick, shielded=st.sampled_from([False, False, True]))
    def delete(self, number, shielded):
        run = self.any(number)
        if shielded:
            self.verb("protect", self.model.protect(run, 1), self.harness.runs.protect(run, protected=True))
        self.verb("delete", self.model.delete(run), self.harness.runs.delete(run))

    @has_runs
    @may(number=pick, priority=priorities)
    def prioritise(self, number, priority):
        run = self.any(number)
        self.verb("prioritise", self.model.prioritise(run, priority), self.patch(run, priority=priority))

    @has_runs
    @may(number=pick, queue=st.sampled_from(["default", "other"]))
    def move(self, number, queue):
        run = self.any(number)
        self.verb("move", self.model.move(run, queue), self.patch(run, queue=queue))

    @has_runs
    @may(number=pick, delay=st.sampled_from([-5_000, 0, 5_000]))
    def reschedule(self, number, delay):
        run, at = self.any(number), self.model.now + delay
        self.verb("reschedule", self.model.reschedule(run, at), self.patch(run, run_at=to_text(at)))

    def patch(self, run, **fields):
        return self.harness.runs.patch(run, PatchRun(**fields), None)

    @when(lambda self: "other" in {queue.name for queue in self.harness.queues.list()})
    @may(paused=st.booleans())
    def pause(self, paused):
        (self.model.paused.add if paused else self.model.paused.discard)("other")
        self.do(self.harness.queues.pause("other", paused=paused))
        FIRED["pause", None] += 1

    # -- workers -------------------------------------------------------------------------------------------------------

    @when(lambda self: len(self.model.workers) < 2)
    @may()
    def add_worker(self):
        worker = self.do(self.harness.worker(*TASKS))
        self.model.workers[worker] = self.model.now
        self.known.append(worker)
        FIRED["register", None] += 1

    @when(lambda self: self.model.workers)
    @may(8, number=pick, most=st.integers(1, 4))
    def claim(self, number, most):
        worker = sorted(self.model.workers)[number % len(self.model.workers)]
        leases = self.do(self.harness.claim(worker, most))
        assert self.model.claim(worker, most) == [lease.run_id for lease in leases]
        for lease in leases:
            run = self.model.runs[lease.run_id]
            assert (run["epoch"], run["attempt"], run["crashes"]) == (lease.epoch, lease.attempt, lease.crashes)
            signals = {f"signal:{name}#{n + 1}" for name, count in run["signals"].items() for n in range(count)}
            told = {f"child-result:{child}" for child in run["told"]}
            assert signals | told == {name for name in lease.steps if name.startswith(("signal:", "child-result:"))}
            self.leases.append((worker, lease.run_id, lease.epoch))
        FIRED["claim", None] += len(leases)

    has_leases = when(lambda self: self.leases)

    def report(self, number, name, kind, *, old=False, fields=(), **given):
        """Report about a lease that is held, or (old) about any that ever was."""
        live = [one for one in self.leases if one[1] in self.model.runs and self.model.runs[one[1]]["epoch"] == one[2]
                and self.model.runs[one[1]]["worker"] == one[0]]  # fmt: skip
        some = live if live and not old else self.leases
        worker, run, epoch = some[number % len(some)]
        said = kind(run_id=run, epoch=epoch, **dict(fields))
        self.verb(name, self.model.report(worker, run, epoch, name, **given), self.harness.report(worker, said))

    @has_leases
    @may(8, number=pick, name=st.sampled_from(list(KINDS)), old=st.sampled_from([False, False, False, True]))
    def outcome(self, number, name, old):
        kind, fields = KINDS[name]
        self.report(number, name, kind, old=old, fields=fields)

    @when(lambda self: any(run["state"] == "running" for run in self.model.runs.values()))
    @may(number=pick, name=st.sampled_from(["succeed", "stopped", "release"]))
    def overtake(self, number, name):
        """Stop a run just before its outcome arrives."""
        running = sorted(run["id"] for run in self.model.runs.values() if run["state"] == "running")
        run = self.model.runs[running[number % len(running)]]
        worker, epoch = run["worker"], run["epoch"]
        self.verb("terminate", self.model.terminate(run["id"]), self.harness.stop(run["id"]))
        kind, fields = KINDS[name]
        said = kind(run_id=run["id"], epoch=epoch, **fields)
        self.verb(name, self.model.report(worker, run["id"], epoch, name), self.harness.report(worker, said))

    @has_leases
    @may(4, number=pick, retryable=st.sampled_from([True, True, False]))
    def fail(self, number, retryable):
        fields = {"error": wire.FunctionError(retryable=retryable)}
        self.report(number, "fail", wire.ErroredReport, fields=fields, retryable=retryable)

    @has_leases
    @may(number=pick, delay=delays)
    def sleep(self, number, delay):
        until = self.model.now + delay
        self.report(number, "sleep", wire.SleptReport, fields={"until": to_text(until)}, until=until)

    @has_leases
    @may(
        4,
        number=pick,
        wanted=st.lists(st.tuples(names, st.integers(1, 2)), max_size=2, unique=True),
        timeout=st.sampled_from([None, 3_000]),
    )
    def suspend(self, number, wanted, timeout):
        if not wanted and timeout is None:
            timeout = 1_000
        blockers = [wire.BlockerSpec(kind="signal", name=name, number=n) for name, n in wanted]
        fields = {"blockers": blockers, "timeout": None if timeout is None else f"{timeout}ms"}
        self.report(
            number,
            "suspend",
            wire.SuspendedReport,
            fields=fields,
            waits=[("signal", *one) for one in wanted],
            timeout=timeout,
        )

    @when(lambda self: any(run["state"] == "running" for run in self.model.runs.values()))
    @may(3, number=pick, task=tasks)
    def fork(self, number, task):
        """Start a child and wait for it."""
        running = sorted(run["id"] for run in self.model.runs.values() if run["state"] == "running")
        run = self.model.runs[running[number % len(running)]]
        lease = wire.Lease(run_id=run["id"], task="", epoch=run["epoch"], attempt=0, max_attempts=0, input=raw(None))
        name = f"c{run['seq']}"
        answer = self.do(self.harness.tell(run["worker"], lease, wire.ChildReport, name=name, run=spec(task, key="a")))
        child = answer.replies[0].run_id
        self.model.start(child, task, 5, "a", 0, run["id"])
        self.model.step(run["id"])
        worker, epoch = run["worker"], run["epoch"]
        said = wire.SuspendedReport(
            run_id=run["id"], epoch=epoch, blockers=[wire.BlockerSpec(kind="run", run_id=child)]
        )
        expected = self.model.report(worker, run["id"], epoch, "suspend", waits=[("run", child)], timeout=None)
        self.verb("wait for a child", expected, self.harness.report(worker, said))

    @when(lambda self: self.model.workers)
    @may(number=pick)
    def heartbeat(self, number):
        worker = sorted(self.model.workers)[number % len(self.model.workers)]
        held = [(run, epoch) for who, run, epoch in self.leases if who == worker]
        answer = self.do(self.harness.report(worker, held=held))
        self.model.workers[worker] = self.model.now
        mine = {(run["id"], run["epoch"]): run for run in self.model.runs.values() if run["worker"] == worker}
        assert {lease for lease in held if lease not in mine} == {tuple(lease) for lease in answer.lost}
        stopping = {one for one, run in mine.items() if run["state"] == "stopping"}
        assert stopping == {(stop.run_id, stop.epoch) for stop in answer.stop}
        FIRED["heartbeat", None] += 1

    # -- time ----------------------------------------------------------------------------------------------------------

    @may(3, ms=st.sampled_from([0, 1, 1, 1_000, 1_000, 2_000, 2_000, 3_000, 5_000, 11_000, 20_000, 61_000]))
    def advance(self, ms):
        self.model.now += ms
        self.do(self.harness.advance(ms))
        self.model.tick()
        FIRED["advance", None] += 1

    @may()
    def restart(self):
        self.model.now += 1  # ids sort by creation within one process; another one begins in another millisecond
        self.harness.clock.advance(1)
        self.do(self.harness.restart())
        self.model.restart()
        FIRED["restart", None] += 1

    # -- what is compared ----------------------------------------------------------------------------------------------

    @invariant()
    def the_store_is_as_the_reference_says(self):
        if not hasattr(self, "model"):
            return
        fields = (
            "id",
            "state",
            "attempt",
            "crashes",
            "epoch",
            "seq",
            "worker",
            "priority",
            "queue",
            "run_at",
            "protected",
            "deadline",
            "ended",
        )
        inside = Namespace(self.harness.organisation).qualify
        runs = [run | {"queue": inside(run["queue"])} for _, run in sorted(self.model.runs.items())]
        expected = [tuple(run[field] for field in fields) for run in runs]
        assert expected == self.harness.sql(
            "SELECT id, state, attempt, crashes, epoch, seq, worker_id, priority, queue, run_at, protected, deadline_at,"
            " finished_at FROM runs WHERE organisation = ? ORDER BY id",
            self.harness.organisation,
        )
        for run in self.model.runs.values():
            assert (run["state"] in LEASED, run["state"] in FINAL) == (
                run["worker"] is not None,
                run["ended"] is not None,
            )

    @invariant()
    def counts_and_lists_are_as_the_reference_says(self):
        if not hasattr(self, "model"):
            return
        states = Counter(run["state"] for run in self.model.runs.values())
        assert states == self.do(self.harness.runs.count(RunFilter(), "state"))
        waiting = [run for run, one in sorted(self.model.runs.items()) if one["state"] in ("queued", "scheduled")]
        listed, _ = self.do(self.harness.runs.page(RunFilter(state=("queued", "scheduled")), Page(1000, None, False)))
        assert waiting == [run.id for run in listed]

    def teardown(self):
        if hasattr(self, "harness"):
            self.do(self.harness.close())
            self.runner.close()
            self.remove()


class LifeBesideAnother(Life):
    """The same life in the second organisation of a store; the first has the same names, and is left as it is."""

    async def _open(self):
        harness = await super()._open()
        await harness.worker(*TASKS)
        for task in TASKS:
            run = await harness.start(task.name, key="a", delay="1000d", queue="other", labels={"a": "b"})
            await harness.start(task.name, parent_id=run.id, delay="1000d")
        self.theirs = self.theirs_now(harness)
        await harness.act_for(2)
        return harness

    @staticmethod
    def theirs_now(harness):
        return harness.sql("SELECT * FROM runs WHERE organisation = 1 ORDER BY id")

    def teardown(self):
        if hasattr(self, "harness"):
            assert self.theirs == self.theirs_now(self.harness)
        super().teardown()


def on_databases_of(cluster, template):
    """Return the machine that lives on PostgreSQL: each life in a copy of the template."""

    class LifeOnPostgres(Life):
        async def _open(self):
            self.database = cluster.create_database(template=template)
            harness = on_postgres(cluster.url(self.database))
            await harness.service.servers.join()
            return harness

        def remove(self):
            cluster.drop_database(self.database)

    return LifeOnPostgres


MUST = {
    ("start", None), ("start under", None), ("start under", "invalid_state"), ("terminate", None),
    ("terminate", "invalid_state"), ("hold", None), ("hold", "invalid_state"), ("resume", None), ("resume", "invalid_state"),
    ("signal", None), ("signal", "invalid_state"), ("retry", None), ("retry", "invalid_state"), ("protect", None),
    ("delete", None), ("delete", "invalid_state"), ("delete", "protected"), ("prioritise", None),
    ("prioritise", "invalid_state"), ("move", None), ("reschedule", None), ("reschedule", "invalid_state"), ("pause", None),
    ("register", None), ("claim", None), ("succeed", None), ("succeed", "lease_lost"), ("succeed", "run_stopping"),
    ("succeed", "worker_not_found"), ("crash", None), ("release", None), ("stopped", None), ("stopped", "invalid_state"),
    ("fail", None), ("sleep", None), ("suspend", None), ("wait for a child", None), ("heartbeat", None), ("advance", None),
    ("restart", None),
}  # fmt: skip


VERBS = {verb for verb, _ in MUST}


@pytest.fixture(autouse=True)
def _in_silence():
    """Restarts and refusals by the thousand are no news here; other tests read what is logged."""
    logger = logging.getLogger("headway")
    before = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(before)


def lives(machine, examples, steps, number, *, every_answer=True):
    """Live through so many examples, and some more as long as a verb was never asked for, or never had some answer.

    What is drawn depends on the numbers in modules that are loaded, so on the tests before this one.
    """
    FIRED.clear()
    for turn in range(10):
        random.seed(number + turn)
        chosen = settings(
            max_examples=examples if turn == 0 else examples // 3, stateful_step_count=steps, deadline=None, database=None,
            phases=(Phase.generate,), suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        run_state_machine_as_test(seed(1_000 * turn + number)(machine), settings=chosen)
        happened = set(+FIRED) if every_answer else {verb for verb, _ in +FIRED}
        missing = (MUST if every_answer else VERBS) - happened
        if not missing:
            return
    raise AssertionError(f"these never happened: {missing}")


@pytest.fixture
def life_on_postgres(postgres_cluster, _empty_store):
    return on_databases_of(postgres_cluster, _empty_store)


def test_a_service_does_what_the_reference_says():
    lives(Life, 150, 60, 1)


def test_a_service_on_postgresql_does_what_the_reference_says(life_on_postgres):
    lives(life_on_postgres, 30, 60, 1, every_answer=False)


def test_a_service_does_what_the_reference_says_for_each_organisation():
    lives(LifeBesideAnother, 40, 60, 1, every_answer=False)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", range(2, 2 + 5 * TIMES))
def test_a_service_does_what_the_reference_says_for_long(number):
    lives(Life, 400, 120, number)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", range(2, 2 + 3 * TIMES))
def test_a_service_on_postgresql_does_what_the_reference_says_for_long(number, life_on_postgres):
    lives(life_on_postgres, 200, 120, number)
