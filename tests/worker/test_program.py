"""`python -m headway.worker` against a server on loopback: it starts fast, drains on SIGTERM, dies with its parent."""

import os
import signal
import subprocess
import sys

import pytest
from tests.client.server import problem, serving
from tests.worker.programs import argv, environment, request

from headway.worker.processes.supervisor import worker_argv


def test_it_registers_claims_executes_and_drains(server):
    with subprocess.Popen(
        argv(server, "--queues", "a,b", "--name", "Ada"), env=environment(), stderr=subprocess.PIPE
    ) as worker:
        hello = request(server, "/v1/workers")
        assert (hello["name"], hello["queues"], hello["pid"]) == ("Ada", ["a", "b"], worker.pid)
        assert "add" in [task["name"] for task in hello["tasks"]]
        run = {"run_id": "r1", "task": "inline_poison", "epoch": 1, "attempt": 1, "max_attempts": 3, "input": {}}
        server.leases.put([run])
        reports = request(server, "/v1/leases:report", lambda body: body.get("reports"))["reports"]
        assert reports == [{"type": "succeeded", "run_id": "r1", "epoch": 1, "output": worker.pid}]
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
        request(server, "/v1/workers/w1:drain")


def test_it_dies_with_the_process_that_started_it(server):
    program = f"import os, subprocess, time; subprocess.Popen({argv(server)!r} + ['--parent', str(os.getpid())]); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], env=environment(), stderr=subprocess.DEVNULL) as parent:
        pid = request(server, "/v1/workers")["pid"]
        request(server, "/v1/leases:claim")
        parent.kill()
    request(server, "/v1/workers/w1:drain")
    watched = os.pidfd_open(pid)
    import select

    assert select.select([watched], [], [], 20)[0]
    os.close(watched)


def test_a_server_of_an_earlier_version_is_called_that():
    refused = problem(400, "unknown_field", "not known here: /started_at")
    with serving(lambda request: refused) as older:
        command = [sys.executable, "-m", "headway.worker", older.url, "tests.worker.rough:app"]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 4
    assert "not known here: /started_at; it is of an earlier version: upgrade servers first" in done.stderr


def test_nothing_heavy_is_imported():
    program = "import sys, headway.worker.__main__; print(*sorted(sys.modules))"
    modules = subprocess.run(
        [sys.executable, "-c", program], env=environment(), check=True, capture_output=True, text=True
    )
    heavy = {
        "aiohttp",
        "click",
        "rich",
        "starlette",
        "uvicorn",
        "apsw",
        "headway.runs",
        "headway.store",
        "jsonschema_rs",
    }
    assert heavy.isdisjoint(modules.stdout.split())


HOSTILE = ("queue", "logging", "email", "msgspec", "socket", "headway/__init__")
TASKS = """
import headway
from helper import beside
app = headway.App()

@app.task(name=beside)
async def t(): ...
"""


@pytest.fixture
def hostile(tmp_path):
    """A folder whose files have the names of modules that a worker imports."""
    (tmp_path / "headway").mkdir()
    for name in HOSTILE:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    (tmp_path / "helper.py").write_text("beside = 'beside'")
    (tmp_path / "app.py").write_text(TASKS)
    return tmp_path


def registered(server, command, folder):
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as worker:
        hello = request(server, "/v1/workers")
        worker.send_signal(signal.SIGTERM)
        worker.communicate()
    return [task["name"] for task in hello["tasks"]]


def test_a_worker_of_a_supervisor_imports_none_of_its_own_modules_from_the_folder_of_the_app(server, hostile):
    url = f"http://127.0.0.1:{server.server_address[1]}"
    assert registered(server, worker_argv(url, "app:app", "--name", "w"), hostile) == ["beside"]


@pytest.mark.parametrize("module", ["headway.worker", "headway"])
def test_a_program_that_is_started_by_hand_imports_none_of_its_own_modules_from_the_folder(server, hostile, module):
    (hostile / "headway/__init__.py").unlink()  # Python itself takes this one, before any of our code runs
    url = f"http://127.0.0.1:{server.server_address[1]}"
    command = {"headway.worker": [url, "app:app"], "headway": ["worker", "app:app", "--server", url]}[module]
    assert registered(server, [sys.executable, "-m", module, *command], hostile) == ["beside"]
