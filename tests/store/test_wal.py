"""A write-ahead log that lost what was acknowledged is told from one that a kill or a power cut has torn."""

import asyncio
import random
import re
import shutil
import sqlite3

import apsw
import pytest
from tests.harness import START, on_disk
from tests.rows import verify

from headway.clock import ManualClock
from headway.store.database import StorageBroken
from headway.store.sqlite import checkup, recovery
from headway.store.sqlite.backup import backup, restore
from headway.store.sqlite.integrity import DataLoss, check
from headway.store.sqlite.lock import note_of
from headway.store.sqlite.open import open_file
from headway.store.sqlite.wal import FRAME_BYTES, HEADER_BYTES, Log

FRAME = FRAME_BYTES + 4_096
FILES = ("", "-wal", ".lock")


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The files of a store whose server was killed: as they are while it writes."""
    folder = tmp_path_factory.mktemp("killed")

    async def make():
        harness = on_disk(folder / "live.db")
        worker = await harness.worker()
        for n in range(40):
            await harness.start("t", {"n": n, "text": "x" * 50})
        lease = await harness.one(worker)
        await harness.succeed(worker, lease, "done")
        for suffix in FILES:
            shutil.copy(folder / f"live.db{suffix}", folder / f"store.db{suffix}")
        await harness.close()

    asyncio.run(make())
    return folder / "store.db"


@pytest.fixture
def store(killed, tmp_path):
    """A copy of it that a test may damage."""
    for suffix in FILES:
        shutil.copy(killed.with_name(killed.name + suffix), tmp_path / f"store.db{suffix}")
    return tmp_path / "store.db"


def log_of(store):
    return store.with_name(store.name + "-wal")


def lock_of(store):
    return store.with_name(store.name + ".lock")


def runs_in(store):
    connection = apsw.Connection(str(store))
    try:
        return connection.execute("SELECT count(*) FROM runs").get
    finally:
        connection.close()


def commits(store):
    """Return the numbers of the frames that end a commit."""
    log = Log(log_of(store), 4_096)
    try:
        return [number for number in range(1, log.count + 1) if log.frame(number).commits]
    finally:
        log.close()


def flip(path, at, bit=0):
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))


def cut(path, size):
    with path.open("r+b") as file:
        file.truncate(size)


def test_the_log_of_a_server_that_was_killed_is_whole(store):
    check(store)
    assert note_of(store).frames == commits(store)[-1]
    opened = open_file(store, ManualClock(START), reserve_bytes=0)
    assert verify(opened.read.near.connection) == []
    asyncio.run(opened.close())
    assert note_of(store) is None
    assert runs_in(store) == 40


@pytest.mark.parametrize("n", range(60))
def test_every_bit_that_flips_in_the_log_is_found_and_the_store_is_left_as_it_is(store, n):
    chance = random.Random(n)
    size = log_of(store).stat().st_size
    flip(log_of(store), n if n < HEADER_BYTES else chance.randrange(size), chance.randrange(8))
    before = [store.with_name(store.name + suffix).read_bytes() for suffix in FILES]
    with pytest.raises(DataLoss, match="headway doctor --accept-loss") as refused:
        check(store)
    with pytest.raises(StorageBroken, match=re.escape(str(refused.value))):
        open_file(store, ManualClock(START), reserve_bytes=0)
    with pytest.raises(DataLoss):
        backup(store, store.with_name("copy.db"))
    found = {name: (ok, said) for name, ok, said in checkup.checkup(store, verify=True)}
    assert found["store"] == (False, str(refused.value))
    assert [store.with_name(store.name + suffix).read_bytes() for suffix in FILES] == before


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_log_that_was_cut_is_found(store, part):
    cut(log_of(store), int(log_of(store).stat().st_size * part))
    with pytest.raises(DataLoss, match="is damaged or was cut"):
        check(store)


@pytest.mark.parametrize("how", ["deleted", "emptied"])
def test_a_log_that_is_gone_is_found(store, how):
    if how == "deleted":
        log_of(store).unlink()
    else:
        cut(log_of(store), 0)
    with pytest.raises(DataLoss, match="is gone or empty"):
        check(store)


def test_without_the_note_damage_is_found_where_two_commits_follow_it(store):
    """A power cut tears one commit at most: from two on it is certain. Of the last two nobody can tell without a note."""
    lock_of(store).unlink()
    ends = commits(store)
    for number in (1, 2, ends[5], ends[-4]):
        flip(log_of(store), HEADER_BYTES + (number - 1) * FRAME + FRAME_BYTES + 99)
        with pytest.raises(DataLoss, match="further commits that were acknowledged"):
            check(store)
        flip(log_of(store), HEADER_BYTES + (number - 1) * FRAME + FRAME_BYTES + 99)
    flip(log_of(store), 20)
    with pytest.raises(DataLoss):
        check(store)
    flip(log_of(store), 20)
    flip(log_of(store), HEADER_BYTES + (ends[-1] - 1) * FRAME + FRAME_BYTES + 99)
    check(store)


@pytest.mark.parametrize("noted", [True, False])
def test_a_commit_that_was_torn_is_no_damage_and_is_cut_off(store, noted):
    """The pages of a commit reach the disk in any order: its end may be there and its beginning not."""
    connection = apsw.Connection(str(store))
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    before = commits(store)
    connection.execute("CREATE TABLE filling (text)")
    connection.close()
    assert len(commits(store)) == len(before) + 1
    flip(log_of(store), HEADER_BYTES + before[-1] * FRAME + FRAME_BYTES + 99)
    if not noted:
        lock_of(store).unlink()
    check(store)
    opened = open_file(store, ManualClock(START), reserve_bytes=0)
    assert log_of(store).stat().st_size == HEADER_BYTES + before[-1] * FRAME
    check(store)
    asyncio.run(opened.close())
    assert runs_in(store) == 40


def test_what_an_earlier_log_has_left_behind_the_end_is_no_damage(tmp_path):
    """SQLite begins at the front again and leaves the rest as it is."""

    async def make():
        harness = on_disk(tmp_path / "live.db")
        await harness.worker()
        for n in range(30):
            await harness.start("t", {"n": n, "text": "x" * 5_000})
        before = log_of(tmp_path / "live.db").read_bytes()[16:24]
        harness.store._connections[0].connection.execute("PRAGMA wal_checkpoint(RESTART)")
        for n in range(3):
            await harness.start("t", {"n": n})
        for suffix in FILES:
            shutil.copy(tmp_path / f"live.db{suffix}", tmp_path / f"store.db{suffix}")
        await harness.close()
        return before

    before = asyncio.run(make())
    store = tmp_path / "store.db"
    assert log_of(store).read_bytes()[16:24] != before
    assert log_of(store).stat().st_size > HEADER_BYTES + note_of(store).frames * FRAME
    check(store)
    lock_of(store).unlink()
    check(store)
    assert runs_in(store) == 33


def test_a_note_that_is_older_than_its_log_is_no_damage(store, killed, tmp_path):
    """It is not synced: after a power cut it may be one of before the log began anew."""
    opened = open_file(store, ManualClock(START), reserve_bytes=0)
    older = lock_of(store).read_bytes()
    opened._connections[0].connection.execute("PRAGMA wal_checkpoint(RESTART)")
    opened._connections[0].connection.execute("CREATE TABLE filling (text)")
    for suffix in ("", "-wal"):
        shutil.copy(store.with_name(store.name + suffix), tmp_path / f"later.db{suffix}")
    (tmp_path / "later.db.lock").write_bytes(older)
    check(tmp_path / "later.db")
    asyncio.run(opened.close())


def test_another_program_may_write_the_log_back(store):
    """Who looks at a store with sqlite3 after a crash writes its log back, and loses nothing."""
    connection = sqlite3.connect(store)
    assert connection.execute("SELECT count(*) FROM runs").fetchone() == (40,)
    connection.close()
    assert not log_of(store).exists()
    assert note_of(store) is not None
    check(store)
    asyncio.run(open_file(store, ManualClock(START), reserve_bytes=0).close())


def test_an_older_log_of_the_same_store_is_refused(store, killed):
    """SQLite would write it over what is newer."""
    older = log_of(store).read_bytes()
    opened = open_file(store, ManualClock(START), reserve_bytes=0)
    opened._connections[0].connection.execute("PRAGMA wal_checkpoint(RESTART)")
    opened._connections[0].begin()
    opened._connections[0].run("insert_fact", name="later", value="1")
    opened._connections[0].commit()
    note = lock_of(store).read_bytes()
    asyncio.run(opened.close())
    log_of(store).write_bytes(older)
    lock_of(store).write_bytes(note)
    with pytest.raises(DataLoss, match="not the log that the last server wrote"):
        check(store)


def test_a_loss_that_is_accepted_leaves_a_store_that_is_sound_and_the_damaged_log(store):
    flip(log_of(store), HEADER_BYTES + (commits(store)[20] - 1) * FRAME + FRAME_BYTES + 99)
    damaged = log_of(store).read_bytes()
    clock = ManualClock(START)
    (said,) = recovery.accept_loss(store, clock, secret="", earlier=())
    (kept,) = store.parent.glob("store.db-wal.damaged-*")
    assert str(kept) in said
    assert kept.read_bytes() == damaged
    assert [(name, said) for name, ok, said in checkup.checkup(store, verify=True) if not ok] == []
    assert 0 < runs_in(store) < 40
    assert recovery.accept_loss(store, clock, secret="", earlier=()) == []


def test_a_restore_does_not_ask_for_what_came_after_the_backup(store):
    """What the last server noted is of the store that was there before."""
    backup(store, store.with_name("copy.db"))
    opened = open_file(store, ManualClock(START), reserve_bytes=0)
    note = lock_of(store).read_bytes()
    asyncio.run(opened.close())
    for suffix in ("", "-wal", "-shm"):
        store.with_name(store.name + suffix).unlink(missing_ok=True)
    lock_of(store).write_bytes(note)
    with pytest.raises(DataLoss):
        check(store)
    restore(store.with_name("copy.db"), store)
    check(store)
    assert runs_in(store) == 40


def test_looking_at_a_store_that_was_killed_leaves_its_log_as_it_is(store):
    before = log_of(store).read_bytes()
    assert [said for _, ok, said in checkup.checkup(store, verify=True) if not ok] == []
    backup(store, store.with_name("copy.db"))
    assert log_of(store).read_bytes() == before


def test_a_store_that_cannot_be_read_is_no_loss_of_its_log(store):
    store.write_bytes(b"no store" * 1_000)
    with pytest.raises((StorageBroken, apsw.Error)):
        check(store)
