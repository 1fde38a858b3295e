"""A worker and Ray, as far as no cluster is needed: who needs Ray, who goes without, and what is said if it is not there."""

import importlib.util
import subprocess
import sys

import pytest
from tests.worker.conftest import (
    server,  # noqa: F401 - fixtures
    start,  # noqa: F401 - a fixture
)
from tests.worker.kit import lease
from tests.worker.programs import argv

from headway.protocol.workers import SucceededReport
from headway.worker.declaration.app import App
from headway.worker.executors.ray.options import RayOptions, RayUnusable

SPEC = "tests.ray.app:app"
without_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed here")
with_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed (tools/setup nightly does that)"
)


def mixed():
    app = App()
    app.task(executor="ray", name="far")(lambda: None)

    @app.task
    async def near() -> str:
        return "done"

    return app


def test_a_worker_that_leaves_ray_to_others_claims_the_rest(start):  # noqa: F811
    works = start(mixed(), ray=RayOptions(capacity=0))
    works.link.give(lease("near"))
    assert isinstance(works.link.outcome(), SucceededReport)
    assert [claim.rooms["ray"] for claim in works.link.claims] == [0] * len(works.link.claims)


def test_a_worker_without_ray_tasks_says_nothing_of_ray(start):  # noqa: F811
    app = App()
    app.task(name="near")(lambda: None)
    works = start(app)
    works.link.until(lambda: works.link.claims)
    assert "ray" not in works.link.claims[0].rooms


def test_a_worker_without_ray_tasks_imports_nothing_of_it():
    program = (
        "import sys; from headway.worker.__main__ import main; "
        "assert not {'ray', 'headway.worker.executors.ray.cluster', 'headway.worker.executors.ray.driver'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@without_ray
def test_who_has_ray_tasks_and_no_ray_is_told_what_to_do(server):  # noqa: F811
    words = [SPEC if word == "tests.worker.rough:app" else word for word in argv(server)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "pip install 'headway[ray]'" in done.stderr
    assert "--ray-capacity 0" in done.stderr


@with_ray
def test_settings_come_from_options_then_the_environment(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv("HEADWAY_RAY_RUNTIME_ENV", '{"pip": ["headway"]}')
    found = RayOptions().settings("tests/ray/app.py:app")
    assert (found.spec, found.address, bytes(found.runtime_env)) == (SPEC, "10.0.0.1:6379", b'{"pip": ["headway"]}')
    assert RayOptions(address="here").settings(SPEC).address == "here"
    monkeypatch.delenv("RAY_ADDRESS")
    assert RayOptions().settings(SPEC).address == "auto"


@with_ray
def test_a_runtime_environment_that_is_no_json_is_refused():
    with pytest.raises(RayUnusable, match="HEADWAY_RAY_RUNTIME_ENV"):
        RayOptions(runtime_env="[1]").settings(SPEC)


@with_ray
def test_a_worker_that_finds_no_cluster_goes_on_with_the_rest(start):  # noqa: F811
    works = start(mixed(), spec=SPEC, ray=RayOptions(address="127.0.0.1:1"))
    works.link.give(lease("near"))
    assert isinstance(works.link.outcome(), SucceededReport)
    assert works.link.claims[0].rooms["ray"] == 0
