"""Tables out of JSON lines; needs nothing but Python.

    python benchmarks/report.py FILE.jsonl …            our own figures against the bars (surface, throughput, growth, streams)
    python benchmarks/report.py --compare FILE.jsonl …  Headway beside its peers (what compare.sh has written)

The median is shown, and between brackets the least and the most of the runs. The last line of a metric wins.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Line = dict[str, Any]

BARS: tuple[tuple[str, str, str, str, float], ...] = (
    ("throughput", "run.p1", "no-op runs end to end, 1 worker", "≥", 18_000),
    ("throughput", "run.p2", "no-op runs end to end, 2 workers", "≥", 18_000),
    ("surface", "starts.c1", "starts over HTTP, 1 client", "≥", 1_400),
    ("surface", "starts.c50", "starts over HTTP, 50 clients", "≥", 7_000),
    ("surface", "starts.bulk", "bulk start over HTTP", "≥", 30_000),
    ("throughput", "latency.p50", "start → first line of user code, p50", "≤", 1.8),
    ("throughput", "latency.p99", "start → first line of user code, p99", "≤", 4),
    ("surface", "reads", "status reads, 64 connections", "≥", 17_000),
    ("throughput", "workflow3", "three-step workflows", "≥", 3_000),
    ("throughput", "cold", "cold start: command to first line of user code", "≤", 1.0),
    ("throughput", "cold.final", "cold start: command to first finished run", "≤", 1.0),
    ("throughput", "mem.both", "memory, idle server and one worker", "≤", 110),
    ("throughput", "idle.queries", "idle: statements", "<", 1),
    ("streams", "memory", "memory of an open stream", "≤", 40),
    ("streams", "memory.after", "memory of an open stream that was told something", "≤", 40),
    ("streams", "same.p99", "fan-out of one run to all readers, p99", "≤", 1000),
    ("streams", "own.p99", "fan-out with a run each, p99", "≤", 1000),
)
GROWTH = 1.3
COMPARED = (
    ("enqueue.one", "start, 1 client /s"), ("enqueue.c50", "start, 50 clients /s"), ("enqueue.bulk", "bulk start /s"),
    ("run.p1", "run, 1 worker /s"), ("run.p2", "run, 2 workers /s"), ("latency.p50", "start→run p50 ms"),
    ("latency.p99", "p99 ms"), ("workflow3", "3-step workflows /s"), ("http.status", "status reads /s"),
    ("cold", "cold start s"), ("mem.idle.worker", "worker idle MiB"), ("mem.idle.server", "server idle MiB"),
)  # fmt: skip
NAMES = {
    "headway:default": "**Headway** (SQLite; its Python client)", "headway:wire": "**Headway** (SQLite; bare HTTP)",
    "headway:pg": "**Headway** (PostgreSQL; bare HTTP)", "headway:pg2": "**Headway** (PostgreSQL, two servers; bare HTTP)",
    "pgqueuer:b100": "PgQueuer (PostgreSQL, batch 100)", "huey:sqlitefull": "Huey (SQLite FULL)",
    "taskiq:stream": "Taskiq (Redis streams)", "dbos:sqlite": "DBOS (SQLite)", "dbos:pg": "DBOS (PostgreSQL)",
    "procrastinate:default": "Procrastinate (PostgreSQL)", "procrastinate:c50": "Procrastinate (PostgreSQL, 50 at once)",
    "saq:pg": "SAQ (PostgreSQL)", "oban:default": "Oban for Python (PostgreSQL)", "oban:c100": "Oban for Python (PostgreSQL, 100 at once)",
    "restate:default": "Restate (Rust server, Python SDK)",
}  # fmt: skip


def read(files: list[str], *keys: str) -> dict[tuple[str, ...], Line]:
    """Return the lines by their keys, in order."""
    found: dict[tuple[str, ...], Line] = {}
    for file in files:
        for text in Path(file).read_text().splitlines():
            if text.startswith("{"):
                line = json.loads(text)
                found[tuple(str(line.get(key, "")) for key in keys)] = line
    return found


def number(value: float) -> str:
    """Write a figure with the digits that it deserves."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def shown(line: Line) -> str:
    """Write the median, and the spread if there is one."""
    spread = f" [{number(line['min'])}–{number(line['max'])}]" if len(line.get("runs", ())) > 1 else ""
    return f"{number(line['value'])}{spread}"


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Write a Markdown table."""
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


# -- our own figures ---------------------------------------------------------------------------------------------------


def ours(files: list[str]) -> Iterator[str]:
    """Every bar with what was measured, then everything that was measured."""
    lines = read(files, "bench", "metric")
    abouts = [line for (_, metric), line in lines.items() if metric == "about"]
    for line in abouts:
        quick = " **Quick: sizes too small to publish.**" if line.get("quick") else ""
        yield f"- {line['bench']}: {line['at']}; {line['machine']}; {line['versions']}; {line['durability']}.{quick}"
    yield ""
    yield from table(("what", "bar", "measured", "met?", "what bounds it"), list(_bars(lines)))
    growth = [line for (bench, _), line in lines.items() if bench == "growth" and line.get("unit") == "x"]
    if growth:
        yield from _growth(growth)
    yield from table(
        ("benchmark", "metric", "measured", "noise"),
        [
            (bench, metric, f"{shown(line)} {line['unit']}", f"{max(line.get('noise') or [0]):.0%}")
            for (bench, metric), line in lines.items()
            if "value" in line and (line["unit"] != "x" or metric == "reads.ratio")
        ],
    )


def _bars(lines: dict[tuple[str, ...], Line]) -> Iterator[tuple[str, ...]]:
    for bench, metric, what, sign, bar in BARS:
        line = lines.get((bench, metric))
        if line is not None:
            asked = f"{sign} {number(bar)} {line['unit']}"
            yield what, asked, shown(line), _verdict(line["value"], bar, at_least=sign == "≥"), ""


def _verdict(value: float, bar: float, *, at_least: bool) -> str:
    if value >= bar if at_least else value <= bar:
        return "yes"
    return f"missed by {abs(value - bar) / bar:.0%}"


def _growth(lines: list[Line]) -> Iterator[str]:
    missed = [line for line in lines if line["value"] > GROWTH]
    worst = max(lines, key=lambda line: float(line["value"]))
    yield f"Growth, {len(lines)} operations and lists: {len(lines) - len(missed)} within {GROWTH}x; worst {worst['metric']}, {number(worst['value'])}x."
    yield ""
    yield from table(
        ("growth", "1 thousand, µs", "1 million, µs", "ratio", "met?"),
        [
            (line["metric"], number(line["small_us"]), number(line["large_us"]), f"{line['value']:.2f}x",
             _verdict(line["value"], GROWTH, at_least=False))
            for line in lines
        ],
    )  # fmt: skip


# -- the peers ---------------------------------------------------------------------------------------------------------


def peers(files: list[str]) -> Iterator[str]:
    """A row a system."""
    lines = read(files, "peer", "variant", "metric")
    systems = list(dict.fromkeys((peer, variant) for peer, variant, _ in lines))
    used = [(metric, head) for metric, head in COMPARED if any((*system, metric) in lines for system in systems)]
    rows = []
    for system in systems:
        about = lines.get((*system, "about"), {})
        cells = [
            shown(found) if (found := lines.get((*system, metric))) and "value" in found else "" for metric, _ in used
        ]
        rows.append((NAMES.get(":".join(system), ":".join(system)), str(about.get("durable") or "not said"), *cells))
    date = datetime.fromtimestamp(max(Path(file).stat().st_mtime for file in files), UTC)
    yield f"Measured on {date:%Y-%m-%d} on {_machine()}, one system after the other, medians [least–most]."
    yield ""
    yield from table(("system", "what an accepted task survives", *(head for _, head in used)), rows)
    for system in systems:
        about = lines.get((*system, "about"), {})
        noise = max((max(line.get("noise") or [0]) for key, line in lines.items() if key[:2] == system), default=0)
        yield f"- {':'.join(system)}: {about.get('versions', '')}; {about.get('conf', '')}; noise up to {noise:.0%}."
    for (peer, variant, metric), line in lines.items():
        if "error" in line:
            yield f"- {peer}:{variant} has no {metric}: {line['error']}"


def _machine() -> str:
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    name = model[0].partition(": ")[2] if model else platform.machine()
    return f"{os.cpu_count()} cores ({name}), {pages / 2**30:.0f} GiB, Linux {platform.release()}"


if __name__ == "__main__":
    files = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    if not files:
        raise SystemExit(__doc__)
    print("\n".join(peers(files) if "--compare" in sys.argv else ours(files)))
