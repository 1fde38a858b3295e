"""The disk: nothing is acknowledged before it is on it, a sync that fails ends the server, a full one fills no gap."""

import contextlib
import os
import signal
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from tests.faults.full_disks import disk_of, ended_on_a_full_disk, fill, start_some
from tests.faults.load import Load
from tests.faults.probe import Probe
from tests.faults.protocol import ProtocolWorker, of
from tests.faults.server import Deployment, Server, WorkerProcess
from tests.faults.stores import MINUTES, ON_BOTH
from tests.faults.syscalls import calls, delayed, failing, needs_strace, slowed, watching
from tests.faults.verdict import StoreContents
from tests.faults.waiting import all_end, pause, until
from tests.postgres.cluster import Cluster
from tests.postgres.keeper import processes

from headway.client.errors import ConnectionLost
from headway.serving.serve import BROKEN, FAILED

SUBMITS = 1_000
AT_ONCE = 50
HEALS_WITHIN_S = 5.0
LAG_MS = 100
SLOWER_MS = 200
LEASE_MS = 3_000


def start_at_once(deployment, number, threads=AT_ONCE):
    """Start many runs from many threads; return the ids of those that were acknowledged."""
    local = threading.local()

    def one(n):
        if not hasattr(local, "http"):
            local.http = deployment.connect(20)
        body = msgspec.json.encode({"task": "job", "input": {"n": n}})
        with contextlib.suppress(ConnectionLost):
            answer = local.http.request("POST", "/v1/runs", body, headers={"Idempotency-Key": f"n-{n}"})
            if answer.status == 202:
                run_id = msgspec.json.decode(answer.body)["id"]
                deployment.ledger.note("acknowledged", n=n, run_id=run_id)
                return run_id
        return None

    with ThreadPoolExecutor(threads) as pool:
        return [run_id for run_id in pool.map(one, range(1, number + 1)) if run_id]


@needs_strace
def test_every_acknowledged_start_was_synced_before_its_answer_was_sent(deployment):
    out = deployment.folder / "trace"
    server = Server(deployment, prefix=watching(out)).start()
    ProtocolWorker(server)
    ids = start_at_once(deployment, SUBMITS)
    assert len(ids) == SUBMITS
    os.kill(only_child(server.process.pid), signal.SIGKILL)
    server.process.wait(10)
    written, synced_before, sent, syncs = {}, {}, {}, 0
    pending = {}
    for call in sorted(calls(out), key=lambda call: call.ended):
        wal = b"headway.db-wal>" in call.text[:400]
        if wal and call.name.startswith("pwrite"):
            for run_id in call.run_ids - written.keys():
                written[run_id] = pending[run_id] = call.ended
        elif wal and call.name in {"fdatasync", "fsync"}:
            syncs += 1
            for run_id in [run_id for run_id, at in pending.items() if at < call.began]:
                synced_before[run_id] = call.ended
                del pending[run_id]
        elif b"socket:" in call.text[:200] and b"HTTP/1.1 202" in call.text:
            for run_id in call.run_ids - sent.keys():
                sent[run_id] = call.began
    acknowledged = {run_id.encode() for run_id in ids}
    assert acknowledged <= sent.keys()
    early = [run_id for run_id in acknowledged if not synced_before.get(run_id, 1 << 60) < sent[run_id]]
    assert early == [], f"{len(early)} of {SUBMITS} were acknowledged before they were synced"
    assert syncs < SUBMITS / 2, "the commits of many starts at once are not put together"


def only_child(pid):
    """Return the process that strace runs."""
    import psutil

    return psutil.Process(pid).children()[0].pid


@needs_strace
@pytest.mark.parametrize("when", [8, 20, *(pytest.param(n, marks=pytest.mark.long) for n in range(5, 200, 3))])
def test_a_sync_that_fails_ends_the_server_and_nothing_is_acknowledged_after(deployment, when):
    out = deployment.folder / "trace"
    server = Server(deployment, prefix=failing(out, "fdatasync", when)).start(ready=False)
    with contextlib.suppress(AssertionError):
        server.wait_until_ready(10)
    with contextlib.suppress(AssertionError, ConnectionLost):
        ProtocolWorker(server)
        for n in range(0, 500, 5):
            if len(start_some(deployment, n)) < 5:
                break
    assert server.process.wait(15) in {BROKEN, FAILED}
    assert "storage is broken" in deployment.logged() or "the store cannot be opened" in deployment.logged()
    assert start_some(deployment, 1_000) == []
    server = Server(deployment).start()
    server.kill()
    StoreContents(deployment).hold(kills=1, finished=False, fault="a sync of the disk fails")


@pytest.fixture
def small_disk(tmp_path):
    """A disk for a file."""
    (tmp_path / "disk").mkdir()
    with disk_of("32m", tmp_path / "disk") as disk:
        yield disk


@pytest.fixture
def database_on_a_small_disk(postgres_installation):
    """A disk, and the server of PostgreSQL whose files are there: not in the test's folder, where its user cannot get."""
    with tempfile.TemporaryDirectory(prefix="headway-disk-") as folder, disk_of("192m", folder) as disk:
        Path(folder).chmod(0o755)
        settings = {"min_wal_size": "32MB", "max_wal_size": "48MB"}
        with Cluster(settings, postgres_installation, below=Path(disk)) as cluster:
            yield Path(disk), cluster


def test_a_full_disk_refuses_new_runs_lets_old_ones_end_and_heals(small_disk, tmp_path):
    deployment = Deployment(tmp_path, small_disk / "headway.db")
    server = Server(deployment, HEADWAY_RESERVE_BYTES=str(4 << 20)).start()
    try:
        hand = ProtocolWorker(server)
        ids = start_at_once(deployment, 30)
        leases = hand.claim(20)
        ballast = fill(small_disk)
        assert refused(server)
        assert {server.call("GET", path).status for path in ("/v1/runs", f"/v1/runs/{ids[0]}", "/livez")} == {200}
        assert server.call("GET", "/readyz").status == 503
        ended_on_a_full_disk(hand, leases)
        assert refused(server)
        ballast.unlink()
        until(
            lambda: server.call("POST", "/v1/runs", {"task": "job"}).status == 202,
            HEALS_WITHIN_S,
            "it takes runs again",
        )
        assert (small_disk / "headway.db.reserve").stat().st_size == 4 << 20
        hand.report(*(of(lease, "succeeded") for lease in hand.claim(11)))
        assert server.counts().get("succeeded") == 31
        assert server.stop() == 0
        StoreContents(deployment).hold(kills=0, finished=False, fault="the disk is full", tries=1)
    finally:
        deployment.clean_up()


def test_a_database_whose_disk_is_full_takes_no_runs_loses_none_and_heals(database_on_a_small_disk, tmp_path):
    """What ends meanwhile is up to the database, which has no reserve: a report that is not taken comes again."""
    disk, cluster = database_on_a_small_disk
    deployment = Deployment(tmp_path, cluster.url(cluster.create_database()))
    server = Server(deployment).start()
    try:
        hand = ProtocolWorker(server)
        ids = start_some(deployment, 0)
        leases = hand.claim(5)
        ballast = fill(disk)
        assert refused(server)
        assert {server.call("GET", path).status for path in ("/v1/runs", f"/v1/runs/{ids[0]}", "/livez")} == {200}
        assert server.call("GET", "/readyz").status == 503
        ballast.unlink()
        until(lambda: start_some(deployment, 10), HEALS_WITHIN_S, "it takes runs again")
        for lease in leases:
            until(lambda lease=lease: hand.send(of(lease, "succeeded")).status == 200, 10, "a run ends")
        assert [server.run(run_id)["state"] for run_id in ids] == ["succeeded"] * 5
        assert server.stop() == 0
        StoreContents(deployment).hold(kills=0, finished=False, fault="the disk is full", tries=1)
    finally:
        deployment.clean_up()


def refused(server):
    """Whether starts are refused as they should be; the first may still find a little space."""

    def look():
        answer = server.call("POST", "/v1/runs", {"task": "job", "input": {"fill": "x" * 100_000}})
        assert answer.status in {202, 503}, answer
        if answer.status == 202:
            server.call("POST", f"/v1/runs/{msgspec.json.decode(answer.body)['id']}:terminate", {})
            return False
        assert msgspec.json.decode(answer.body)["code"] == "storage_full"
        return int(answer.headers["retry-after"]) > 0

    return until(look, 10, "starts are refused")


def test_a_damaged_file_is_refused_with_what_to_do(deployment):
    deployment.store.write_bytes(b"not a store" * 1_000)
    server = Server(deployment).start(ready=False)
    assert server.process.wait(15) == FAILED
    assert "headway restore" in deployment.logged()
    assert "Traceback" not in deployment.logged()
    deployment.store.unlink()  # so that nobody finds fault with it at the end


@pytest.fixture
def who_syncs(deployment, request):
    """Tell which processes wait for the disk: those of the server, or of its database."""
    if deployment.kind == "postgres":
        cluster = request.getfixturevalue("postgres_cluster")
        return lambda _server: processes(cluster.data)
    return lambda server: [server.process.pid]


@needs_strace
@ON_BOTH
@pytest.mark.parametrize(("rate", "seconds"), [(60, 4), pytest.param(200, 120, marks=MINUTES)])
def test_a_slow_disk_makes_writes_slow_and_nothing_else(deployment, who_syncs, rate, seconds):
    """Each sync takes 200 ms longer: reads, signs of life and the event loop do not, nobody times out, and it heals."""
    server = Server(deployment, "--lease", f"{LEASE_MS}ms").start()
    WorkerProcess(deployment, "--capacity", "200")
    server.knows("effect")
    hand, beats, loop = ProtocolWorker(server), deployment.connect(), deployment.connect()
    body = msgspec.json.encode({"worker_id": hand.id, "reports": [], "held": []})
    # A start may take a second then, while a commit takes all that wait: 200 at once are let in whatever happens.
    with Load(deployment, tasks=["effect"], rate=rate, submitters=rate) as load:
        with Probe(lambda: loop.request("GET", "/livez")) as usual:
            pause(1)
        with (
            slowed(who_syncs(server), deployment.folder / "trace", SLOWER_MS),
            Probe(lambda: beats.request("POST", "/v1/leases:report", body), 0.05) as heard,
            Probe(lambda: loop.request("GET", "/livez")) as alive,
        ):
            before = len(deployment.ledger.lines("acknowledged"))
            pause(seconds)
            meanwhile = len(deployment.ledger.lines("acknowledged")) - before
        with Probe(lambda: server.call("POST", "/v1/runs", {"task": "effect"}), 0.05) as healed:
            pause(1)
    syncs = delayed(deployment.folder / "trace")
    print(
        f"alive p99 {alive.percentile(0.99):.0f} ms, beats p90 {heard.percentile(0.9):.0f}, at most {heard.percentile(1):.0f} ms"
    )
    print(f"{meanwhile} acknowledged in {syncs} syncs")
    assert syncs > 2 * seconds, "the disk was not slow"
    assert load.odd == []
    assert load.later == {}, "a disk that is only slow is no reason to refuse anything"
    assert (set(alive.statuses), set(heard.statuses)) == ({200}, {200})
    assert alive.percentile(0.99) < LAG_MS + usual.percentile(0.99)
    assert heard.percentile(0.9) < SLOWER_MS, "signs of life wait for the disk"
    assert heard.percentile(1) < LEASE_MS, "the one that is written down, now and then, is answered too late"
    assert meanwhile > 4 * syncs, "starts that wait for one disk do not go there together"
    assert healed.percentile(0.9) < LAG_MS + usual.percentile(0.99), "it is slow for longer than its disk"
    all_end(server)
    server.stop()
    books = StoreContents(deployment)
    assert {run["attempt"] for run in books.runs.values()} == {1}, "somebody was given up because the disk was slow"
    books.hold(kills=0, fault="each sync takes 200 ms longer", tries=1)
