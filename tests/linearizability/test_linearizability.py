"""Clients change the same runs all at once while the server is killed: there is an order that explains every answer."""

import random

import pytest
from tests.faults.conftest import place
from tests.faults.protocol import Hand
from tests.faults.server import Server
from tests.faults.verdict import clean
from tests.faults.waiting import pause, until
from tests.linearizability.checker import backwards, by_run, unexplained
from tests.linearizability.clients import Clients
from tests.linearizability.model import NOT_STARTED, step, version_of

__all__ = ["place"]


@pytest.mark.parametrize(
    ("operations", "kills", "histories"),
    [
        (1_200, 2, 1),
        pytest.param(10_000, 20, 20, marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
    ],
)
def test_what_clients_see_of_a_run_is_one_order_of_its_changes_across_kills(place, operations, kills, histories):
    server = Server(place, "--workers", "0").start()
    Hand(server)
    for seed in range(histories):
        rng = random.Random(seed)
        with Clients(place, operations=operations, seed=seed) as clients:
            for kill in range(1, kills + 1):
                so_many = operations * kill // (kills + 1)
                until(lambda so_many=so_many: len(clients.history) >= so_many * 0.9, 60, f"{so_many} are done")
                pause(rng.uniform(0, 0.05))
                server.kill()
                server.start()
        assert clients.odd == []
        assert len(clients.history) >= operations * 0.9
        for history in by_run(clients.history).values():
            assert backwards(history, version_of) == []
            assert unexplained(history, NOT_STARTED, step) is None
    server.kill()
    assert clean(place) == []
