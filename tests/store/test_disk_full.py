"""A disk that is full: reads and finishing runs go on, starts are refused, and it heals by itself."""

import asyncio
import subprocess

import pytest
from tests.harness import START, Harness, spec

from headway.clock import ManualClock
from headway.config import Settings
from headway.errors import StorageFull
from headway.store.disk_reserve import DiskReserve
from headway.store.sqlite.open import open_file

MIB = 1024 * 1024


@pytest.fixture
def small(tmp_path):
    """A file system of 16 MiB."""
    where = tmp_path / "small"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", where], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield where
    subprocess.run(["umount", "--lazy", where], check=True)  # also if a test that failed left files open


def fill(where):
    """Leave no space; return the file that takes it."""
    stuffing = where / "stuffing"
    with stuffing.open("wb", buffering=0) as file:
        for size in (MIB, 4096):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return stuffing


async def full_scenario(small):
    clock = ManualClock(START)
    harness = Harness(open_file(small / "s.db", clock, reserve_bytes=2 * MIB), clock, Settings(), small / "s.db")
    worker = await harness.worker()
    first = await harness.start()
    lease = await harness.one(worker)
    stuffing = fill(small)
    started = []

    async def start_many():
        for _ in range(200):
            started.append(await harness.start("t", {"text": "x" * 20_000}))  # noqa: PERF401 - as far as it comes

    with pytest.raises(StorageFull):
        await start_many()
    assert harness.store.full
    await harness.rescuer.tick()
    with pytest.raises(StorageFull):
        await harness.runs.start(spec())
    await harness.succeed(worker, lease, "done")
    assert "succeeded" == await harness.state(first.id)
    assert len(started) == harness.tasks.counts("t").get("queued", 0)
    stuffing.unlink()
    await harness.rescuer.tick()
    assert not harness.store.full
    assert "queued" == (await harness.start()).state
    assert (small / "s.db.reserve").stat().st_size == 2 * MIB
    await harness.close()


def test_a_full_disk_refuses_starts_finishes_runs_and_heals(small):
    asyncio.run(full_scenario(small))


def test_the_reserve_is_held_only_where_there_is_more_than_enough(small):
    reserve = DiskReserve(small / "reserve", 6 * MIB)
    assert reserve.hold()
    assert reserve.held
    assert reserve.hold(), "again changes nothing"
    stuffing = fill(small)
    reserve.release()
    assert not reserve.held
    assert not reserve.hold(), "there is its size, but not more"
    stuffing.unlink()
    assert reserve.hold()
    assert 0o600 == (small / "reserve").stat().st_mode & 0o777
