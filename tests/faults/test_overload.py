"""More is asked than can be done: what is accepted is done in time, the rest is told at once to come again."""

import json
import subprocess
import sys
import time
from functools import partial
from statistics import mean

import msgspec
import psutil
import pytest
from tests.faults.probe import Probe
from tests.faults.protocol import ProtocolWorker
from tests.faults.server import ROOT, Server, WorkerProcess
from tests.faults.stores import MINUTES, STORES
from tests.faults.verdict import StoreContents
from tests.faults.waiting import all_end, until

KEPT = 0.6
"""The share of the best that is still accepted in a second of the server's time on a processor when many times as much is
asked. Seconds of the clock would say how busy the crowd, which is on the same cores, keeps the machine."""
GROWS_MIB = 100
MOMENT_S = 5
BEST_S = 3
RECOVERS_S = 10
SOON_MS = 250
SERVED_MS = 3_000
"""How long a sign of life or a read may take meanwhile."""


class LoadProcess:
    """Starts from a process of their own."""

    def __init__(self, server):
        self.deployment, self.pid, self.sent = server.deployment, server.process.pid, 0

    def come(self, rate, seconds):
        """Send so many a second, whatever becomes of them, or (0) as fast as they are answered; return what was seen."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.faults.storm", *map(str, (self.deployment.port, rate, seconds, self.sent, self.pid))],
            cwd=ROOT, env=self.deployment.environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        seen = json.loads(done.stdout)
        self.sent = seen["last"]
        return seen


@pytest.mark.parametrize(
    ("deployment", "times", "seconds"),
    [
        pytest.param("sqlite", (5,), 5, marks=pytest.mark.timeout(300)),
        *(pytest.param(store, (5, 10), 30, marks=MINUTES) for store in STORES),
    ],
    indirect=["deployment"],
)
def test_what_is_accepted_is_done_and_the_rest_is_refused_at_once(deployment, times, seconds):
    server = Server(deployment, "--lease", "10s").start()
    WorkerProcess(deployment, "--capacity", "100")
    server.knows("noop")
    later = msgspec.json.decode(server.call("POST", "/v1/runs", {"task": "noop", "delay": "1h"}).body)["id"]
    crowd = LoadProcess(server)
    crowd.come(0, 1)
    beats, reads = deployment.connect(20), deployment.connect(20)
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    refused = 0
    for many in times:
        best = [crowd.come(0, BEST_S)]
        body = msgspec.json.encode({"worker_id": ProtocolWorker(server).id, "reports": [], "held": []})
        with (
            Probe(partial(beats.request, "POST", "/v1/leases:report", body), 0.05) as heard,
            Probe(lambda: reads.request("GET", f"/v1/runs/{later}"), 0.05) as read,
        ):
            seen = crowd.come(best[0]["per_s"] * many, seconds)
        best.append(crowd.come(0, BEST_S))
        counts, kept = seen["counts"], seen["per_cpu_s"] / mean(each["per_cpu_s"] for each in best)
        grown_mib = (process.memory_info().rss - before) >> 20
        print(
            f"{deployment.kind} x{many}: best {best[0]['per_s']:.0f} and {best[1]['per_s']:.0f}/s, then {seen['per_s']:.0f}/s; of a "
            f"second of the server's {best[0]['per_cpu_s']:.0f}, {best[1]['per_cpu_s']:.0f}, then {seen['per_cpu_s']:.0f}, "
            f"{kept:.0%}; {counts}, p99 {seen['p99_ms']:.0f} ms; "
            f"beats {heard.percentile(0.99):.0f} ms, reads {read.percentile(0.99):.0f} ms; grown {grown_mib} MiB"
        )
        assert set(counts) <= {"202", "503", "not sent"}, counts
        refused += counts.get("503", 0)
        assert kept >= KEPT
        assert (set(heard.statuses), set(read.statuses)) == ({200}, {200})
        assert b"headway_leases_expired_total 0.0" in server.call("GET", "/metrics").body, "a worker was lost"
        assert grown_mib < GROWS_MIB
        if seconds > MOMENT_S:  # figures of a moment on a busy machine say little
            assert max(heard.percentile(0.99), read.percentile(0.99)) < SERVED_MS
        ended_s = time.monotonic()
        until(lambda: crowd.come(20, 0.5)["p99_ms"] < SOON_MS, RECOVERS_S, "starts are quick again")
        assert time.monotonic() - ended_s < RECOVERS_S
    assert refused > 0, "nothing was refused: was it more than could be done?"
    server.post(f"/v1/runs/{later}:terminate")
    all_end(server)
    assert server.stop() == 0
    books = StoreContents(deployment)
    done = {line["run_id"] for line in books.acknowledged}
    books.hold(kills=0, fault="more is asked than can be done", tries=len(times))
    assert {books.runs[run_id]["state"] for run_id in done} == {"succeeded"}
