"""Workers are killed, paused and told to go: their runs come back, and what comes too late changes nothing."""

import contextlib
import random
import signal

from tests.faults.load import Load
from tests.faults.probe import Probe
from tests.faults.protocol import ProtocolWorker, everything, of
from tests.faults.server import Server, WorkerProcess, ended, withheld_s
from tests.faults.stores import ON_BOTH, kills
from tests.faults.verdict import StoreContents
from tests.faults.waiting import all_end, begun, pause, until

LEASE_MS = 2_000
EFFECTS = ["effect", "effect_in_thread", "effect_in_process"]


def longest_way_back_ms(books):
    """Return how long after a kill the last of the runs it hit was back in its queue."""
    kills = [line["at"] for line in books.deployment.ledger.lines("kill")]
    back = [
        time for events in books.events.values() for _, kind, time, data in events
        if kind == "run.state" and data.get("cause") == "crashed"
    ]  # fmt: skip
    assert back, "no kill has hit a run"
    return max(time - max(at for at in kills if at <= time) for time in back)


@kills({"sqlite": 15, "postgres": 6})
def test_every_run_of_a_killed_worker_is_finished_by_another(deployment, kills):
    server = Server(deployment, "--lease", "15s").start()
    workers = [WorkerProcess(deployment, "--capacity", "20") for _ in range(2)]
    server.knows("effect")
    http = deployment.connect()
    with (
        Load(deployment, tasks=EFFECTS, rate=40, ms=400) as load,  # long enough that each kill hits some
        Probe(lambda: http.request("GET", "/livez"), 0.05) as alive,
    ):
        for _ in range(kills):
            pause(random.uniform(0.3, 1.2))
            workers.append(WorkerProcess(deployment, "--capacity", "20"))
            deployment.ledger.note("kill")
            workers.pop(0).kill()
    assert load.odd == []
    all_end(server)
    server.stop()
    books = StoreContents(deployment)
    books.hold(kills=kills, fault="kill -9 of a worker")
    assert longest_way_back_ms(books) <= 2_000 + alive.percentile(1), "longer than the machine kept the server waiting"


@ON_BOTH
def test_a_paused_worker_loses_its_run_and_changes_nothing_when_it_wakes(deployment):
    server = Server(deployment, "--lease", f"{LEASE_MS}ms").start()
    zombie = WorkerProcess(deployment, "--name", "zombie")
    server.knows("gated")
    run_id = server.started("gated", name="late")
    begun(deployment, run_id, 1)
    deployment.ledger.note("paused")
    before_s = withheld_s(server.process.pid)
    zombie.send_all(signal.SIGSTOP)
    WorkerProcess(deployment, "--name", "winner")
    begun(deployment, run_id, 2)
    paused, back = deployment.ledger.lines("paused")[0]["at"], crashed_at(server, run_id)
    withheld_ms = (withheld_s(server.process.pid) - before_s) * 1000
    assert back - paused <= LEASE_MS + 1_000 + withheld_ms
    deployment.open_gate("late")
    final = server.final(run_id)
    events = server.get(f"/v1/runs/{run_id}/events")
    zombie.send_all(signal.SIGCONT)
    until(lambda: lapsed_is_noticed(server, zombie), 20, "the zombie is heard of again")
    assert server.run(run_id) == final
    assert server.get(f"/v1/runs/{run_id}/events") == events
    assert (final["state"], final["output"], final["attempt"]) == ("succeeded", 2, 2)
    assert deployment.ledger.lines("effect")[0]["epoch"] == 2
    server.stop()
    StoreContents(deployment).hold(kills=1, finished=False, fault="a worker stands still for longer than its lease")


def crashed_at(server, run_id):
    from headway.protocol.times import from_text

    events = server.get(f"/v1/runs/{run_id}/events")["data"]
    return next(from_text(event["time"]) for event in events if event["data"].get("cause") == "crashed")


def lapsed_is_noticed(server, zombie):
    """Whether the paused worker has come back under a new name, its old session being gone."""
    found = [worker for worker in server.get("/v1/workers")["data"] if worker["name"] == "zombie"]
    return len(found) > 1 or not zombie.alive


@ON_BOTH
def test_every_late_report_is_refused_and_changes_nothing(deployment):
    server = Server(deployment, "--lease", "500ms").start()
    late, winner = ProtocolWorker(server), ProtocolWorker(server)
    run_id = server.started("job")
    lost = late.claim()[0]
    until(lambda: winner.beat() and server.run(run_id)["state"] == "queued", 5, "the lease has lapsed")
    held = winner.claim()[0]
    assert (held["run_id"], held["epoch"]) == (run_id, lost["epoch"] + 1)
    late = ProtocolWorker(server)
    before = server.run(run_id), server.get(f"/v1/runs/{run_id}/events")
    for report in everything(lost):
        winner.beat((run_id, held["epoch"]))
        for sender in (late, winner):  # not even the holder of the new lease may use the old one
            answer = sender.send(report)
            assert (answer.status, b'"lease_lost"' in answer.body) == (409, True), report
        assert before == (server.run(run_id), server.get(f"/v1/runs/{run_id}/events")), report
    assert late.beat((run_id, lost["epoch"]))["lost"] == [[run_id, lost["epoch"]]]
    winner.report(of(held, "succeeded", output="winner"))
    for report in everything(held):
        assert winner.send(report).status == 409, report
    assert server.run(run_id)["output"] == "winner"
    server.kill()
    StoreContents(deployment).hold(kills=1, finished=False)


@ON_BOTH
def test_a_worker_told_to_go_hands_its_run_back_and_the_attempt_does_not_count(deployment):
    server = Server(deployment).start()
    first = WorkerProcess(deployment, "--drain-grace", "200ms")
    server.knows("gated")
    ids = [server.started("gated", name="on"), server.started("effect_in_process", ms=60_000)]
    begun(deployment, ids[0], 1)
    until(lambda: len(deployment.ledger.lines("effect")) == 1, 20, "the child has begun")
    first.send(signal.SIGTERM)
    assert first.wait(15) == 0
    runs = [server.run(run_id) for run_id in ids]
    assert [(run["state"], run["attempt"], run["crashes"]) for run in runs] == [("queued", 0, 0)] * 2
    server.post(f"/v1/runs/{ids[1]}:terminate")
    WorkerProcess(deployment)
    begun(deployment, ids[0], 2)
    deployment.open_gate("on")
    assert (server.final(ids[0])["attempt"], server.final(ids[0])["state"]) == (1, "succeeded")
    server.stop()


@ON_BOTH
def test_the_children_of_a_killed_worker_die_with_it(deployment):
    server = Server(deployment).start()
    worker = WorkerProcess(deployment)
    server.knows("deaf_in_process")
    run_id = server.started("deaf_in_process")
    child = begun(deployment, run_id, 1)["pid"]
    assert child != worker.pid
    worker.kill()
    with contextlib.suppress(ProcessLookupError):
        assert ended(child, 10)
    server.kill()
