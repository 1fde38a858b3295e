"""What user code is given of the environment, and how a worker gets its key."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from tests.worker.supervised import ObservedSupervisor

from headway import config
from headway.worker.processes.environment import handed_on, withhold


@pytest.mark.parametrize(
    "name", sorted(config.variables() - {"HEADWAY_URL", "HEADWAY_SERVER", "HEADWAY_CA", "HEADWAY_RAY_RUNTIME_ENV"})
)
def test_no_setting_of_the_server_and_no_key_is_handed_on_and_all_else_is(monkeypatch, name):
    theirs = {
        "MINE": "x",
        "PATH": "/bin",
        "HEADWAY_URL": "http://a",
        "HEADWAY_RAY_RUNTIME_ENV": "{}",
        "PGPASSWORD": "theirs",
    }
    assert handed_on({**theirs, name: "secret"}) == theirs
    monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("MINE", "x")
    withhold()
    assert (os.environ.get(name), os.environ["MINE"]) == (None, "x")


def test_each_process_finds_the_key_on_its_standard_input_in_all_its_lives_and_nowhere_else(monkeypatch):
    monkeypatch.setenv("HEADWAY_SECRET", "secret")
    program = "import json, os, sys; print(json.dumps([sys.stdin.read(), sys.argv, dict(os.environ)]))"

    async def scenario():
        watched = ObservedSupervisor(program, processes=2, key="hw_local_key")
        await watched.supervisor.start()
        await watched.until(lambda: watched.written.count(b"\n") >= 4)
        await watched.supervisor.stop(10)
        return watched

    for line in asyncio.run(scenario()).written.decode().splitlines()[:4]:
        stdin, arguments, environment = json.loads(line.partition("] ")[2])
        assert stdin == "hw_local_key"
        assert "hw_local_key" not in str((arguments, environment))
        assert "HEADWAY_SECRET" not in environment


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says which files are open")
def test_a_pipe_is_closed_whether_its_process_could_be_started_or_not():
    async def scenario():
        watched = ObservedSupervisor("", key="k")
        watched.supervisor._argv = lambda _: ["/nonexistent"]
        before = open_files()
        for _ in range(10):
            with pytest.raises(FileNotFoundError):
                await watched.supervisor.start()
        return open_files() - before

    assert asyncio.run(scenario()) <= 2
