"""Schedules on two servers: a slot is decided by one of them, also when the other stands still or wakes late."""

import asyncio
import signal

import psycopg
import pytest
from tests.faults.protocol import ProtocolWorker
from tests.faults.server import Deployment, Server
from tests.faults.slots import decided, judged, schedules
from tests.faults.stores import MINUTES
from tests.faults.waiting import pause, until
from tests.harness import START
from tests.servers.waiting import soon

from headway.features.schedules.store import SlotDue
from headway.kernel.run import Reason
from headway.notify.events import PeersChecked
from headway.protocol.schedules import CreateSchedule, PatchSchedule

MINUTE = 60_000


def made(**fields):
    return CreateSchedule(**{"name": "s", "task": "t", "occurrence": "Every Minute", "overlap": "allow"} | fields)


async def slots(harness, named="s"):
    found, _ = await harness.schedules.slots(named, None, None, 1_000)
    return [((slot.nominal - START) // MINUTE, slot.outcome.value) for slot in reversed(found)]


async def test_two_servers_that_look_at_once_decide_about_each_slot_once(pair):
    await pair.a.worker()
    for number in range(20):
        await pair.a.schedules.create(made(name=f"s{number}"))
    for _ in range(5):
        for harness in pair.both:
            harness.clock.advance(MINUTE)
        await asyncio.gather(*(harness.scheduler.tick() for harness in pair.both for _ in range(3)))
    for number in range(20):
        assert await slots(pair.b, f"s{number}") == [(minute, "ran") for minute in range(1, 6)]
    ((runs,),) = pair.a.sql("SELECT count(*) FROM runs")
    assert runs == 100


async def test_a_server_that_stands_still_in_a_tick_decides_nothing_a_second_time(pair, postgres_cluster):
    """Its row locks keep others from the schedule until it is gone; then they go on, and it has decided nothing."""
    await pair.a.worker()
    await pair.a.schedules.create(made())
    with psycopg.connect(pair.a.path) as still:  # what a server that was stopped in the middle of a tick holds
        still.execute("SELECT 1 FROM schedules FOR UPDATE")
        for harness in pair.both:
            harness.clock.advance(MINUTE)
        assert await pair.b.scheduler.tick() < 1_000
        assert await slots(pair.b) == []
        still.rollback()
    await asyncio.gather(*(harness.scheduler.tick() for harness in pair.both))
    assert await slots(pair.a) == [(1, "ran")]


async def test_a_server_whose_clock_is_behind_fires_nothing_again(pair):
    await pair.a.worker()
    await pair.a.schedules.create(made())
    pair.a.clock.advance(2 * MINUTE)
    await pair.a.scheduler.tick()
    pair.b.clock.advance(MINUTE)
    await pair.b.scheduler.tick()
    pair.b.clock.advance(MINUTE)
    await pair.b.scheduler.tick()
    assert await slots(pair.b) == [(1, "missed"), (2, "ran")]


async def test_a_schedule_that_one_server_makes_or_changes_wakes_the_other(pair):
    await pair.a.worker()
    due = pair.b.announced(SlotDue)
    await pair.a.schedules.create(made())
    await soon(lambda: _is(due == [SlotDue(START + MINUTE)]))
    await pair.a.schedules.patch("s", PatchSchedule(occurrence="every 5s"), None)
    await soon(lambda: _is(due[-1] == SlotDue(START + 5_000)))


async def test_a_server_that_was_not_told_learns_of_a_slot_at_its_next_sign_of_life(pair):
    await pair.a.worker()
    pair.b.store.peers._on_message = lambda message: None
    checked = pair.b.announced(PeersChecked)
    await pair.a.schedules.create(made())
    await pair.pulse(pair.b)
    assert checked
    assert PeersChecked in pair.b.scheduler.wakes_on
    assert await pair.b.scheduler.tick() == MINUTE


async def test_runs_of_one_schedule_that_end_on_two_servers_at_once_let_the_next_go(pair):
    """Neither sees the other's end before it is committed; one of the two has to look again."""
    a = await pair.a.worker()
    b = await pair.b.worker()
    await pair.a.schedules.create(made(overlap="queue", catch_up="all"))
    for harness in pair.both:
        harness.clock.advance(3 * MINUTE)
    await pair.a.scheduler.tick()
    found, _ = await pair.a.schedules.slots("s", "ran", None, 10)
    third, second, first = [slot.run_id for slot in found]
    await pair.a.runs.resume(second, Reason(code="resumed"))
    await pair.pulse()
    leases = [*await pair.a.claim(a, 1, "2s"), *await pair.b.claim(b, 1, "2s")]
    assert {lease.run_id for lease in leases} == {first, second}
    await asyncio.gather(pair.a.succeed(a, leases[0]), pair.b.succeed(b, leases[1]))
    assert await pair.a.state(third) == "queued"


async def _is(value):
    return value


# -- real servers ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def deployments(tmp_path, postgres_url):
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        made.append(Deployment(folder, postgres_url))
    yield made
    for deployment in made:
        deployment.clean_up()


def more(deployment, number):
    before = decided(deployment)
    until(lambda: decided(deployment) > before + number, 30, "slots are decided")


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=MINUTES)])
@pytest.mark.parametrize("harm", ["killed", "stopped"])
def test_every_slot_is_decided_once_when_one_of_two_servers_is(deployments, harm, times):
    one, two = (Server(deployment).start() for deployment in deployments)
    ProtocolWorker(one)
    schedules(two, 6)
    for _ in range(times):
        more(deployments[0], 12)
        if harm == "killed":
            one.kill()
            more(deployments[0], 12)
            one.start()
        else:
            one.process.send(signal.SIGSTOP)
            pause(2.5)
            one.process.send(signal.SIGCONT)
    more(deployments[0], 12)
    assert [one.stop(), two.stop()] == [0, 0]
    print(harm, dict(judged(deployments[0])))
