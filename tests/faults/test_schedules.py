"""Schedules under kills: every slot is decided once, and makes one run or none, whatever dies when."""

import random
import signal

import pytest
from tests.faults.fork_server import ForkedServer
from tests.faults.operations import WRITER
from tests.faults.protocol import ProtocolWorker
from tests.faults.results import note
from tests.faults.slots import decided, fired, judged, schedules
from tests.faults.stores import FILE_FIRST, MINUTES, ON_BOTH, kills
from tests.faults.waiting import pause, until

EACH_OF_THREE = 3


def decides_more(deployment, before=None):
    before = decided(deployment) if before is None else before
    until(lambda: decided(deployment) > before + EACH_OF_THREE, 20, f"slots are decided\n{deployment.logged()[-3000:]}")


@kills({"sqlite": 4, "postgres": 3}, many=60)
def test_every_slot_is_decided_once_however_often_the_server_is_killed(fork_server, deployment, kills):
    server = ForkedServer(fork_server, deployment).start()
    ProtocolWorker(server)
    schedules(server, 2 * EACH_OF_THREE)
    for kill in range(kills):
        decides_more(deployment)
        pause(random.uniform(0, 1.2))
        server.kill()
        pause(0 if kill % 2 else 2.5)  # in which two slots pass at least
        server.start()
    decides_more(deployment)
    assert server.stop() == 0
    outcomes = judged(deployment)
    assert outcomes["latest", "missed"] > 0
    assert outcomes["skip", "missed"] > 0
    slots = sum(outcomes.values())
    note(
        "kill -9 of the server while schedules fire",
        deployment.kind,
        tries=kills,
        acknowledged=slots,
        lost=0,
        doubled=0,
    )
    print("kills", kills, dict(outcomes))


@ON_BOTH
@pytest.mark.parametrize("point", ["scheduler.before_save", *WRITER])
def test_a_server_that_is_killed_at_a_point_of_a_tick_has_decided_entirely_or_not_at_all(
    fork_server, deployment, point
):
    server = ForkedServer(fork_server, deployment).start()
    ProtocolWorker(server)
    schedules(server, EACH_OF_THREE)
    decides_more(deployment)
    server.arm(point)
    assert server.process.wait(20) == -signal.SIGKILL
    before = decided(deployment)
    server.start()
    decides_more(deployment, before)
    assert server.stop() == 0
    judged(deployment)


@ON_BOTH
def test_runs_that_wait_for_each_other_go_one_by_one_across_kills(fork_server, deployment):
    """Of a schedule that queues, one run is under way at a time, and each gets its turn."""
    server = ForkedServer(fork_server, deployment, "--lease", "60s").start()
    hand = ProtocolWorker(server)
    schedules(server, 1, overlap="queue", catch_up="all")
    until(lambda: decided(deployment) >= EACH_OF_THREE, 20, "there are some")
    server.post("/v1/schedules/s0:pause")
    done = []
    while leases := hand.claim(100, wait="1s"):
        assert len(leases) == 1, "two at once"
        server.kill()
        server.start()
        done.append(leases[0]["labels"]["slot"])
        hand.report({"type": "succeeded", "run_id": leases[0]["run_id"], "epoch": leases[0]["epoch"]})
    assert done == sorted(done)
    assert len(done) == decided(deployment)
    assert server.stop() == 0
    judged(deployment)


@FILE_FIRST
@pytest.mark.parametrize("number", [100, pytest.param(1_000, marks=MINUTES)])
def test_many_schedules_that_fire_at_once_all_fire(fork_server, deployment, number):
    server = ForkedServer(fork_server, deployment).start()
    ProtocolWorker(server)
    for n in range(number):
        body = {"name": f"m{n}", "task": "job", "occurrence": "every 10s", "overlap": "allow"}
        server.post("/v1/schedules", body)
    until(lambda: fired(deployment) == number, 30, "all have fired")
    assert server.stop() == 0
