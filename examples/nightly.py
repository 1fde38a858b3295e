"""A nightly report in steps: what was done before a crash is not done again.

headway serve examples.nightly:app
headway run nightly_report log=access.log target=report.json --at 2026-12-01T02:00:00Z
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import headway

app = headway.App()


@app.task(queue="reports", timeout="1h", retry=headway.Retry(max_attempts=5, backoff="1m", max_backoff="30m"))
def nightly_report(ctx: headway.SyncContext, log: str, target: str) -> dict[str, Any]:
    """Read a web server's log, sum it up, and write the report. Each step is recorded when it is done."""
    ctx.progress(0, 3, "reading")
    statuses = ctx.step("read", read_log, log)
    ctx.progress(1, 3, "summing up")
    report: dict[str, Any] = ctx.step("sum up", sum_up, statuses)
    ctx.progress(2, 3, "writing")
    ctx.step("write", write_report, target, report)
    ctx.progress(3, 3, "done")
    return report


def read_log(path: str) -> list[str]:
    """Return the status of every request, from lines in the common log format."""
    with Path(path).open(encoding="utf-8", errors="replace") as lines:
        return [parts[-2] for line in lines if len(parts := line.split()) > 2]  # noqa: PLR2004


def sum_up(statuses: list[str]) -> dict[str, Any]:
    """Count by class."""
    classes = Counter(f"{status[0]}xx" for status in statuses)
    return {"requests": len(statuses), "by_class": dict(sorted(classes.items()))}


def write_report(path: str, report: dict[str, Any]) -> None:
    """Write the report under another name first, so that no reader sees half of it."""
    part = Path(f"{path}.part")
    part.write_text(json.dumps(report, indent=2))
    part.replace(path)
