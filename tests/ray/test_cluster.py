"""Runs on a real Ray cluster of three nodes, whose nodes and processes are killed; the ledger says what happened."""

import json
import os
import signal

import psutil
import pytest
from tests.faults.server import ROOT, ended
from tests.faults.waiting import until

BROUGHT = """
import os
import headway

app = headway.App()


@app.task(executor="ray")
def greet() -> list[str]:
    return [os.environ["GREETING"], __file__]
"""

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]


def noted(deployment, what, run_id, *, after=0, within_s=40):
    """Wait for a line of the ledger from a later epoch, and return it."""

    def look():
        return [line for line in deployment.ledger.lines(what) if line["run_id"] == run_id and line["epoch"] > after]

    return until(look, within_s, f"{what} of {run_id} after epoch {after}\n{deployment.logged()[-3000:]}")[0]


def causes(deployment, run_id):
    """Return how the run went from state to state."""
    events = deployment.server.get(f"/v1/runs/{run_id}/events")["data"]
    return [event["data"].get("cause") for event in events if event["type"] == "run.state"]


def logs(deployment, run_id):
    return deployment.server.get(f"/v1/runs/{run_id}/logs")["data"]


def driver_of(worker):
    (found,) = (
        p
        for p in psutil.Process(worker.pid).children()
        if "headway.worker.executors.ray.driver" in " ".join(p.cmdline())
    )
    return found.pid


def test_a_run_reports_all_that_its_function_says(deployment):
    worker = deployment.work()
    run_id = deployment.started("whole")
    run = deployment.server.final(run_id)
    assert (run["state"], run["output"]["answer"], run["attempt"]) == ("succeeded", 42, 1)
    assert run["output"]["pid"] not in worker.tree()
    assert (run["progress"]["done"], run["progress"]["total"]) == (20, 20)
    assert [line["message"] for line in logs(deployment, run_id)] == ["from logging", "half way"]
    results = deployment.server.get(f"/v1/runs/{run_id}/results")["data"]
    assert [(result["name"], result["value"]) for result in results] == [("part", {"at": 20})]
    assert deployment.server.get("/v1/tasks/whole")["resources"] == {"num_cpus": 1, "deployment": 0.5}
    assert len(deployment.ledger.lines("effect")) == 1


def test_ray_brings_the_code_that_the_runtime_environment_names(deployment):
    code = deployment.folder / "code"
    code.mkdir()
    (code / "brought.py").write_text(BROUGHT)
    brings = {"working_dir": str(code), "env_vars": {"GREETING": "hello"}}
    deployment.more = {"HEADWAY_RAY_RUNTIME_ENV": json.dumps(brings), "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}:{code}"}
    deployment.work(app="brought:app", task="greet")
    run = deployment.server.final(deployment.server.started("greet"))
    assert run["state"] == "succeeded", run["error"]
    greeting, file = run["output"]
    assert greeting == "hello"
    assert not file.startswith(str(code)), "it has found the code where the worker has it"


def test_an_async_function_starts_a_child_and_goes_on_when_it_has_ended(deployment):
    deployment.work()
    run = deployment.server.final(deployment.server.started("whole_async"))
    assert (run["state"], run["output"]) == ("succeeded", 42)


def test_an_exception_arrives_with_its_class_and_the_users_traceback(deployment):
    deployment.work()
    run = deployment.server.final(deployment.server.started("fails"))
    error = run["error"]
    assert (run["state"], error["code"], error["type"], error["message"]) == (
        "failed", "exception", "KeyError", "'the customer'",
    )  # fmt: skip
    assert "in inner" in error["details"]
    assert "headway/worker" not in error["details"]


def test_a_large_output_arrives_and_one_too_large_is_refused(deployment):
    deployment.work()
    run = deployment.server.final(deployment.server.started("large", megabytes=7))
    assert (run["state"], len(run["output"])) == ("succeeded", 7 << 20)
    error = deployment.server.final(deployment.server.started("large", megabytes=9))["error"]
    assert error["code"] == "output_too_large"


def test_a_stop_lets_the_function_clean_up(deployment):
    deployment.work()
    run_id = deployment.started("heeds_its_end")
    noted(deployment, "begun", run_id)
    deployment.server.post(f"/v1/runs/{run_id}:terminate")
    run = deployment.server.final(run_id, 10)
    assert run["state"] == "terminated"
    assert run.get("error") is None
    noted(deployment, "cleaned up", run_id)


def test_a_function_that_ignores_its_end_is_killed(deployment):
    deployment.work()
    run_id = deployment.started("ignores_its_end")
    pid = noted(deployment, "begun", run_id)["pid"]
    deployment.server.post(f"/v1/runs/{run_id}:terminate")
    assert deployment.server.final(run_id, 8)["state"] == "terminated"
    assert ended(pid, 5)


def test_a_run_that_no_node_can_take_says_so_and_can_be_stopped(deployment):
    deployment.work()
    run_id = deployment.started("placeless")
    said = until(lambda: logs(deployment, run_id), 40, "it says that it waits")[0]["message"]
    assert "no node of the cluster has" in said
    assert "nowhere 1" in said
    deployment.server.post(f"/v1/runs/{run_id}:terminate")
    assert deployment.server.final(run_id, 5)["state"] == "terminated"
    assert deployment.ledger.lines("begun") == []


@pytest.mark.parametrize(("task", "code"), [("slow", "timeout"), ("silent", "heartbeat_timeout")])
def test_a_function_that_takes_too_long_is_ended(deployment, task, code):
    deployment.work()
    deployment.server.final(deployment.server.started("quick"))  # so that a process is there
    run = deployment.server.final(deployment.server.started(task), 9)  # before the server itself gives up on it
    assert (run["state"], run["error"]["code"]) == ("failed", code)


def test_a_process_that_dies_is_a_crash_and_ray_does_not_try_again(deployment):
    deployment.work()
    run = deployment.server.final(deployment.server.started("dies"))
    assert (run["state"], run["crashes"], run["error"]["code"]) == ("failed", 1, "poison")
    assert "The Ray task ended on node" in run["error"]["message"]


def test_a_killed_node_means_another_attempt_elsewhere_and_one_outcome(deployment):
    deployment.work()
    run_id = deployment.started("gated")
    first = noted(deployment, "begun", run_id)
    deployment.nodes.kill(first["parent"])
    deployment.nodes.add()
    second = noted(deployment, "begun", run_id, after=1)
    assert second["parent"] != first["parent"]
    deployment.open_gate()
    run = deployment.server.final(run_id)
    assert (run["state"], run["output"], run["crashes"]) == ("succeeded", 2, 1)
    assert [line["epoch"] for line in deployment.ledger.lines("effect")] == [2]
    assert causes(deployment, run_id).count("crashed") == 1
    assert causes(deployment, run_id)[-1] == "succeeded"


def test_what_a_killed_worker_had_on_ray_ends_and_another_worker_finishes_it(deployment):
    worker = deployment.work()
    run_id = deployment.started("gated")
    pid = noted(deployment, "begun", run_id)["pid"]
    worker.kill()
    deployment.work()
    assert ended(pid, 30), "its function goes on without anyone to hear it"
    noted(deployment, "begun", run_id, after=1)
    deployment.open_gate()
    run = deployment.server.final(run_id)
    assert (run["state"], run["output"]) == ("succeeded", 2)
    assert [line["epoch"] for line in deployment.ledger.lines("effect")] == [2]


def test_a_killed_driver_ends_what_it_had_on_ray_and_the_worker_joins_again(deployment):
    worker = deployment.work()
    run_id = deployment.started("gated")
    first = noted(deployment, "begun", run_id)
    os.kill(driver_of(worker), signal.SIGKILL)
    assert ended(first["pid"], 30)
    second = noted(
        deployment, "begun", run_id, after=1
    )  # the lease between them may have been handed back: no driver yet
    deployment.open_gate()
    run = deployment.server.final(run_id)
    assert (run["state"], run["output"], run["attempt"], run["crashes"]) == ("succeeded", second["epoch"], 2, 1)
    assert [line["epoch"] for line in deployment.ledger.lines("effect")] == [second["epoch"]]
    assert worker.alive


def test_a_worker_that_is_paused_loses_its_run_and_changes_nothing_when_it_wakes(deployment):
    zombie = deployment.work()
    run_id = deployment.started("gated")
    noted(deployment, "begun", run_id)
    for pid in zombie.tree():
        os.kill(pid, signal.SIGSTOP)
    deployment.work()
    noted(deployment, "begun", run_id, after=1)
    deployment.open_gate()
    final = deployment.server.final(run_id)
    for pid in zombie.tree():
        os.kill(pid, signal.SIGCONT)
    until(lambda: len(deployment.server.get("/v1/workers")["data"]) >= 4, 30, "the zombie has registered again")
    assert deployment.server.run(run_id) == final
    assert (final["state"], final["output"]) == ("succeeded", 2)


def test_a_drain_hands_back_what_does_not_end(deployment):
    worker = deployment.work("--drain-grace", "200ms")
    run_id = deployment.started("ignores_its_end")
    pid = noted(deployment, "begun", run_id)["pid"]
    worker.send(signal.SIGTERM)
    assert worker.wait(15) == 0
    run = deployment.server.run(run_id)
    assert (run["state"], run["attempt"], run["crashes"]) == ("queued", 0, 0)
    assert ended(pid, 30)
