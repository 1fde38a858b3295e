"""The public names mean to a type checker what they should; the files in typing/ are checked, not executed."""

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "typing"
ROOT = Path(__file__).resolve().parents[2]


def test_the_public_names_are_typed_as_promised():
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--config-file", "", *sorted(FOLDER.glob("*.py"))],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "MYPYPATH": str(ROOT / "src")},
    )  # fmt: skip
    found = [line for line in done.stdout.splitlines() if line.startswith("tests/") or "internal error" in line]
    assert found == []
