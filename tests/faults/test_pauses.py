"""A server, or its database, stands still for longer than a lease: no lease is taken for that, and no crash is counted.

Real processes, stopped by SIGSTOP, as a virtual machine is paused or a laptop's lid is closed.
"""

import os
import signal
from contextlib import ExitStack, contextmanager, nullcontext, suppress

import msgspec
import pytest
from tests.faults.server import Deployment, Server, WorkerProcess
from tests.faults.stores import ON_BOTH
from tests.faults.verdict import StoreContents
from tests.faults.waiting import all_end, begun, pause, until, works
from tests.postgres.cluster import Cluster
from tests.postgres.keeper import processes

LEASE_S = 3
PAUSE_S = 1.5 * LEASE_S
LONGER_THAN_GONE_S = 9
"""Servers take one another for gone after 7 s."""


def stand_still(*pids, for_s=PAUSE_S):
    """Stop processes, and let them go on."""
    for pid in pids:
        send(pid, signal.SIGSTOP)
    pause(for_s)
    for pid in pids:
        send(pid, signal.SIGCONT)


def send(pid, number):
    """Send a signal; of a database's processes some may just have ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def causes(server, run_id):
    """Return why a run has changed its state, in order."""
    events = server.get(f"/v1/runs/{run_id}/events?page_size=100")["data"]
    return [event["data"]["cause"] for event in events if event["type"] == "run.state"]


def held(server, deployment):
    """Start a run of the task `innocent` and wait until it has begun; return its id."""
    run_id = server.started("innocent", name="late")
    begun(deployment, run_id, 1)
    return run_id


def ended(server, run_id):
    """Return a run that is final; a server that is connected to its database again may put us off."""
    answer = server.call("GET", f"/v1/runs/{run_id}")
    return answer.status == 200 and (run := msgspec.json.decode(answer.body))["final"] and run


@contextmanager
def begun_anew(deployment):
    """Wait for the run to begin once more; a lease whose claim was not answered in time is no beginning."""
    before = len(deployment.ledger.lines("begun"))
    yield
    until(
        lambda: len(deployment.ledger.lines("begun")) > before,
        40,
        lambda: f"it is begun anew\n{deployment.logged()[-3000:]}",
    )


def succeeds_at_its_first_attempt(server, run_id):
    """Assert that no attempt counts but the one that succeeds, and no crash."""
    run = until(lambda: ended(server, run_id), 40, "it has come to its end")
    assert (run["state"], run["attempt"], run["crashes"]) == ("succeeded", 1, 0), causes(server, run_id)
    events = [event["data"] for event in server.get(f"/v1/runs/{run_id}/events?page_size=100")["data"]]
    assert {event["cause"] for event in events} <= {"created", "claimed", "released", "succeeded"}
    assert all(event["note"] for event in events if event["cause"] == "released"), "the history says why"


@ON_BOTH
def test_a_server_that_stood_still_three_times_counts_no_crash_and_fails_no_run(deployment):
    server = Server(deployment, "--lease", f"{LEASE_S}s").start()
    WorkerProcess(deployment)
    server.connected(1)
    run_id = held(server, deployment)
    for _ in range(3):
        with begun_anew(deployment):  # the worker cannot know that nobody else has the run, and gives it up
            stand_still(server.process.pid)
    deployment.open_gate("late")
    succeeds_at_its_first_attempt(server, run_id)
    assert server.stop() == 0
    assert "worker.lapsed" not in deployment.logged()


@ON_BOTH
def test_what_is_claimed_when_a_server_wakes_is_executed_once(deployment):
    server = Server(deployment, "--lease", f"{LEASE_S}s").start()
    for _ in range(2):
        WorkerProcess(deployment, "--capacity", "20")
    server.connected(2)
    for n in range(3):
        body = {"name": f"s{n}", "task": "effect", "occurrence": "every 1s", "overlap": "allow", "catch_up": "all"}
        server.post("/v1/schedules", {**body, "input": {"ms": 1500}})
    until(lambda: len(deployment.ledger.lines("effect")) > 6, 20, "the schedules fire")
    for n in range(1, 101):
        deployment.ledger.note("acknowledged", n=n, run_id=server.started("effect", n=n, ms=50))
    woken = []
    for _ in range(3):
        before = len(deployment.ledger.lines("effect"))
        stand_still(server.process.pid)
        woken.append(len(deployment.ledger.lines("effect")))
        until(lambda before=before: len(deployment.ledger.lines("effect")) > before + 12, 20, "it has caught up")
    for n in range(3):
        server.post(f"/v1/schedules/s{n}:pause")
    all_end(server)
    assert server.stop() == 0
    books = StoreContents(deployment)
    books.hold(kills=3, fault="the server stands still")
    assert {run["crashes"] for run in books.runs.values()} == {0}
    in_hand = 40 * 3  # what the workers had when the server stopped, they have given up
    twice = [run for run in books.runs.values() if run["epoch"] > 1]
    assert len(twice) <= in_hand
    assert "worker.lapsed" not in deployment.logged()


# -- servers that share a database -----------------------------------------------------------------------------------------


@pytest.fixture
def shared(postgres_installation, tmp_path):
    """Two servers on a database of their own, which may be stopped too."""
    with ExitStack() as ends:
        cluster = ends.enter_context(Cluster(installation=postgres_installation))
        url = cluster.url(cluster.create_database())
        deployments = Deployment(tmp_path, url), Deployment(tmp_path, url)
        for deployment in deployments:
            ends.callback(deployment.clean_up)
        servers = [Server(deployment, "--lease", f"{LEASE_S}s").start() for deployment in deployments]
        yield cluster, deployments, servers


STILL = {
    "both": lambda number, cluster, servers: [server.process.pid for server in servers],
    "one": lambda number, cluster, servers: [servers[number % 2].process.pid],  # the worker goes to the other each time
    "database": lambda number, cluster, servers: processes(cluster.data),
}


@pytest.mark.parametrize("who", STILL)
def test_servers_on_one_database_take_nothing_from_who_was_not_heard_while_they_stood_still(shared, who):
    cluster, deployments, servers = shared
    WorkerProcess(deployments[0], others=[deployments[1]])
    servers[0].connected(1)
    run_id = held(servers[0], deployments[0])
    for number in range(3):
        with nullcontext() if who == "one" else begun_anew(deployments[0]):
            stand_still(*STILL[who](number, cluster, servers), for_s=LONGER_THAN_GONE_S)
    deployments[0].open_gate("late")
    succeeds_at_its_first_attempt(servers[1], run_id)
    assert [server.stop() for server in servers] == [0, 0]
    logged = deployments[0].logged()
    assert "worker.lapsed" not in logged
    if who != "one":
        assert "servers.gone" not in logged, "nobody was gone"
    epochs = [line["epoch"] for line in deployments[0].ledger.lines("begun")]
    assert len(set(epochs)) == len(epochs)


def test_a_run_of_a_worker_that_knows_only_a_server_which_stands_still_has_not_crashed(shared):
    """It cannot say that it lives; the server that takes over sees that the other is not dead."""
    _, deployments, servers = shared
    WorkerProcess(deployments[0], "--name", "far")
    servers[0].connected(1)
    run_id = held(servers[0], deployments[0])
    WorkerProcess(deployments[1], "--name", "near")
    servers[1].connected(2)
    servers[0].process.send(signal.SIGSTOP)
    begun(deployments[1], run_id, 2, 40)
    servers[0].process.send(signal.SIGCONT)
    until(lambda: works(servers[0], "far"), 40, "it is heard again")
    deployments[0].open_gate("late")
    succeeds_at_its_first_attempt(servers[1], run_id)
    assert [line["epoch"] for line in deployments[0].ledger.lines("begun")] == [1, 2]
    assert [server.stop() for server in servers] == [0, 0]
