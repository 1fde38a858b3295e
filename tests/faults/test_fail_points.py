"""Killed at each named point of each write: it has happened entirely or not at all, and repeating it is safe."""

import shutil
import signal

import pytest
from tests.faults.nursery import ForkedServer
from tests.faults.operations import OPERATIONS, prepare
from tests.faults.protocol import Hand
from tests.faults.server import Place, Server
from tests.faults.verdict import Books

from headway import failpoints
from headway.client.errors import ConnectionLost

BEFORE = {"writer.before_begin", "writer.after_work", "writer.before_commit"}
WRITER = [point for point in failpoints.POINTS if point.startswith("writer.")]
MIGRATION = [point for point in failpoints.POINTS if point.startswith("migration.")]


@pytest.fixture(scope="module")
def prepared(nursery, tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("prepared"))
    server = ForkedServer(nursery, place, "--lease", "60s").start()
    there = prepare(server)
    assert server.stop() == 0
    yield place, there
    place.clean_up()


@pytest.fixture
def server(nursery, prepared, place):
    """A server on a copy of the prepared store, that has done with the writes of its start."""
    shutil.copy(prepared[0].store, place.store)
    server = ForkedServer(nursery, place, "--lease", "60s").start()
    for _ in range(
        4
    ):  # each is behind what the loops have written so far, and one loop writes after another write of its own
        server.post("/v1/runs", {"task": "job", "labels": {"warm": "up"}, "delay": "1h"})
    return server


def repeated_safely(server, there, operation):
    """Do it again, as a client does that has had no answer; then it has happened, once."""
    assert operation.act(server, there).status < 500
    assert 1 <= operation.times(server, there) <= operation.again
    assert operation.act(server, there).status < 500
    assert 1 <= operation.times(server, there) <= operation.again + 1 * (operation.again > 1)


def store_is_whole(server):
    server.kill()
    Books(server.place).hold(kills=2, finished=False)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
@pytest.mark.parametrize("point", WRITER)
def test_a_write_that_is_killed_happens_entirely_or_not_at_all(server, prepared, point, operation):
    there = prepared[1]
    assert operation.times(server, there) == 0
    server.arm(point)
    with pytest.raises(ConnectionLost):
        operation.act(server, there)
    assert server.process.wait(10) == -signal.SIGKILL
    server.start()
    assert operation.times(server, there) == (0 if point in BEFORE else 1)
    repeated_safely(server, there, operation)
    store_is_whole(server)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_write_that_was_acknowledged_survives_a_kill(server, prepared, operation):
    there = prepared[1]
    assert 200 <= operation.act(server, there).status < 300
    server.kill()
    server.start()
    assert operation.times(server, there) == 1
    repeated_safely(server, there, operation)
    store_is_whole(server)


def test_a_claim_whose_answer_was_lost_is_handed_back_and_counts_no_attempt(server, prepared):
    there, hand = prepared[1], Hand(server, worker_id=prepared[1].worker)
    server.arm("writer.after_commit")
    with pytest.raises(ConnectionLost):
        hand.claim(2)
    server.process.wait(10)
    server.start()
    assert [server.run(run_id)["state"] for run_id in there.ready] == ["running"] * 2
    mine = (there.running["run_id"], there.running["epoch"])
    for _ in range(2):
        assert hand.beat(mine)["lost"] == []
    runs = [server.run(run_id) for run_id in there.ready]
    assert [(run["state"], run["attempt"]) for run in runs] == [("queued", 0)] * 2
    store_is_whole(server)


@pytest.mark.parametrize("point", MIGRATION)
def test_a_migration_that_is_killed_leaves_a_store_that_opens(place, point):
    server = Server(place).start(ready=False, HEADWAY_FAIL_POINT=point)
    assert server.process.wait(20) == -signal.SIGKILL
    server.start()
    Hand(server)
    assert server.run(server.started("job"))["state"] == "queued"
    server.kill()
    Books(place).hold(kills=1, finished=False)
