"""The customer-status update of Tadabase's documentation: a hundred thousand records, watched while they change, and a server
that is killed with -9 in the middle; each record is changed exactly once.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections import Counter

import pytest
from tests.e2e.programs import HEADWAY
from tests.faults.server import ROOT, Server
from tests.faults.stores import MINUTES
from tests.faults.verdict import opened
from tests.faults.waiting import until

from headway import Client
from headway.client.errors import ConnectionLost

TASK = "Update Customer Status"
REGULAR = 10
"""Who has ordered so often."""
FIELDS = [
    {"name": "Name"}, {"name": "Orders", "type": "number"}, {"name": "Leaves", "type": "boolean"},
    {"name": "Status", "type": "choice", "choices": ["unknown", "new", "regular"], "default": "unknown", "indexed": True},
]  # fmt: skip


def customer(number):
    return {"Name": f"c{number}", "Orders": number % 20, "Leaves": number % 10 == 0}


class Watcher(threading.Thread):
    """Follows a run on the native stream of events, across every death of the server."""

    def __init__(self, url, run_id):
        super().__init__(daemon=True)
        self.seen = []
        """(done, total), whenever that was told."""
        self.states = []
        self.failure = None
        self._client, self._run_id = Client(url), run_id

    def run(self):
        try:
            with self._client as client:
                for event in client.runs.get(self._run_id).events():
                    if event.type == "run.progress":
                        self.seen.append((event.data["done"], event.data["total"]))
                    elif event.type == "run.state":
                        self.states.append(event.data["state"])
        except Exception as failure:  # noqa: BLE001 - the test says what it was
            self.failure = failure


class Poller(threading.Thread):
    """Asks Tadabase's status again and again, as their clients do, whether the server is there or not."""

    def __init__(self, deployment, run_id):
        super().__init__(daemon=True)
        self.seen = []
        """(total_record_proceed, total_records) of every answer."""
        self.ended = None
        self.given_up = threading.Event()
        self._http, self._path = deployment.connect(), f"/api/v1/tasks/status/queue/{run_id}"

    def run(self):
        while self.ended is None and not self.given_up.wait(0.01):
            with contextlib.suppress(ConnectionLost):
                answer = self._http.request("GET", self._path, timeout_s=5)
                if answer.status == 200:
                    (entry,) = json.loads(answer.body)["tasks"]
                    self.seen.append((entry["total_record_proceed"], entry["total_records"]))
                    if entry["status"] != "start":
                        self.ended = entry

    def reached(self, count):
        """Wait until so many are seen to be done."""
        until(
            lambda: self.ended or (self.seen and self.seen[-1][0] >= count), 120, f"{count} are done: {self.seen[-1:]}"
        )
        return self.seen[-1][0]


FEW = pytest.mark.timeout(300)


@pytest.mark.parametrize(
    ("deployment", "count", "kills"),
    [
        pytest.param("sqlite", 100_000, 1, marks=FEW), pytest.param("postgres", 10_000, 1, marks=FEW),
        *(pytest.param(store, 100_000, 8, marks=MINUTES) for store in ("sqlite", "postgres")),
    ],
    indirect=["deployment"],
)  # fmt: skip
def test_every_customers_status_is_updated_once_though_the_server_is_killed_in_the_middle(deployment, count, kills):
    server = Server(deployment, "--lease", "1500ms").start()
    server.post("/v1/tables", {"name": "customers", "fields": FIELDS})
    for at in range(0, count, 1000):
        rows = [customer(number) for number in range(at, at + 1000)]
        server.post("/v1/tables/customers/records:batch", {"records": rows})
    status = {"template": f"{{{{ 'regular' if record.Orders >= {REGULAR} else 'new' }}}}"}
    stays = {"field": "Leaves", "operator": "is", "value": False}
    update = {"action": "update", "set": {"Status": status}}
    server.post("/v1/record-tasks", {"name": TASK, "table": "customers", "filter": stays, "actions": [update]})
    wanted = count - count // 10

    run_id = server.post(f"/api/v1/tasks/run/{TASK.replace(' ', '%20')}")["task_queue_id"]
    watcher, poller = Watcher(deployment.url, run_id), Poller(deployment, run_id)
    try:
        watcher.start()
        poller.start()
        for kill in range(kills):
            seen = poller.reached(wanted * (kill + 1) / (kills + 2))
            server.kill()
            state, done = kept(deployment, run_id)
            assert state == "running"
            assert seen <= done < wanted, "in the middle, and nothing that was shown is lost"
            server.start()
        done = until(lambda: poller.ended, 200, "it ends")
        watcher.join(30)
    finally:
        poller.given_up.set()

    assert (done["status"], done["total_records"], done["total_record_proceed"]) == ("complete", wanted, wanted)
    assert server.get("/api/v1/tasks/history")["tasks"] == [done]
    assert server.get(f"/v1/runs/{run_id}/output")["output"] == {"total": wanted, "done": wanted, "failed": 0}
    assert (watcher.failure, watcher.is_alive(), watcher.states[-1]) == (None, False, "succeeded")
    for told in (poller.seen, watcher.seen):
        assert told == sorted(told), "it never goes back"
        assert {total for done, total in told if done} == {wanted}
        assert all(total for _, total in told)
        assert len({done for done, _ in told}) > 10, "it is seen to go on"
    assert server.stop() == 0

    expected = Counter()
    for number in range(count):
        given = customer(number)
        changed = "regular" if given["Orders"] >= REGULAR else "new"
        expected["unknown" if given["Leaves"] else changed, 1 if given["Leaves"] else 2] += 1
    assert statuses(deployment) == expected, "whoever stays was changed once, and nobody else"
    doctor = [*HEADWAY, "doctor", "--verify", "--store", deployment.store_url]
    looked = subprocess.run(doctor, cwd=ROOT, env=deployment.environment(), capture_output=True, text=True, check=False)
    assert looked.returncode == 0, looked.stdout + looked.stderr


def kept(deployment, run_id):
    """Return state and progress of a run, as the store has them while nobody serves it."""
    with opened(deployment) as connection:
        query = f"SELECT state, progress_done FROM runs WHERE id = '{run_id}'"
        return connection.execute(query).fetchone()


def statuses(deployment):
    """Return how many records have which status in which version; no code of ours has counted them."""
    with opened(deployment) as connection:
        rows = connection.execute("SELECT data, version FROM records").fetchall()
    return Counter((json.loads(data)["field_4"], version) for data, version in rows)
