"""Keys with real processes: the first one is made without a server, and from then on everybody shows one."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.programs import Caller, key, ready
from tests.faults.server import ROOT, Server
from tests.faults.waiting import until

from headway.client.errors import ConnectionLost
from headway.errors import Unauthenticated
from headway.worker.processes.exits import REFUSED_CODE


@pytest.fixture
def headway(deployment):
    return Caller(deployment)


def test_a_day_behind_a_lock(deployment, headway):
    store = f"sqlite:///{deployment.store}"
    admin = headway("keys", "create", "admin", "--scope", "all", "--store", store).strip()
    assert key(admin) not in deployment.store.read_bytes().decode("latin-1")

    server = Server(deployment, app="examples.backup:app")
    headway.key = admin
    server.start(ready=False)
    until(lambda: ready(server), 20)
    data = deployment.folder / "data"
    data.mkdir()
    (data / "a.txt").write_text("a")
    done = json.loads(headway("run", "backup", f"folder={data}", f"target={deployment.folder / 'a.zip'}"))
    assert done["files"] == 1, "the server's own worker has a key of its own"

    shown = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _readable(path)]
    assert not [line for line in shown if key(admin).encode() in line or b"hw_" in line]

    reader = json.loads(headway("keys", "create", "reader", "--json"))
    user = headway("users", "create", "Ada", "--email", "ada@example.org").strip()
    shop = headway("orgs", "create", "Shop", "--zone", "Europe/Vienna").strip()
    shops = headway("keys", "create", "owner", "--scope", "all", "--organisation", shop).strip()
    listed = headway("keys", "list")
    assert "reader" in listed
    assert "owner" not in listed, "it is another organisation's"
    assert user in headway("users", "list")
    assert shop in headway("organisations", "list")

    headway.key = reader["key"]
    assert "backup" in headway("tasks", "list")
    assert "scope run:start" in headway("run", "backup", "folder=/", code=1)
    headway.key = admin
    headway.key = headway("keys", "create", "starter", "--scope", "run:start").strip()
    run_id = headway("run", "backup", f"folder={data}", f"target={deployment.folder / 'b.zip'}", "--detach").strip()
    assert "scope run:read" in headway("runs", "show", run_id, code=1)
    headway.key = shops
    assert json.loads(headway("runs", "list", "--json"))["data"] == []
    headway.key = None
    assert "Set HEADWAY_KEY" in headway("runs", "list", code=1)

    kept = deployment.folder / "admin.key"
    kept.write_text(admin)
    headway("keys", "revoke", reader["id"], "--key-file", str(kept))
    headway.key = reader["key"]
    assert "revoked" in headway("tasks", "list", code=1)
    assert server.stop() == 0
    assert "every row agrees" in headway("doctor", "--store", store, "--verify")
    for secret in (key(admin), key(reader["key"]), key(shops)):
        assert secret not in deployment.log.read_text()


def _readable(path):
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("options", [[], ["--behind-proxy"], ["--loopback-without-key"]])
def test_other_addresses_need_a_proxy_and_a_key(deployment, headway, options):
    said = headway(
        "serve", "--host", "0.0.0.0", "--port", "0", "--store", f"sqlite:///{deployment.store}", *options, code=2
    )
    assert (said.count("\n"), "refusing to listen" in said) == (1, True)
    assert Unauthenticated.code not in said


def test_a_worker_whose_key_is_for_other_queues_than_its_tasks_says_which_and_ends(deployment, headway):
    store = f"sqlite:///{deployment.store}"
    admin = headway("keys", "create", "admin", "--scope", "all", "--store", store).strip()
    server = Server(deployment)
    headway.key = admin
    server.start(ready=False)
    until(lambda: _alive(server), 20)
    mailer = headway("keys", "create", "mailer", "--scope", "worker", "--queue", "mail").strip()
    done = subprocess.run(
        [sys.executable, "-m", "headway.worker", deployment.url, "examples.backup:app"], cwd=ROOT,
        env=deployment.environment(HEADWAY_KEY=mailer), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == REFUSED_CODE, done.stderr
    assert "the key is for the queues mail and does not declare backup (queue default)" in done.stderr
    assert "backup" not in headway("tasks", "list")
    assert server.stop() == 0


def _alive(server):
    with contextlib.suppress(ConnectionLost):
        return server.http.request("GET", "/livez", timeout_s=5).status == 200
    return False
