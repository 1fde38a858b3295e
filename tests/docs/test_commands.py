"""The README's two commands, as far as a test can go: it cannot run the command that runs it."""

import json
import os
import subprocess
import sys

import msgspec
import pytest
from tests.docs.pages import ROOT

from headway.config import Settings

COMMANDS = ["demo", "test", "tools/setup", ".ci/run"]


def test_the_scripts_can_be_executed():
    assert [name for name in COMMANDS if not os.access(ROOT / name, os.X_OK)] == []


def test_the_scripts_are_bash():
    for name in COMMANDS:
        subprocess.run(["bash", "-n", ROOT / name], check=True)


def test_continuous_integration_runs_the_second_command_and_then_the_ranges_of_the_dependencies():
    lines = (ROOT / ".ci/run").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith(("#", "set "))] == [
        'test="$(dirname "${BASH_SOURCE[0]}")/../test"',
        '"$test"',
        'exec "$test" --ranges',
    ]


def of_somebody(folder):
    """Return what an environment may say to Headway: a key, a server that is not there, and each setting as nobody could use it."""
    settings = {f"HEADWAY_{field.name.upper()}": "[nonsense" for field in msgspec.structs.fields(Settings)}
    return settings | {
        "HEADWAY_KEY": "hw_nobody_s",
        "HEADWAY_KEY_FILE": str(folder / "missing"),
        "HEADWAY_WORKER_KEY": "hw_nobody_s",
        "HEADWAY_SECRET": "short",
        "HEADWAY_URL": "http://127.0.0.1:9",
        "HEADWAY_SERVER": "http://127.0.0.1:9",
    }


@pytest.mark.parametrize("environment", [{}, of_somebody(ROOT)], ids=["as it is", "of somebody who uses Headway"])
def test_the_demo_runs_a_real_backup_and_prints_its_result(tmp_path, environment):
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.txt").write_text("x" * 1000 * number)
    words = [folder, "--target", tmp_path / "data.zip", "--store", f"sqlite:///{tmp_path / 'demo.db'}"]
    done = subprocess.run(
        [sys.executable, ROOT / "examples/demo.py", *words],
        cwd=tmp_path,
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT / "src"), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout[done.stdout.index("{") :])
    assert result["files"] == 20
    assert (tmp_path / "data.zip").stat().st_size == result["compressed"]


def test_what_is_measured_is_not_a_server_or_a_setting_of_the_environment(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "headway",
            "bench",
            "--seconds",
            "0.2",
            "--only",
            "reads_1",
            "--dir",
            tmp_path,
            "--json",
        ],
        env={**os.environ, **of_somebody(tmp_path), "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["figures"]) == {"reads_1"}


def test_tests_use_no_server_key_or_setting_of_the_environment():
    program = (
        "import json, os, tests.conftest; print(json.dumps(sorted(name for name in os.environ if 'HEADWAY' in name)))"
    )
    kept = {"HEADWAY_TEST_MARK": "1", "HEADWAY_FAULT_TIMES": "2", "HEADWAY_BENCH_PORT": "3"}
    own = {name: value for name, value in os.environ.items() if not name.startswith("HEADWAY_")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env={**own, **of_somebody(ROOT), **kept}, capture_output=True, check=True)
    assert json.loads(done.stdout) == sorted(kept)
