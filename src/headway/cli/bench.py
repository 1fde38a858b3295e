"""Benchmark: `headway bench` starts a server and a worker in a temporary folder, measures them, and removes them."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from headway.cli import session, show
from headway.cli.command import Command
from headway.client.sync.client import Client
from headway.config import ignore_environment
from headway.errors import HeadwayError

START_S: Final = 30
SCENARIOS: Final = {
    "end_to_end": "no-op runs, start to finish",
    "latency": "start to first line of the function",
    "starts_1": "starts, 1 client",
    "starts_50": "starts, 50 clients",
    "bulk": "starts, 1,000 at a time",
    "reads_1": "status reads, 1 client",
    "reads_50": "status reads, 50 clients",
}
Figures = dict[str, Any]


@click.command(cls=Command)
@click.option("--seconds", default=3.0, show_default=True, help="Duration of each measurement.")
@click.option("--only", multiple=True, type=click.Choice(list(SCENARIOS)), help="Scenario to measure; may be repeated.")
@click.option("--dir", "folder", type=click.Path(file_okay=False, exists=True), help="Folder of the temporary store.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Worker processes.")
def bench(seconds: float, only: tuple[str, ...], folder: str | None, workers: int) -> None:
    """Measure Headway on this machine, each start synced before it is acknowledged; HEADWAY_* variables are ignored."""
    ignore_environment()
    with tempfile.TemporaryDirectory(prefix="headway-bench-", dir=folder) as at, serving(Path(at), workers) as server:
        url, process, cold_start_s = server
        load("prepare", url, 0)
        idle = memory_mb(process.pid)
        figures = {name: measured(name, url, seconds) for name in SCENARIOS if not only or name in only}
        after = memory_mb(process.pid)
    found = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "durability": "full",
        "workers": workers,
        "cold_start_s": cold_start_s,
        "memory_idle_mb": idle,
        "memory_after_mb": after,
        "figures": figures,
    }
    if session.current().json:
        show.as_json(found)
    else:
        report(found)


def measured(name: str, url: str, seconds: float) -> Figures:
    """Run one scenario and print a line before."""
    click.echo(f"measuring {SCENARIOS[name]} …", err=True)
    return load(name, url, seconds)


def load(scenario: str, url: str, seconds: float) -> Figures:
    """Run the load in a process of its own."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    command = [sys.executable, "-P", "-m", "headway.bench.load", host, port, scenario, str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise click.ClickException(f"{scenario}: {done.stderr.strip().splitlines()[-1] if done.stderr else 'failed'}")
    found: Figures = json.loads(done.stdout)
    return found


@contextmanager
def serving(folder: Path, workers: int) -> Iterator[tuple[str, subprocess.Popen[bytes], float]]:
    """Run a server in a folder; yield its URL, its process and the time until a worker was ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-P", "-m", "headway", "serve", "headway.bench.app:app", "--port", str(port)]
    command += ["--store", f"sqlite:///{folder / 'bench.db'}", "--workers", str(workers)]
    begun = time.monotonic()
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)  # noqa: S603
    try:
        wait_until_ready(url, process, folder / "serve.log")
        yield url, process, time.monotonic() - begun
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the worker has declared its tasks."""
    end = time.monotonic() + START_S
    with Client(url, retries=0) as client:
        while process.poll() is None and time.monotonic() < end:
            try:
                client.tasks.get("noop")
            except HeadwayError:
                time.sleep(0.02)
            else:
                return
    raise click.ClickException(f"the server has not started:\n{log.read_text(errors='replace')[-2000:]}")


def memory_mb(pid: int) -> dict[str, float]:
    """Return the resident memory of the server and its workers in MB, where the kernel reports it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return {"server": _resident_mb(pid), "workers": sum(_resident_mb(int(child)) for child in children)}
    except OSError:
        return {}


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def report(found: Figures) -> None:
    """Print the results."""
    rows = []
    for name, figures in found["figures"].items():
        rate = f"{figures['per_s']:,.0f}/s" if "per_s" in figures else ""
        times = [f"{figures[p]:.2f} ms" if p in figures else "" for p in ("p50_ms", "p99_ms")]
        rows.append([SCENARIOS[name], rate, *times])
    show.table(("MEASURED", "RATE", "P50", "P99"), rows, empty="Nothing was measured.", names=("MEASURED",))
    click.echo()
    memory = "  ".join(
        f"{who} {idle:.0f} MB idle, {found['memory_after_mb'].get(who, 0):.0f} MB after"
        for who, idle in found["memory_idle_mb"].items()
    )
    show.pairs(
        [
            ("cold start", f"{found['cold_start_s']:.2f} s until a worker was ready"),
            ("memory", memory or None),
            ("durability", "full: safe on disk before each acknowledgement"),
            ("machine", found["machine"]),
            ("at", found["at"]),
        ]
    )
