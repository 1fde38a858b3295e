import subprocess

import pytest
from tests.ops.containers import ROOT, Machine, built, copied, debian, missing
from tests.postgres.fixtures import postgres_cluster, postgres_installation

__all__ = ["postgres_cluster", "postgres_installation"]


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """A fresh Debian in a folder, without its network's settings."""
    if reason := missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("base") / "root"
    debian(folder)
    return folder


@pytest.fixture(scope="session")
def image(base, tmp_path_factory):
    """The image of ops/Dockerfile."""
    return built(ROOT / "ops/Dockerfile", ROOT, base, tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def machine(image, tmp_path_factory):
    """A machine with systemd on which Headway is in /opt/headway, as docs/how-to/deploy.md has it."""
    folder = tmp_path_factory.mktemp("machine")
    root = copied(image.root, folder / "root")
    subprocess.run(["userdel", "--remove", "--root", str(root), "headway"], check=True)  # the page makes its own
    with Machine(root, folder / "boot.log") as found:
        yield found
