"""User code gets the environment that it was started in, and none of what is Headway's own in it."""

import json
import subprocess
import sys

import pytest
from tests.faults.server import ROOT, Process, Server

from headway.client.transport import Transport
from headway.errors import Unauthenticated

APP = "tests.e2e.surroundings:app"
SECRETS = {
    "HEADWAY_SECRET": "our-secret-0123456789abcdef0123456789abcdef", "HEADWAY_EARLIER_SECRETS": "an-earlier-secret-0123456789abcdef0123,another-secret-0123456789abcdef01234567",
    "HEADWAY_KEY": "hw_0123456789_operators-key-0123456789", "HEADWAY_KEY_FILE": "/etc/operators-key-file",
}  # fmt: skip
DROPPED = "import ctypes, os, sys; [ctypes.CDLL(None).prctl(24, right, 0, 0, 0) for right in (19, 21, 38)]; os.execv(sys.argv[1], sys.argv[1:])"
NOT_ROOT = (sys.executable, "-c", DROPPED)
"""Runs a command without the rights to look into every process (ptrace, sys_admin, perfmon) that root has."""
TASKS = ("inline", "thread", "process")


def held_back(text):
    """Return which secrets are in a text; that of a server's own workers begins with its kind."""
    words = [word for value in SECRETS.values() for word in value.split(",")]
    return [word for word in (*words, "secret-of-the-database", "hw_local", "HEADWAY_STORE") if word in text]


@pytest.fixture(params=["sqlite", "postgres"])
def store(request, deployment):
    """The URL of a store; that of PostgreSQL has a password in it, which the tests' own does not ask for."""
    if request.param == "sqlite":
        return deployment.store_url
    return request.getfixturevalue("postgres_url").replace("@", ":secret-of-the-database@")


def test_tasks_of_local_workers_see_what_is_there_for_them_and_no_secret_of_the_server(deployment, store):
    server = Server(deployment)
    environment = {**SECRETS, "HEADWAY_STORE": store, "MINE": "kept", "HEADWAY_URL": "http://there"}
    command = [sys.executable, "-m", "headway", "serve", APP, "--port", str(deployment.port)]
    server.process = Process(deployment, [*NOT_ROOT, *command], **environment)
    server.wait_until_ready()
    server.knows("process")
    for task in TASKS:
        output = server.final(server.started(task))["output"]
        assert held_back(json.dumps(output)) == [], task
        for environ in (output["now"], output["when_loaded"]):
            assert (environ["MINE"], environ["HEADWAY_URL"], "PATH" in environ) == ("kept", "http://there", True)
        assert output["processes"][str(server.process.pid)]["environ"] == "PermissionError"
        assert len(output["processes"]) >= 3, "the worker, the server and who has started it were looked at"
    assert server.stop() == 0


def test_a_worker_elsewhere_keeps_its_key_to_itself(deployment, tmp_path):
    admin, worker = (made(deployment, name, scope) for name, scope in (("admin", "all"), ("worker", "worker:protocol")))
    server = Server(deployment)
    server.start(ready=False)
    server.http = Transport(deployment.url, key=admin)
    deployment.connections.append(server.http)
    server.wait_until_ready()
    key_file = tmp_path / "key"
    key_file.touch(0o600)
    key_file.write_text(worker)
    command = [*NOT_ROOT, sys.executable, "-m", "headway", "worker", APP, "--server", deployment.url]
    for given, options in (
        ({"HEADWAY_KEY": worker}, ()),
        ({"HEADWAY_KEY_FILE": str(key_file)}, ()),
        ({}, ("--key-file", str(key_file))),
    ):
        process = Process(deployment, [*command, *options], **given, MINE="kept", HEADWAY_URL=deployment.url)
        server.knows("process")
        for task in TASKS:
            output = server.final(server.started(task))["output"]
            text = json.dumps(
                [output["now"], output["when_loaded"], *(each["environ"] for each in output["processes"].values())]
            )
            assert (worker in text, str(key_file) in text) == (False, False), (task, given, options)
            assert output["now"]["MINE"] == "kept"
        again = server.final(server.started("started", other="inline"))["output"]
        assert again == Unauthenticated.code, "a client of user code's own needs a key of its own"
        process.kill()
    assert server.stop() == 0


def made(deployment, name, scope):
    command = [
        sys.executable,
        "-m",
        "headway",
        "keys",
        "create",
        name,
        "--scope",
        scope,
        "--store",
        deployment.store_url,
    ]
    done = subprocess.run(command, cwd=ROOT, env=deployment.environment(), capture_output=True, text=True, check=True)
    return done.stdout.strip()
