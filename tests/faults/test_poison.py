"""Tasks that do harm, one of each kind, beside tasks that do not: each harms only itself."""

import psutil
import pytest
from tests.faults.results import note
from tests.faults.server import APP, Deployment, Server
from tests.faults.stores import MINUTES
from tests.faults.verdict import clean
from tests.faults.waiting import begun, until

LEASE_MS = 2_000
OTHERS = ["effect", "effect_in_thread", "effect_in_process"]

POISON = {
    "segfault": ("segfault", {}, "poison"),
    "leaves": ("leave", {}, "poison"),
    "fork-bomb": ("fork_bomb", {}, "poison"),
    "eats-memory": ("eat", {}, "exception"),
    "not-json": ("not_json", {}, "invalid_output"),
    "not-a-number": ("not_a_number", {}, "invalid_output"),
    "surrogate": ("surrogate", {}, "invalid_output"),
    "huge": ("huge", {}, "output_too_large"),
}


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=MINUTES)])
def server(request, tmp_path_factory):
    store = None
    if request.param == "postgres":
        cluster = request.getfixturevalue("postgres_cluster")
        store = cluster.url(cluster.create_database())
    deployment = Deployment(tmp_path_factory.mktemp("poison"), store)
    server = Server(deployment, "--workers", "2", "--lease", f"{LEASE_MS}ms", app=APP).start()
    server.connected(2)
    yield server
    server.stop()
    assert clean(deployment) == []
    deployment.clean_up()


def others(server):
    """Start runs that do no harm."""
    return [server.started(task, n=n, ms=300) for n in range(3) for task in OTHERS]


def all_succeed(server, ids):
    runs = [server.final(run_id) for run_id in ids]
    note(
        "a task does harm to its worker", server.deployment.kind, tries=1, acknowledged=len(ids),
        lost=sum(run["state"] != "succeeded" for run in runs), doubled=0,
    )  # fmt: skip
    assert {run["state"] for run in runs} == {"succeeded"}, runs
    assert max(run["crashes"] for run in runs) <= 1, "what took a worker down once was let near the others again"


@pytest.mark.parametrize("kind", POISON)
def test_poison_ends_as_failed_and_the_others_are_finished(server, kind):
    task, given, code = POISON[kind]
    server.connected(2, 40)
    ids = others(server)
    run_id = server.started(task, **given)
    run = server.final(run_id, 60)
    assert (run["state"], run["error"]["code"]) == ("failed", code), run
    assert run["crashes"] <= 3
    all_succeed(server, [*ids, *others(server)])
    assert server.call("GET", "/livez").status == 200


def test_a_task_that_prints_without_end_is_heard_in_part_and_finishes(server):
    log = server.deployment.log
    before = log.stat().st_size
    ids = others(server)
    run = server.final(server.started("flood", megabytes=200), 60)
    assert run["output"] == "done"
    all_succeed(server, ids)
    assert log.stat().st_size - before < 100 << 20
    assert psutil.Process(server.process.pid).memory_info().rss < 300 << 20


def test_a_function_that_blocks_the_loop_beyond_the_lease_keeps_its_lease(server):
    run_id = server.started("blocks_the_loop", ms=3 * LEASE_MS)
    run = server.final(run_id)
    assert (run["state"], run["output"], run["attempt"]) == ("succeeded", 1, 1)
    effects = [line for line in server.deployment.ledger.lines("effect") if line["run_id"] == run_id]
    assert len(effects) == 1


def test_a_fork_bomb_leaves_no_processes_behind(server):
    server.final(server.started("fork_bomb", children=30), 60)

    def none_left():
        found = psutil.Process(server.process.pid).children(recursive=True)
        orphans = [pid for pid in server.deployment.survivors() if pid not in {child.pid for child in found}]
        return set(orphans) <= {server.process.pid}

    until(none_left, 10, "what it forked is gone")


def test_a_deaf_task_is_given_up_and_the_runs_beside_it_are_not_counted_as_crashed(server):
    ids = [server.started("gated", name="beside") for _ in range(6)]
    for run_id in ids:
        begun(server.deployment, run_id, 1)
    deaf = server.started("deaf_on_the_loop")
    begun(server.deployment, deaf, 1)
    server.post(f"/v1/runs/{deaf}:terminate")
    assert server.final(deaf)["state"] == "terminated"
    server.deployment.open_gate("beside")
    runs = [server.final(run_id) for run_id in ids]
    assert {(run["state"], run["attempt"], run["crashes"]) for run in runs} == {("succeeded", 1, 0)}
