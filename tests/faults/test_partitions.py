"""The network between worker, server and database is cut: leases are fenced, and when it is whole again nothing is stuck."""

import random

import psycopg
import pytest
from tests.faults.load import Load
from tests.faults.protocol import ProtocolWorker, of
from tests.faults.proxy import WAYS, Wire
from tests.faults.server import Deployment, Server, WorkerProcess
from tests.faults.stores import FILE_FIRST, MINUTES, STORES, TIMES
from tests.faults.verdict import StoreContents
from tests.faults.waiting import all_final, begun, pause, until, works

LEASE_S = 2
STUCK_S = 30
"""How long after the network is whole again a run may still be under way."""
TASKS = ["effect", "effect_in_thread"]


def ways(*few):
    """Mark a test with ways to cut a network: few each time, all of them and again if there are minutes."""
    many = [pytest.param(store, WAYS, 5 * TIMES, marks=MINUTES) for store in STORES]
    return pytest.mark.parametrize(
        ("deployment", "ways", "rounds"), [("sqlite", few, 1), *many], indirect=["deployment"]
    )


@ways("full", "back", "reset")
def test_a_worker_that_is_cut_off_is_fenced_and_nothing_is_stuck_when_it_is_back(deployment, ways, rounds):
    server = Server(deployment, "--lease", f"{LEASE_S}s").start()
    with Wire(deployment.port) as wire:
        WorkerProcess(deployment, "--name", "far", "--capacity", "10", at=wire.url)
        server.knows("effect")
        WorkerProcess(deployment, "--name", "near", "--capacity", "10")
        server.connected(2)
        with Load(deployment, tasks=TASKS, rate=40, ms=200) as load:
            for way in ways * rounds:
                pause(0.5)
                wire.cut(way)
                pause(2 * LEASE_S * random.uniform(0.6, 1.0))
                wire.heal()
        assert load.odd == []
        until(lambda: all_final(server), STUCK_S, lambda: f"all runs are final: {server.under_way()}")
        until(lambda: works(server, "far"), STUCK_S, "who was cut off works again")
    assert server.stop() == 0
    books = StoreContents(deployment)
    crashes = sum(run["crashes"] for run in books.runs.values())
    assert crashes > 0, "nobody was holding anything when the network was cut"
    books.hold(kills=wire.cuts * 10, fault="the network between worker and server is cut", tries=wire.cuts)


@FILE_FIRST
@pytest.mark.parametrize("way", ["there", pytest.param("full", marks=MINUTES)])
def test_what_a_worker_reports_after_it_was_cut_off_changes_nothing(deployment, way):
    """It ends its run while nothing gets through; when its word arrives, another holds the run.

    Two things stand in its way, the end of its session and the fence: no single bug lets it through.
    """
    lease_s = 3 * LEASE_S  # in which it has to be done, on a busy machine too
    server = Server(deployment, "--lease", f"{lease_s}s").start()
    with Wire(deployment.port) as wire:
        WorkerProcess(deployment, "--name", "late", at=wire.url)
        server.knows("gated")
        run_id = server.started("gated", name="late")
        begun(deployment, run_id, 1)
        wire.cut(way)
        deployment.open_gate("late")
        until(lambda: deployment.ledger.lines("effect"), lease_s, "it has done its work")
        winner = ProtocolWorker(server, {"name": "gated"})
        lease = until(lambda: winner.beat() and winner.claim(), 20, "another has the run")[0]
        before = server.run(run_id), server.get(f"/v1/runs/{run_id}/events")
        wire.heal()
        until(lambda: winner.beat((run_id, lease["epoch"])) and works(server, "late"), STUCK_S, "it is heard again")
        assert (server.run(run_id), server.get(f"/v1/runs/{run_id}/events")) == before
        winner.report(of(lease, "succeeded", output="winner"))
    final = server.run(run_id)
    assert (final["state"], final["output"], lease["epoch"]) == ("succeeded", "winner", 2)
    server.kill()


@FILE_FIRST
@pytest.mark.parametrize("way", ["back", "there"])
def test_a_worker_that_is_cut_off_one_way_loses_its_run_to_one_that_is_not(deployment, way):
    """The worker cannot tell the two ways apart; the server can, and knows of the one that its worker is alive."""
    server = Server(deployment, "--lease", f"{LEASE_S}s").start()
    with Wire(deployment.port) as wire:
        WorkerProcess(deployment, "--name", "far", at=wire.url)
        server.knows("gated")
        run_id = server.started("gated", name="late")
        begun(deployment, run_id, 1)
        WorkerProcess(deployment, "--name", "near")
        server.connected(2)
        wire.cut(way)
        begun(deployment, run_id, 2, 2 * LEASE_S + 10)  # a heartbeat without an answer is given up after 5 s
        deployment.open_gate("late")
        final = server.final(run_id)
        wire.heal()
        until(lambda: works(server, "far"), STUCK_S, "who was cut off works again")
    assert (final["state"], final["output"]) == ("succeeded", 2)
    assert (final["attempt"], final["crashes"]) == ((1, 0) if way == "back" else (2, 1))
    assert [line["epoch"] for line in deployment.ledger.lines("effect")] == [2]
    assert server.run(run_id) == final
    assert server.stop() == 0


def through(url, port):
    """Return a database's URL by another port."""
    parts = psycopg.conninfo.conninfo_to_dict(url)
    return f"postgresql://{parts['user']}@127.0.0.1:{port}/{parts['dbname']}"


@pytest.mark.parametrize(
    ("ways", "rounds"), [(("reset", "full"), 1), pytest.param(WAYS, 5 * TIMES, marks=MINUTES)], ids=["some", "all"]
)
def test_a_server_that_is_cut_off_its_database_loses_nothing_and_the_other_goes_on(
    postgres_url, tmp_path, ways, rounds
):
    port = psycopg.conninfo.conninfo_to_dict(postgres_url)["port"]
    with Wire(int(port)) as wire:
        far, near = Deployment(tmp_path, through(postgres_url, wire.port)), Deployment(tmp_path, postgres_url)
        try:
            servers = [Server(deployment, "--lease", f"{LEASE_S}s").start() for deployment in (far, near)]
            for deployment, other in ((far, near), (near, far)):
                WorkerProcess(deployment, "--capacity", "20", others=[other])
            servers[1].knows("effect")
            with Load(far, near, tasks=TASKS, rate=40) as load:
                for way in ways * rounds:
                    pause(0.5)
                    wire.cut(way)
                    pause(random.uniform(2, 4))
                    wire.heal()
                pause(0.5)
            assert load.odd == []
            until(
                lambda: all(map(all_final, servers)), STUCK_S, lambda: f"all runs are final: {servers[1].under_way()}"
            )
            assert [server.stop() for server in servers] == [0, 0]
            StoreContents(near).hold(
                kills=wire.cuts * 10, fault="the network between server and database is cut", tries=wire.cuts
            )
        finally:
            far.clean_up()
            near.clean_up()
