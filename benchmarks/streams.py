"""Open event streams: what one costs, and how long it takes until the last of many readers knows.

    open              streams opened a second, each answered with its snapshot
    memory            KiB of the server's memory (PSS) that one open stream costs; memory.rss the same by RSS
    memory.after      the same once all have been told something
    same.p50, .p99, .max     one run, watched by all: from before the request that changes it to each reader
    own.p50, .p99, .max      a run each: 20 commits that change N/20 runs each (a worker's claims), a quarter second apart
    burst.p50, .p99, .max    a run each: one commit that changes all of them (N at most 10,000), and
    end.…                    one report that finishes all of them, so that every stream gets its last events and ends

The time counts from before the request is sent, so that it contains the commit. The readers are processes of their own.
Each may have as many files open as `ulimit -n` says: with 20,000 one server can have some 19,000 streams.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from kit import ENVIRONMENT, HERE, Bench, Served, cpu_s, percentile, pss_mib, serving

ROUNDS = 20


class Readers:
    """Some processes of readers, told the same and heard together."""

    def __init__(self, port: int, processes: int) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, HERE / "readers.py", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                env={**os.environ, **ENVIRONMENT},
            )
            for _ in range(processes)
        ]  # fmt: skip

    def tell(self, *orders: dict[str, Any]) -> list[dict[str, Any]]:
        """Tell each its order, or all the same; return the answers."""
        each = orders if len(orders) > 1 else orders * len(self._processes)
        for process, order in zip(self._processes, each, strict=True):
            assert process.stdin is not None
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
        answers = []
        for process in self._processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError("a process of readers has died")
            answers.append(json.loads(line))
        return answers

    def open(self, paths: list[str]) -> float:
        """Open streams; return how long it took."""
        shares = [paths[index :: len(self._processes)] for index in range(len(self._processes))]
        begun = time.monotonic()
        self.tell(*({"connect": share, "lanes": 25} for share in shares))
        return time.monotonic() - begun

    def watch(self, text: str, count: int) -> None:
        """Note deliveries from now on; `count` is of all processes together."""
        self.tell({"watch": text, "count": count // len(self._processes)})

    def collect(self, timeout_s: float) -> list[int]:
        """Return when each delivery came."""
        return sorted(at for answer in self.tell({"collect": timeout_s}) for at in answer["at_ns"])

    def close(self) -> None:
        """End them."""
        for process in self._processes:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def reading(served: Served, processes: int) -> Iterator[Readers]:
    """Lend processes of readers."""
    readers = Readers(served.port, processes)
    try:
        yield readers
    finally:
        readers.close()


@contextlib.contextmanager
def alive(served: Served, worker_id: str) -> Iterator[None]:
    """Be heard from, as a worker is: its signals stream is open."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port)
    connection.request("GET", f"/v1/workers/{worker_id}/signals", headers={"Accept": "text/event-stream"})
    answer = connection.getresponse()

    def listen() -> None:
        with contextlib.suppress(http.client.IncompleteRead):
            while answer.read1():
                pass

    threading.Thread(target=listen, daemon=True).start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            connection.sock.shutdown(2)


def start_many(served: Served, count: int) -> list[str]:
    """Queue runs; return their URLs."""
    urls: list[str] = []
    while len(urls) < count:
        batch = {"runs": [{"task": "noop"}] * min(1000, count - len(urls))}
        urls += [item["run"]["url"] for item in served.ask("POST", "/v1/runs:batch", batch)["data"]]
    return urls


def main() -> None:
    """Measure."""
    options = (
        ("--n", {"type": int, "help": "streams (2,000; with --quick 500)"}),
        ("--processes", {"type": int, "default": 2, "help": "processes of readers (2)"}),
    )
    bench = Bench("streams", __doc__ or "", *options)
    count = bench.options.n or (500 if bench.quick else 2000)
    count -= count % (bench.options.processes * ROUNDS)
    found: dict[str, list[float]] = {}
    for _ in bench.repeat():
        for measure in (same, own):
            with (
                bench.folder() as folder,
                serving(folder) as served,
                reading(served, bench.options.processes) as readers,
            ):
                for metric, value in measure(served, readers, count):
                    found.setdefault(metric, []).append(value)
    units = {"open": "1/s", "memory": "KiB", "cpu": "µs"}
    for metric, runs in found.items():
        if bench.wanted(metric):
            bench.emit(metric, units.get(metric.split(".")[0], "ms"), runs, n=count)


def same(served: Served, readers: Readers, count: int) -> Iterator[tuple[str, float]]:
    """All watch one run, which is changed again and again."""
    served.declare("noop")
    run = served.ask("POST", "/v1/runs", {"task": "noop"})
    before = Memory(served)
    took = readers.open([f"{run['url']}/events"] * count)
    yield "open", count / took
    time.sleep(1)
    yield from before.each("memory", count)
    delays: list[float] = []
    last: list[float] = []
    used = cpu_s(served.processes)
    for turn in range(ROUNDS):
        readers.watch("event: run.changed", count)
        sent = time.monotonic_ns()
        served.ask("PATCH", run["url"], {"labels": {"turn": str(turn)}})
        at = readers.collect(30)
        _whole("same", at, count)
        delays += [(ns - sent) / 1e6 for ns in at]
        last.append((at[-1] - sent) / 1e6)
    yield "cpu.same", (cpu_s(served.processes) - used) / count / ROUNDS * 1e6
    yield from _spread("same", delays)
    yield "same.last", percentile(last, 0.5)
    yield from before.each("memory.after", count)


def own(served: Served, readers: Readers, count: int) -> Iterator[tuple[str, float]]:
    """Each watches a run of its own."""
    worker_id = served.declare("noop", capacity=count)
    urls = start_many(served, count)
    before = Memory(served)
    with alive(served, worker_id):
        took = readers.open([f"{url}/events" for url in urls])
        yield "open.own", count / took
        time.sleep(1)
        yield from before.each("memory.own", count)
        leases, delays = [], []
        used = cpu_s(served.processes)
        for _ in range(ROUNDS):
            readers.watch("event: run.state", count // ROUNDS)
            got, sent, at = _claim(served, readers, worker_id, count // ROUNDS)
            leases += got
            _whole("own", at, count // ROUNDS)
            delays += [(ns - sent) / 1e6 for ns in at]
            time.sleep(0.25)
        yield "cpu.own", (cpu_s(served.processes) - used) / count * 1e6
        yield from _spread("own", delays)
        for item in range(0, len(leases), 1000):
            reports = [
                {"type": "released", "run_id": x["run_id"], "epoch": x["epoch"]} for x in leases[item : item + 1000]
            ]
            served.ask("POST", "/v1/leases:report", {"worker_id": worker_id, "reports": reports})
        time.sleep(1)
        burst = min(count, 10_000)
        readers.watch("event: run.state", burst)
        leases, sent, at = _claim(served, readers, worker_id, burst)
        _whole("burst", at, burst)
        yield from _spread("burst", [(ns - sent) / 1e6 for ns in at])
        time.sleep(1)
        reports = [{"type": "succeeded", "run_id": lease["run_id"], "epoch": lease["epoch"]} for lease in leases]
        readers.watch("event: end", burst)
        sent = time.monotonic_ns()
        served.ask("POST", "/v1/leases:report", {"worker_id": worker_id, "reports": reports})
        at = readers.collect(60)
        _whole("end", at, burst)
        yield from _spread("end", [(ns - sent) / 1e6 for ns in at])


def _claim(served: Served, readers: Readers, worker_id: str, count: int) -> tuple[list[dict[str, Any]], int, list[int]]:
    sent = time.monotonic_ns()
    leases = served.ask("POST", "/v1/leases:claim", {"worker_id": worker_id, "max": count})["leases"]
    if len(leases) != count:
        raise RuntimeError(f"claimed {len(leases)} of {count}")
    return leases, sent, readers.collect(60)


def _whole(what: str, at: list[int], count: int) -> None:
    """Nobody may have missed it."""
    if len(at) != count:
        raise RuntimeError(f"{what}: {len(at)} of {count} deliveries")


def _spread(name: str, delays_ms: list[float]) -> Iterator[tuple[str, float]]:
    for share, of in (("p50", 0.5), ("p99", 0.99), ("max", 1)):
        yield f"{name}.{share}", percentile(delays_ms, of)


class Memory:
    """The server's memory before there were streams."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._pss, self._rss = self._now()

    def _now(self) -> tuple[float, float]:
        return pss_mib(self._served.processes), pss_mib(self._served.processes, "Rss")

    def each(self, name: str, count: int) -> Iterator[tuple[str, float]]:
        """What one stream has added since."""
        pss, rss = self._now()
        yield name, (pss - self._pss) * 1024 / count
        yield f"{name}.rss", (rss - self._rss) * 1024 / count


if __name__ == "__main__":
    main()
