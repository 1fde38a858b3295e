"""What a newcomer does first: serve the example, run it on a real folder, look at what comes out."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import zipfile

import pytest
from tests.faults.server import ROOT, Server
from tests.faults.verdict import clean
from tests.faults.waiting import until

APP = "examples.backup:app"


@pytest.fixture
def folder(deployment):
    """A folder with folders, text, bytes, an empty file, and a name that is not ASCII."""
    source = deployment.folder / "data"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "empty").touch()
    (source / "grüße.txt").write_text("hello\n" * 1_000)
    for number in range(40):
        (source / "deep" / "er" / f"{number}.bin").write_bytes(random.Random(number).randbytes(300_000))
    return source


def headway(deployment, *arguments, check=True):
    """Run the command line and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "headway", "--url", deployment.url, *arguments],
        cwd=ROOT, env=deployment.environment(), capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stderr
    return done


def holds(archive, source):
    """Assert that the archive has each file of the folder, byte for byte."""
    with zipfile.ZipFile(archive) as bundle:
        assert bundle.testzip() is None
        packed = {name: bundle.read(name) for name in bundle.namelist()}
    assert packed == {str(path.relative_to(source)): path.read_bytes() for path in source.rglob("*") if path.is_file()}


def test_the_example_zips_a_folder_and_prints_its_result(deployment, folder):
    server = Server(deployment, app=APP).start()
    server.knows("backup")
    archive = deployment.folder / "out.zip"
    done = headway(deployment, "--json", "run", "backup", f"folder={folder}", f"target={archive}")
    output = json.loads(done.stdout)["output"]
    assert (output["files"], output["archive"]) == (42, str(archive))
    assert output["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    holds(archive, folder)
    shown = headway(deployment, "runs", "list").stdout
    assert "succeeded" in shown
    assert server.stop() == 0
    assert clean(deployment) == []


def test_a_run_that_is_watched_survives_a_killed_worker_and_a_killed_server(deployment, folder):
    server = Server(deployment, "--lease", "2s", app=APP).start()
    server.knows("backup")
    archive = deployment.folder / "out.zip"
    watch = subprocess.Popen(
        [sys.executable, "-m", "headway", "--url", deployment.url, "run", "backup", f"folder={folder}", f"target={archive}"],
        cwd=ROOT, env=deployment.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    deployment.processes.append(watch)
    until(lambda: server.counts().get("running"), 30, "the backup runs")
    os.kill(until(lambda: workers(server), 5, "a worker is there"), signal.SIGKILL)
    server.kill()
    server.start()
    said, _ = watch.communicate(timeout=60)
    assert watch.returncode == 0, said.decode()
    run = server.get("/v1/runs")["data"][0]
    assert (run["state"], run["progress"]["percent"]) == ("succeeded", 100.0)
    holds(archive, folder)
    assert [path.name for path in deployment.folder.glob(".out.zip*")] == []
    assert server.stop() == 0
    assert clean(deployment) == []


def workers(server):
    """Return the process id of the local worker."""
    found = [worker["pid"] for worker in server.get("/v1/workers")["data"] if "backup" in worker["tasks"]]
    return found[-1] if found else None


def test_a_task_that_does_not_exist_is_said_so_and_the_exit_code_tells(deployment, folder):
    server = Server(deployment, app=APP).start()
    server.knows("backup")
    done = headway(deployment, "run", "restore", check=False)
    assert done.returncode != 0
    assert "restore" in done.stderr
    assert "Traceback" not in done.stderr
    assert server.stop() == 0
