"""Starts and status reads over HTTP: what the API itself costs, with no worker beside it.

    starts.c1, starts.c50     POST /v1/runs, one run a request, each on disk before its answer
    starts.bulk               POST /v1/runs:batch, 4 connections, 1,000 runs a request
    reads                     GET /v1/runs/{id}, 64 connections
    reads.bare                the baseline in the same minute: a bare Starlette route that answers the same JSON
    reads.ratio               reads / reads.bare
    reads.cloudcoin …         the same for the status of other APIs, each against a bare route with the same path and JSON
    reads.tadabase …
    reads.keyed               the same reads by a caller who shows a key; reads.keyed.ratio is what is left of reads

(It is not called http.py because Python's own http would then be this.)
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from kit import Bench, Served, free_port, serving, spawn, stop, wrk

START = json.dumps({"task": "noop", "input": {"ts": 0}}).encode()
BULK = 1000
READS = {
    "reads": "/v1/runs/{id}",
    "reads.cloudcoin": "/api/v1/tasks/{id}",
    "reads.tadabase": "/api/v1/tasks/status/queue/{id}",
}
BATCH = json.dumps({"runs": [{"task": "noop"}] * BULK}).encode()


def main() -> None:
    """Measure."""
    bench = Bench("surface", __doc__ or "")
    seconds = 2 if bench.quick else 5
    for name, path, connections, body, each in (
        ("starts.c1", "/v1/runs", 1, START, 1),
        ("starts.c50", "/v1/runs", 50, START, 1),
        ("starts.bulk", "/v1/runs:batch", 4, BATCH, BULK),
    ):
        if not bench.wanted(name):
            continue
        rates = []
        for _ in bench.repeat():
            with bench.folder() as folder, serving(folder) as served:
                served.declare("noop")
                wrk(served.port, path, connections, 1, body)  # warm
                rates.append(each * wrk(served.port, path, connections, seconds, body))
        bench.emit(name, "runs/s", rates)
    for name, path in READS.items():
        if bench.wanted(name):
            reads(bench, seconds, name, path)
    if bench.wanted("reads.keyed"):
        keyed(bench, seconds)


def reads(bench: Bench, seconds: float, name: str, path: str) -> None:
    """Both servers up at once, measured in turn."""
    with bench.folder() as folder, serving(folder) as served:
        served.declare("noop")
        run = served.ask("POST", "/v1/runs", {"task": "noop", "input": {"ts": 0}})
        url = path.format(id=run["id"])
        document = Path(folder, "run.json")
        document.write_text(json.dumps(served.ask("GET", url), separators=(",", ":")))
        port = free_port()
        process = spawn(Path(__file__).with_name("bare.py"), port, document, path, log=folder / "bare.log")
        bare = Served(process, port, folder / "bare.log")
        try:
            _wait(bare, url)
            ours, theirs = [], []
            for server in (served, bare):
                wrk(server.port, url, 64, 1)
            for _ in bench.repeat():
                theirs.append(wrk(port, url, 64, seconds))
                ours.append(wrk(served.port, url, 64, seconds))
        finally:
            stop(process)
    bench.emit(name, "req/s", ours)
    bench.emit(
        f"{name}.bare", "req/s", theirs, note="the same JSON from a bare Starlette route on uvicorn, httptools, uvloop"
    )
    bench.emit(f"{name}.ratio", "x", [our / their for our, their in zip(ours, theirs, strict=True)])


def keyed(bench: Bench, seconds: float) -> None:
    """Two servers, asked in turn: one without keys, and one that asks for them."""
    with bench.folder() as folder, bench.folder() as other, serving(folder) as served, serving(other) as without:
        served.declare("noop")
        without.declare("noop")
        free = without.ask("POST", "/v1/runs", {"task": "noop", "input": {"ts": 0}})
        run = served.ask("POST", "/v1/runs", {"task": "noop", "input": {"ts": 0}})
        key = served.ask("POST", "/v1/keys", {"name": "bench", "scopes": ["run:read", "key:admin"]})["key"]
        limits = {"per_minute": 1_000_000_000, "per_day": 1_000_000_000_000}
        key_id = key.split("_")[1]
        served.ask("PATCH", f"/v1/keys/{key_id}", limits, authorization=f"Bearer {key}")
        wrk(served.port, run["url"], 64, 1, key=key)
        wrk(without.port, free["url"], 64, 1)
        plain, shown = [], []
        for _ in bench.repeat():
            plain.append(wrk(without.port, free["url"], 64, seconds))
            shown.append(wrk(served.port, run["url"], 64, seconds, key=key))
    bench.emit("reads.keyed", "req/s", shown)
    bench.emit("reads.keyed.ratio", "x", [our / their for our, their in zip(shown, plain, strict=True)])


def _wait(server: Served, path: str) -> None:
    for _ in range(1000):
        try:
            server.ask("GET", path)
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise RuntimeError(server.log.read_text())


if __name__ == "__main__":
    main()
