"""The first key of a container comes from its environment or a file, once, and is seen nowhere."""

import contextlib
import json
import sys

import pytest
from tests.e2e.programs import Caller
from tests.faults.server import Deployment, Process, Server
from tests.faults.waiting import until

from headway.client.errors import ConnectionLost
from headway.client.transport import Transport
from headway.protocol import keytext


@pytest.fixture
def key():
    return str(keytext.new())


def authorised(server, text):
    with_key = Transport(server.deployment.url, key=text)
    server.deployment.connections.append(with_key)
    return with_key.request("GET", "/v1/keys").status


def started(deployment, **environment):
    server = Server(deployment, **environment).start(ready=False)

    def ready():
        assert server.process.alive, deployment.logged()
        with contextlib.suppress(ConnectionLost):
            return server.http.request("GET", "/readyz").status == 200

    until(ready, 20, deployment.logged)
    return server


def logged_since(deployment, before):
    return deployment.logged()[before:]


@pytest.mark.parametrize("deployment", ["sqlite", "postgres"], indirect=True)
def test_the_first_key_is_made_at_the_first_start_and_counts_from_then_on(deployment, key, tmp_path):
    server = started(deployment, HEADWAY_BOOTSTRAP_KEY=key)
    assert authorised(server, key) == 200
    assert server.call("GET", "/v1/keys").status == 401
    (made,) = json.loads(Caller(deployment, key)("keys", "list", "--json"))["data"]
    assert (made["name"], "key:admin" in made["scopes"]) == ("bootstrap", True)
    assert made["id"] == keytext.read(key).id
    assert server.stop() == 0

    before = len(deployment.logged())
    server = started(deployment, HEADWAY_BOOTSTRAP_KEY=key)
    assert authorised(server, key) == 200
    assert len(json.loads(Caller(deployment, key)("keys", "list", "--json"))["data"]) == 1
    assert server.stop() == 0
    assert "BOOTSTRAP" not in logged_since(deployment, before)

    other, before = str(keytext.new()), len(deployment.logged())
    file = tmp_path / "first.key"
    file.write_text(f"{other}\n")
    file.chmod(0o600)
    server = started(deployment, HEADWAY_BOOTSTRAP_KEY_FILE=str(file))
    assert authorised(server, key) == 200
    assert authorised(server, other) == 401
    Caller(deployment, key)("keys", "revoke", made["id"])
    assert server.stop() == 0
    assert "HEADWAY_BOOTSTRAP_KEY is not used: the store has keys already" in logged_since(deployment, before)

    before = len(deployment.logged())
    server = started(deployment, HEADWAY_BOOTSTRAP_KEY=key)
    assert authorised(server, key) == 401, "a key that was revoked does not come back"
    assert server.stop() == 0
    assert "revoked" in logged_since(deployment, before)
    for text in (key, other):
        assert text not in deployment.logged()
        assert text.split("_", 2)[2] not in deployment.logged()


def test_a_file_holds_it_too_and_with_a_key_a_server_may_listen_elsewhere(deployment, key, tmp_path):
    file = tmp_path / "first.key"
    file.write_text(key)
    file.chmod(0o600)
    deployment.url = f"http://127.0.0.1:{deployment.port}"
    server = Server(deployment, "--host", "0.0.0.0", "--behind-proxy", HEADWAY_BOOTSTRAP_KEY_FILE=str(file)).start(
        ready=False
    )
    until(lambda: "every other address" in deployment.logged(), 20, deployment.logged)
    assert authorised(server, key) == 200
    assert server.stop() == 0


def test_functions_do_not_see_it(deployment, key):
    command = [sys.executable, "-m", "headway", "serve", "tests.e2e.surroundings:app", "--port", str(deployment.port), "--store",
               deployment.store_url]  # fmt: skip
    server = Server(deployment)
    server.process = Process(deployment, command, HEADWAY_BOOTSTRAP_KEY=key, HEADWAY_BOOTSTRAP_KEY_FILE="")
    server.http = Transport(deployment.url, key=key)
    deployment.connections.append(server.http)
    server.wait_until_ready()
    server.knows("process")
    for task in ("inline", "process"):
        seen = server.final(server.started(task))["output"]
        assert "HEADWAY_BOOTSTRAP_KEY" not in (*seen["now"], *seen["when_loaded"])
        assert key.split("_", 2)[2] not in json.dumps({**seen, "processes": {
            pid: found for pid, found in seen["processes"].items() if pid != str(server.process.pid)
        }})  # fmt: skip
    assert server.stop() == 0


REFUSED = {
    "hunter2": "is not a key, hw_ID_SECRET", "hw_abcd1234_short": "is not a key, hw_ID_SECRET",
    f"hw_local00000000_{'aB3_xYz9-Q' * 5}": "is not a key, hw_ID_SECRET", f"hw_abcd1234_{'a' * 43}": "can be guessed",
    "hw_abcd1234_abcdefghijklmnopqrstu": "can be guessed",
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_key_or_can_be_guessed_is_refused_and_not_shown(tmp_path, text):
    deployment = Deployment(tmp_path)
    file = tmp_path / "first.key"
    file.write_text(text)
    file.chmod(0o600)
    for environment in ({"HEADWAY_BOOTSTRAP_KEY": text}, {"HEADWAY_BOOTSTRAP_KEY_FILE": str(file)}):
        process = Process(deployment, [sys.executable, "-m", "headway", *deployment.serve_arguments()], **environment)
        assert process.wait(30) == 2
        (said,) = deployment.logged().splitlines()
        assert REFUSED[text] in said
        assert "headway keys generate" in said
        assert next(iter(environment)) in said
        assert text not in said
        deployment.log.unlink()
        assert not deployment.store.exists()


def test_an_empty_or_missing_file_and_both_at_once_are_refused(tmp_path, key):
    deployment = Deployment(tmp_path)
    empty = tmp_path / "empty"
    empty.touch(0o600)
    for environment, why in (
        ({"HEADWAY_BOOTSTRAP_KEY_FILE": str(empty)}, "is empty"),
        ({"HEADWAY_BOOTSTRAP_KEY_FILE": str(tmp_path / "no")}, "cannot be read"),
        ({"HEADWAY_BOOTSTRAP_KEY": key, "HEADWAY_BOOTSTRAP_KEY_FILE": str(empty)}, "leave one of the two out"),
    ):
        process = Process(deployment, [sys.executable, "-m", "headway", *deployment.serve_arguments()], **environment)
        assert process.wait(30) == 2
        assert why in deployment.logged()
        deployment.log.unlink()


def test_generate_prints_a_key_that_is_taken(tmp_path):
    text = Caller(Deployment(tmp_path))("keys", "generate").strip()
    assert keytext.read(text) is not None
    assert text != Caller(Deployment(tmp_path))("keys", "generate").strip()
