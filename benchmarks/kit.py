"""What the benchmarks share: a server and its workers to measure, the load, processes' memory and time, JSON lines.

A line is one figure: {"bench", "metric", "unit", "value" (the median), "runs", "min", "max", "noise", …}. The first line
of a script says when, on which machine and what was measured. Noise is the share of the machine that others used just
before each run: with more than a tenth or so, figures are not to be trusted.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import http.client
import json
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "src"
sys.path.insert(0, str(SOURCE))  # a checkout is measured as it stands, installed or not
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(map(str, (SOURCE, HERE))), "PYTHONUNBUFFERED": "1"}

# -- options and figures -----------------------------------------------------------------------------------------------


class Bench:
    """One script's run: its options, its folder, and the way out for its figures."""

    def __init__(self, name: str, about: str, *options: tuple[str, dict[str, Any]]) -> None:
        parser = argparse.ArgumentParser(prog=f"benchmarks/{name}.py", description=about.splitlines()[0])
        parser.add_argument("--quick", action="store_true", help="small sizes and one run: does it work at all?")
        parser.add_argument("--runs", type=int, help="how often each is measured (3; with --quick 1)")
        parser.add_argument("--only", default="", help="only metrics that begin with one of these words, a,b,…")
        parser.add_argument("--dir", help="where stores are put: a real disk, or what is measured is not durable")
        for option, settings in options:
            parser.add_argument(option, **settings)
        self.name = name
        self.options = parser.parse_args()
        self.quick: bool = self.options.quick
        self.runs: int = self.options.runs or (1 if self.quick else 3)
        self.noise: list[float] = []
        emit(bench=name, metric="about", **machine(), quick=self.quick)

    def wanted(self, metric: str) -> bool:
        """Tell whether this one was asked for."""
        names = [name for name in self.options.only.split(",") if name]
        return not names or any(metric.startswith(name) for name in names)

    def repeat(self) -> Iterator[int]:
        """Count the runs, waiting before each for the machine to be quiet."""
        self.noise = []
        for turn in range(self.runs):
            self.noise.append(quiet(patience_s=5 if self.quick else 60))
            yield turn

    def emit(self, metric: str, unit: str, runs: list[float], **more: Any) -> None:
        """Write a figure."""
        emit(bench=self.name, metric=metric, unit=unit, runs=runs, noise=self.noise, **more)

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """Lend a folder for a store."""
        path = Path(tempfile.mkdtemp(prefix="headway-bench-", dir=self.options.dir))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def emit(**line: Any) -> None:
    """Write a line; `runs` come with their median, least and most."""
    runs = line.get("runs")
    if runs:
        line = {"value": statistics.median(runs), "min": min(runs), "max": max(runs)} | line
    print(json.dumps({name: _rounded(value) for name, value in line.items()}), flush=True)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3 if abs(value) < 100 else 1)
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def machine() -> dict[str, str]:
    """Say when and where."""
    import apsw

    import headway

    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    commit = subprocess.run(
        ["git", "-C", HERE, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return {
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="minutes"),
        "machine": f"{os.cpu_count()} cores, {model[1] if model else platform.machine()}, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB, Linux {platform.release()}",
        "versions": f"headway {headway.__version__} {commit.stdout.strip()}, Python {platform.python_version()}, "
        f"SQLite {apsw.sqlite_lib_version()}",
        "durability": "fsync per commit (PostgreSQL, synchronous_commit=on)"
        if POSTGRES
        else "fsync per commit (SQLite WAL, synchronous=FULL)",
    }


def percentile(values: list[float], share: float) -> float:
    """Return the value below which that share of all is."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def quiet(limit: float = 0.10, patience_s: float = 60) -> float:
    """Wait until others leave the machine alone, or patience ends; return the share of it that they use."""
    until = time.monotonic() + patience_s
    while True:
        busy, total = _jiffies()
        time.sleep(0.5)
        busy_then, total_then = _jiffies()
        share = (busy_then - busy) / max(1, total_then - total)
        if share < limit or time.monotonic() > until:
            return share


def _jiffies() -> tuple[int, int]:
    with Path("/proc/stat").open() as stat:
        counted = [int(word) for word in stat.readline().split()[1:9]]
    return sum(counted) - counted[3], sum(counted)  # waiting for the disk is being busy: we share it


# -- processes ---------------------------------------------------------------------------------------------------------


def spawn(*command: object, log: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Start a Python process with our paths; its output goes to the log."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, *map(str, command)], stdout=output, stderr=output, start_new_session=True,
            env={**_surroundings(), **ENVIRONMENT, **environment},
        )  # fmt: skip


def _surroundings() -> dict[str, str]:
    """Our environment, but bytecode is kept: an installed package has it, and to compile is not to start."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def stop(process: subprocess.Popen[bytes], grace_s: float = 10) -> None:
    """End a process and all that it started."""
    family = tree(process.pid)
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    _, left = psutil.wait_procs(family, timeout=grace_s)
    for survivor in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            survivor.kill()
    process.wait()


def tree(pid: int) -> list[psutil.Process]:
    """Return a process and all its descendants."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def pss_mib(processes: list[psutil.Process], kind: str = "Pss") -> float:
    """Return the memory of processes, shared pages counted once (`Pss`) or in each (`Rss`)."""
    total = 0
    for process in processes:
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            total += int(re.search(rf"^{kind}:\s+(\d+)", rollup, re.MULTILINE)[1])  # type: ignore[index]  # always there
    return total / 1024


def cpu_s(processes: list[psutil.Process]) -> float:
    """Return the processor time that processes have used."""
    times = [process.cpu_times() for process in processes]
    return sum(used.user + used.system for used in times)


def free_port() -> int:
    """Return a port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Served:
    """A server process: its port, its process, and short ways to talk to it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Make one request; return the document of its answer, and refuse all but success."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        sent = None if body is None else json.dumps(body)
        kind = {} if body is None else {"Content-Type": "application/json"}
        connection.request(
            method, path, sent, {**kind, **{name.replace("_", "-"): text for name, text in headers.items()}}
        )
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:300]!r}")
        if answer.headers.get_content_type() != "application/json":
            return content.decode()
        return json.loads(content) if content else None

    def wait(self, timeout_s: float = 60) -> None:
        """Wait until it answers."""
        until = time.monotonic() + timeout_s
        while True:
            try:
                self.ask("GET", "/livez")
            except OSError:
                if time.monotonic() > until or self.process.poll() is not None:
                    raise RuntimeError(f"no server: {self.log.read_text()[-2000:]}") from None
                time.sleep(0.005)
            else:
                return

    def declare(self, *tasks: str, capacity: int = 100) -> str:
        """Register a worker that only declares tasks; return its id."""
        asked = {"name": "declares", "capacity": capacity, "tasks": [{"name": task} for task in tasks]}
        return str(self.ask("POST", "/v1/workers", asked)["id"])

    @property
    def processes(self) -> list[psutil.Process]:
        """The server and its local workers."""
        return tree(self.process.pid)


@contextlib.contextmanager
def serving(
    folder: Path,
    *arguments: object,
    module: str = "headway",
    store: Path | None = None,
    wait: bool = True,
    **environment: str,
) -> Iterator[Served]:
    """Run `headway serve` on a store in the folder, or on a new database of BENCH_POSTGRES (the URL of any of its databases)."""
    with contextlib.ExitStack() as stack:
        url = f"sqlite:///{store or folder / 'headway.db'}"
        if store is None and POSTGRES:
            url = stack.enter_context(database())
        with serving_store(url, folder, *arguments, module=module, wait=wait, **environment) as served:
            yield served


POSTGRES = os.environ.get("BENCH_POSTGRES", "")


@contextlib.contextmanager
def database() -> Iterator[str]:
    """Lend a new database of the PostgreSQL that is measured; yield its URL."""
    import psycopg

    name = f"headway_bench_{os.getpid()}_{time.monotonic_ns()}"
    with psycopg.connect(POSTGRES, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield re.sub(r"(?<=[^/])/[^/?]*(?=\?|$)", f"/{name}", POSTGRES)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def serving_store(
    url: str, folder: Path, *arguments: object, module: str = "headway", wait: bool = True, **environment: str
) -> Iterator[Served]:
    """Run `headway serve` on a store."""
    port = free_port()
    log = folder / f"serve-{port}.log"
    process = spawn("-m", module, "serve", *arguments, "--store", url, "--port", port, log=log, **environment)
    served = Served(process, port, log)
    try:
        if wait:
            served.wait()
        yield served
    finally:
        stop(process)


@contextlib.contextmanager
def working(
    served: Served, count: int, app: str = "tasks:app", capacity: int = 500
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run worker processes beside a server."""
    log = served.log.with_name("worker.log")
    command = ("-m", "headway.worker", served.url, app, "--capacity", capacity)
    processes = [spawn(*command, log=log) for _ in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            stop(process)


# -- load --------------------------------------------------------------------------------------------------------------


def wrk(
    port: int, path: str, connections: int, seconds: float, body: bytes | None = None, key: str | None = None
) -> float:
    """Return the requests a second that a server answers, made by wrk if it is there, else by `load.py` (without a key)."""
    if shutil.which("wrk") is None:
        assert key is None, "requests with a key are made by wrk: install that"
        return float(
            load(port, "hammer", connections, seconds, "GET" if body is None else "POST", path, body=body)["per_s"]
        )
    with tempfile.TemporaryDirectory() as folder:
        script: list[str] = []
        if body is not None:
            content, lua = Path(folder, "body"), Path(folder, "post.lua")
            content.write_bytes(body)
            lua.write_text(
                f'local file = io.open("{content}", "rb")\nwrk.method = "POST"\nwrk.body = file:read("*a")\n'
                'wrk.headers["Content-Type"] = "application/json"\n'
            )
            script = ["-s", str(lua)]
        if key is not None:
            script += ["-H", f"Authorization: Bearer {key}"]
        command = [
            "wrk",
            f"-t{min(2, connections)}",
            f"-c{connections}",
            f"-d{max(1, round(seconds))}s",
            "--timeout",
            "20s",
        ]
        printed = subprocess.run(
            [*command, *script, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True
        ).stdout
    if bad := re.search(r"Non-2xx or 3xx responses: (\d+)", printed):
        raise RuntimeError(f"{path}: {bad[0]}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", printed)[1])  # type: ignore[index]  # always there


def load(port: int, *command: object, body: bytes | None = None) -> dict[str, Any]:
    """Run `load.py`, in a process of its own."""
    done = subprocess.run(
        [sys.executable, HERE / "load.py", str(port), *map(str, command)], input=body or b"", capture_output=True,
        env={**os.environ, **ENVIRONMENT}, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"load {command}: {done.stderr.decode()[-1000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
