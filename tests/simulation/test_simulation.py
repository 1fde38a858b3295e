"""Thousands of small worlds in which everything fails: no promise is broken, and when nothing fails any more, all ends."""

import os
import subprocess
import sys
from collections import Counter

import pytest
from tests.faults.results import note
from tests.faults.server import ROOT
from tests.faults.stores import TIMES
from tests.simulation.chance import FAULTS
from tests.simulation.many import outcomes
from tests.simulation.simulation import HEALED_WITHIN_S, Failed, Simulation

from headway.kernel.lifecycle import CAUSES

SAID_AS = {
    "drop_request": "dropped", "drop_answer": "unheard", "duplicate": "twice", "wall_clock_jumps": "wall clock",
    "worker_dies": "died", "server_dies": "dead",
}  # fmt: skip
UNSEEN = {"delay", "break_stream", "deaf", "worker_stands_still", "server_stands_still", "worker_lies", "worker_goes"}


def digests(*seeds):
    return [Simulation(seed).run().digest for seed in seeds]


def test_a_seed_replays_bit_for_bit():
    first = digests(*range(5))
    assert first == digests(*range(5))
    assert len(set(first)) == 5


def test_a_seed_replays_in_another_process_whatever_the_order_of_its_sets():
    code = "from tests.simulation.test_simulation import digests; print(*digests(*range(20)))"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    said = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environment | {"PYTHONHASHSEED": order}, check=True,
            capture_output=True, text=True,
        ).stdout
        for order in ("1", "2")
    }  # fmt: skip
    assert len(said) == 1


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(300, marks=pytest.mark.timeout(300)),
        pytest.param(20_000 * TIMES, marks=[pytest.mark.long, pytest.mark.timeout(7200 * TIMES)]),
    ],
)
def test_no_seed_breaks_a_promise_and_all_heal(seeds):
    happened, causes, runs = Counter(), Counter(), 0
    for _, outcome in outcomes(range(seeds)):
        if isinstance(outcome, Failed):
            raise outcome
        assert outcome.healed_s <= HEALED_WITHIN_S + 60
        happened.update(outcome.faults)
        causes.update(outcome.causes)
        runs += outcome.runs
    note("everything fails, as a seed says", "simulated", tries=seeds, acknowledged=runs, lost=0, doubled=0)
    assert [fault for fault in FAULTS if fault not in UNSEEN and not happened[SAID_AS.get(fault, fault)]] == []
    assert [cause for cause in CAUSES.values() if not causes[cause]] == []
