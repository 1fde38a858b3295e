"""tools/setup makes the environment that the lock describes: a small project of its own, a real pip, and an index in a folder."""

import hashlib
import os
import shutil
import subprocess
import zipfile

import pytest
from tests.docs.pages import ROOT

BACKEND = """
import zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("small-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: small\\nVersion: 1.0\\n")
        wheel.writestr("small-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("small-1.0.dist-info/RECORD", "")
    return name
"""
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "small"
version = "1.0"
"""


class Project:
    """A project with Headway's set-up, and the index that its pip is configured with."""

    def __init__(self, folder):
        self.root, self.index = folder / "project", folder / "index"
        (self.root / "tools").mkdir(parents=True)
        (self.root / "locks").mkdir()
        for name in ("setup", "index.py"):
            shutil.copy(ROOT / "tools" / name, self.root / "tools" / name)
        (self.root / "pyproject.toml").write_text(PROJECT)
        (self.root / "backend.py").write_text(BACKEND)
        for part in ("dev", "ray", "patroni"):
            self.lock(part)
        self.lock("build", self.publish("builder", "1.0"))

    def publish(self, name, version):
        """Put a package into the index; return its line of the lock."""
        folder = self.index / name
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}-{version}-py3-none-any.whl"
        about = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(f"{name}.py", f"version = {version!r}")
            wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{about}/RECORD", f"{name}.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
        (folder / "index.html").write_text(
            "".join(f'<a href="{each.name}">{each.name}</a>' for each in folder.glob("*.whl"))
        )
        return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"

    def lock(self, part, *lines):
        (self.root / "locks" / f"{part}.txt").write_text("\n".join(lines) + "\n")

    def set_up(self, **more):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "PYTHON"))}
        own = {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": self.index.as_uri(),
            "PYTHON": shutil.which("python3") or "",
        }
        command = [self.root / "tools/setup"]
        return subprocess.run(command, env={**kept, **own, **more}, capture_output=True, text=True, check=False)

    def installed(self):
        """Return the version of each module of ours that the environment has."""
        program = "import importlib\nfor name in ('alpha', 'beta', 'gamma', 'own'):\n    try: print(name, importlib.import_module(name).version)\n    except ImportError: pass"
        done = subprocess.run(
            [self.root / ".venv/bin/python", "-c", program], capture_output=True, text=True, check=True
        )
        return dict(line.split() for line in done.stdout.splitlines())


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project whose environment is made; each test goes on from a lock of its own."""
    made = Project(tmp_path_factory.mktemp("set-up"))
    made.lock("run", made.publish("alpha", "1.0"), made.publish("beta", "1.0"))
    made.publish("alpha", "2.0")
    done = made.set_up()
    assert done.returncode == 0, done.stderr
    assert made.installed() == {"alpha": "1.0", "beta": "1.0"}, "what the lock says, from the index that pip has"
    return made


def test_what_is_up_to_date_is_left_alone(project):
    done = project.set_up(PIP_INDEX_URL="file:///nowhere")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_another_lock_changes_adds_and_removes_and_leaves_what_the_developer_has_put_there(project):
    own = next(project.root.glob(".venv/lib/python*/site-packages")) / "own.py"
    own.write_text("version = '7'")
    project.lock("run", project.publish("alpha", "2.0"), project.publish("gamma", "1.0"))
    assert project.set_up().returncode == 0
    assert project.installed() == {"alpha": "2.0", "gamma": "1.0", "own": "7"}
    own.unlink()


def test_a_file_that_is_not_the_one_that_was_locked_is_not_installed(project):
    before = project.installed()
    project.lock("run", project.publish("alpha", "3.0").partition(":")[0] + ":" + "0" * 64)
    assert project.set_up().returncode != 0
    assert project.installed() == before


def test_uv_is_used_where_it_is_and_pip_where_uv_fails(project, tmp_path):
    """A uv that cannot do it, and says what it was asked."""
    (tmp_path / "uv").write_text(f'#!/bin/sh\necho "$UV_DEFAULT_INDEX $*" >>{tmp_path / "asked"}\nexit 1\n')
    (tmp_path / "uv").chmod(0o755)
    project.lock("run", project.publish("alpha", "4.0"))
    done = project.set_up(PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert (done.returncode, project.installed()) == (0, {"alpha": "4.0"}), done.stderr
    asked = (tmp_path / "asked").read_text().split()
    assert asked[:3] == [project.index.as_uri(), "pip", "install"]
    assert "--require-hashes" in asked


def test_an_environment_that_was_moved_is_made_anew(project):
    project.lock("run", project.publish("alpha", "5.0"))
    project.root = project.root.rename(project.root.with_name("elsewhere"))
    done = project.set_up()
    assert (done.returncode, "Making .venv" in done.stderr) == (0, True), done.stderr
    assert project.installed() == {"alpha": "5.0"}
