"""Runs from end to end: no-ops from a full queue, the way from a start to the first line, steps, cold start, idle cost.

run.p1, run.p2            no-op runs/s from a full queue with 1 and 2 worker processes: first to last execution
run.s2                    the same with 2 servers on one PostgreSQL (BENCH_POSTGRES), each with a worker process
latency.p50, .p99, .max   idle system, 20 starts/s from a bare socket: before the start to the first line of the task
latency.sdk.p50, …        the same through headway.AsyncClient
workflow3                 runs of three durable steps a second, started one by one from 50 connections meanwhile
workflow3.queued          the same from a full queue
cold, cold.final          `headway serve app`, from exec to the first line of the first run, and to its final state
mem.server, mem.worker    MiB (PSS) of an idle server and of its one local worker; mem.both
idle.queries              SQLite statements a second of an idle server with one worker (of a counted twin)
idle.cpu.server, .worker  processor time that they use meanwhile, in % of one core
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import counted
from board import Board
from kit import POSTGRES, Bench, cpu_s, database, load, percentile, pss_mib, serving, serving_store, working

START = b'{"task":"noop","input":{"ts":@NS}}'


def main() -> None:
    """Measure."""
    bench = Bench("throughput", __doc__ or "", ("--n", {"type": int, "help": "no-op runs queued (50,000)"}))
    board = Board()
    try:
        for name, measure in (
            ("run", throughput), ("servers", servers), ("latency", latency), ("workflow3", workflows), ("cold", cold), ("mem", memory), ("idle", idle)
        ):  # fmt: skip
            if any(bench.wanted(metric) for metric in METRICS[name]):
                measure(bench, board)
    finally:
        board.close()


METRICS = {
    "run": ("run.p1", "run.p2"),
    "servers": ("run.s2",),
    "latency": ("latency",),
    "workflow3": ("workflow3",),
    "cold": ("cold",),
    "mem": ("mem",),
    "idle": ("idle",),
}


def fill(port: int, task: str, count: int) -> None:
    """Queue runs, a thousand a request."""
    batch = json.dumps({"runs": [{"task": task}] * 1000}).encode()
    load(port, "each", 4, count // 1000, "POST", "/v1/runs:batch", body=batch)


def throughput(bench: Bench, board: Board) -> None:
    """Fill a queue, then let workers come."""
    count = bench.options.n or (10_000 if bench.quick else 50_000)
    for workers in (1, 2):
        if not bench.wanted(f"run.p{workers}"):
            continue
        rates, server_cpu = [], []
        for _ in bench.repeat():
            board.clear()
            with bench.folder() as folder, serving(folder) as served:
                served.declare("noop")
                fill(served.port, "noop", count)
                used = cpu_s(served.processes)
                with working(served, workers) as processes:
                    board.wait(count, 120, lambda: all(process.poll() is None for process in processes))
                    hits, first, last = board.read()
                    used = cpu_s(served.processes) - used
                    _finished(served, count)
                rates.append((hits - 1) / ((last - first) / 1e9))
                server_cpu.append(used / count * 1e6)
        bench.emit(f"run.p{workers}", "runs/s", rates, n=count, server_cpu_us=server_cpu)


def servers(bench: Bench, board: Board) -> None:
    """Fill a queue, then let workers of two servers come."""
    if not POSTGRES:
        return
    count = bench.options.n or (10_000 if bench.quick else 50_000)
    rates = []
    for _ in bench.repeat():
        board.clear()
        with (
            bench.folder() as folder,
            database() as url,
            serving_store(url, folder) as one,
            serving_store(url, folder) as two,
        ):
            one.declare("noop")
            fill(one.port, "noop", count)
            with working(one, 1), working(two, 1):
                board.wait(count, 120)
                hits, first, last = board.read()
                _finished(one, count)
            rates.append((hits - 1) / ((last - first) / 1e9))
    bench.emit("run.s2", "runs/s", rates, n=count)


def _finished(served, count: int) -> None:
    """Every run that was executed is also reported, once."""
    until = time.monotonic() + 20
    while (states := served.ask("GET", "/v1/runs:count")["counts"]).get("succeeded") != count:
        if time.monotonic() > until:
            raise RuntimeError(f"the runs did not finish: {states}")
        time.sleep(0.02)


def latency(bench: Bench, board: Board) -> None:
    """One start every 50 ms."""
    count = 100 if bench.quick else 200
    found: dict[str, list[list[float]]] = {"": [], ".sdk": []}
    answers: dict[str, list[float]] = {"": [], ".sdk": []}
    for _ in bench.repeat():
        for way, runs in found.items():
            board.clear()
            with bench.folder() as folder, serving(folder) as served, working(served, 1, capacity=100):
                _first(served, board)
                time.sleep(1.5)
                if way:
                    answered = load(served.port, "sdk", 20, count, "noop")
                else:
                    answered = load(served.port, "paced", 20, count, "POST", "/v1/runs", body=START)
                board.wait(1 + count, 20)
                runs.append(board.latencies_ms())
                answers[way].append(answered["p50_ms"])
    for way, runs in found.items():
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1)):
            bench.emit(
                f"latency{way}.{name}",
                "ms",
                [percentile(run, share) for run in runs],
                n=count,
                answer_p50_ms=answers[way],
            )


def _first(served, board: Board) -> None:
    """Start a run as early as its task is known, and wait until it is executed."""
    start_when_known(served)
    board.wait(1, 30)


def start_when_known(served) -> str:
    """Start the first run as soon as anyone would take it; return its URL."""
    until = time.monotonic() + 30
    while True:
        try:
            return str(served.ask("POST", "/v1/runs", {"task": "noop"})["url"])
        except (OSError, RuntimeError):  # nobody listens yet, or no worker has declared it yet
            if time.monotonic() > until or served.process.poll() is not None:
                raise
            time.sleep(0.002)


def workflows(bench: Bench, board: Board) -> None:
    """Three steps each."""
    count = 1000 if bench.quick else 5000
    meanwhile, queued = [], []
    for _ in bench.repeat():
        board.clear()
        with bench.folder() as folder, serving(folder) as served, working(served, 1):
            _first(served, board)
            time.sleep(0.5)
            begun = load(served.port, "each", 50, count, "POST", "/v1/runs", body=b'{"task":"three"}')["begun_ns"]
            board.wait(1 + count, 120)
            meanwhile.append(count / ((board.read()[2] - begun) / 1e9))
        board.clear()
        with bench.folder() as folder, serving(folder) as served:
            served.declare("three")
            fill(served.port, "three", count)
            with working(served, 1):
                board.wait(count, 120)
                hits, first, last = board.read()
                queued.append((hits - 1) / ((last - first) / 1e9))
    bench.emit("workflow3", "runs/s", meanwhile, n=count)
    bench.emit("workflow3.queued", "runs/s", queued, n=count)


def cold(bench: Bench, board: Board) -> None:
    """One command, a whole system."""
    first_line, final = [], []
    for _ in bench.repeat():
        board.clear()
        with bench.folder() as folder:
            begun = time.monotonic_ns()
            with serving(folder, "tasks:app", wait=False) as served:
                url = start_when_known(served)
                state = served.ask("GET", f"{url}?wait_for=final", Prefer="wait=20")["state"]
                final.append((time.monotonic_ns() - begun) / 1e9)
                if state != "succeeded":
                    raise RuntimeError(f"the first run is {state}")
                first_line.append((board.read()[1] - begun) / 1e9)
    bench.emit("cold", "s", first_line)
    bench.emit("cold.final", "s", final)


def memory(bench: Bench, board: Board) -> None:
    """Idle, after its first run."""
    servers, workers = [], []
    for _ in bench.repeat():
        board.clear()
        with bench.folder() as folder, serving(folder, "tasks:app") as served:
            _first(served, board)
            time.sleep(2)
            server, *others = served.processes
            servers.append(pss_mib([server]))
            workers.append(pss_mib(others))
    bench.emit("mem.server", "MiB", servers)
    bench.emit("mem.worker", "MiB", workers)
    bench.emit("mem.both", "MiB", [sum(both) for both in zip(servers, workers, strict=True)])


def idle(bench: Bench, board: Board) -> None:
    """Count what happens when nothing happens."""
    seconds = 10 if bench.quick else 30
    queries, server_cpu, worker_cpu = [], [], []
    for _ in bench.repeat():
        board.clear()
        with bench.folder() as folder:
            counter = Path(folder, "statements")
            with serving(folder, "tasks:app", module="counted", COUNTED_IN=str(counter)) as served:
                _first(served, board)
                time.sleep(3)
                server, *others = served.processes
                before = counted.read(counter), cpu_s([server]), cpu_s(others)
                time.sleep(seconds)
                queries.append((counted.read(counter) - before[0]) / seconds)
                server_cpu.append((cpu_s([server]) - before[1]) / seconds * 100)
                worker_cpu.append((cpu_s(others) - before[2]) / seconds * 100)
    bench.emit("idle.queries", "1/s", queries, seconds=seconds)
    bench.emit("idle.cpu.server", "% of a core", server_cpu)
    bench.emit("idle.cpu.worker", "% of a core", worker_cpu)


if __name__ == "__main__":
    main()
