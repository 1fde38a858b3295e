"""What the fault tests have seen, as lines of JSON: `tools/faults.py` makes docs/faults.md of those that are kept.

Nothing is written unless HEADWAY_FAULT_RESULTS names a file to add to.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
NAMED: Final = "HEADWAY_FAULT_RESULTS"
KEPT: Final = ROOT / "tests/faults/results.jsonl"
"""What docs/faults.md is made of."""


def note(
    fault: str,
    store: str,
    *,
    tries: int,
    acknowledged: int,
    lost: int,
    doubled: int | None,
    system: str = "headway",
    **more: Any,
) -> None:
    """Add a line: what was done to the system, how often, and what became of what it had acknowledged."""
    path = os.environ.get(NAMED)
    if not path:
        return
    line = {
        "system": system, "fault": fault, "store": store, "tries": tries, "acknowledged": acknowledged, "lost": lost,
        "doubled": doubled, "date": dt.datetime.now(dt.UTC).date().isoformat(), "commit": commit(), **more,
    }  # fmt: skip
    with Path(path).open("a") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def commit() -> str:
    """Return what was tested."""
    done = subprocess.run(
        ["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()
