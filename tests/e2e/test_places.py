"""A store whose disk or folder is not as it should be: a sentence that says which, and what to do, and never a bare I/O error."""

import os
import shutil
import signal
import subprocess
import sys

import pytest
from tests.faults.full_disks import disk_of, ended_on_a_full_disk, fill, start_some
from tests.faults.protocol import ProtocolWorker
from tests.faults.server import ROOT, Deployment, Server

from headway.serving.serve import FAILED
from headway.store.sqlite.open_errors import file_system

NO_RESERVE = {"HEADWAY_RESERVE_BYTES": "0"}
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.fixture
def small_disk(tmp_path):
    (tmp_path / "disk").mkdir()
    with disk_of("32m", tmp_path / "disk") as disk:
        yield disk


@pytest.fixture
def deployment(small_disk, tmp_path):
    """A store on a small disk, with five runs."""
    found = Deployment(tmp_path, small_disk / "headway.db")
    server = Server(found, **NO_RESERVE).start()
    ProtocolWorker(server)
    assert len(start_some(found, 0)) == 5
    assert server.stop() == 0
    yield found
    found.clean_up()


def headway(deployment, *arguments):
    command = [sys.executable, "-m", "headway", *arguments]
    return subprocess.run(command, cwd=ROOT, env=deployment.environment(), capture_output=True, text=True, check=False)


def refusal(deployment, prefix=(), **environment):
    """Start a server that has to refuse; return the sentence."""
    before = len(deployment.logged())
    server = Server(deployment, prefix=prefix).start(ready=False, **environment)
    assert server.process.wait(20) == FAILED
    said = deployment.logged()[before:]
    assert said.startswith("headway: the store cannot be opened: ")
    assert said.count("\n") == 1, said
    return said


@pytest.mark.parametrize("left", [0, 4_096, 24_000])
def test_a_restart_on_a_full_disk_says_what_is_full_and_how_much_it_takes(deployment, small_disk, left):
    ballast = fill(small_disk)
    os.truncate(ballast, ballast.stat().st_size - left)
    said = refusal(deployment, **NO_RESERVE)
    assert f"the disk of {small_disk} is full: 0.0 MiB are free, and up to 8.0 MiB are needed; make room there" in said
    looked = headway(deployment, "doctor", "--store", deployment.store_url)
    assert (looked.returncode, f"FAIL  disk: the disk of {small_disk} is full" in looked.stdout) == (1, True)
    ballast.unlink()
    server = Server(deployment, **NO_RESERVE).start()
    assert sum(server.counts().values()) == 5
    assert server.stop() == 0


def test_a_restart_on_a_full_disk_takes_the_reserve_so_that_runs_can_end(deployment, small_disk):
    held = {"HEADWAY_RESERVE_BYTES": str(4 << 20)}
    assert Server(deployment, **held).start().stop() == 0
    fill(small_disk)
    server = Server(deployment, **held).start()
    hand = ProtocolWorker(server)
    assert server.call("POST", "/v1/runs", {"task": "job"}).status == 503
    ended_on_a_full_disk(hand, hand.claim(5))
    assert server.counts() == {"succeeded": 5}
    assert server.stop() == 0


def test_a_copy_that_has_no_room_says_so_and_leaves_nothing(deployment, small_disk):
    shutil.copy(deployment.store, deployment.folder / "copy.db")
    fill(small_disk)
    for arguments in (
        ("backup", str(small_disk / "b.db"), "--store", deployment.store_url),
        ("restore", str(deployment.folder / "copy.db"), "--store", f"sqlite:///{small_disk}/r.db"),
    ):
        copied = headway(deployment, *arguments)
        assert copied.returncode == 1
        assert f"cannot be copied: the disk of {small_disk} is full: 0.0 MiB are free" in copied.stderr
    assert {file.name for file in small_disk.glob("[br].db*")} <= {"r.db.lock"}


def test_a_disk_that_can_only_be_read_is_said_so(deployment, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    said = f"the disk of {small_disk} can only be read"
    assert said in refusal(deployment)
    assert said in headway(deployment, "doctor", "--store", deployment.store_url).stdout


def test_files_of_another_user_are_said_so(deployment, small_disk):
    """As after a command that was run as root."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can become another user, with setpriv")
    python = subprocess.run(
        [*NOBODY, sys.executable, "-c", "import headway"], cwd=ROOT, env=deployment.environment(), check=False
    )
    if python.returncode:
        pytest.skip("another user cannot run this Python")
    small_disk.parent.chmod(0o755)
    small_disk.parent.parent.chmod(0o755)
    said = refusal(deployment, NOBODY)
    assert "may not" in said
    assert "give" in said


def test_a_folder_that_is_none_is_said_so(deployment, small_disk):
    (small_disk / "file").touch()
    deployment.store_url = f"sqlite:///{small_disk}/file/headway.db"
    assert f"there is no folder {small_disk}/file: make it, or mount the disk that it is on" in refusal(deployment)


def test_too_many_open_files_are_said_so(deployment):
    script = """
import os, pathlib, sys
from headway.clock import SystemClock
from headway.store.database import StorageBroken
from headway.store.sqlite.open import open_file
taken = []
try:
    while True:
        taken.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    for left in range(int(sys.argv[2])):
        os.close(taken.pop())
try:
    open_file(pathlib.Path(sys.argv[1]), SystemClock(), reserve_bytes=0)
except StorageBroken as error:
    print(error)
"""
    for left in range(6):
        command = ["prlimit", "--nofile=64", sys.executable, "-c", script, str(deployment.store), str(left)]
        tried = subprocess.run(
            command, cwd=ROOT, env=deployment.environment(), capture_output=True, text=True, check=False
        )
        assert "too many files are open: raise the limit" in tried.stdout, (left, tried)


def test_the_kind_of_a_file_system_is_known(deployment, small_disk):
    """What is said of network file systems depends on it; there is none here."""
    assert file_system(small_disk) == "tmpfs"
    assert file_system(small_disk / "nowhere") == "tmpfs"


def test_a_store_that_another_program_holds_is_said_so(deployment):
    holder = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA locking_mode = EXCLUSIVE")
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", holder, str(deployment.store)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as held:
        assert held.stdout.readline() == b"held\n"
        assert "is locked by another program: close it and start again" in refusal(deployment)
        held.send_signal(signal.SIGKILL)
