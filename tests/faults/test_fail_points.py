"""Killed at each named point of each write: it has happened entirely or not at all, and repeating it is safe."""

import shutil
import signal
from contextlib import contextmanager

import pytest
from tests.faults.fork_server import ForkedServer
from tests.faults.operations import OPERATIONS, WRITER, prepare
from tests.faults.protocol import ProtocolWorker
from tests.faults.server import Deployment, Server
from tests.faults.stores import MINUTES, ON_BOTH
from tests.faults.verdict import StoreContents, opened
from tests.faults.waiting import until

from headway import failpoints
from headway.client.errors import ConnectionLost

BEFORE = {"writer.before_begin", "writer.after_work", "writer.before_commit"}
MIGRATION = [point for point in failpoints.POINTS if point.startswith("migration.")]
OFTEN = {"start", "batch", "claim", "success"}
"""What is tried on PostgreSQL too where there are no minutes: the writer is the same, and so is what it calls."""


def operations():
    """Mark a test of every operation on each store."""
    given = [pytest.param("sqlite", operation, id=operation.name) for operation in OPERATIONS]
    given += [
        pytest.param(
            "postgres", operation, id=f"{operation.name}-postgres", marks=() if operation.name in OFTEN else MINUTES
        )
        for operation in OPERATIONS
    ]
    return pytest.mark.parametrize(("deployment", "operation"), given, indirect=["deployment"])


@contextmanager
def in_a_file(fork_server, folder):
    """Prepare a file; give what makes a place's store a copy of it."""
    deployment = Deployment(folder)
    there = filled(fork_server, deployment)
    yield there, lambda copy: shutil.copy(deployment.store, copy.store)
    deployment.clean_up()


@contextmanager
def in_a_database(fork_server, folder, cluster):
    """Prepare a database; give what makes a place's store a copy of it."""
    name = cluster.create_database()
    deployment = Deployment(folder, cluster.url(name))
    there = filled(fork_server, deployment)

    def copied(copy):
        wanted = copy.store.rpartition("/")[2]
        cluster.drop_database(wanted)
        cluster.create_database(wanted, template=name)

    yield there, copied
    deployment.clean_up()
    cluster.drop_database(name)


def filled(fork_server, deployment):
    server = ForkedServer(fork_server, deployment, "--lease", "60s").start()
    there = prepare(server)
    assert server.stop() == 0
    return there


@pytest.fixture(scope="module")
def prepared_file(fork_server, tmp_path_factory):
    with in_a_file(fork_server, tmp_path_factory.mktemp("prepared")) as found:
        yield found


@pytest.fixture(scope="module")
def prepared_database(fork_server, tmp_path_factory, postgres_cluster):
    with in_a_database(fork_server, tmp_path_factory.mktemp("prepared"), postgres_cluster) as found:
        yield found


@pytest.fixture
def prepared(request, deployment):
    """What the store of the place is a copy of."""
    there, copied = request.getfixturevalue("prepared_database" if deployment.kind == "postgres" else "prepared_file")
    copied(deployment)
    return there


@pytest.fixture
def server(fork_server, prepared, deployment):
    """A server on a copy of the prepared store, that has done with the writes of its start."""
    server = ForkedServer(fork_server, deployment, "--lease", "60s").start()
    if deployment.kind == "postgres":
        until(lambda: listens_and_has_pulsed(deployment), 10, "it hears others, and has given its first sign of life")
    for _ in range(4):
        # Each is behind what the loops have written so far, and one loop writes after another write of its own.
        server.post("/v1/runs", {"task": "job", "labels": {"warm": "up"}, "delay": "1h"})
    return server


def listens_and_has_pulsed(deployment):
    """Tell whether the writes are over that a server does when it begins to listen; the next pulse is two seconds off."""
    with opened(deployment) as connection:
        (found,) = connection.execute(
            "SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ^@ 'LISTEN') > 0 "
            "AND (SELECT max(beat) FROM servers) >= 2"
        ).fetchone()
        return found


def repeated_safely(server, there, operation):
    """Do it again, as a client does that has had no answer; then it has happened, once."""
    assert operation.act(server, there).status < 500
    assert 1 <= operation.times(server, there) <= operation.again
    assert operation.act(server, there).status < 500
    assert 1 <= operation.times(server, there) <= operation.again + 1 * (operation.again > 1)


def store_is_whole(server, fault=""):
    server.kill()
    StoreContents(server.deployment).hold(kills=2, finished=False, fault=fault, tries=1)


@operations()
@pytest.mark.parametrize("point", WRITER)
def test_a_write_that_is_killed_happens_entirely_or_not_at_all(server, prepared, point, operation):
    there = prepared
    assert operation.times(server, there) == 0
    server.arm(point)
    with pytest.raises(ConnectionLost):
        operation.act(server, there)
    assert server.process.wait(10) == -signal.SIGKILL
    server.start()
    assert operation.times(server, there) == (0 if point in BEFORE else 1)
    repeated_safely(server, there, operation)
    store_is_whole(server, "kill -9 at a point of a commit")


@operations()
def test_a_write_that_was_acknowledged_survives_a_kill(server, prepared, operation):
    there = prepared
    assert 200 <= operation.act(server, there).status < 300
    server.kill()
    server.start()
    assert operation.times(server, there) == 1
    repeated_safely(server, there, operation)
    store_is_whole(server)


@ON_BOTH
def test_a_claim_whose_answer_was_lost_is_handed_back_and_counts_no_attempt(server, prepared):
    there, hand = prepared, ProtocolWorker(server, worker_id=prepared.worker)
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


@ON_BOTH
@pytest.mark.parametrize("point", MIGRATION)
def test_a_migration_that_is_killed_leaves_a_store_that_opens(deployment, point):
    server = Server(deployment).start(ready=False, HEADWAY_FAIL_POINT=point)
    assert server.process.wait(20) == -signal.SIGKILL
    server.start()
    ProtocolWorker(server)
    assert server.run(server.started("job"))["state"] == "queued"
    server.kill()
    StoreContents(deployment).hold(kills=1, finished=False, fault="kill -9 at a point of a migration", tries=1)
