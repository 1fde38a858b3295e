"""The server is killed with -9 again and again, under load: nothing that was acknowledged is lost."""

import random
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from tests.faults.load import Load
from tests.faults.protocol import ProtocolWorker
from tests.faults.server import APP, Server
from tests.faults.stores import ON_BOTH, kills
from tests.faults.verdict import StoreContents, clean
from tests.faults.waiting import all_end, more_than, pause, until

from headway.client.errors import ConnectionLost

BACK_WITHIN_S = {"sqlite": 2.0, "postgres": 4.0}
"""A server on a database loads a driver, and asks."""


@kills({"sqlite": 15, "postgres": 3})
def test_nothing_acknowledged_is_lost_when_the_server_is_killed(deployment, kills):
    server = Server(deployment, "--workers", "2", "--lease", "5s", app=APP).start()
    server.knows("effect")
    back_after = []
    with Load(deployment, tasks=["effect", "effect_in_thread", "steps"], rate=60) as load:
        for _ in range(kills):
            pause(random.uniform(0.05, 1.2))
            server.kill()
            server.start()
            back_after.append(server.wait_until_ready())
        more_than(10 * kills, deployment)
    assert load.odd == []
    all_end(server)
    assert server.stop() == 0
    books = StoreContents(deployment)
    books.hold(kills=kills, fault="kill -9 of the server")
    assert sorted(back_after)[len(back_after) * 9 // 10] <= BACK_WITHIN_S[deployment.kind], back_after


def same_start_until_acknowledged(deployment, key):
    """Send one start until it is answered; return (id, whether it was there before)."""
    http = deployment.connect()
    body = msgspec.json.encode({"task": "effect", "input": {"n": 1}})
    found = []

    def acknowledged():
        try:
            answer = http.request("POST", "/v1/runs", body, headers={"Idempotency-Key": key})
        except ConnectionLost:
            return False
        assert answer.status in {200, 202, 409, 503}, answer
        if answer.status in {200, 202}:
            found.append((msgspec.json.decode(answer.body)["id"], answer.status))
        return bool(found)

    until(acknowledged, 20, "the start is acknowledged")
    return found[0]


@ON_BOTH
@pytest.mark.parametrize("killed", [False, True], ids=["alive", "killed"])
def test_one_idempotency_key_starts_one_run_however_many_send_it_at_once(deployment, killed):
    server = Server(deployment, app=APP).start()
    server.knows("effect")
    with ThreadPoolExecutor(64) as pool:
        sent = [pool.submit(same_start_until_acknowledged, deployment, "one-key") for _ in range(64)]
        if killed:
            until(lambda: any(answer.done() for answer in sent), 10, "one is answered")
            server.kill()
            server.start()
        answers = [answer.result() for answer in sent]
    for run_id, _ in answers:
        deployment.ledger.note("acknowledged", n=1, run_id=run_id)
    assert len({run_id for run_id, _ in answers}) == 1
    assert [status for _, status in answers].count(202) <= 1
    assert server.final(answers[0][0])["state"] == "succeeded"
    server.stop()
    said = "one start is sent 64 times at once" + ", and the server killed" * killed
    StoreContents(deployment).hold(kills=1, fault=said, tries=1)


@ON_BOTH
def test_a_reader_sees_each_event_once_and_in_order_across_kills(deployment):
    import headway

    server = Server(deployment, "--lease", "20s", app=APP).start()
    server.knows("chatty")
    with ThreadPoolExecutor(4) as pool, headway.Client(deployment.url) as client:  # closed first, it ends its readers
        run = client.runs.start("chatty", lines=150, ms=20)
        readers = [pool.submit(lambda after=after: list(run.events(after))) for after in (0, 0, 1)]
        for lines in (20, 80):
            until(lambda lines=lines: client.runs.get(run.id).run.version > lines, 20, "it has begun to talk")
            server.kill()
            server.start()
        found = [reader.result(60) for reader in readers]
    last = [event for event in found[0] if event.type == "run.state"][-1]
    assert last.data["state"] == "succeeded"
    for after, events in zip((0, 0, 1), found, strict=True):
        durable = [event.seq for event in events if event.type not in {"snapshot", "run.progress"}]
        assert durable == list(range(after + 1, last.seq + 1))
    server.stop()


@ON_BOTH
@pytest.mark.long
def test_a_server_with_a_hundred_thousand_open_runs_is_back_within_two_seconds(deployment):
    server = Server(deployment).start()
    ProtocolWorker(server)
    for first in range(0, 100_000, 1_000):
        runs = [{"task": "job", "input": {"n": n}} for n in range(first, first + 1_000)]
        server.post("/v1/runs:batch", {"atomic": True, "runs": runs})
    for _ in range(3):
        server.kill()
        server.start()
        assert server.wait_until_ready() <= BACK_WITHIN_S[deployment.kind]
    assert server.counts()["queued"] == 100_000
    server.kill()
    assert clean(deployment) == []
