"""Headway and others under the same faults, one after the other.

    python -m tests.faults.peers FOLDER [SYSTEM …]

FOLDER has a virtual environment of each peer, by its name: `huey`, `pgqueuer`, `dbos`. Needs root (the power of a disk is
cut). Results go to the file that HEADWAY_FAULT_RESULTS names.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.faults import results
from tests.faults.disks import Disk
from tests.faults.server import ROOT, free_port
from tests.faults.waiting import pause, until
from tests.postgres.cluster import Cluster

HERE = Path(__file__).parent
TASKS, EACH_S, WORK_MS = 400, 0.02, 300
PATIENCE_S = 60
FAULTS = {
    "kill -9 of what executes": 3,
    "kill -9 of the database": 2,
    "the power is cut": 1,
}
SETTINGS = {
    "huey": "SqliteHuey(fsync=True), 8 threads",
    "pgqueuer": "stock: batch 10, heartbeat timeout 30 s",
    "dbos": "stock queue, worker_concurrency=100, one executor id",
    "headway-sqlite": "stock, lease 15 s",
    "headway-postgres": "stock, lease 15 s",
}
ON_A_FILE = {"huey", "headway-sqlite"}


class Scenario:
    """One system under one fault."""

    def __init__(self, system: str, environments: Path, disk: Disk, cluster: Cluster | None) -> None:
        self.system, self.disk, self.cluster = system, disk, cluster
        self.folder = Path(tempfile.mkdtemp(prefix="headway-peers-"))
        self.ledger = self.folder / "ledger"
        self.ledger.touch()
        ours = system.startswith("headway")
        self.python = sys.executable if ours else str(environments / system / "bin/python")
        self.script = str(HERE / f"p_{system.partition('-')[0]}.py")
        url = cluster.url(cluster.create_database()) if cluster else ""
        self.store = url or str(disk.path / "store.db")
        if ours and not cluster:
            self.store = f"sqlite:///{self.store}"
        self.port = free_port()
        self.server = f"http://127.0.0.1:{self.port}"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.submitter: Any = None

    def start(self, *command: str, piped: bool = False) -> subprocess.Popen[bytes]:
        """Start a process of the system."""
        environment = {**os.environ, "WITNESS": str(self.ledger), "STORE": self.store, "WORK_MS": str(WORK_MS)}
        environment["PYTHONPATH"] = f"{HERE}:{ROOT / 'src'}" if self.python == sys.executable else str(HERE)
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [self.python, *command], cwd=HERE, env=environment, stdout=log, stderr=log,
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def begin(self) -> None:
        """Start what executes."""
        if self.system.startswith("headway"):
            serve = ("-m", "headway", "serve", "--store", self.store, "--port", str(self.port))
            self.processes = [self.start(*serve), self.start("-m", "headway.worker", self.server, "p_headway:app")]
        else:
            self.processes = [self.start(self.script, "work")]

    def begin_submitting(self) -> None:
        """Start what hands tasks in."""
        self.submitter = self.start(self.script, "submit", self.server, piped=True)

    def send(self, n: int) -> None:
        """Hand a task in; it is not if nobody is there to do that."""
        with contextlib.suppress(BrokenPipeError):
            self.submitter.stdin.write(b"%d\n" % n)
            self.submitter.stdin.flush()

    def end(self) -> None:
        """kill -9, with all children."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def noted(self, what: str) -> Counter[int]:
        """Return how often each number was noted."""
        lines = (json.loads(line) for line in self.ledger.read_text().splitlines())
        return Counter(line["n"] for line in lines if line["what"] == what)

    def bring_about(self, fault: str) -> None:
        """Do it, once."""
        if fault == "kill -9 of the database" and self.cluster:
            self.cluster.kill()
            self.cluster.start()
        elif fault == "the power is cut":
            self.end()
            if self.system == "huey":  # who hands in writes to the file, and is on the same machine
                self.submitter.kill()
                self.submitter.wait()
            if self.cluster:
                self.cluster.kill()
            self.disk.cut()
            self.disk.restore()
            if self.cluster:
                self.cluster.start()
            self.begin()
            if self.system == "huey":
                self.begin_submitting()
        else:
            self.end()
            self.begin()

    def revive(self) -> None:
        """Start again what has ended by itself, as a supervisor does."""
        if any(process.poll() is not None for process in self.processes):
            self.end()
            self.begin()


def carry_out(scene: Scenario, fault: str) -> dict[str, Any]:
    """Submit tasks while the fault is brought about; return what became of them."""
    if scene.system in {"pgqueuer", "dbos"}:
        assert scene.start(scene.script, "install").wait() == 0, (scene.folder / "log").read_text()[-2000:]
    scene.begin()
    scene.begin_submitting()
    numbers = itertools.count(TASKS + 1)

    def warm() -> bool:
        """Whether one of those has been done that are sent until the system has come up."""
        scene.send(next(numbers))
        pause(1)
        return bool(scene.noted("done"))

    until(warm, 60, "the first is done")
    scene.disk.sync()

    def feed() -> None:
        for n in range(1, TASKS + 1):
            scene.send(n)
            pause(EACH_S)

    feeding = threading.Thread(target=feed)
    feeding.start()
    for _ in range(FAULTS[fault]):
        pause(1.5)
        scene.bring_about(fault)
        last_s = time.monotonic()
    feeding.join()
    scene.submitter.stdin.close()
    scene.submitter.wait(60)

    def all_done() -> bool:
        scene.revive()
        return not scene.noted("acknowledged").keys() - scene.noted("done").keys()

    with contextlib.suppress(AssertionError):
        until(all_done, PATIENCE_S, "all are done")
    back_s = time.monotonic() - last_s
    acknowledged, done = scene.noted("acknowledged"), scene.noted("done")
    return {
        "acknowledged": len(acknowledged), "lost": len(acknowledged.keys() - done.keys()), "doubled": None,
        "again": sum(count > 1 for count in done.values()), "back_s": round(back_s, 1),
    }  # fmt: skip


def main() -> None:
    """Try every fault on every system."""
    environments = Path(sys.argv[1])
    wanted = sys.argv[2:] or list(SETTINGS)
    for fault, tries in FAULTS.items():
        for system in wanted:
            if system in ON_A_FILE and "database" in fault:
                continue  # it has none apart from what executes
            with contextlib.ExitStack() as ends:
                disk = Disk()
                ends.callback(disk.close)
                on_file = system in ON_A_FILE
                cluster = None if on_file else ends.enter_context(Cluster({"max_connections": 100}, below=disk.path))
                scene = Scenario(system, environments, disk, cluster)
                ends.callback(scene.end)
                seen = carry_out(scene, fault)
                peer = {"tasks": TASKS, "ms": WORK_MS, "patience_s": PATIENCE_S}
                store = "sqlite" if on_file else "postgres"
                results.note(fault, store, system=system, tries=tries, settings=SETTINGS[system], peer=peer, **seen)
                print(f"{fault:28} {system:18} {seen}", flush=True)


if __name__ == "__main__":
    main()
