"""Steps that are tried again, and retries that go on: what was done stays done, and is counted once, whatever is killed."""

import pytest
from tests.faults.server import Server, WorkerProcess
from tests.faults.stores import ON_BOTH
from tests.faults.verdict import StoreContents
from tests.faults.waiting import until

ON_THE_WORKER, ASLEEP = "1500ms", "2500ms"
"""Waits between two tries: the worker keeps the run in the first, and is let go of in the second."""


def failures(server, run_id):
    """Return the tries of the run's step that have failed, as its history has them."""
    events = server.get(f"/v1/runs/{run_id}/events?page_size=500")["data"]
    return [event["data"]["number"] for event in events if event["type"] == "run.step_failed"]


def failed(server, run_id, number):
    """Wait until the history has that try."""
    until(lambda: len(failures(server, run_id)) >= number, 30, f"try {number} has failed")


def noted(deployment, what, run_id):
    return sum(line["run_id"] == run_id for line in deployment.ledger.lines(what))


@ON_BOTH
@pytest.mark.parametrize("wait", [ON_THE_WORKER, ASLEEP])
def test_tries_of_a_step_are_neither_lost_nor_doubled_when_workers_and_servers_are_killed(deployment, wait):
    server = Server(deployment).start()
    worker = WorkerProcess(deployment)
    server.knows("retried_step")
    run_id = server.started("retried_step", wait=wait)
    for number in (1, 2, 3):
        failed(server, run_id, number)
        worker.kill()
        if number == 2:
            server.kill()
            server = Server(deployment).start()
        worker = WorkerProcess(deployment)
    final = server.final(run_id)
    assert ("failed", "StepFailed", 4) == (final["state"], final["error"]["type"], noted(deployment, "try", run_id))
    assert [1, 2, 3, 4] == failures(server, run_id)
    assert 1 == noted(deployment, "first", run_id), "what succeeded is not done again"
    assert 1 == final["attempt"] - final["crashes"], "no try was an attempt of the run"
    deployment.open_gate("mended")
    again = server.post(f"/v1/runs/{run_id}:retry")["id"]
    server.kill()  # it was acknowledged
    server = Server(deployment).start()
    assert ("succeeded", wait) == (server.final(again)["state"], server.run(again)["output"])
    assert (0, 1) == (noted(deployment, "first", again), noted(deployment, "try", again))
    server.stop()
    StoreContents(deployment).hold(kills=5, finished=False)
