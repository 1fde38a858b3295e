"""The README's two commands, as far as a test can go: it cannot run the command that runs it."""

import json
import os
import subprocess
import sys

from tests.docs.pages import ROOT

COMMANDS = ["demo", "test", "tools/setup", ".ci/run"]


def test_the_scripts_can_be_executed():
    assert [name for name in COMMANDS if not os.access(ROOT / name, os.X_OK)] == []


def test_the_scripts_are_bash():
    for name in COMMANDS:
        subprocess.run(["bash", "-n", ROOT / name], check=True)


def test_continuous_integration_runs_the_second_command_and_nothing_else():
    lines = (ROOT / ".ci/run").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith(("#", "set "))] == [
        'exec "$(dirname "${BASH_SOURCE[0]}")/../test"'
    ]


def test_the_demo_runs_a_real_backup_and_prints_its_result(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.txt").write_text("x" * 1000 * number)
    words = [folder, "--target", tmp_path / "data.zip", "--store", f"sqlite:///{tmp_path / 'demo.db'}"]
    done = subprocess.run(
        [sys.executable, ROOT / "examples/demo.py", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout[done.stdout.index("{") :])
    assert result["files"] == 20
    assert (tmp_path / "data.zip").stat().st_size == result["compressed"]
