"""A server that is told to go lets nobody down: clients notice nothing, streams resume, the exit code is 0."""

import time
from concurrent.futures import ThreadPoolExecutor

from tests.faults.protocol import ProtocolWorker
from tests.faults.server import APP, Server
from tests.faults.stores import ON_BOTH
from tests.faults.users import Users
from tests.faults.verdict import StoreContents
from tests.faults.waiting import all_end, pause, until

import headway

DRAIN_S = 5
PATIENT_S = 30
"""Where what is promised is that a server does not wait so long, or does not end so soon."""

pytestmark = ON_BOTH


def test_clients_notice_nothing_of_a_rolling_restart(deployment):
    server = Server(deployment, "--drain", f"{DRAIN_S}s", app=APP).start()
    server.knows("effect")
    with Users(deployment, 4) as users:
        for _ in range(3):
            before = users.done
            until(lambda before=before: users.done > before + 20 or users.failures, 30, "the users get on")
            assert server.stop(DRAIN_S + 15) == 0
            server.start()
        pause(0.5)
    assert users.failures == []
    all_end(server)
    assert server.stop() == 0
    StoreContents(deployment).hold(kills=0, fault="the server is told to go and started again", tries=3)


def durable(events):
    """Return the numbers of what is in the history."""
    return [event.seq for event in events if event.type not in {"snapshot", "run.progress"}]


def test_open_streams_do_not_hold_up_the_end_and_resume(deployment):
    server = Server(deployment, "--drain", f"{DRAIN_S}s", app=APP).start()
    server.knows("gated")
    with ThreadPoolExecutor(8) as pool, headway.Client(deployment.url) as client:  # closed first, it ends its readers
        runs = [client.runs.start("gated", {"name": "end"}) for _ in range(4)]
        until(lambda: len(deployment.ledger.lines("begun")) == 4, 20, "all have begun")
        readers = [pool.submit(lambda run=run: durable(run.events())) for run in runs]
        waiters = [pool.submit(run.wait, 60) for run in runs]
        pause(0.3)
        assert server.stop(DRAIN_S + 15) == 0
        server.start()
        deployment.open_gate("end")
        assert {waiter.result(60).state for waiter in waiters} == {"succeeded"}
        for run, reader in zip(runs, readers, strict=True):
            whole = [event.seq for event in run.history()]
            assert reader.result(60) == whole
        assert {(run.refresh().attempt, run.run.crashes) for run in runs} == {(1, 0)}
    assert server.stop() == 0


def test_a_draining_server_starts_nothing_more_and_says_that_it_is_not_ready(deployment):
    server = Server(deployment, "--drain", f"{PATIENT_S}s", app=APP).start()
    server.knows("gated")
    run_id = server.started("gated", name="last")
    until(lambda: deployment.ledger.lines("begun"), 20, "it has begun")
    hand = ProtocolWorker(server)
    waits = server.started("job")
    server.process.send(15)
    until(lambda: server.call("GET", "/readyz").status == 503, 5, "it is not ready")
    for path, asked in (
        ("/v1/runs", {"task": "noop", "input": {}}),
        ("/v1/leases:claim", {"worker_id": hand.id, "max": 1, "wait": "0s"}),
    ):
        refused = server.call("POST", path, asked)
        assert (503, "1") == (refused.status, refused.headers.get("retry-after"))
    deployment.open_gate("last")
    assert server.process.wait(PATIENT_S) == 0
    server.start()
    assert server.final(run_id)["attempt"] == 1
    assert ("queued", 0) == (server.run(waits)["state"], server.run(waits)["attempt"])
    assert server.stop() == 0


def test_a_draining_server_goes_on_answering_while_a_run_takes_its_time(deployment):
    """Its own worker, too, is told to claim no more, and must not ask again and again."""
    server = Server(deployment, "--drain", f"{PATIENT_S}s", app=APP, HEADWAY_WAIT_MAX_MS="200").start()
    server.knows("gated")
    run_id = server.started("gated", name="slow")
    until(lambda: deployment.ledger.lines("begun"), 20, "it has begun")
    server.process.send(15)
    for _ in range(20):
        assert server.http.request("GET", f"/v1/runs/{run_id}", timeout_s=10).status == 200
        pause(0.05)
    deployment.open_gate("slow")
    assert server.process.wait(PATIENT_S) == 0


def test_open_streams_and_long_polls_do_not_delay_the_end(deployment):
    server = Server(deployment, "--drain", f"{PATIENT_S}s").start()
    ProtocolWorker(server)
    with ThreadPoolExecutor(8) as pool, headway.Client(deployment.url) as client:
        run = client.runs.start("job")
        readers = [iter(run.events()) for _ in range(3)]
        assert {next(reader).type for reader in readers} == {"snapshot"}
        polls = [
            pool.submit(server.call, "GET", f"/v1/runs/{run.id}?wait_for=final", Prefer="wait=60") for _ in range(3)
        ]
        until(lambda: server.process.alive and not any(poll.done() for poll in polls), 5, "the polls wait")
        began = time.monotonic()
        assert server.stop(PATIENT_S) == 0
        assert time.monotonic() - began < PATIENT_S / 2
        assert {poll.result(5).status for poll in polls} == {200}
        server.start()
        run.terminate()
        assert [durable(reader) for reader in readers] == [[1, 2]] * 3
    assert server.stop() == 0


def test_the_servers_own_worker_does_not_hold_it_up_when_it_is_told_to_drain(deployment):
    server = Server(deployment, HEADWAY_WAIT_MAX_MS="100").start()

    def built_in() -> list[str]:
        return [worker["id"] for worker in server.get("/v1/workers")["data"] if worker["name"] == "built-in"]

    until(built_in, 20, "the server's own worker has registered")
    own = {"id": built_in()[0]}
    server.post(f"/v1/workers/{own['id']}:drain")
    for _ in range(20):
        assert server.http.request("GET", "/livez", timeout_s=10).status == 200
        pause(0.02)
    assert server.stop() == 0


def test_a_local_worker_that_is_drained_does_not_come_back_and_its_end_is_no_warning(deployment):
    server = Server(deployment, app=APP).start()
    server.connected(1)
    (local,) = [worker for worker in server.get("/v1/workers")["data"] if "effect" in worker["tasks"]]
    server.post(f"/v1/workers/{local['id']}:drain")
    said = "worker 1 was drained by its server; it is not started again"
    until(lambda: said in deployment.logged(), 20, "the supervisor leaves it at that")
    until(lambda: f"worker.gone worker_id={local['id']}" in deployment.logged(), 20, "its session is over")
    assert "worker.lapsed" not in deployment.logged()
    known = [worker["state"] for worker in server.get("/v1/workers")["data"] if "effect" in worker["tasks"]]
    assert "active" not in known
    server.stop()
