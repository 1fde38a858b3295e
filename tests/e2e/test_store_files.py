"""The files of a store that is served are deleted, moved, replaced or cut: nothing is acknowledged into nowhere, all is saved."""

import shutil
import subprocess
import sys

import pytest
from tests.faults.full_disks import start_some
from tests.faults.protocol import ProtocolWorker
from tests.faults.server import ROOT, Deployment, Server
from tests.faults.verdict import StoreContents, clean
from tests.faults.waiting import until

from headway.cli.exits import Exit
from headway.serving import offline
from headway.serving.serve import BROKEN, FAILED


@pytest.fixture
def deployment(tmp_path):
    """A store in a folder of its own, which a test may take away."""
    (tmp_path / "store").mkdir()
    (tmp_path / "tmp").mkdir()
    found = Deployment(tmp_path, tmp_path / "store" / "headway.db")
    yield found
    found.clean_up()


@pytest.fixture
def server(deployment):
    found = Server(deployment, TMPDIR=str(deployment.folder / "tmp")).start()
    ProtocolWorker(found)
    assert len(start_some(deployment, 0)) == 5
    return found


def beside(deployment, suffix):
    return deployment.store.with_name(deployment.store.name + suffix)


def replaced(deployment):
    """Put a backup in the place of the store, as somebody does who forgets to stop the server."""
    offline.backup(deployment.store_url, str(deployment.folder / "backup.db"))
    start_some(deployment, 20)
    (deployment.folder / "backup.db").rename(deployment.store)


def emptied(path):
    with path.open("wb"):
        pass


def headway(deployment, *arguments):
    command = [sys.executable, "-m", "headway", *arguments, "--store", deployment.store_url]
    return subprocess.run(command, cwd=ROOT, env=deployment.environment(), capture_output=True, text=True, check=False)


LOST = {
    "deleted": lambda deployment: deployment.store.unlink(),
    "moved": lambda deployment: deployment.store.rename(deployment.folder / "elsewhere.db"),
    "replaced": replaced,
    "emptied": lambda deployment: emptied(deployment.store),
    "its log emptied": lambda deployment: emptied(beside(deployment, "-wal")),
    "its log deleted": lambda deployment: beside(deployment, "-wal").unlink(),
    "its log moved": lambda deployment: beside(deployment, "-wal").rename(deployment.folder / "elsewhere"),
    "everything deleted": lambda deployment: [file.unlink() for file in deployment.store.parent.iterdir()],
    "its folder moved": lambda deployment: deployment.store.parent.rename(deployment.folder / "elsewhere"),
    "its folder deleted": lambda deployment: shutil.rmtree(deployment.store.parent),
}


def saved(deployment):
    """Return what the server has saved; it is complete, or it is not there."""
    (file,) = (*deployment.folder.glob("store/*.rescued-*"), *deployment.folder.glob("tmp/*.rescued-*"))
    return file


@pytest.mark.parametrize("how", LOST)
def test_a_store_that_is_taken_away_is_noticed_before_anything_is_acknowledged_and_all_of_it_is_saved(
    server, deployment, how
):
    LOST[how](deployment)
    assert start_some(deployment, 100) == [], "it was acknowledged, and nobody will find it"
    assert server.process.wait(20) == BROKEN
    assert "while it was served" in deployment.logged()
    what = "what could still be read" if "emptied" in how else "all that was acknowledged"
    assert f"storage.rescued file={saved(deployment)}: {what} is in it" in deployment.logged()
    assert "Traceback" not in deployment.logged()
    other = Deployment(deployment.folder, deployment.folder / "restored.db")
    offline.restore(str(saved(deployment)), other.store_url)
    books = StoreContents(other)
    assert (books.lost, clean(other)) == ([], [])
    assert len(books.acknowledged) >= 5


@pytest.mark.parametrize("how", ["deleted", "emptied", "its log emptied", "its log deleted", "its folder moved"])
def test_a_store_that_is_taken_away_is_noticed_although_nothing_is_written(server, deployment, how):
    LOST[how](deployment)
    assert server.process.wait(10) == BROKEN
    assert saved(deployment)


def test_a_log_that_was_emptied_is_refused_at_the_next_start(server, deployment):
    emptied(beside(deployment, "-wal"))
    assert start_some(deployment, 100) == []
    assert server.process.wait(20) == BROKEN
    server = Server(deployment).start(ready=False)
    assert server.process.wait(20) == FAILED
    assert "nothing of it can be read" in deployment.logged()
    assert "headway doctor --accept-loss" in deployment.logged()


@pytest.mark.parametrize("suffix", ["-shm", ".lock"])
def test_what_keeps_others_away_is_missed_and_nothing_is_lost(server, deployment, suffix):
    """Without it another process would take the store for its own."""
    beside(deployment, suffix).unlink()
    start_some(deployment, 100)
    assert server.process.wait(20) == BROKEN
    server.start()
    assert sum(server.counts().values()) >= 5
    assert server.stop() == 0
    books = StoreContents(deployment)
    assert (books.lost, clean(deployment)) == ([], [])


@pytest.mark.parametrize("left", ["no file", "an empty file", "a backup"])
def test_a_log_without_its_store_is_refused_and_kept(server, deployment, left):
    """SQLite would delete it, or write it over what stands there."""
    offline.backup(deployment.store_url, str(deployment.folder / "backup.db"))
    server.kill()
    deployment.store.unlink()
    if left == "an empty file":
        deployment.store.touch()
    if left == "a backup":
        shutil.copy(deployment.folder / "backup.db", deployment.store)
        deployment.store.chmod(0o600)
    before = beside(deployment, "-wal").read_bytes()
    server = Server(deployment).start(ready=False)
    assert server.process.wait(20) == FAILED
    said = deployment.logged().splitlines()[-1].removeprefix("headway: the store cannot be opened: ")
    assert "headway.db-wal" in said
    assert said in headway(deployment, "doctor").stdout
    assert said in headway(deployment, "backup", str(deployment.folder / "copy.db")).stderr
    assert not (deployment.folder / "copy.db").exists()
    assert beside(deployment, "-wal").read_bytes() == before
    given_up = headway(deployment, "doctor", "--accept-loss")
    if left == "a backup":
        assert given_up.returncode == 0, given_up.stdout
        server = Server(deployment).start()
        assert sum(server.counts().values()) == 5
        assert server.stop() == 0
    else:
        assert given_up.returncode == (Exit.CONFLICT if left == "no file" else 1)
    (kept,) = deployment.store.parent.glob("headway.db-wal.damaged-*")
    assert kept.read_bytes() == before


def test_a_store_that_was_not_closed_and_is_not_there_is_not_replaced_by_an_empty_one(server, deployment):
    server.kill()
    for suffix in ("", "-wal", "-shm"):
        beside(deployment, suffix).unlink()
    server = Server(deployment).start(ready=False)
    assert server.process.wait(20) == FAILED
    assert "headway.db is not there, and the server that used it last did not close it" in deployment.logged()
    assert not deployment.store.exists()


def test_a_restore_is_refused_while_a_server_has_the_place(server, deployment):
    offline.backup(deployment.store_url, str(deployment.folder / "backup.db"))
    server.process.send(19)  # SIGSTOP: so that it does not notice before
    deployment.store.unlink()
    beside(deployment, "-wal").unlink()
    refused = headway(deployment, "restore", str(deployment.folder / "backup.db"))
    server.process.send(18)
    assert (refused.returncode, "in use by another server" in refused.stderr) == (Exit.CONFLICT, True)
    assert server.process.wait(20) == BROKEN
    restored = headway(deployment, "restore", str(deployment.folder / "backup.db"))
    assert restored.returncode == 0, restored.stderr
    server = Server(deployment).start()
    assert sum(server.counts().values()) == 5
    assert server.stop() == 0


def test_a_store_behind_a_link_is_one_store(deployment):
    """Its log lies beside the file itself, and so does its lock."""
    (deployment.folder / "other").mkdir()
    link = deployment.store
    link.symlink_to(deployment.folder / "other" / "real.db")
    server = Server(deployment).start()
    ProtocolWorker(server)
    assert len(start_some(deployment, 0)) == 5
    real = Deployment(deployment.folder, deployment.folder / "other" / "real.db")
    assert "in use by another server" in headway(real, "keys", "create", "admin").stderr
    server.kill()
    assert headway(deployment, "doctor").returncode == 0
    server.start()
    assert sum(server.counts().values()) == 5
    link.unlink()
    assert server.process.wait(20) == BROKEN
    link.symlink_to(deployment.folder / "other" / "real.db")


def test_a_reserve_that_is_deleted_is_taken_anew(server, deployment):
    beside(deployment, ".reserve").unlink()
    until(lambda: beside(deployment, ".reserve").exists(), 20, "it is taken anew")
    until(lambda: start_some(deployment, 100), 20, "runs are accepted")
    assert server.stop() == 0
