"""Messages of a server that starts: its URL, and what to do about a missing folder."""

import os
import pty
import subprocess
import sys

import pytest
from tests.e2e.programs import Caller
from tests.faults.server import ROOT, Deployment, Server
from tests.faults.waiting import until


@pytest.fixture
def headway(deployment):
    return Caller(deployment)


@pytest.mark.parametrize(("host", "loopback"), [("0.0.0.0", "127.0.0.1"), ("0", "127.0.0.1"), ("::", "[::1]")])
def test_a_server_on_every_address_offers_one_that_can_be_typed_and_its_own_workers_use_it(
    deployment, headway, host, loopback
):
    headway("keys", "create", "admin", "--scope", "all", "--store", deployment.store_url)
    server = Server(deployment, "--host", host, "--behind-proxy", app="examples.backup:app")
    server.http.close()
    deployment.url = f"http://{loopback}:{deployment.port}"
    server.http = deployment.connect(30)
    server.start(ready=False)
    until(lambda: "Headway" in deployment.logged(), 20, "the banner")
    until(lambda: server.process.alive and "connected, with" in deployment.logged(), 30, deployment.logged)
    assert f"http://{loopback}:{deployment.port}, and every other address of this machine" in deployment.logged()
    assert f"http://{host}" not in deployment.logged()
    until(lambda: server.http.request("GET", "/readyz").status == 200, 20, "a worker has registered")
    assert server.stop() == 0


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz"])
def test_health_is_told_under_any_host_and_nothing_else_is(deployment, path):
    server = Server(deployment).start()
    for host in ("10.1.2.3:8006", "headway.svc.cluster.local", ""):
        assert server.call("GET", path, Host=host).status == 200
        assert server.call("GET", "/v1/runs", Host=host).status == 421
    refused = server.call("GET", path, Host="evil.example", Origin="https://evil.example")
    assert refused.status == 403, "a page of another site reads nothing"
    assert server.stop() == 0


def test_a_store_in_a_folder_that_is_missing_needs_a_word(tmp_path):
    folder = tmp_path / "not" / "there"
    deployment = Deployment(tmp_path, folder / "headway.db")
    headway = Caller(deployment)
    try:
        for command in (["serve", "--port", "0"], ["keys", "create", "a", "--scope", "all"]):
            code = 1 if command[0] == "serve" else 6
            said = headway(*command, "--store", deployment.store_url, code=code)
            assert (said.count("\n"), f"there is no folder {folder}: say --make-folder" in said) == (1, True)
            assert not folder.exists()
        server = Server(deployment, "--make-folder").start()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert server.stop() == 0
        assert "headway.db.reserve holds back 64 MiB" in deployment.logged()
        assert (folder / "headway.db.reserve").read_bytes().startswith(b"This file only holds back disk space")
        headway("backup", str(tmp_path / "b.db"), "--store", deployment.store_url)
        there = f"sqlite:///{tmp_path}/other/r.db"
        assert "--make-folder" in headway("restore", str(tmp_path / "b.db"), "--store", there, code=6)
        headway("restore", str(tmp_path / "b.db"), "--store", there, "--make-folder")
    finally:
        deployment.clean_up()


@pytest.mark.parametrize(("answer", "made"), [(b"y\n", True), (b"n\n", False)])
def test_on_a_terminal_a_person_is_asked_whether_to_make_the_folder(tmp_path, answer, made):
    folder = tmp_path / "new"
    command = [
        sys.executable,
        "-m",
        "headway",
        "keys",
        "create",
        "a",
        "--scope",
        "all",
        "--store",
        f"sqlite:///{folder}/h.db",
    ]
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    started = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    said = b""
    while b"Make it? [y/N]:" not in said:
        said += os.read(ours, 1000)
    os.write(ours, answer)
    started.communicate(timeout=30)
    os.close(ours)
    assert (started.returncode == 0, folder.exists()) == (made, made)


def test_every_name_is_not_a_name_that_a_server_answers_for(headway):
    said = headway("serve", "--allow-host", "*", code=2)
    assert "--allow-host (HEADWAY_ALLOW_HOST): '*' is not a name" in said
    assert "list them" in said
