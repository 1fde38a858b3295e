"""The documented clients, read from the seeds at test time: nothing of them is copied here.

The documents have lost their fences; each block stands between two lines of prose that are known.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("HEADWAY_TEST_SEEDS") or ROOT.parent / "shared/seeds")
"""Beside the repository, unless the environment names another."""


class Block(NamedTuple):
    """A piece of code, from after one line to before another."""

    after: str
    before: str | None


TADABASE = {
    "runAndMonitorTask": Block("Monitoring Task Progress", "Task Execution Patterns"),
    "triggerTask": Block("1. Run and Forget", "2. Run and Wait for Completion"),
    "runTaskAndWait": Block("2. Run and Wait for Completion", "3. Run with Progress Callback"),
    "runTaskWithProgress": Block("3. Run with Progress Callback", "4. Run Multiple Tasks in Sequence"),
    "runTaskSequence": Block("4. Run Multiple Tasks in Sequence", "5. Run Multiple Tasks in Parallel"),
    "runTasksParallel": Block("5. Run Multiple Tasks in Parallel", "Error Handling"),
    "runTaskSafely": Block("Error Handling", "Best Practices"),
    "runNightlyProcessing": Block("Scheduled Data Processing", "On-Demand Email Campaigns"),
    "launchEmailCampaign": Block("On-Demand Email Campaigns", "Data Synchronization"),
    "syncData": Block("Data Synchronization", "Next Steps"),
}
CLOUDCOIN = {
    "javascript": Block("JavaScript Example", "cURL Example"),
    "shell": Block("cURL Example", "Go Example"),
    "go": Block("Go Example", None),
}

MANGLED = "startTime setTimeout(resolve, 5000));"
MENDED = "startTime < maxWaitTime) { await new Promise(resolve => setTimeout(resolve, 5000));"
"""What the page's HTML took for a tag in `runTaskAndWait`."""


def seed(number: int) -> list[str]:
    """Return the lines of a seed; skip where there are none."""
    found = sorted(FOLDER.glob(f"{number:03}_*.txt"))
    if not found:
        pytest.skip(f"the documents of the other APIs are not there: no {FOLDER}/{number:03}_*.txt")
    return [line.rstrip() for line in found[0].read_text(encoding="utf-8").splitlines()]


def code(number: int, block: Block) -> str:
    """Return the code between two lines."""
    lines = seed(number)
    start = lines.index(block.after) + 1
    end = len(lines) if block.before is None else lines.index(block.before, start)
    return "\n".join(lines[start:end]) + "\n"


def tadabase(name: str) -> str:
    """Return a snippet, with its own example of use if it has one."""
    text = code(0, TADABASE[name])
    if name == "runTaskAndWait":
        assert text.count(MANGLED) == 1
        text = text.replace(MANGLED, MENDED)
    return text


def function(name: str) -> str:
    """Return a snippet without its example of use, for others that call it."""
    return tadabase(name).partition("// Usage")[0]


def cloudcoin(language: str) -> str:
    """Return a program."""
    return code(1, CLOUDCOIN[language])
