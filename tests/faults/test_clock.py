"""The server's wall clock jumps: leases do not notice, what is due comes, nothing is done twice."""

import signal
import time

import pytest
from tests.faults.clocks import WallClock, needs_faketime
from tests.faults.server import Server, WorkerProcess, withheld_s
from tests.faults.stores import FILE_FIRST, MINUTES, STORES
from tests.faults.verdict import StoreContents
from tests.faults.waiting import all_end, begun, pause, until

from headway.protocol.times import from_text

pytestmark = needs_faketime

LEASE_S = 8
HOUR, DAY = 3600, 86_400
AT_ONCE_S = 8
"""Half a second is promised, and the machine may be busy; loops that do not notice the jump sleep for half a minute."""
LATE_S = 2
"""How much later than it was due a run may begin on a busy machine."""


def started(server, deployment, number, task="effect", **more):
    answer = server.post("/v1/runs", {"task": task, "input": {"n": number}, **more})
    deployment.ledger.note("acknowledged", n=number, run_id=answer["id"])
    return answer["id"]


class JumpingClock:
    """A server whose clock jumps; one worker that goes on, with runs in hand, and one that will be stopped."""

    def __init__(self, deployment):
        self.deployment = deployment
        self.clock = WallClock(deployment.folder)
        self.server = Server(deployment, "--lease", f"{LEASE_S}s", **self.clock.environment).start()
        self.goner = WorkerProcess(deployment, "--name", "goner", "--capacity", "4")
        self.server.knows("gated")
        self.lost = self.held(4)
        WorkerProcess(deployment, "--name", "stays", "--capacity", "20")
        self.server.connected(2)
        self.kept = self.held(8)

    def held(self, number):
        """Start runs that are in some worker's hands until the gate is opened."""
        ids = [self.server.started("gated", name="late") for _ in range(number)]
        for run_id in ids:
            begun(self.deployment, run_id, 1)
        return ids

    def stays_whole(self, around_s=0):
        """Go on jumping for half a lease, so that each sign of life and each look comes right after a jump; nobody loses anything."""
        for number in range(12):
            self.clock.set(around_s + (HOUR if number % 2 else 0))
            pause(LEASE_S / 24)
        self.clock.set(around_s)
        runs = [self.server.run(run_id) for run_id in (*self.kept, *self.lost)]
        assert {(run["state"], run["attempt"], run["crashes"]) for run in runs} == {("running", 1, 0)}, (
            self.deployment.logged()[-3000:]
        )

    def loses_who_is_silent(self):
        """Leases do not become eternal: who is stopped loses his runs when the lease is over, by the machine's clock."""
        self.goner.send_all(signal.SIGSTOP)
        stopped_s = time.monotonic() - withheld_s(self.server.process.pid)
        for run_id in self.lost:
            begun(self.deployment, run_id, 2)
        assert time.monotonic() - withheld_s(self.server.process.pid) - stopped_s < LEASE_S + 1 + LATE_S

    def end(self, *, fault, jumps):
        self.deployment.open_gate("late")
        all_end(self.server)
        kept = [self.server.run(run_id) for run_id in self.kept]
        ends = {(run["state"], run["attempt"]) for run in kept}
        assert ends == {("succeeded", 1)}, str(
            [self.server.get(f"/v1/runs/{run['id']}/events")["data"] for run in kept if run["attempt"] > 1]
        )
        assert self.server.stop() == 0
        books = StoreContents(self.deployment)
        effects = [line["n"] for line in books.effects if "n" in line]
        assert sorted(effects) == sorted({line["n"] for line in books.acknowledged}), "something was done twice, or not"
        books.hold(kills=1, fault=fault, tries=jumps)


def begins(scene, number, within_s, since_s=0.0):
    """Wait until a run has begun; return how many seconds after `since_s` that was."""
    until(
        lambda: any(line.get("n") == number for line in scene.deployment.ledger.lines("effect")),
        within_s,
        "what is due begins",
    )
    return time.monotonic() - since_s


@FILE_FIRST
def test_a_clock_that_jumps_an_hour_and_back_takes_no_lease_and_loses_no_run(deployment):
    scene = JumpingClock(deployment)
    started(scene.server, deployment, 1, delay="30m")
    scene.server.post("/v1/schedules", {"name": "s", "task": "noop", "occurrence": "every 40m"})
    scene.clock.set(HOUR)
    begins(scene, 1, AT_ONCE_S)
    until(lambda: scene.server.get("/v1/runs?task=noop")["data"], AT_ONCE_S, "the schedule fires")
    scene.server.post("/v1/schedules/s:pause")
    scene.stays_whole(HOUR)
    started(scene.server, deployment, 3, delay="30m")
    scene.clock.set(0)
    asked_s = time.monotonic()
    started(scene.server, deployment, 4, delay="1s")
    assert 0.9 < begins(scene, 4, 10, asked_s)
    scene.loses_who_is_silent()
    assert not any(line.get("n") == 3 for line in deployment.ledger.lines("effect"))
    runs = [scene.server.run(line["run_id"]) for line in deployment.ledger.lines("effect")]
    assert all(run["created_at"] <= run["started_at"] <= (run["finished_at"] or "~") for run in runs)
    scene.clock.set(2 * HOUR)
    begins(scene, 3, AT_ONCE_S)
    scene.end(fault="the server's clock jumps", jumps=16)


@pytest.mark.parametrize("deployment", [pytest.param(store, marks=MINUTES) for store in STORES], indirect=True)
@pytest.mark.parametrize("jump_s", [-HOUR, HOUR, DAY, 400 * DAY], ids=["-1h", "+1h", "+1d", "+400d"])
def test_what_a_jump_makes_due_begins_by_itself_within_seconds(deployment, jump_s):
    scene = JumpingClock(deployment)
    due = [started(scene.server, deployment, n, delay=f"{abs(jump_s) - 60 * n}s") for n in range(1, 6)]
    scene.clock.set(jump_s)
    if jump_s > 0:
        until(
            lambda: {line.get("n") for line in deployment.ledger.lines("effect")} >= set(range(1, 6)),
            AT_ONCE_S,
            "what has come due begins",
        )
    scene.stays_whole(jump_s)
    asked_s = time.monotonic()
    started(scene.server, deployment, 6, delay="2s")
    assert 1.9 < begins(scene, 6, 10, asked_s)
    scene.loses_who_is_silent()
    if jump_s < 0:
        assert {scene.server.run(run_id)["state"] for run_id in due} == {"scheduled"}
        scene.clock.set(2 * HOUR)
        until(lambda: all(scene.server.run(run_id)["final"] for run_id in due), AT_ONCE_S, "they are due now")
    scene.end(fault="the server's clock jumps", jumps=13 + (jump_s < 0))


@FILE_FIRST
@pytest.mark.parametrize("ahead_s", [pytest.param(-HOUR, marks=MINUTES), HOUR], ids=["-1h", "+1h"])
def test_a_worker_whose_clock_is_wrong_and_jumps_keeps_its_lease_and_ends_its_runs_once(deployment, ahead_s):
    server = Server(deployment, "--lease", f"{LEASE_S}s").start()
    wrong = WallClock(deployment.folder, ahead_s)
    WorkerProcess(deployment, **wrong.environment)
    server.knows("gated")
    run_id = server.started("gated", name="late")
    for number in range(1, 6):
        started(server, deployment, number)
    begun(deployment, run_id, 1)
    for number in range(8):
        wrong.set(ahead_s + number * ahead_s)
        pause(LEASE_S / 12)
    deployment.open_gate("late")
    final = server.final(run_id)
    assert (final["state"], final["attempt"], final["output"]) == ("succeeded", 1, 1)
    all_end(server)
    events = server.get(f"/v1/runs/{run_id}/events")["data"]
    assert max(abs(from_text(event["time"]) - time.time() * 1000) for event in events) < 60_000
    server.stop()
    StoreContents(deployment).hold(kills=0, fault="a worker's clock is wrong and jumps", tries=8)
