"""The files of a store that is served are deleted, moved, replaced or cut: nothing is acknowledged into nowhere, all is saved."""

import shutil
import subprocess
import sys

import pytest
from tests.faults.full_disks import start_some
from tests.faults.protocol import Hand
from tests.faults.server import ROOT, Place, Server
from tests.faults.verdict import Books, clean
from tests.faults.waiting import until

from headway.cli.exits import Exit
from headway.serving import offline
from headway.serving.serve import BROKEN, FAILED


@pytest.fixture
def place(tmp_path):
    """A store in a folder of its own, which a test may take away."""
    (tmp_path / "store").mkdir()
    (tmp_path / "tmp").mkdir()
    found = Place(tmp_path, tmp_path / "store" / "headway.db")
    yield found
    found.clean_up()


@pytest.fixture
def server(place):
    found = Server(place, TMPDIR=str(place.folder / "tmp")).start()
    Hand(found)
    assert len(start_some(place, 0)) == 5
    return found


def beside(place, suffix):
    return place.store.with_name(place.store.name + suffix)


def replaced(place):
    """Put a backup in the place of the store, as somebody does who forgets to stop the server."""
    offline.backup(place.store_url, str(place.folder / "backup.db"))
    start_some(place, 20)
    (place.folder / "backup.db").rename(place.store)


def emptied(path):
    with path.open("wb"):
        pass


def headway(place, *arguments):
    command = [sys.executable, "-m", "headway", *arguments, "--store", place.store_url]
    return subprocess.run(command, cwd=ROOT, env=place.environment(), capture_output=True, text=True, check=False)


LOST = {
    "deleted": lambda place: place.store.unlink(),
    "moved": lambda place: place.store.rename(place.folder / "elsewhere.db"),
    "replaced": replaced,
    "emptied": lambda place: emptied(place.store),
    "its log emptied": lambda place: emptied(beside(place, "-wal")),
    "its log deleted": lambda place: beside(place, "-wal").unlink(),
    "its log moved": lambda place: beside(place, "-wal").rename(place.folder / "elsewhere"),
    "everything deleted": lambda place: [file.unlink() for file in place.store.parent.iterdir()],
    "its folder moved": lambda place: place.store.parent.rename(place.folder / "elsewhere"),
    "its folder deleted": lambda place: shutil.rmtree(place.store.parent),
}


def saved(place):
    """Return what the server has saved; it is complete, or it is not there."""
    (file,) = (*place.folder.glob("store/*.rescued-*"), *place.folder.glob("tmp/*.rescued-*"))
    return file


@pytest.mark.parametrize("how", LOST)
def test_a_store_that_is_taken_away_is_noticed_before_anything_is_acknowledged_and_all_of_it_is_saved(
    server, place, how
):
    LOST[how](place)
    assert start_some(place, 100) == [], "it was acknowledged, and nobody will find it"
    assert server.process.wait(20) == BROKEN
    assert "while it was served" in place.logged()
    what = "what could still be read" if "emptied" in how else "all that was acknowledged"
    assert f"storage.rescued file={saved(place)}: {what} is in it" in place.logged()
    assert "Traceback" not in place.logged()
    other = Place(place.folder, place.folder / "restored.db")
    offline.restore(str(saved(place)), other.store_url)
    books = Books(other)
    assert (books.lost, clean(other)) == ([], [])
    assert len(books.acknowledged) >= 5


@pytest.mark.parametrize("how", ["deleted", "emptied", "its log emptied", "its log deleted", "its folder moved"])
def test_a_store_that_is_taken_away_is_noticed_although_nothing_is_written(server, place, how):
    LOST[how](place)
    assert server.process.wait(10) == BROKEN
    assert saved(place)


def test_a_log_that_was_emptied_is_refused_at_the_next_start(server, place):
    emptied(beside(place, "-wal"))
    assert start_some(place, 100) == []
    assert server.process.wait(20) == BROKEN
    server = Server(place).start(ready=False)
    assert server.process.wait(20) == FAILED
    assert "nothing of it can be read" in place.logged()
    assert "headway doctor --accept-loss" in place.logged()


@pytest.mark.parametrize("suffix", ["-shm", ".lock"])
def test_what_keeps_others_away_is_missed_and_nothing_is_lost(server, place, suffix):
    """Without it another process would take the store for its own."""
    beside(place, suffix).unlink()
    start_some(place, 100)
    assert server.process.wait(20) == BROKEN
    server.start()
    assert sum(server.counts().values()) >= 5
    assert server.stop() == 0
    books = Books(place)
    assert (books.lost, clean(place)) == ([], [])


@pytest.mark.parametrize("left", ["no file", "an empty file", "a backup"])
def test_a_log_without_its_store_is_refused_and_kept(server, place, left):
    """SQLite would delete it, or write it over what stands there."""
    offline.backup(place.store_url, str(place.folder / "backup.db"))
    server.kill()
    place.store.unlink()
    if left == "an empty file":
        place.store.touch()
    if left == "a backup":
        shutil.copy(place.folder / "backup.db", place.store)
        place.store.chmod(0o600)
    before = beside(place, "-wal").read_bytes()
    server = Server(place).start(ready=False)
    assert server.process.wait(20) == FAILED
    said = place.logged().splitlines()[-1].removeprefix("headway: the store cannot be opened: ")
    assert "headway.db-wal" in said
    assert said in headway(place, "doctor").stdout
    assert said in headway(place, "backup", str(place.folder / "copy.db")).stderr
    assert not (place.folder / "copy.db").exists()
    assert beside(place, "-wal").read_bytes() == before
    given_up = headway(place, "doctor", "--accept-loss")
    if left == "a backup":
        assert given_up.returncode == 0, given_up.stdout
        server = Server(place).start()
        assert sum(server.counts().values()) == 5
        assert server.stop() == 0
    else:
        assert given_up.returncode == (Exit.CONFLICT if left == "no file" else 1)
    (kept,) = place.store.parent.glob("headway.db-wal.damaged-*")
    assert kept.read_bytes() == before


def test_a_store_that_was_not_closed_and_is_not_there_is_not_replaced_by_an_empty_one(server, place):
    server.kill()
    for suffix in ("", "-wal", "-shm"):
        beside(place, suffix).unlink()
    server = Server(place).start(ready=False)
    assert server.process.wait(20) == FAILED
    assert "headway.db is not there, and the server that used it last did not close it" in place.logged()
    assert not place.store.exists()


def test_a_restore_is_refused_while_a_server_has_the_place(server, place):
    offline.backup(place.store_url, str(place.folder / "backup.db"))
    server.process.send(19)  # SIGSTOP: so that it does not notice before
    place.store.unlink()
    beside(place, "-wal").unlink()
    refused = headway(place, "restore", str(place.folder / "backup.db"))
    server.process.send(18)
    assert (refused.returncode, "in use by another server" in refused.stderr) == (Exit.CONFLICT, True)
    assert server.process.wait(20) == BROKEN
    restored = headway(place, "restore", str(place.folder / "backup.db"))
    assert restored.returncode == 0, restored.stderr
    server = Server(place).start()
    assert sum(server.counts().values()) == 5
    assert server.stop() == 0


def test_a_store_behind_a_link_is_one_store(place):
    """Its log lies beside the file itself, and so does its lock."""
    (place.folder / "other").mkdir()
    link = place.store
    link.symlink_to(place.folder / "other" / "real.db")
    server = Server(place).start()
    Hand(server)
    assert len(start_some(place, 0)) == 5
    real = Place(place.folder, place.folder / "other" / "real.db")
    assert "in use by another server" in headway(real, "keys", "create", "admin").stderr
    server.kill()
    assert headway(place, "doctor").returncode == 0
    server.start()
    assert sum(server.counts().values()) == 5
    link.unlink()
    assert server.process.wait(20) == BROKEN
    link.symlink_to(place.folder / "other" / "real.db")


def test_a_reserve_that_is_deleted_is_taken_anew(server, place):
    beside(place, ".reserve").unlink()
    until(lambda: beside(place, ".reserve").exists(), 20, "it is taken anew")
    until(lambda: start_some(place, 100), 20, "runs are accepted")
    assert server.stop() == 0
