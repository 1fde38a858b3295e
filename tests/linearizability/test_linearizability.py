"""Clients change the same runs all at once while the server is killed: there is an order that explains every answer."""

import random

import pytest
from tests.faults import results
from tests.faults.protocol import ProtocolWorker
from tests.faults.server import Deployment, Server
from tests.faults.stores import STORES, TIMES
from tests.faults.verdict import clean
from tests.faults.waiting import pause, until
from tests.linearizability.checker import backwards, by_run, unexplained
from tests.linearizability.clients import Clients
from tests.linearizability.model import NOT_STARTED, step, version_of

LONG = (pytest.mark.long, pytest.mark.timeout(3600 * TIMES))


def explained(servers, *, operations, kills, histories):
    """Have clients change runs at all these servers, which are killed in turn, and hold each answer against the others."""
    deployments = [server.deployment for server in servers]
    for seed in range(histories):
        rng = random.Random(seed)
        with Clients(*deployments, operations=operations, seed=seed) as clients:
            for kill in range(1, kills + 1):
                so_many = operations * kill // (kills + 1)
                until(lambda so_many=so_many: len(clients.history) >= so_many * 0.9, 60, f"{so_many} are done")
                pause(rng.uniform(0, 0.05))
                servers[kill % len(servers)].kill()
                servers[kill % len(servers)].start()
        assert clients.odd == []
        assert len(clients.history) >= operations * 0.9
        runs = list(by_run(clients.history).values())
        back = [found for history in runs for found in backwards(history, version_of)]
        wrong = [found for history in runs if (found := unexplained(history, NOT_STARTED, step)) is not None]
        results.note(
            f"kill -9 of {'one of two servers' if len(servers) > 1 else 'the server'} while clients change the same runs",
            deployments[0].kind, tries=kills, acknowledged=len(clients.history), lost=len(wrong), doubled=len(back),
        )  # fmt: skip
        assert back == []
        assert wrong == []
    for server in servers:
        server.kill()
    assert clean(deployments[0]) == []


@pytest.mark.parametrize(
    ("deployment", "operations", "kills", "histories"),
    [
        *((store, 1_200, 2, 1) for store in STORES),
        *(pytest.param(store, 10_000, 20, 20 * TIMES, marks=LONG) for store in STORES),
    ],
    indirect=["deployment"],
)
def test_what_clients_see_of_a_run_is_one_order_of_its_changes_across_kills(deployment, operations, kills, histories):
    server = Server(deployment, "--workers", "0").start()
    ProtocolWorker(server)
    explained([server], operations=operations, kills=kills, histories=histories)


@pytest.mark.parametrize(
    ("operations", "kills", "histories"), [(1_200, 2, 1), pytest.param(10_000, 20, 20 * TIMES, marks=LONG)]
)
def test_it_is_one_order_whichever_of_two_servers_they_ask(tmp_path, postgres_url, operations, kills, histories):
    deployments = [Deployment(tmp_path, postgres_url) for _ in range(2)]
    try:
        servers = [Server(deployment, "--workers", "0").start() for deployment in deployments]
        ProtocolWorker(servers[0])
        explained(servers, operations=operations, kills=kills, histories=histories)
    finally:
        for deployment in deployments:
            deployment.clean_up()
