import subprocess

import pytest
from tests.e2e.programs import HEADWAY
from tests.faults.conftest import deployment
from tests.faults.server import ROOT
from tests.postgres.fixtures import postgres_cluster, postgres_installation, postgres_url

__all__ = ["deployment", "postgres_cluster", "postgres_installation", "postgres_url"]


@pytest.fixture
def headway(deployment):
    """Call the command line for the server of this place; return what it printed."""

    def call(*arguments, code=0, url=deployment.url, **more):
        done = subprocess.run(
            [*HEADWAY, *arguments], cwd=ROOT, env=deployment.environment(HEADWAY_URL=url, **more),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == code, (
            arguments,
            done.returncode,
            done.stdout,
            done.stderr,
            deployment.logged()[-2000:],
        )
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stderr

    return call
