"""A worker takes what it can begin, so that what waits waits in its queue, in order, and its clock does not run."""

from tests.faults.server import Server, WorkerProcess
from tests.faults.stores import FILE_FIRST
from tests.faults.waiting import until

SLOTS = 4
RUNS = 30


@FILE_FIRST
def test_no_more_runs_are_leased_than_there_are_children_and_an_urgent_one_is_next(deployment):
    server = Server(deployment).start()
    WorkerProcess(deployment, "--processes", str(SLOTS))
    server.knows("gated_in_process")
    names = {server.started("gated_in_process", name=f"{n}"): f"{n}" for n in range(RUNS)}

    def begun():
        return [line["run_id"] for line in deployment.ledger.lines("begun")]

    first = until(lambda: begun() if len(begun()) == SLOTS else None, 20, "all children are busy")
    assert (server.counts()["running"], server.counts()["queued"]) == (SLOTS, RUNS - SLOTS)
    # What runs elsewhere in the worker is not held up by it.
    assert server.final(server.started("noop", n=7), 10)["output"] == 7
    asked = {"task": "gated_in_process", "input": {"name": "urgent"}, "priority": 10}
    urgent = server.post("/v1/runs", asked)["id"]
    deployment.open_gate(names[first[1]])
    assert until(lambda: begun()[SLOTS:], 20, "another begins") == [urgent]
    assert server.counts()["running"] == SLOTS
    for name in [*names.values(), "urgent"]:
        deployment.open_gate(name)
    runs = [server.final(run_id, 60) for run_id in [*names, urgent]]
    assert {(run["state"], run["attempt"], run["crashes"]) for run in runs} == {("succeeded", 1, 0)}
    server.stop()
