"""The pictures are the table."""

import subprocess
import sys
from pathlib import Path

from headway.kernel.diagram import mermaid
from headway.kernel.lifecycle import CAUSES, TRANSITIONS
from headway.kernel.run import State

ROOT = Path(__file__).resolve().parents[2]


def test_every_arrow_is_drawn_once_with_its_events():
    lines = [line.strip() for line in mermaid().splitlines()]
    for state, row in TRANSITIONS.items():
        for event, targets in row.items():
            for target in targets:
                (arrow,) = [line for line in lines if line.startswith(f"{state} --> {target}:")]
                assert CAUSES[event].replace("_", " ") in arrow


def test_the_page_of_states_is_current():
    checked = subprocess.run([sys.executable, "tools/diagrams.py", "--check"], cwd=ROOT, check=False)
    assert 0 == checked.returncode, "run: python tools/diagrams.py"
    page = (ROOT / "docs/states.md").read_text()
    assert all(f"**{state}**: " in page for state in State)
