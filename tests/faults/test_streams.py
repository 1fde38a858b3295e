"""Thousands of event streams, a tenth of which are not read, and a server that is killed: no gap, nothing twice, in order."""

import asyncio
import contextlib
import time

import psutil
import pytest
import uvloop
from tests.faults.protocol import ProtocolWorker, of
from tests.faults.readers import Reader
from tests.faults.results import note
from tests.faults.server import Server
from tests.faults.stores import MINUTES, STORES
from tests.faults.verdict import clean
from tests.faults.waiting import until

from headway.client.errors import ConnectionLost
from headway.web.connection import STUCK_SECONDS

RUNS = 10
LINES = 12
BACK_WITHIN_S = 30
TAKEN_WITHIN_S = 60
"""A report on a machine that is busy with thousands of streams; a server that goes round in a circle takes none."""
KIB_PER_STREAM = 40
FAT = 100
"""Lines of the run that the cut ones do not read, of 32 kB each: more than all buffers on the way hold."""


def tell(hand, leases, lines, length=20):
    """Report lines of log until they are taken; the answer to a report may be lost with the server."""
    for number in range(lines):
        reports = [of(lease, "log", message=f"{number} {'x' * length}") for lease in leases]
        until(lambda reports=reports: taken(hand, reports), TAKEN_WITHIN_S, "the server takes a line of each run")


def taken(hand, reports):
    with contextlib.suppress(ConnectionLost):
        return hand.send(*reports).status == 200
    return False


async def opened(readers, lanes=200):
    """Connect all of them, some at a time, and wait until each has been told how its run is."""
    waiting = iter(readers)

    async def lane():
        for reader in waiting:
            await reader.connect()

    await asyncio.gather(*(lane() for _ in range(lanes)))
    await greeted(readers, 0)


async def greeted(readers, since_s):
    """Wait until all of them have been told, since then, how their runs are."""
    async with asyncio.timeout(BACK_WITHIN_S):
        while any(reader.greeted_s is None or reader.greeted_s < since_s for reader in readers):
            assert [said for reader in readers for said in reader.wrong] == []
            await asyncio.sleep(0.05)


@contextlib.contextmanager
def closed_at_the_end(readers):
    """Have them leave also if something is wrong: thousands who go on reading on a loop that has ended would hang the run."""
    try:
        yield
    finally:
        for reader in readers:
            reader.close()


async def scene(server, streams, again_s):
    hand = ProtocolWorker(server)
    for _ in range(RUNS):
        server.started("job")
    leases = hand.claim(RUNS)
    before = psutil.Process(server.process.pid).memory_info().rss
    ids = [lease["run_id"] for lease in leases]
    readers = [
        Reader(server.deployment.port, ids[number % RUNS], slow=number % 10 == 9, again_s=again_s)
        for number in range(streams)
    ]
    with closed_at_the_end(readers):
        await opened(readers)
        each_kib = (psutil.Process(server.process.pid).memory_info().rss - before) / 1024 / streams
        awake = [reader for reader in readers if not reader._asleep]
        await asyncio.to_thread(tell, hand, leases, LINES)
        await asyncio.to_thread(server.kill)
        killed_s = time.monotonic()
        await asyncio.to_thread(server.start)
        up_s = time.monotonic()
        await greeted(awake, killed_s)
        back_s = time.monotonic() - up_s
        await asyncio.to_thread(tell, hand, leases, LINES)
        for reader in readers:
            reader.wake()
        hand.report(*(of(lease, "succeeded") for lease in leases))
        async with asyncio.timeout(BACK_WITHIN_S * 2):
            await asyncio.gather(*(reader.ended for reader in readers))
        last = {run_id: server.get(f"/v1/runs/{run_id}/events")["data"][-1]["seq"] for run_id in ids}
        wrong = [said for reader in readers for said in reader.wrong]
        short = sum(reader.seen != last[reader._run_id] for reader in readers)
    print(f"{streams} streams: {each_kib:.0f} KiB each, all back after {back_s:.1f} s")
    note(
        "the server is killed while streams are read", server.deployment.kind, tries=1, acknowledged=sum(last.values()),
        lost=short, doubled=len(wrong), streams=streams, back_s=round(back_s, 1),
    )  # fmt: skip
    assert wrong == []
    assert short == 0, f"{short} streams have not seen everything"
    assert min(reader.lives for reader in readers) >= 2
    assert back_s <= BACK_WITHIN_S
    assert each_kib <= KIB_PER_STREAM


@pytest.mark.parametrize(
    ("deployment", "streams", "again_s"),
    [
        ("sqlite", 1_000, 0.5),
        *(pytest.param(store, streams, 2.0, marks=MINUTES) for store in STORES for streams in (1_000, 10_000)),
    ],
    indirect=["deployment"],
)
def test_every_stream_is_resumed_without_gap_or_repetition_when_the_server_is_killed(deployment, streams, again_s):
    server = Server(deployment, "--lease", "60s").start()
    uvloop.run(scene(server, streams, again_s))
    assert server.stop() == 0
    assert clean(deployment) == []


async def unread(server, number):
    """Open streams on a long history and do not read them; return when the server has cut them."""
    hand = ProtocolWorker(server)
    run_id = server.started("job")
    (lease,) = hand.claim()
    await asyncio.to_thread(tell, hand, [lease], FAT, 32_000)
    hand.report(of(lease, "succeeded"))
    readers = [Reader(server.deployment.port, run_id, slow=True) for _ in range(number)]
    with closed_at_the_end(readers):
        await opened(readers)
        began_s = time.monotonic()
        async with asyncio.timeout(STUCK_SECONDS + 15):
            while connections(server) > 5:  # noqa: ASYNC110 - it is the kernel that knows
                await asyncio.sleep(0.5)
        assert time.monotonic() - began_s > STUCK_SECONDS / 2
        for reader in readers:
            reader.wake()
        async with asyncio.timeout(60):
            await asyncio.gather(*(reader.ended for reader in readers))
    assert [reader.wrong for reader in readers] == [[]] * number
    assert len({reader.seen for reader in readers}) == 1
    assert readers[0].seen > FAT
    assert min(reader.lives for reader in readers) >= 2


def connections(server):
    """Return how many clients are connected; a server's own connections to its database are none of them."""
    found = psutil.Process(server.process.pid).net_connections("tcp")
    here = [one for one in found if one.laddr.port == server.deployment.port]
    return len([one for one in here if one.status == psutil.CONN_ESTABLISHED])


@pytest.mark.parametrize("deployment", [pytest.param(store, marks=MINUTES) for store in STORES], indirect=True)
def test_who_does_not_read_is_cut_off_and_finds_everything_when_it_comes_back(deployment):
    server = Server(deployment, "--lease", "60s").start()
    uvloop.run(unread(server, 50))
    assert server.stop() == 0
