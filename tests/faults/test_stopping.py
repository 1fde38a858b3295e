"""Someone asks a run to stop: the code hears of it, and is ended if it does not listen."""

import pytest
from tests.faults.server import Server, WorkerProcess
from tests.faults.stores import FILE_FIRST
from tests.faults.waiting import begun, until

from headway.protocol.times import from_text

HEARS_WITHIN_MS = 2_000

pytestmark = FILE_FIRST


@pytest.fixture
def server(deployment):
    server = Server(deployment).start()
    WorkerProcess(deployment)
    server.knows("polite")
    yield server
    server.kill()


def test_running_code_hears_within_two_seconds_that_it_is_to_stop(deployment, server):
    run_id = server.started("polite")
    begun(deployment, run_id, 1)
    deployment.ledger.note("asked to stop")
    assert server.post(f"/v1/runs/{run_id}:terminate", {"reason": "enough", "actor": "me"})["state"] == "stopping"
    cancelled = until(lambda: deployment.ledger.lines("cancelled"), 10, "the code is cancelled")[0]
    assert cancelled["at"] - deployment.ledger.lines("asked to stop")[0]["at"] <= HEARS_WITHIN_MS
    run = server.final(run_id)
    assert (run["state"], run["reason"]) == ("terminated", {"code": "terminated", "message": "enough", "actor": "me"})


@pytest.mark.parametrize("task", ["deaf_in_process", "deaf_on_the_loop"])
def test_code_that_does_not_listen_is_killed_after_its_grace(deployment, task):
    server = Server(deployment, app="tests.faults.app:app").start()
    server.knows(task)
    other = server.started("gated", name="other")
    begun(deployment, other, 1)
    run_id = server.started(task)
    begun(deployment, run_id, 1)
    asked = server.post(f"/v1/runs/{run_id}:terminate")["updated_at"]
    run = server.final(run_id, 20)
    took_ms = from_text(run["finished_at"]) - from_text(asked)
    assert run["state"] == "terminated"
    assert 500 <= took_ms <= 3_500
    deployment.open_gate("other")
    assert server.final(other)["state"] == "succeeded"
    assert server.final(other)["crashes"] == 0
    server.stop()


def test_a_thread_that_does_not_listen_ends_with_its_worker_once_the_others_are_finished(deployment):
    server = Server(deployment, app="tests.faults.app:app").start()
    server.knows("deaf_in_thread")
    other = server.started("gated", name="other")
    begun(deployment, other, 1)
    run_id = server.started("deaf_in_thread")
    begun(deployment, run_id, 1)
    server.post(f"/v1/runs/{run_id}:terminate")
    until(lambda: "draining" in states(server), 10, "the worker takes nothing more")
    assert (server.run(run_id)["state"], server.run(other)["state"]) == ("stopping", "running")
    deployment.open_gate("other")
    run, unharmed = server.final(run_id, 20), server.final(other)
    assert (run["state"], run["error"]) == ("terminated", None)
    assert (unharmed["state"], unharmed["attempt"], unharmed["crashes"]) == ("succeeded", 1, 0)
    until(lambda: "active" in states(server), 20, "another worker is there in its place")
    server.stop()


def states(server):
    """Return the states of the workers that execute our tasks."""
    return [worker["state"] for worker in server.get("/v1/workers")["data"] if "effect" in worker["tasks"]]
