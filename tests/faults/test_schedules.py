"""Schedules under kills: every slot is decided once, and makes one run or none, whatever dies when."""

import random
import signal

import pytest
from tests.faults.nursery import ForkedServer
from tests.faults.operations import WRITER
from tests.faults.protocol import Hand
from tests.faults.results import note
from tests.faults.slots import decided, fired, judged, schedules
from tests.faults.stores import FILE_FIRST, MINUTES, ON_BOTH, kills
from tests.faults.waiting import pause, until

EACH_OF_THREE = 3


def decides_more(place, before=None):
    before = decided(place) if before is None else before
    until(lambda: decided(place) > before + EACH_OF_THREE, 20, f"slots are decided\n{place.logged()[-3000:]}")


@kills({"sqlite": 4, "postgres": 3}, many=60)
def test_every_slot_is_decided_once_however_often_the_server_is_killed(nursery, place, kills):
    server = ForkedServer(nursery, place).start()
    Hand(server)
    schedules(server, 2 * EACH_OF_THREE)
    for kill in range(kills):
        decides_more(place)
        pause(random.uniform(0, 1.2))
        server.kill()
        pause(0 if kill % 2 else 2.5)  # in which two slots pass at least
        server.start()
    decides_more(place)
    assert server.stop() == 0
    outcomes = judged(place)
    assert outcomes["latest", "missed"] > 0
    assert outcomes["skip", "missed"] > 0
    slots = sum(outcomes.values())
    note("kill -9 of the server while schedules fire", place.kind, tries=kills, acknowledged=slots, lost=0, doubled=0)
    print("kills", kills, dict(outcomes))


@ON_BOTH
@pytest.mark.parametrize("point", ["scheduler.before_save", *WRITER])
def test_a_server_that_is_killed_at_a_point_of_a_tick_has_decided_entirely_or_not_at_all(nursery, place, point):
    server = ForkedServer(nursery, place).start()
    Hand(server)
    schedules(server, EACH_OF_THREE)
    decides_more(place)
    server.arm(point)
    assert server.process.wait(20) == -signal.SIGKILL
    before = decided(place)
    server.start()
    decides_more(place, before)
    assert server.stop() == 0
    judged(place)


@ON_BOTH
def test_runs_that_wait_for_each_other_go_one_by_one_across_kills(nursery, place):
    """Of a schedule that queues, one run is under way at a time, and each gets its turn."""
    server = ForkedServer(nursery, place, "--lease", "60s").start()
    hand = Hand(server)
    schedules(server, 1, overlap="queue", catch_up="all")
    until(lambda: decided(place) >= EACH_OF_THREE, 20, "there are some")
    server.post("/v1/schedules/s0:pause")
    done = []
    while leases := hand.claim(100, wait="1s"):
        assert len(leases) == 1, "two at once"
        server.kill()
        server.start()
        done.append(leases[0]["labels"]["slot"])
        hand.report({"type": "succeeded", "run_id": leases[0]["run_id"], "epoch": leases[0]["epoch"]})
    assert done == sorted(done)
    assert len(done) == decided(place)
    assert server.stop() == 0
    judged(place)


@FILE_FIRST
@pytest.mark.parametrize("number", [100, pytest.param(1_000, marks=MINUTES)])
def test_many_schedules_that_fire_at_once_all_fire(nursery, place, number):
    server = ForkedServer(nursery, place).start()
    Hand(server)
    for n in range(number):
        body = {"name": f"m{n}", "task": "job", "occurrence": "every 10s", "overlap": "allow"}
        server.post("/v1/schedules", body)
    until(lambda: fired(place) == number, 30, "all have fired")
    assert server.stop() == 0
