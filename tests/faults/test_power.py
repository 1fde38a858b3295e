"""The power is cut: what was acknowledged is on the disk, in a file and in a database, and all goes on from there.

Who writes is killed a moment before the disk: without power nothing is acknowledged either. Where it lives on, a sync that
is under way while the file system is shut down may say that it was done and was not: that is how the kernel shuts down, and it
is so without Headway. No sync that came back before is lost, and none that begins after is done.
"""

import contextlib
import errno
import random
import sys
import time

import pytest
from tests.faults import synced
from tests.faults.disks import MAKE, Disk
from tests.faults.ledger import Ledger
from tests.faults.load import Load
from tests.faults.server import APP, Deployment, Process, Server, WorkerProcess
from tests.faults.stores import MINUTES, TIMES
from tests.faults.syscalls import lying, needs_strace
from tests.faults.verdict import StoreContents, clean
from tests.faults.waiting import all_end, more_than, pause, until
from tests.postgres.cluster import Cluster

from headway.client.errors import ConnectionLost

TASKS = ["effect", "effect_in_thread", "steps"]
RESERVE = {"HEADWAY_RESERVE_BYTES": str(4 << 20)}


@pytest.fixture
def disk(request):
    made = Disk(getattr(request, "param", "ext4"))
    yield made
    made.close()


@pytest.fixture
def placed(disk, tmp_path):
    """Make a place whose ledger is not on the disk."""
    with contextlib.ExitStack() as ends:

        def on(store):
            deployment = Deployment(tmp_path, store)
            ends.callback(deployment.clean_up)
            return deployment

        yield on


def on_disks(*each_time, cuts):
    """Mark a test with how often the power is cut on which file system."""
    many = [pytest.param(kind, cuts * TIMES, marks=MINUTES) for kind in MAKE]
    return pytest.mark.parametrize(("disk", "cuts"), [*each_time, *many], indirect=["disk"])


@on_disks(("ext4", 1), cuts=60)
def test_nothing_acknowledged_is_lost_when_the_power_is_cut(disk, placed, cuts):
    deployment = placed(disk.path / "headway.db")
    server = Server(deployment, "--workers", "1", "--lease", "2s", app=APP, **RESERVE).start()
    server.knows("effect")
    with Load(deployment, tasks=TASKS, rate=60) as load:
        for _ in range(cuts):
            pause(random.uniform(0.3, 1.2))
            server.kill()
            disk.cut()
            disk.restore()
            server.start()
        more_than(10 * cuts, deployment)
    assert load.odd == []
    all_end(server)
    assert server.stop() == 0
    books = StoreContents(deployment)
    books.hold(kills=cuts, fault=f"the power is cut ({disk.kind})")


@on_disks(("ext4", 3), cuts=100)
def test_only_a_sync_that_the_cut_meets_may_say_that_it_was_done_and_was_not(disk, tmp_path, cuts):
    """The control of the cut itself, without Headway."""
    deployment = Deployment(tmp_path)
    before = met = lost = 0
    try:
        for number in range(cuts):
            ledger, file = Ledger(tmp_path / f"syncs-{number}"), disk.path / "file"
            disk.sync()
            writer = Process(deployment, [sys.executable, "-m", "tests.faults.synced", str(file), str(ledger.path)])
            until(lambda ledger=ledger: len(ledger.lines("synced")) > 5, 20, "it syncs")
            pause(random.uniform(0, 0.1))
            began = time.monotonic_ns()
            disk.cut()
            ended = time.monotonic_ns()
            assert writer.wait(20) == 0
            assert [line["error"] for line in ledger.lines("refused")] == [errno.EIO]
            disk.restore()
            done = synced.syncs(ledger)
            gone = synced.missing(file, done)
            assert [one for one in done if one.began > ended] == [], "it was synced to a disk without power"
            assert [one for one in gone if one.ended < began] == [], "it was synced, the power went, and it is lost"
            before += sum(one.ended < began for one in done)
            met += sum(one.ended >= began for one in done)
            lost += len(gone)
            ledger.close()
    finally:
        deployment.clean_up()
    print(f"{disk.kind}: {before} syncs came back before a cut, none of them lost; {met} met one, {lost} of them lost")
    assert before > 5 * cuts


@on_disks(cuts=30)
def test_what_was_acknowledged_before_the_power_went_is_there_though_the_server_lived_on(disk, placed, cuts):
    deployment = placed(disk.path / "headway.db")
    server = Server(deployment, "--workers", "1", "--lease", "2s", app=APP, **RESERVE).start()
    server.knows("effect")
    while_cut = []
    with Load(deployment, tasks=["effect"], rate=60) as load:
        for _ in range(cuts):
            pause(random.uniform(0.3, 1.2))
            began = time.time_ns() // 1_000_000
            disk.cut()
            assert server.process.wait(20) != 0, "it went on without a disk"
            disk.restore()
            while_cut.append((began, time.time_ns() // 1_000_000))  # who was answered has had the time to say so
            server.start()
        more_than(10 * cuts, deployment)
    all_end(server)
    assert server.stop() == 0
    books = StoreContents(deployment)
    met = [line for line in books.acknowledged if any(a <= line["at"] <= b for a, b in while_cut)]
    print(
        f"{disk.kind}: {len(books.acknowledged)} acknowledged, {len(met)} of them while the disk was shut down, {len(books.lost)} lost"
    )
    assert [line for line in books.lost if line not in met] == []
    assert clean(deployment) == []
    assert {status for status, *_ in (said.split() for said in load.odd)} <= {"500"}


@needs_strace
def test_a_disk_that_lies_about_its_syncs_is_found_out(disk, placed):
    """The control: where syncs do nothing, the same test has to see that what was acknowledged is lost."""
    deployment = placed(disk.path / "headway.db")
    server = Server(deployment, prefix=lying(deployment.folder / "trace"), app=APP, **RESERVE).start()
    server.knows("effect")
    disk.sync()  # a store without its key would not open
    with Load(deployment, tasks=["effect"], rate=60):
        until(lambda: len(deployment.ledger.lines("acknowledged")) > 20, 20, "some are acknowledged")
    until(lambda: not deployment.end_all(), 10, "what strace ran has ended")
    disk.cut()
    disk.restore()
    Server(deployment, **RESERVE).start().kill()
    books = StoreContents(deployment)
    assert len(books.lost) > 20
    with pytest.raises(AssertionError, match="acknowledged runs are lost"):
        books.hold(kills=1, finished=False)


@on_disks(cuts=30)
def test_nothing_acknowledged_is_lost_when_the_database_loses_its_power(disk, placed, postgres_installation, cuts):
    with Cluster(installation=postgres_installation, below=disk.path) as cluster:
        deployment = placed(cluster.url(cluster.create_database()))
        server = Server(deployment, "--lease", "2s").start()
        WorkerProcess(deployment, "--capacity", "20")
        server.knows("effect")
        disk.sync()  # the database's files were made without
        with Load(deployment, tasks=TASKS, rate=60) as load:
            for _ in range(cuts):
                pause(random.uniform(0.3, 1.2))
                without_power(disk, cluster)
                cluster.start()
                until(lambda: takes_runs(server), 20, "it takes runs again")
            more_than(10 * cuts, deployment)
        assert load.odd == []
        all_end(server)
        assert server.stop() == 0
        books = StoreContents(deployment)
        books.hold(kills=cuts, fault=f"the database's power is cut ({disk.kind})")


@pytest.mark.long
def test_a_database_that_does_not_wait_for_its_disk_is_found_out(disk, placed, postgres_installation):
    """The control, as above."""
    off = {"synchronous_commit": "off", "wal_writer_delay": "10s"}
    with Cluster(off, postgres_installation, below=disk.path) as cluster:
        deployment = placed(cluster.url(cluster.create_database()))
        server = Server(deployment, HEADWAY_ACCEPT_LOSS="1").start()
        WorkerProcess(deployment)
        server.knows("effect")
        disk.sync()
        cluster.query("CHECKPOINT")
        with Load(deployment, tasks=["effect"], rate=60):
            until(lambda: len(deployment.ledger.lines("acknowledged")) > 50, 20, "some are acknowledged")
        without_power(disk, cluster)
        server.kill()
        cluster.start()
        assert StoreContents(deployment).lost


def without_power(disk, cluster):
    """Cut the power of the machine that the database is on."""
    cluster.kill()
    disk.cut()
    disk.restore()


def takes_runs(server):
    with contextlib.suppress(ConnectionLost):
        return server.call("POST", "/v1/runs", {"task": "effect"}).status == 202
    return False
